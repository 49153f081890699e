"""validate: takes out values that are physically impossible."""

from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import Field

from config.params import Params
from pipelines.batch import BAD, F8, U1, Batch
from pipelines.jit import kernel
from pipelines.operator import Makes, Operator, column, rows_of


class Validate(Params):
    """Limits of what the sensor can truly measure."""

    min: float | None = Field(None, description="Lowest possible value.")
    max: float | None = Field(None, description="Highest possible value.")
    max_step: float | None = Field(
        None, gt=0, description="Largest possible change since the last valid sample."
    )
    action: Literal["mark", "drop", "clip"] = Field(
        "mark",
        description="mark: pass on as not known · drop: leave out · clip: to the nearest limit "
        "(a step too large is marked).",
    )


MARK, DROP, CLIP = 0, 1, 2


class State(NamedTuple):
    """(S,) the last valid value, and whether there was one."""

    last: F8 = column("f8")
    known: U1 = column("u1")


Rows = rows_of(Validate)


@kernel
def step(batch: Batch, first: int, state: State, params: Any, out: Batch) -> int:
    """Judge each value against the limits and the last valid value of its series.

    Equivalent to: a value is invalid when not finite, below `min`, above `max`, or further than
    `max_step` from the last valid one; an invalid value becomes NaN (mark), vanishes (drop) or
    moves to the limit it broke (clip) and then counts as valid. Valid ones keep their quality.
    """
    n = out.count[0]
    for i in range(first, batch.series.size):
        s, x = batch.series[i], batch.value[i]
        p = params.row[s]
        action = params.action[p]
        if action == CLIP and np.isfinite(x):
            # A limit that is not given is NaN, and changes nothing as the second argument.
            x = min(max(x, params.min[p]), params.max[p])
        # Comparisons with NaN are false: a limit that is not given rejects nothing.
        bad = not np.isfinite(x) or batch.quality[i] == BAD
        bad = bad or x < params.min[p] or x > params.max[p]
        if not bad and state.known[s] == 1 and abs(x - state.last[s]) > params.max_step[p]:
            bad = True
        if bad and action == DROP:
            continue
        if not bad:
            state.last[s] = x
            state.known[s] = 1
        out.series[n] = s
        out.t_ns[n] = batch.t_ns[i]
        out.start_ns[n] = batch.start_ns[i]
        out.value[n] = np.nan if bad else x
        out.quality[n] = BAD if bad else batch.quality[i]
        n += 1
    out.count[0] = n
    return batch.series.size


OPERATOR = Operator(
    name="validate",
    summary="Takes out values that the sensor cannot truly have measured.",
    params=Validate,
    state=State,
    rows=Rows,
    step=step,
    makes=Makes.SAME,
    example="validate: {min: -40, max: 200}",
)
