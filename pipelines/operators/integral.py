"""integral: adds up a value over time, such as watts to watt-hours."""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
from pydantic import Field, model_validator

from config.model import SECOND
from config.params import Params
from config.units import Duration
from pipelines.batch import BAD, F8, I8, U1, UNCERTAIN, Batch
from pipelines.calendar import DAY, ZONE_ROWS, Zone, local, reached, tables
from pipelines.jit import kernel
from pipelines.numerics import LARGEST, added
from pipelines.operator import SINGLE, Operator, column, rows_of

TRAPEZOID, STEP = 0, 1


class Integral(Params):
    """How the value runs between two samples, in which unit of time it is added up, how long."""

    EXTRA_ROWS: ClassVar = ZONE_ROWS

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
    reset: Duration | None = Field(
        None,
        gt=0,
        description="Length of periods, such as 1d, that begin at whole multiples since 1970 began; "
        "in each of them the sum starts again from zero. Default: it never does.",
    )
    offset: Duration = Field(
        0, description="All periods begin this much later: 6h; 4d for weeks that begin on Monday."
    )
    tz: Zone = Field(
        "UTC",
        description="Time zone by whose clocks periods of whole days begin, such as Europe/Berlin.",
    )

    @model_validator(mode="after")
    def _periods(self) -> Self:
        if self.reset is None and (self.offset or self.tz != "UTC"):
            raise ValueError("offset and tz say when periods begin: give `reset`, such as 1d, too")
        if self.reset is not None and self.tz != "UTC" and self.reset % DAY:
            raise ValueError("tz is for periods of whole days: {reset: 1d}")
        return self

    @classmethod
    def extra_rows(cls, sets: Sequence["Integral"]) -> dict[str, Any]:
        """The tables of the time zones."""
        return tables([p.tz for p in sets])


class State(NamedTuple):
    """Per series the last known sample and the sum so far, in units of value and second."""

    t_ns: I8 = column("i8")
    x: F8 = column("f8")
    begun: U1 = column("u1")
    total: F8 = column("f8")
    lost: F8 = column("f8")  # digits that `total` has no room for
    end_ns: I8 = column("i8")  # of the period under way, where there are periods
    whole: U1 = column("u1")  # whether the series was there when it began
    last_period: F8 = column("f8")  # what added up in the one before
    gaps: I8 = column("i8", SINGLE)  # gaps longer than max_gap


Rows = rows_of(Integral)


@kernel
def part(t0: int, x0: float, t: int, x: float, begin: int, end: int, method: int) -> float:
    """What adds up from `begin` to `end` on the way from (t0, x0) to (t, x), per second."""
    height = x0
    if method == TRAPEZOID and begin == t0 and end == t:
        height = (x0 + x) / 2
    elif method == TRAPEZOID and t > t0:
        height += (x - x0) * ((0.5 * (begin - t0) + 0.5 * (end - t0)) / (t - t0))
    return height * ((end - begin) / 1e9)


@kernel
def turn(s: int, t: int, x: float, near: bool, state: State, params: Any) -> int:
    """Begin the period of series `s` that `t` is in, the sum at zero; from when on to add up.

    near: whether the time since the last sample counts.
    """
    p, was = params.row[s], state.end_ns[s]
    reset, offset = params.reset[p], params.offset[p]
    k = (local(t, p, params.zone_at, params.zone_ahead) - offset) // reset
    end = reached((k + 1) * reset + offset, p, params.zone_at, params.zone_ahead)
    while end <= t:  # clocks that were set back show the end of a period once more
        k += 1
        end = reached((k + 1) * reset + offset, p, params.zone_at, params.zone_ahead)
    t0, start, last = state.t_ns[s], t, np.nan
    if state.begun[s] == 1:
        start = reached(k * reset + offset, p, params.zone_at, params.zone_ahead)
        begin = reached((k - 1) * reset + offset, p, params.zone_at, params.zone_ahead)
        if start == was and state.whole[s] == 1:
            last = state.total[s] + state.lost[s]
        elif start != was and near:
            last = 0.0
        if near:
            last += part(t0, state.x[s], t, x, max(t0, begin), start, params.method[p])
        state.whole[s] = 1
    state.end_ns[s], state.last_period[s] = end, last
    state.total[s], state.lost[s] = 0.0, 0.0
    return int(max(t0, start))


@kernel
def step(batch: Batch, first: int, state: State, params: Any, out: Batch) -> int:
    """Give out with each known sample what has added up since the first one, or in its period.

    Equivalent to: the exact sum over neighbouring known samples (t0, x0), (t, x) no more than
    `max_gap` apart of (t - t0) (x0 + x) / 2, for step (t - t0) x0, times in `unit`. The sample
    after a longer gap is UNCERTAIN at best, and the gap is counted in `gaps`. With `reset` only
    what lies in the period of the sample: from when clocks of `tz` first show k reset + offset
    since they showed the begin of 1970 until they first show that of k + 1; the way between two
    samples counts in each period as far as it lies in it. Field `last_period`: the sum of the
    period before; NaN if the series began later than that, or if it lies in a gap altogether.
    |x| > 1e150 is not known; such samples give NaN.
    """
    n = out.count[0]
    for i in range(first, batch.series.size):
        s, t, x = batch.series[i], batch.t_ns[i], batch.value[i]
        quality, y, p = batch.quality[i], np.nan, params.row[s]
        last_period = np.nan
        if abs(x) <= LARGEST and quality != BAD:
            begin = state.t_ns[s]
            near = state.begun[s] == 1 and t - begin <= params.max_gap[p]
            if state.begun[s] == 1 and not near:
                state.gaps[0] += 1
                quality = max(quality, UNCERTAIN)
            if params.reset[p] > 0 and (state.begun[s] == 0 or t >= state.end_ns[s]):
                begin = turn(s, t, x, near, state, params)
            if near:
                more = part(state.t_ns[s], state.x[s], t, x, begin, t, params.method[p])
                state.total[s], state.lost[s] = added(state.total[s], state.lost[s], more)
            state.begun[s], state.t_ns[s], state.x[s] = 1, t, x
            unit = params.unit[p]
            seconds = 3600.0 if unit == 2 else 60.0 if unit == 1 else 1.0
            y = (state.total[s] + state.lost[s]) / seconds
            last_period = state.last_period[s] / seconds
        else:
            quality = BAD
        if params.reset[p] > 0:
            out.fields[n, 0] = last_period
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
    fields=lambda params: () if params.reset is None else ("last_period",),
)
