"""aggregate: numbers about windows of fixed size, given out once a window is complete."""

from collections.abc import Sequence
from typing import Any, ClassVar, Final, NamedTuple, Self

import numpy as np
from pydantic import Field, model_validator

from config.model import SECOND
from config.params import Params
from config.units import Duration, duration_text
from pipelines.batch import BAD, F8, I8, U1, UNCERTAIN, Batch
from pipelines.calendar import DAY, ZONE_ROWS, Zone, local, reached, tables
from pipelines.jit import kernel
from pipelines.numerics import LARGEST
from pipelines.operator import SINGLE, Makes, Operator, column, rows_of
from pipelines.series import NEVER
from pipelines.windows import Stat, chosen, count_in, stat_of, with_squares

OVERLAP_MAX: Final = 60


class Aggregate(Params):
    """Which windows, and what is told about them."""

    EXTRA_ROWS: ClassVar = ("overlap", "chosen", "squares", *ZONE_ROWS)

    size: Duration = Field(
        gt=0, description="Length of a window; windows begin at whole multiples since 1970 began."
    )
    hop: Duration | None = Field(
        None, gt=0, description="From the begin of one window to the next; default: size."
    )
    offset: Duration = Field(0, description="All windows begin this much later.")
    tz: Zone = Field(
        "UTC",
        description="Time zone by whose clocks windows of whole days begin, such as Europe/Berlin; "
        "a day on which these change has 23 or 25 hours.",
    )
    stats: tuple[Stat, ...] = Field(
        ("mean",),
        min_length=1,
        description="Numbers to give out; the first is the value of the window.",
    )
    amend_for: Duration | None = Field(
        None,
        le=7 * 86_400 * SECOND,
        description="Windows are corrected when samples turn up at most this late; the same as "
        "`amend_for` of the pipeline.",
    )

    @model_validator(mode="after")
    def _windows(self) -> Self:
        if self.hop is not None and self.hop > self.size:
            raise ValueError(
                f"hop {duration_text(self.hop)} is longer than size {duration_text(self.size)}: "
                "samples between the windows would count nowhere"
            )
        if self.tz != "UTC" and (self.size % DAY or (self.hop or 0) % DAY):
            raise ValueError("tz is for windows of whole days: {size: 1d}, and a hop of the kind")
        if self.overlap > OVERLAP_MAX:
            raise ValueError(
                f"each sample would be in {self.overlap} windows, at most {OVERLAP_MAX} are "
                f"allowed: take a hop of {duration_text(-(-self.size // OVERLAP_MAX))} or more"
            )
        if len(set(self.stats)) < len(self.stats):
            raise ValueError("stats names one number twice")
        return self

    @property
    def overlap(self) -> int:
        """Windows that are open at a time, at most."""
        return -(-self.size // (self.hop or self.size))

    @classmethod
    def extra_rows(cls, sets: Sequence["Aggregate"]) -> dict[str, Any]:
        """Arrays overlap, squares (R,), chosen (R, k): see `pipelines.windows`; zones."""
        return {
            "overlap": np.array([p.overlap for p in sets], np.int64),
            "chosen": chosen([p.stats for p in sets]),
            "squares": with_squares([p.stats for p in sets]),
            **tables([p.tz for p in sets]),
        }


class State(NamedTuple):
    """Per series its open windows: window w, the w-th since 1970, at slot w % overlap."""

    samples: I8 = column("i8", "overlap")  # 0: nothing in it
    total: F8 = column("f8", "overlap")
    lost: F8 = column("f8", "overlap")  # digits that `total` has no room for
    mean: F8 = column("f8", "overlap")
    m2: F8 = column("f8", "overlap")
    low: F8 = column("f8", "overlap")
    high: F8 = column("f8", "overlap")
    begin: F8 = column("f8", "overlap")
    end: F8 = column("f8", "overlap")
    quality: U1 = column("u1", "overlap")  # the worst of its samples
    begun: U1 = column("u1")
    born_ns: I8 = column("i8")  # the first sample of all, in local time
    shut: I8 = column("i8")  # windows before this one are closed
    ahead: I8 = column("i8")  # no window after this one has a sample
    late: I8 = column("i8", SINGLE)  # samples that came after a window of theirs had closed


Rows = rows_of(Aggregate)


@kernel
def close(s: int, until: int, state: State, params: Any, out: Batch) -> None:
    """Give out the windows of series `s` before window `until` that have samples, in order."""
    p, n = params.row[s], out.count[0]
    size, overlap = params.size[p], params.overlap[p]
    hop = params.hop[p] if params.hop[p] > 0 else size
    for w in range(
        max(state.shut[s], state.ahead[s] - overlap + 1), min(until, state.ahead[s] + 1)
    ):
        k = w % overlap if overlap > 1 else 0
        if state.samples[s, k] == 0:
            continue
        start_ns = w * hop + params.offset[p]
        out.series[n] = s
        out.t_ns[n] = reached(start_ns + size, p, params.zone_at, params.zone_ahead)
        out.start_ns[n] = reached(start_ns, p, params.zone_at, params.zone_ahead)
        for j in range(out.fields.shape[1]):
            out.fields[n, j] = stat_of(params.chosen[p, j], state, s, k)
        out.value[n] = out.fields[n, 0]
        quality = state.quality[s, k]
        if start_ns < state.born_ns[s]:
            quality = UNCERTAIN
        out.quality[n] = quality if np.isfinite(out.value[n]) else BAD
        state.samples[s, k] = 0
        n += 1
    state.shut[s] = max(state.shut[s], until)
    out.count[0] = n


@kernel
def step(batch: Batch, first: int, state: State, params: Any, out: Batch) -> int:
    """Close the windows that end by the time of a known sample, then count it in its own.

    Equivalent to: windows [k hop + offset, k hop + offset + size) of the time that clocks of `tz`
    show, since they showed the begin of 1970, with at least one known sample give a row each once
    the series' time is at or past their end, in order of end: t_ns is when clocks reach the end,
    fields the chosen numbers over their samples in order of arrival (std, var with n - 1), value the
    first field. Quality is the worst of the samples', UNCERTAIN if the window began before the
    first known sample of the series, BAD where value is NaN. A sample for closed windows is left
    out of those and counted once in `late`. |x| > 1e150 is not known; such samples count nowhere.
    """
    of, size, hop, overlap, offset, squares = -1, 0, 0, 0, 0, 0
    for i in range(first, batch.series.size):
        s, t, x, quality = batch.series[i], batch.t_ns[i], batch.value[i], batch.quality[i]
        if not abs(x) <= LARGEST or quality == BAD:
            continue
        p = params.row[s]
        if p != of:  # most series share their windows
            of, size, overlap, squares = p, params.size[p], params.overlap[p], params.squares[p]
            hop, offset = params.hop[p] if params.hop[p] > 0 else size, params.offset[p]
        shown = local(t, p, params.zone_at, params.zone_ahead)
        # Most samples are in the window of the one before: that needs no division.
        since, ahead = shown - offset, state.ahead[s]
        into = since - ahead * hop
        if overlap == 1 and 0 <= into < size and state.begun[s] == 1 and state.shut[s] == ahead:
            count_in(state, s, 0, x, quality, squares)
            continue
        newest = since // hop
        oldest = (since - size) // hop + 1 if overlap > 1 else newest
        if state.begun[s] == 0:
            state.begun[s] = 1
            state.born_ns[s] = shown
            state.shut[s], state.ahead[s] = oldest, newest
        if oldest > state.shut[s]:
            close(s, oldest, state, params, out)
        if oldest < state.shut[s]:
            state.late[0] += 1
        state.ahead[s] = max(state.ahead[s], newest)
        for w in range(max(oldest, state.shut[s]), newest + 1):
            count_in(state, s, w % overlap if overlap > 1 else 0, x, quality, squares)
    return batch.series.size


@kernel
def tick(clock_ns: I8, first: int, last: int, state: State, params: Any, out: Batch) -> None:
    """Close the windows that the clock of their series has passed.

    Equivalent to: the rows that `step` would give for a sample at `clock_ns`, without the sample.
    """
    for s in range(first, last):
        if state.begun[s] == 0 or clock_ns[s] == NEVER:
            continue
        p = params.row[s]
        hop = params.hop[p] if params.hop[p] > 0 else params.size[p]
        shown = local(clock_ns[s], p, params.zone_at, params.zone_ahead)
        until = (shown - params.offset[p] - params.size[p]) // hop + 1
        if until > state.shut[s]:
            close(s, until, state, params, out)


def _makes(params: Aggregate) -> Makes:
    return Makes.LATER if (params.hop or params.size) >= SECOND else Makes.OTHER


OPERATOR = Operator(
    name="aggregate",
    summary="Mean, extremes, sum, count and more of each minute, hour or other fixed window.",
    params=Aggregate,
    state=State,
    rows=Rows,
    step=step,
    tick=tick,
    makes=_makes,
    example="aggregate: {size: 1m, stats: [mean, min, max, count]}",
    emits="window",
    fields=lambda params: params.stats,
    fanout=lambda params: params.overlap,
)
