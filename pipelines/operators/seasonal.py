"""seasonal: how unusual a sample is for its time of the day or week."""

from datetime import date
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
from pydantic import Field, model_validator

from config.model import SECOND
from config.units import Duration, duration_text
from pipelines.batch import BAD, F8, I8, Batch
from pipelines.budget import Budgeted, condition, limit_now, note, with_limit
from pipelines.calendar import DAY, ZONE_ROWS, Zone, local, setback, tables
from pipelines.jit import kernel
from pipelines.numerics import LARGEST, taken_in
from pipelines.operator import Operator, column, rows_of
from pipelines.operators.mad import enter, middle_and_spread


class Seasonal(Budgeted):
    """What repeats, how finely it is looked at, and how far is too far.

    A series takes 16 bytes for each bin of its periods: 11 kB with the defaults.
    """

    period: Duration = Field(
        86_400 * SECOND,
        gt=0,
        description="What repeats, by the clocks of `tz`: 1d, 1w, 8h.",
    )
    tz: Zone = Field(
        "UTC",
        description="Time zone of the people whose habits show, such as Europe/Berlin: their "
        "clocks change with the season.",
    )
    holidays: tuple[date, ...] = Field(
        (),
        max_length=1000,
        description="Dates that pass like the Sunday of their week, for a period of 1w: "
        "[2026-12-25, 2026-12-26].",
    )
    bins: int = Field(
        96, ge=2, le=2016, description="Parts of a period; 96 of a day are a quarter of an hour."
    )
    periods: int = Field(
        7, ge=1, le=31, description="A sample is compared with so many periods before its own."
    )
    neighbours: int = Field(
        1,
        ge=0,
        le=4,
        description="So many bins on each side count too: few values have a spread that is often "
        "small by chance. 0 where the value moves much from bin to bin.",
    )
    k: float = Field(
        6.0, gt=0, description="Scaled median absolute deviations beyond which it is unusual."
    )
    min_samples: int = Field(
        7, ge=1, description="No score while fewer bins than this can be compared with."
    )
    on_anomaly: Literal["learn", "clip", "freeze"] = Field(
        "clip",
        description="What its bin takes in of an unusual sample: learn: all of it · clip: the "
        "nearest usual value, so that a lasting change is learned slowly · freeze: nothing.",
    )
    min_mad: float = Field(
        1e-9,
        gt=0,
        description="Floor of the scaled deviation, in the unit of the series; "
        "give the sensor's resolution where its value often stands still.",
    )
    min_mad_share: float = Field(
        1e-4, ge=0, lt=1, description="The same floor as a share of the median."
    )

    EXTRA_ROWS: ClassVar = (*Budgeted.EXTRA_ROWS, "kept", "compared", *ZONE_ROWS)
    SIZED_BY: ClassVar = (
        *Budgeted.SIZED_BY,
        "bins",
        "periods",
        "neighbours",
        "period",
        "tz",
        "holidays",
    )

    @model_validator(mode="after")
    def _enough(self) -> Self:
        most = self.periods * (2 * self.neighbours + 1)
        if self.period % self.bins:
            raise ValueError(
                f"{self.bins} bins do not divide {duration_text(self.period)} into whole "
                "nanoseconds"
            )
        if self.min_samples > most:
            raise ValueError(
                f"min_samples {self.min_samples} is more than the {most} bins compared"
            )
        if 2 * self.neighbours + 1 > self.bins:
            raise ValueError(
                f"{self.neighbours} neighbours on each side need more than {self.bins}"
            )
        if self.holidays and self.period != 7 * DAY:
            raise ValueError(
                "holidays are days of another kind in a week: give period: 1w, found "
                f"{duration_text(self.period)}"
            )
        return self

    @property
    def kept(self) -> int:
        """Bins that a series needs: those looked back at, also from where clocks are set back to."""
        back = -(-setback(self.tz, self.holidays) * self.bins // self.period)
        return self.periods * self.bins + self.neighbours + 1 + back

    @classmethod
    def extra_rows(cls, sets: list["Seasonal"]) -> dict[str, Any]:
        """How many bins are kept, and how many a sample is compared with; local time."""
        return super().extra_rows(sets) | {
            "kept": np.array([p.kept for p in sets], np.int64),
            "compared": np.array([p.periods * (2 * p.neighbours + 1) for p in sets], np.int64),
            **tables([p.tz for p in sets], [p.holidays for p in sets]),
        }


class State(NamedTuple):
    """Per series the newest value of each bin of the last periods."""

    x: F8 = column("f8", "kept")  # as taken in, so clipped where `on_anomaly` says so
    bin: I8 = column("i8", "kept")  # which bin since 1970 the value is of, plus 1
    past: F8 = column("f8", "compared")  # what one sample is compared with, in order of size
    peaks: F8 = column("f8", "learned_peaks")
    judged: I8 = column("i8")  # the bin, plus 1, that the following are for
    size: I8 = column("i8")
    median: F8 = column("f8")
    mad: F8 = column("f8")


Rows = rows_of(Seasonal)


@kernel
def step(batch: Batch, first: int, state: State, params: Any, out: Batch) -> int:
    """Score each sample against the same time of earlier periods, then let it into its bin.

    Equivalent to: bin b = floor(l / (period / bins)), where l is what clocks of `tz` show at t
    since they showed the begin of 1970, on a holiday that of the coming Sunday; each bin keeps the
    last value that it took in. `past` are the values of bins b - j * bins + d for j in
    1..periods, d in -neighbours..neighbours, that have one; the score is `(x - median(past)) /
    max(1.4826 * median(|past - median(past)|), min_mad, min_mad_share * |median(past)|)`; NaN
    while `past` has fewer than `min_samples`. Fields: x, median, and median -/+ k times that
    deviation. The bin takes in x; of an x with |score| > k the nearest of those two limits (clip)
    or nothing (freeze). |x| > 1e150 is not known, and nothing with l < 0 is.
    With `false_alarms`, k is the limit of `pipelines.budget`, a field; the score is over k.
    """
    n, kept = out.count[0], state.x.shape[1]
    for i in range(first, batch.series.size):
        s, t, x = batch.series[i], batch.t_ns[i], batch.value[i]
        p = params.row[s]
        score, median, reach, k = np.nan, np.nan, np.nan, params.k[p]
        known = abs(x) <= LARGEST and batch.quality[i] != BAD
        shown = local(t, p, params.zone_at, params.zone_ahead) if known else -1
        known = shown >= 0
        if known:
            if params.false_alarms[p] > 0:
                k = limit_now(state.peaks[s], params.theory[p], params.false_alarms[p], t)
            b = shown // (params.period[p] // params.bins[p])
            # What a bin is compared with lies in earlier periods and no longer changes.
            if state.judged[s] != b + 1:
                past, size = state.past[s], 0
                for j in range(1, params.periods[p] + 1):
                    then = b - j * params.bins[p]
                    for other in range(
                        max(0, then - params.neighbours[p]), then + params.neighbours[p] + 1
                    ):
                        if state.bin[s, other % kept] == other + 1:
                            enter(past, size, state.x[s, other % kept])
                            size += 1
                state.judged[s], state.size[s] = b + 1, size
                if size > 0:
                    state.median[s], state.mad[s] = middle_and_spread(past, size)
            learned = x
            if state.size[s] >= params.min_samples[p]:
                median = state.median[s]
                mad = max(state.mad[s], params.min_mad[p], params.min_mad_share[p] * abs(median))
                score, reach = (x - median) / mad, k * mad
                usual = median + reach if score > 0 else median - reach
                learned = taken_in(params.on_anomaly[p], x, score, k, usual)
                if params.false_alarms[p] > 0:
                    score = note(state.peaks[s], params.theory[p], params.false_alarms[p], score)
            if np.isfinite(learned):
                state.x[s, b % kept], state.bin[s, b % kept] = learned, b + 1
        out.series[n], out.t_ns[n], out.start_ns[n] = s, t, batch.start_ns[i]
        out.value[n], out.quality[n] = score, batch.quality[i] if np.isfinite(score) else BAD
        out.fields[n, 0], out.fields[n, 1] = x if known else np.nan, median
        out.fields[n, 2], out.fields[n, 3] = median - reach, median + reach
        if params.false_alarms[p] > 0:
            out.fields[n, 4] = k if known else np.nan
        n += 1
    out.count[0] = n
    return batch.series.size


OPERATOR = Operator(
    name="seasonal",
    summary="Scores each sample by how it differs from the same time of earlier days or weeks.",
    params=Seasonal,
    state=State,
    rows=Rows,
    step=step,
    example="seasonal: {period: 1d, bins: 96, k: 6}",
    emits="score",
    fields=with_limit("input", "expected", "lower", "upper"),
    condition=condition,
)
