"""time_profile: what is usual at each hour of the day or week, or on each day of the week."""

from collections.abc import Sequence
from typing import Any, ClassVar, Final, Literal, NamedTuple, Self

import numpy as np
from pydantic import Field, model_validator

from config.params import Params
from pipelines.batch import BAD, F8, I8, U1, UNCERTAIN, Batch
from pipelines.calendar import DAY, HOUR, ZONE_ROWS, Zone, span_of, tables
from pipelines.jit import kernel
from pipelines.numerics import LARGEST, added
from pipelines.operator import SINGLE, Operator, column, rows_of
from pipelines.series import NEVER
from pipelines.windows import chosen, count_in, stat_of

By = Literal["hour_of_day", "day_of_week", "hour_of_week"]
Told = Literal["mean", "min", "max", "sum", "count", "std", "var", "range"]
SLOTS: Final[dict[By, int]] = {"hour_of_day": 24, "day_of_week": 7, "hour_of_week": 168}
THURSDAY: Final = 3
"""1970 began on one; weeks begin with Monday, 0."""
NOW, ALL, KEPT = 0, 1, 2
"""In each state array: the occurrence under way, room to add some up, and then what is kept."""


class TimeProfile(Params):
    """Which hours or days, by whose clock, and what is told about them.

    A series takes 56 bytes for each slot, or for each of its `last` occurrences: 38 kB for four
    weeks of 168 hours.
    """

    EXTRA_ROWS: ClassVar = ("size", "shift", "slots", "width", "chosen", *ZONE_ROWS)

    by: By = Field("hour_of_day", description="What repeats; hours and days are those of `tz`.")
    tz: Zone = Field("UTC", description="Time zone, such as Europe/Berlin, with its summer time.")
    stats: tuple[Told, ...] = Field(
        ("mean",),
        min_length=1,
        description="Numbers to give out; the first is the value of the row.",
    )
    last: int | None = Field(
        None,
        ge=1,
        le=52,
        description="How many of the latest occurrences count: `last: 4` of hour_of_week are four "
        "weeks; those without samples are not counted. Default: all there ever were.",
    )

    @model_validator(mode="after")
    def _once(self) -> Self:
        if len(set(self.stats)) < len(self.stats):
            raise ValueError("stats names one number twice")
        return self

    @classmethod
    def extra_rows(cls, sets: Sequence["TimeProfile"]) -> dict[str, Any]:
        """Length of a part, parts from the week's begin to 1970's, parts in all; columns needed."""
        size = [DAY if p.by == "day_of_week" else HOUR for p in sets]
        shift = [
            THURSDAY * {"hour_of_day": 0, "day_of_week": 1, "hour_of_week": 24}[p.by] for p in sets
        ]
        return {
            "size": np.array(size, np.int64),
            "shift": np.array(shift, np.int64),
            "slots": np.array([SLOTS[p.by] for p in sets], np.int64),
            "width": np.array([KEPT + SLOTS[p.by] * (p.last or 1) for p in sets], np.int64),
            "chosen": chosen([p.stats for p in sets]),
            **tables([p.tz for p in sets]),
        }


class State(NamedTuple):
    """Per series the occurrence under way, and what is kept: of each slot, or of its last ones."""

    samples: I8 = column("i8", "width")
    total: F8 = column("f8", "width")
    lost: F8 = column("f8", "width")  # digits that `total` has no room for
    mean: F8 = column("f8", "width")
    m2: F8 = column("f8", "width")
    low: F8 = column("f8", "width")
    high: F8 = column("f8", "width")
    begin: F8 = column("f8", 1)
    end: F8 = column("f8", 1)
    quality: U1 = column("u1", 1)
    times: I8 = column("i8", "slots")  # occurrences of each slot so far
    slot: I8 = column("i8")
    start_ns: I8 = column("i8")
    end_ns: I8 = column("i8")
    begun: U1 = column("u1")
    born_ns: I8 = column("i8")  # the first sample of all
    late: I8 = column("i8", SINGLE)  # samples of an hour or day that had been told


Rows = rows_of(TimeProfile)


@kernel
def pour(s: int, source: int, into: int, state: State) -> None:
    """Count the samples behind column `source` in column `into` too (Chan et al. 1979)."""
    n, m = state.samples[s, source], state.samples[s, into]
    if n == 0:
        return
    if m == 0:
        state.total[s, into], state.lost[s, into] = state.total[s, source], state.lost[s, source]
        state.mean[s, into], state.m2[s, into] = state.mean[s, source], state.m2[s, source]
        state.low[s, into], state.high[s, into] = state.low[s, source], state.high[s, source]
    else:
        distance = state.mean[s, source] - state.mean[s, into]
        state.mean[s, into] += distance * n / (n + m)
        state.m2[s, into] += state.m2[s, source] + distance * distance * n * m / (n + m)
        total, lost = added(state.total[s, into], state.lost[s, into], state.total[s, source])
        state.total[s, into], state.lost[s, into] = total, lost + state.lost[s, source]
        state.low[s, into] = min(state.low[s, into], state.low[s, source])
        state.high[s, into] = max(state.high[s, into], state.high[s, source])
    state.samples[s, into] = n + m


