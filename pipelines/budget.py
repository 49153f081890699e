"""False-alarm budgets: a limit that a series passes by chance as seldom as it was asked to.

A detector whose user writes `false_alarms: 1/30d` has no limit of its own. It asks `limit_now`
for the limit of each score and hands the score back to `note`. Until a series has a history, the
limit is what run-length theory gives for independent normal samples (`pipelines.runlength`) and
the gap between the samples of the series. From then on it comes from the highest scores of the
series itself, whatever its distribution and however its samples depend on each other:

* An episode is a stretch of scores above half the limit; its peak counts, so that scores that
  belong together count once, as the alert does that they would raise.
* The PEAKS highest peaks are kept, and `floor`, the highest that is not. Above it the tail of the
  square root of peaks is taken as exponential: between the tails of exponential scores (sums)
  and heavier ones (spikes), and milder than that of normal ones. Its mean is estimated by the
  normalised spacings of the peaks (Sukhatme 1937), without those above the TRIMMED highest, which
  may be what the detector is for.
* The limit is where the rate of such a tail comes to the one asked for, with the allowance for
  an estimated mean (the predictive tail is a Pareto one).

What is learned is halved after HORIZON budgets, so a series that changes is learned again.
"""

import math
from typing import Any, ClassVar, Final, Self

import numpy as np
from pydantic import Field, model_validator

from config.model import When
from config.params import Params
from config.units import Budget
from pipelines.batch import F8
from pipelines.jit import kernel
from pipelines.runlength import LENGTHS, STEPS_PER_DECADE, shewhart_limits

PEAKS: Final = 32
TRIMMED: Final = 2
PEAKS_MIN: Final = 8
"""With fewer of them the limit is that of theory."""
HORIZON: Final = 4
HORIZON_MIN: Final = 8192
GAPS: Final = 1000
"""The gap between samples is the mean of about so many."""
GAP_STRETCH: Final = 8
"""A longer gap than so many usual ones is an outage and counts as that long."""
PAUSE: Final = 16
"""After an alarm nothing is learned for the budget's time divided by this."""
LEAST: Final = 0.5
"""No limit is below this share of what theory says."""
CLEAR: Final = 0.5
"""An episode is over when the score is at this share of its limit."""
EVERY: Final = 64
"""Scores after which the limit is computed again even without a new peak."""

GAP_NS, LAST_NS, GAPS_SEEN, SEEN, COUNT, FLOOR, OPEN, LIMIT, PAUSED, BEST = range(10)
WIDTH: Final = BEST + PEAKS
"""Columns of the state of one series: the names above, then square roots of peaks, descending."""


class Budgeted(Params):
    """A detector that takes a budget of false alarms instead of its raw limit."""

    RAW_LIMIT: ClassVar[str] = "k"
    EXTRA_ROWS: ClassVar[tuple[str, ...]] = ("theory", "learned_peaks")
    SIZED_BY: ClassVar[tuple[str, ...]] = ("false_alarms",)

    false_alarms: Budget | None = Field(
        None,
        description="How often chance may raise an alert in each series, such as 1/30d, instead "
        "of a limit: that follows from theory at first, and after about that time from the "
        "series' own scores, which are then given in limits.",
    )

    @model_validator(mode="after")
    def _one_limit(self) -> Self:
        if self.false_alarms is not None and self.RAW_LIMIT in self.model_fields_set:
            raise ValueError(f"give one of {self.RAW_LIMIT} and false_alarms")
        return self

    def theory(self) -> F8:
        """(25,) limits by theory for the run lengths `LENGTHS`."""
        return shewhart_limits()

    @classmethod
    def extra_rows(cls, sets: list[Any]) -> dict[str, Any]:
        """Arrays theory (R, 25), zeros without a budget, and learned_peaks (R,), WIDTH or 1."""
        budgets = [p.false_alarms is not None for p in sets]
        none = np.zeros(LENGTHS.size)
        tables = [p.theory() if b else none for p, b in zip(sets, budgets, strict=True)]
        widths = [WIDTH if b else 1 for b in budgets]
        return {"theory": np.array(tables), "learned_peaks": np.array(widths, np.int64)}


def condition(params: Any) -> When:
    """The alert condition of a budgeted detector."""
    if params.false_alarms is not None:
        return When(outside=(-1.0, 1.0), deadband=CLEAR)
    raw = getattr(params, params.RAW_LIMIT)
    return When(outside=(-raw, raw))


def with_limit(*names: str) -> Any:
    """The operator's `fields`: these, and `limit` where there is a budget."""
    return lambda params: names if params.false_alarms is None else (*names, "limit")


