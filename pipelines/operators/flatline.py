"""flatline: a sensor that still sends, but always the same."""

from typing import Any, NamedTuple

import numpy as np
from pydantic import Field

from config.model import SECOND, When
from config.params import Params
from config.units import Duration
from pipelines.batch import BAD, F8, I8, U1, Batch
from pipelines.jit import kernel
from pipelines.operator import RING, SINGLE, Operator, column, rows_of


class Flatline(Params):
    """How long a value may stand still, and what standing still is."""

    window: Duration = Field(
        1800 * SECOND, gt=0, description="The value must move within this time, such as 30m."
    )
    epsilon: float = Field(
        0.0, ge=0, description="Largest difference between two values that still counts as none."
    )
    min_samples: int = Field(
        5, ge=2, description="Fewer samples than this in the window say nothing."
    )


class State(NamedTuple):
    """Per series the samples of the window, and enough to know their range at any time.

    The window is two stacks: for positions before `split`, `low` and `high` hold the range from
    there up to `split`; from `split` on they hold the value itself, and `least` and `most` the
    range of all those.  Each sample is gone through once more when the first stack runs out.
    """

    t_ns: I8 = column("i8", RING)
    low: F8 = column("f8", RING)
    high: F8 = column("f8", RING)
    first: I8 = column("i8")
    seen: I8 = column("i8")
    split: I8 = column("i8")
    least: F8 = column("f8")
    most: F8 = column("f8")
    since_ns: I8 = column("i8")  # first sample since the window was last empty
    ring_fixed: U1 = column("u1", SINGLE)
    truncated: I8 = column("i8", SINGLE)


Rows = rows_of(Flatline)


@kernel
def step(batch: Batch, first: int, state: State, params: Any, out: Batch) -> int:
    """Say 1 for each sample at which the whole window stood still, 0 where it moved.

    Equivalent to: `range = max - min` of the known samples in (t - window, t]. 0 when range >
    epsilon; else 1 when they are `min_samples` or more and samples have been coming for a whole
    window, that is since `since <= t - window` with never a window's length between two of them;
    else NaN. Field: the range. Where a value stands still by right, as the flow of a pump at rest
    does, an `expr` before this step makes it not known: that begins the window anew.
    """
    n = out.count[0]
    width = state.low.shape[1]
    for i in range(first, batch.series.size):
        s, t, x = batch.series[i], batch.t_ns[i], batch.value[i]
        p = params.row[s]
        value, spread = np.nan, np.nan
        if np.isfinite(x) and batch.quality[i] != BAD:
            newest = state.seen[s]
            keep = state.first[s]
            while keep < newest and state.t_ns[s, keep % width] <= t - params.window[p]:
                keep += 1
            empty = keep == newest
            if newest - keep >= width:
                if state.ring_fixed[0] == 0:
                    out.count[0] = n
                    return i
                state.truncated[0] += newest - keep - width + 1
                keep = newest - width + 1
            if keep >= state.split[s]:
                least, most = np.inf, -np.inf
                for j in range(newest - 1, keep - 1, -1):
                    least = min(least, state.low[s, j % width])
                    most = max(most, state.high[s, j % width])
                    state.low[s, j % width] = least
                    state.high[s, j % width] = most
                state.split[s] = newest
                state.least[s], state.most[s] = np.inf, -np.inf
            slot = newest % width
            state.t_ns[s, slot] = t
            state.low[s, slot] = x
            state.high[s, slot] = x
            state.first[s] = keep
            state.seen[s] = newest + 1
            state.least[s] = min(state.least[s], x)
            state.most[s] = max(state.most[s], x)
            if empty:
                state.since_ns[s] = t
            least, most = state.least[s], state.most[s]
            if keep < state.split[s]:
                least = min(least, state.low[s, keep % width])
                most = max(most, state.high[s, keep % width])
            spread = most - least
            if spread > params.epsilon[p]:
                value = 0.0
            elif (
                newest + 1 - keep >= params.min_samples[p]
                and t - state.since_ns[s] >= params.window[p]
            ):
                value = 1.0
        out.series[n] = s
        out.t_ns[n] = t
        out.start_ns[n] = batch.start_ns[i]
        out.value[n] = value
        out.quality[n] = batch.quality[i] if np.isfinite(value) else BAD
        out.fields[n, 0] = spread
        n += 1
    out.count[0] = n
    return batch.series.size


OPERATOR = Operator(
    name="flatline",
    summary="Tells when a sensor keeps sending but its value no longer moves.",
    params=Flatline,
    state=State,
    rows=Rows,
    step=step,
    example="flatline: {window: 30m}",
    emits="score",
    fields=lambda params: ("range",),  # noqa: ARG005 - same for all
    condition=lambda params: When(above=0.5),  # noqa: ARG005 - same for all
)
