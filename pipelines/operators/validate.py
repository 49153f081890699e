"""validate: takes out values that are physically impossible."""

from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import Field

from config.params import Params
from pipelines.batch import BAD, F8, U1, Batch, handed_on
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
    n, begin, last = out.count[0], first, batch.series.size
    of, action, low, high, most = -1, MARK, np.nan, np.nan, np.nan
    while begin < last:
        i = begin
        while i < last:
            s, x, quality = batch.series[i], batch.value[i], batch.quality[i]
            if params.row[s] != of:  # most series share their limits
                of = params.row[s]
                action, low, high = params.action[of], params.min[of], params.max[of]
                most = params.max_step[of]
            if action == CLIP and np.isfinite(x):
                # A limit that is not given is NaN, and changes nothing as the second argument.
                x = min(max(x, low), high)
            # Comparisons with NaN are false: a limit that is not given rejects nothing.
            bad = not np.isfinite(x) or quality == BAD or x < low or x > high
            if not bad and most > 0 and state.known[s] == 1:
                bad = abs(x - state.last[s]) > most
            if bad:
                if action == DROP:
                    break
                x, quality = np.nan, BAD
            else:
                state.last[s], state.known[s] = x, 1
            out.value[n + i - begin], out.quality[n + i - begin] = x, quality
            i += 1
        handed_on(batch, begin, i, out, n)
        n, begin = n + i - begin, i + 1
    out.count[0] = n
    return batch.series.size


def _makes(params: Validate) -> Makes:
    return Makes.OTHER if params.action == "clip" else Makes.SAME


OPERATOR = Operator(
    name="validate",
    summary="Takes out values that the sensor cannot truly have measured.",
    params=Validate,
    state=State,
    rows=Rows,
    step=step,
    makes=_makes,
    example="validate: {min: -40, max: 200}",
)