@kernel
def run_length(row: F8, budget_ns: int) -> float:
    """Samples of a series in the time between two false alarms."""
    gap = row[GAP_NS] if row[GAP_NS] > 0 else 1e9
    return float(min(max(budget_ns / gap, 10.0), 1e11))


@kernel
def limit_by_theory(theory: F8, length: float) -> float:
    """Limit for a run length, between those of one row of the table."""
    at = math.log10(length) * STEPS_PER_DECADE
    j = int(at)
    return float(theory[j] + (at - j) * (theory[j + 1] - theory[j]))


@kernel
def renew(row: F8, theory: F8, budget_ns: int) -> None:
    """Compute the limit from what is known.

    Equivalent to: with u = floor and y the roots of the n kept peaks, s = the spacings
    i (y_i - y_(i+1)), y_(n+1) = u, for i > TRIMMED; the limit is (u + sum(s) ((n length / seen) **
    (1 / len(s)) - 1)) ** 2, not below LEAST of theory, nor below theory before a whole length.
    """
    length = run_length(row, budget_ns)
    least = limit_by_theory(theory, length)
    limit, count = least, int(row[COUNT])
    if count >= PEAKS_MIN:
        kept = count - TRIMMED
        total = (TRIMMED + 1) * row[BEST + TRIMMED] - count * row[FLOOR]
        for i in range(TRIMMED + 1, count):
            total += row[BEST + i]
        share = math.log(count * length / row[SEEN])
        root = max(0.0, row[FLOOR] + total * math.expm1(share / kept))
        limit = max(root * root, LEAST * least if row[SEEN] >= length else least)
    row[LIMIT] = limit


@kernel
def limit_now(row: F8, theory: F8, budget_ns: int, t_ns: int) -> float:
    """The limit for a known sample at `t_ns`, before its score is noted; takes in its time."""
    if row[GAPS_SEEN] > 0:
        gap = t_ns - row[LAST_NS]
        if row[GAP_NS] > 0:
            gap = min(gap, GAP_STRETCH * row[GAP_NS])
            row[GAP_NS] += (gap - row[GAP_NS]) / min(row[GAPS_SEEN], GAPS)
        else:
            row[GAP_NS] = gap
    row[LAST_NS] = t_ns
    row[GAPS_SEEN] += 1
    if row[SEEN] < EVERY or int(row[SEEN]) % EVERY == 0:
        if row[SEEN] >= max(HORIZON * run_length(row, budget_ns), HORIZON_MIN):
            halve(row)
        renew(row, theory, budget_ns)
    return float(row[LIMIT])


@kernel
def note(row: F8, theory: F8, budget_ns: int, score: float) -> float:
    """Take in a score; the score in limits."""
    limit, size = row[LIMIT], abs(score)
    if row[PAUSED] > 0:
        row[PAUSED] -= 1
        return float(score / limit)
    row[SEEN] += 1
    over = CLEAR * limit
    if row[FLOOR] > 0:
        over = min(over, row[FLOOR] * row[FLOOR])
    if size > over:
        row[OPEN] = max(row[OPEN], size)
        return float(score / limit)
    if row[OPEN] > 0:
        length = run_length(row, budget_ns)
        if row[FLOOR] == 0:
            row[FLOOR] = math.sqrt(CLEAR * limit)
        enter_peak(row, math.sqrt(row[OPEN]))
        if row[OPEN] > limit and row[SEEN] >= length:
            row[PAUSED] = length // PAUSE
        row[OPEN] = 0.0
        renew(row, theory, budget_ns)
    return float(score / limit)


@kernel
def settled(row: F8, budget_ns: int) -> bool:
    """Whether the limit is the series' own: it has been watched for the time of one alarm."""
    return bool(row[SEEN] >= run_length(row, budget_ns))


@kernel
def enter_peak(row: F8, y: float) -> None:
    """Put a peak's root among the best; with all places taken, the lowest becomes the floor."""
    count = int(row[COUNT])
    if y <= row[FLOOR]:
        return
    if count == PEAKS:
        count -= 1
        if y <= row[BEST + count]:
            row[FLOOR] = y
            return
        row[FLOOR] = row[BEST + count]
    i = count
    while i > 0 and row[BEST + i - 1] < y:
        row[BEST + i] = row[BEST + i - 1]
        i -= 1
    row[BEST + i] = y
    row[COUNT] = count + 1


@kernel
def halve(row: F8) -> None:
    """Keep every second peak and half the time; too little is forgotten altogether."""
    half = int(row[COUNT]) // 2
    for i in range(half):
        row[BEST + i] = row[BEST + 2 * i + 1]
    row[COUNT], row[SEEN] = half, math.floor(row[SEEN] / 2)
    if half < PEAKS_MIN:
        row[COUNT], row[SEEN], row[FLOOR] = 0, 0, 0.0
