"""dedupe: leaves out samples that say again what was said before.

What a device numbers itself is told apart before any pipeline, by `seq` of its source: there the
number still stands beside all channels of its message, and repeats are counted as duplicates.
"""

from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import Field

from config.model import SECOND
from config.params import Params
from config.units import Duration
from pipelines.batch import BAD, F8, I8, Batch
from pipelines.jit import kernel
from pipelines.operator import SINGLE, Makes, Operator, column, rows_of

TIME_VALUE = 0


class Dedupe(Params):
    """What counts as the same, and for how long it is remembered."""

    by: Literal["time_value", "value"] = Field(
        "time_value",
        description="time_value: samples of one time and value, as deliveries repeated by a "
        "network are · value: a value again within `horizon`, such as a code or the number of a "
        "ticket. Messages with a counter in them: see `seq` of the source.",
    )
    horizon: Duration = Field(
        600 * SECOND,
        gt=0,
        description="For `value`: so long after it was passed on, a value is left out.",
    )
    keep: int = Field(
        32, ge=1, le=1024, description="Samples passed on that later ones are compared with."
    )


class State(NamedTuple):
    """Per series the samples passed on last; the n-th of all at slot n % keep."""

    t_ns: I8 = column("i8", "keep")
    x: F8 = column("f8", "keep")
    passed: I8 = column("i8")
    left_out: I8 = column("i8", SINGLE)  # repeats
    forgotten: I8 = column("i8", SINGLE)  # overwritten while a repeat could still come


Rows = rows_of(Dedupe)


@kernel
def step(batch: Batch, first: int, state: State, params: Any, out: Batch) -> int:
    """Pass on each sample that is not among those passed on before.

    Equivalent to: a known sample is left out when one of the last `keep` known samples that were
    passed on has the same value and the same time (time_value), or the same value and a time less
    than `horizon` ago (value). Values not known are passed on as such.
    """
    n = out.count[0]
    for i in range(first, batch.series.size):
        s, t, x = batch.series[i], batch.t_ns[i], batch.value[i]
        known = np.isfinite(x) and batch.quality[i] != BAD
        if known:
            p = params.row[s]
            keep, passed = params.keep[p], state.passed[s]
            age = 1 if params.by[p] == TIME_VALUE else params.horizon[p]
            j, oldest = passed - 1, max(0, passed - keep)
            # Times rise from one to the next: what lies behind a sample too old is older still.
            while j >= oldest and t - state.t_ns[s, j % keep] < age and x != state.x[s, j % keep]:
                j -= 1
            if j >= oldest and t - state.t_ns[s, j % keep] < age:
                state.left_out[0] += 1
                continue
            if passed >= keep and t - state.t_ns[s, passed % keep] < age:
                state.forgotten[0] += 1
            state.t_ns[s, passed % keep], state.x[s, passed % keep] = t, x
            state.passed[s] = passed + 1
        out.series[n], out.t_ns[n], out.start_ns[n] = s, t, batch.start_ns[i]
        out.value[n] = x if known else np.nan
        out.quality[n] = batch.quality[i] if known else BAD
        n += 1
    out.count[0] = n
    return batch.series.size


OPERATOR = Operator(
    name="dedupe",
    summary="Leaves out samples that repeat an earlier one.",
    params=Dedupe,
    state=State,
    rows=Rows,
    step=step,
    makes=Makes.SAME,
    example="dedupe: {by: value, horizon: 10m}",
)
