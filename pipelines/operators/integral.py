"""integral: adds up a value over time, such as watts to watt-hours."""

from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import Field

from config.model import SECOND
from config.params import Params
from config.units import Duration
from pipelines.batch import BAD, F8, I8, U1, UNCERTAIN, Batch
from pipelines.jit import kernel
from pipelines.numerics import LARGEST, added
from pipelines.operator import SINGLE, Operator, column, rows_of

TRAPEZOID, STEP = 0, 1


class Integral(Params):
    """How the value runs between two samples, and in which unit of time it is added up."""

    method: Literal["trapezoid", "step"] = Field(
        "trapezoid",
        description="Between two samples: trapezoid: on a straight line · step: the earlier one.",
    )
    unit: Literal["s", "min", "h"] = Field("h", description="h: a value in W adds up to Wh.")
    max_gap: Duration = Field(
        3600 * SECOND,
        gt=0,
        description="Nothing is added between two samples farther apart; the gap is counted.",
    )


class State(NamedTuple):
    """Per series the last known sample and the sum so far, in units of value and second."""

    t_ns: I8 = column("i8")
    x: F8 = column("f8")
    begun: U1 = column("u1")
    total: F8 = column("f8")
    lost: F8 = column("f8")  # digits that `total` has no room for
    gaps: I8 = column("i8", SINGLE)  # gaps longer than max_gap


Rows = rows_of(Integral)


@kernel
def step(batch: Batch, first: int, state: State, params: Any, out: Batch) -> int:
    """Give out with each known sample what has added up since the first one.

    Equivalent to: the exact sum over neighbouring known samples (t0, x0), (t, x) no more than
    `max_gap` apart of (t - t0) (x0 + x) / 2, for step (t - t0) x0, times in `unit`. The sample
    after a longer gap is UNCERTAIN at best, and the gap is counted in `gaps`. |x| > 1e150 is not
    known; such samples give NaN.
    """
    n = out.count[0]
    for i in range(first, batch.series.size):
        s, t, x = batch.series[i], batch.t_ns[i], batch.value[i]
        quality, y = batch.quality[i], np.nan
        if abs(x) <= LARGEST and quality != BAD:
            p = params.row[s]
            span_ns = t - state.t_ns[s]
            if state.begun[s] == 1 and span_ns > params.max_gap[p]:
                state.gaps[0] += 1
                quality = max(quality, UNCERTAIN)
            elif state.begun[s] == 1:
                height = state.x[s]
                if params.method[p] == TRAPEZOID:
                    height = (height + x) / 2
                state.total[s], state.lost[s] = added(
                    state.total[s], state.lost[s], height * (span_ns / 1e9)
                )
            state.begun[s], state.t_ns[s], state.x[s] = 1, t, x
            unit = params.unit[p]
            seconds = 3600.0 if unit == 2 else 60.0 if unit == 1 else 1.0
            y = (state.total[s] + state.lost[s]) / seconds
        else:
            quality = BAD
        out.series[n], out.t_ns[n], out.start_ns[n] = s, t, batch.start_ns[i]
        out.value[n], out.quality[n] = y, quality
        n += 1
    out.count[0] = n
    return batch.series.size


OPERATOR = Operator(
    name="integral",
    summary="Adds up a value over time: power to energy, flow to volume.",
    params=Integral,
    state=State,
    rows=Rows,
    step=step,
    example="integral: {unit: h, max_gap: 10m}",
)