@kernel
def close(s: int, state: State, params: Any, out: Batch) -> None:
    """Take the occurrence under way into its slot, and tell what is usual in that slot."""
    p, slot, n = params.row[s], state.slot[s], out.count[0]
    kept = params.last[p] if params.last[p] > 0 else 1
    first = KEPT + slot * kept
    if params.last[p] > 0:
        at = first + state.times[s, slot] % kept
        state.samples[s, at] = 0
        pour(s, NOW, at, state)
    else:
        pour(s, NOW, first, state)
    state.times[s, slot] += 1
    state.samples[s, ALL] = 0
    for k in range(first, first + kept):
        pour(s, k, ALL, state)
    state.samples[s, NOW] = 0
    out.series[n], out.t_ns[n], out.start_ns[n] = s, state.end_ns[s], state.start_ns[s]
    stats = params.chosen.shape[1]
    for j in range(stats):
        out.fields[n, j] = stat_of(params.chosen[p, j], state, s, ALL)
    out.value[n] = out.fields[n, 0]
    out.fields[n, stats] = slot
    times = state.times[s, slot]
    out.fields[n, stats + 1] = min(times, kept) if params.last[p] > 0 else times
    quality = state.quality[s, NOW]
    if state.start_ns[s] < state.born_ns[s]:
        quality = max(quality, UNCERTAIN)
    out.quality[n] = quality if np.isfinite(out.value[n]) else BAD
    out.count[0] = n + 1


@kernel
def step(batch: Batch, first: int, state: State, params: Any, out: Batch) -> int:
    """Tell about an hour or day that is over, then count the sample in its own.

    Equivalent to: local time is what clocks of `tz` show. Occurrences are the stretches in which
    they show one hour (one date, for day_of_week); an hour that is repeated when clocks are set
    back is one occurrence, one that is left out is none. Slots are the hour 0..23, the weekday
    0..6 from Monday on, or weekday * 24 + hour. Each occurrence with known samples gives a row
    once the time of its series has come to its end, from its begin to its end: fields the chosen
    numbers over the samples of all occurrences of its slot so far, itself among them, or of the
    `last` (std, var with n - 1), the slot, and how many occurrences those are; value the first number.
    Quality is the worst of the occurrence's own samples, UNCERTAIN at best if it began before the
    first known sample of the series, BAD where value is NaN. |x| > 1e150 is not known. A sample
    earlier than what has been told counts in `late` alone.
    """
    for i in range(first, batch.series.size):
        s, t, x = batch.series[i], batch.t_ns[i], batch.value[i]
        if not abs(x) <= LARGEST or batch.quality[i] == BAD:
            continue
        if state.begun[s] == 0 or t >= state.end_ns[s]:
            if state.samples[s, NOW] > 0:
                close(s, state, params, out)
            p = params.row[s]
            number, start_ns, end_ns = span_of(
                t, params.size[p], p, params.zone_at, params.zone_ahead
            )
            state.start_ns[s], state.end_ns[s] = start_ns, end_ns
            state.slot[s] = (number + params.shift[p]) % params.slots[p]
            if state.begun[s] == 0:
                state.begun[s], state.born_ns[s] = 1, t
        elif t < state.start_ns[s] or state.samples[s, NOW] == 0:
            state.late[0] += 1
            continue
        count_in(state, s, NOW, x, batch.quality[i], 1)
    return batch.series.size


@kernel
def tick(clock_ns: I8, first: int, last: int, state: State, params: Any, out: Batch) -> None:
    """Tell about the hours or days that are over by the clock.

    Equivalent to: the row that `step` would give out before a sample at `clock_ns`.
    """
    for s in range(first, last):
        if state.samples[s, NOW] > 0 and clock_ns[s] != NEVER and clock_ns[s] >= state.end_ns[s]:
            close(s, state, params, out)


OPERATOR = Operator(
    name="time_profile",
    summary="Numbers by hour of the day or week, or day of the week, in local time.",
    params=TimeProfile,
    state=State,
    rows=Rows,
    step=step,
    tick=tick,
    example="time_profile: {by: hour_of_week, tz: Europe/Berlin, stats: [mean, std], last: 4}",
    emits="window",
    fields=lambda params: (*params.stats, "slot", "occurrences"),
)
