"""An operator that does next to nothing: how fast the machine copies rows by series just now."""

from typing import NamedTuple

from config.params import Params
from pipelines.batch import F8, I8
from pipelines.jit import kernel
from pipelines.operator import Operator, column, rows_of


class Control(Params):
    """Nothing to choose."""


class State(NamedTuple):
    """Per series what was read and written last; enough to miss the nearest caches."""

    t_ns: I8 = column("i8")
    x: F8 = column("f8")
    past: F8 = column("f8", 16)
    seen: I8 = column("i8")


Rows = rows_of(Control)


@kernel
def step(batch, first, state, params, out):
    """Equivalent to: the value 16 samples ago, 0 at first."""
    n = out.count[0]
    for i in range(first, batch.series.size):
        s, x = batch.series[i], batch.value[i]
        at = state.seen[s] % 16
        before = state.past[s, at]
        state.past[s, at], state.x[s], state.t_ns[s] = x, x, batch.t_ns[i]
        state.seen[s] += 1
        out.series[n], out.t_ns[n], out.start_ns[n] = s, batch.t_ns[i], batch.start_ns[i]
        out.value[n], out.quality[n] = before, batch.quality[i]
        n += 1
    out.count[0] = n
    return batch.series.size


OPERATOR = Operator(
    name="control",
    summary="Passes on what was there before.",
    params=Control,
    state=State,
    rows=Rows,
    step=step,
    example="control",
)
