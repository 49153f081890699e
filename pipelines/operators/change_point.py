"""change_point: what was before and what is now, and when the one became the other."""

import math
from typing import Any, ClassVar, Final, Literal, NamedTuple, Self

import numpy as np
from pydantic import Field, model_validator

from pipelines.batch import BAD, F8, I8, U1, Batch
from pipelines.budget import Budgeted, condition, limit_now, note, with_limit
from pipelines.jit import kernel
from pipelines.numerics import (
    COLLAPSE,
    LARGEST,
    after,
    exchange,
    joined,
    parted,
    place,
    ring_moments,
)
from pipelines.operator import RING, SINGLE, Operator, column, rows_of
from pipelines.runlength import rank_scan_limits, scan_limits

WELCH, KS = 0, 1
KS_MAX: Final = 1000
"""Samples of a window for `ks`: each new sample takes a look at all of them."""


class ChangePoint(Budgeted):
    """How many samples are compared with how many, and what is a change."""

    EXTRA_ROWS: ClassVar = (*Budgeted.EXTRA_ROWS, "ordered_old", "ordered_new")
    SIZED_BY: ClassVar = (*Budgeted.SIZED_BY, "before", "after", "test")

    test: Literal["welch", "ks"] = Field(
        "welch",
        description="welch: the mean changed · ks: anything about the values' distribution did, "
        "such as their spread (Kolmogorov & Smirnov); not for values that often stand still.",
    )
    before: int = Field(60, ge=2, le=100_000, description="Samples of the older window.")
    after: int = Field(
        60, ge=2, le=100_000, description="Samples of the newer window, which follows the older."
    )
    k: float = Field(
        6.0,
        gt=0,
        description="Score beyond which it is a change. welch: difference of the means in its own "
        "standard errors (Welch's t) · ks: a scale on which chance reaches about as far.",
    )
    min_effect: float = Field(
        0.0, ge=0, description="A smaller difference, in the unit of the series, is no change."
    )
    min_std: float = Field(
        1e-9,
        gt=0,
        description="Floor of the standard deviation of each window, in the unit of the series; "
        "give the sensor's resolution where its value often stands still.",
    )
    min_std_share: float = Field(
        1e-4, ge=0, lt=1, description="The same floor as a share of the mean of the older window."
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.test == "welch":
            return self
        if max(self.before, self.after) > KS_MAX:
            raise ValueError(f"ks compares at most {KS_MAX} samples with as many")
        if self.min_effect > 0:
            raise ValueError("min_effect is about means, ks about more: take `test: welch`")
        most = 2 * math.sqrt(self.before * self.after / (self.before + self.after))
        if most <= self.k:
            raise ValueError(
                f"with windows of {self.before} and {self.after} the score of ks is {most:.1f} at "
                f"most, never above k {self.k:g}: take longer windows"
            )
        return self

    def theory(self) -> F8:
        """(25,) limits by theory."""
        limits = rank_scan_limits if self.test == "ks" else scan_limits
        return limits(self.before, self.after)

    @classmethod
    def extra_rows(cls, sets: list["ChangePoint"]) -> dict[str, Any]:
        """Arrays ordered_old, ordered_new (R,): samples kept by size; and those of a budget."""
        ks = [p.test == "ks" for p in sets]
        old = [p.before if k else 1 for p, k in zip(sets, ks, strict=True)]
        new = [p.after if k else 1 for p, k in zip(sets, ks, strict=True)]
        sizes = {"ordered_old": np.array(old, np.int64), "ordered_new": np.array(new, np.int64)}
        return super().extra_rows(sets) | sizes


class State(NamedTuple):
    """Per series the samples of both windows, their means and squared distances from them."""

    t_ns: I8 = column("i8", RING)
    x: F8 = column("f8", RING)
    peaks: F8 = column("f8", "learned_peaks")
    first: I8 = column("i8")
    seen: I8 = column("i8")
    old_mean: F8 = column("f8")
    old_m2: F8 = column("f8")
    new_mean: F8 = column("f8")
    new_m2: F8 = column("f8")
    ordered_old: F8 = column("f8", "ordered_old")  # ks: the samples of either window by size
    ordered_new: F8 = column("f8", "ordered_new")
    churn: I8 = column("i8")  # samples since these four were computed from the ring; 0: never
    ring_fixed: U1 = column("u1", SINGLE)
    truncated: I8 = column("i8", SINGLE)


Rows = rows_of(ChangePoint)


@kernel
def onset(x: F8, first: int, last: int) -> int:
    """Where positions [first, last) of one ring split best into two levels: the new one's first.

    It has the largest |sum(x - mean) before it| / sqrt(samples before it * samples from it on),
    as the likelihood ratio of two normal means has.
    """
    mean, _ = ring_moments(x, first, last)
    total, most, at = 0.0, -1.0, first + 1
    for p in range(first + 1, last):
        total += x[(p - 1) % x.size] - mean
        gain = abs(total) / math.sqrt(float(p - first) * (last - p))
        if gain > most:
            most, at = gain, p
    return at


@kernel
def onset_at(x: F8, first: int, last: int, cut: float) -> int:
    """The same of whether x <= cut, exactly; of x itself where `cut` is NaN."""
    if math.isnan(cut):
        return int(onset(x, first, last))
    samples, under, before = last - first, 0, 0
    for p in range(first, last):
        under += x[p % x.size] <= cut
    most, at = -1.0, first + 1
    for p in range(first + 1, last):
        before += x[(p - 1) % x.size] <= cut
        apart = float(before * samples - under * (p - first))
        gain = apart * apart / ((p - first) * (last - p))
        if gain > most:
            most, at = gain, p
    return at


@kernel
def moved(
    old: tuple[float, float], new: tuple[float, float], sizes: tuple[int, int], leaves: float,
    crosses: float, enters: float,
) -> tuple[float, float, float, float, bool]:  # fmt: skip
    """Moments of both windows one sample later, and whether they still have their digits."""
    a, a2 = parted(old[0], old[1], sizes[0] - 1, leaves)
    b, b2 = parted(new[0], new[1], sizes[1] - 1, crosses)
    # `>=`: windows that stand still have no squares and must not be computed each time.
    good = a2 >= COLLAPSE * old[1] and b2 >= COLLAPSE * new[1]
    a, a2 = joined(a, a2, sizes[0], crosses)
    b, b2 = joined(b, b2, sizes[1], enters)
    return a, a2, b, b2, good


@kernel
def welch(
    difference: float, floor: float, old_m2: float, new_m2: float, sizes: tuple[int, int],
    least: float,
) -> float:  # fmt: skip
    """A difference of means in its own standard errors; 0 for one below `least`."""
    error = max(floor * floor, old_m2 / (sizes[0] - 1)) / sizes[0]
    error += max(floor * floor, new_m2 / (sizes[1] - 1)) / sizes[1]
    return difference / math.sqrt(error) if abs(difference) >= least else 0.0


@kernel
def supersede(ordered: F8, size: int, leaves: float, enters: float) -> None:
    """Let one value of an ascending row out and another in."""
    gap, low = place(ordered, size, leaves), after(ordered, size, enters)
    exchange(ordered, gap, low, enters)


@kernel
def in_order(ordered: F8, x: F8, first: int, last: int) -> None:
    """Write positions [first, last) of one ring in ascending order."""
    for p in range(first, last):
        value, j = x[p % x.size], p - first
        while j > 0 and ordered[j - 1] > value:
            ordered[j] = ordered[j - 1]
            j -= 1
        ordered[j] = value


@kernel
def farthest(old: F8, new: F8, sizes: tuple[int, int]) -> tuple[float, float]:
    """Largest difference of two ascending rows' shares not above a value; the least such value.

    Positive where the new one has more above it.
    """
    i, j, most, cut = 0, 0, 0, old[0]
    while i < sizes[0] and j < sizes[1]:
        value = min(old[i], new[j])
        while i < sizes[0] and old[i] == value:
            i += 1
        while j < sizes[1] and new[j] == value:
            j += 1
        apart = i * sizes[1] - j * sizes[0]
        if abs(apart) > abs(most):
            most, cut = apart, value
    return most / (sizes[0] * sizes[1]), cut


@kernel
def ranked(
    s: int, state: State, newest: int, sizes: tuple[int, int], leaves: float, crosses: float,
    renewed: bool,
) -> tuple[float, float]:  # fmt: skip
    """Take the sample at position `newest` into the ordered windows; score, and where they differ.

    renewed: order them afresh.
    """
    old, new, x = state.ordered_old[s], state.ordered_new[s], state.x[s]
    middle = newest + 1 - sizes[1]
    if renewed:
        in_order(old, x, middle - sizes[0], middle)
        in_order(new, x, middle, newest + 1)
    else:
        supersede(old, sizes[0], leaves, crosses)
        supersede(new, sizes[1], crosses, x[newest % x.size])
    apart, cut = farthest(old, new, sizes)
    return 2 * apart * math.sqrt(sizes[0] * sizes[1] / (sizes[0] + sizes[1])), cut


@kernel
def step(batch: Batch, first: int, state: State, params: Any, out: Batch) -> int:
    """Compare the last samples with those before them.

    Equivalent to: `new` is the last `after` known samples up to this one, `old` the `before`
    known samples before them; difference = mean(new) - mean(old), the score is difference /
    sqrt(v(old) / before + v(new) / after) (Welch 1947) where v is the variance (n - 1), of a
    deviation not below min_std and min_std_share * |mean(old)|; 0 where |difference| <
    min_effect; NaN before both are full. Fields: difference, mean(old), mean(new), and where
    |score| > k seconds since the onset: the first sample of the second of the two parts into
    which old and new together split best. |x| > 1e150 is not known.
    For ks the score is 2 sqrt(before after / (before + after)) D, where D is the largest difference
    of the shares of samples that are not above a value c, between old and new (Kolmogorov &
    Smirnov): positive where new has more above; the parts are then those of whether x <= c, c the
    least of such values.
    With `false_alarms`, k is the limit of `pipelines.budget`, a field; the score is over k.
    """
    n, width = out.count[0], state.x.shape[1]
    for i in range(first, batch.series.size):
        s, t, x = batch.series[i], batch.t_ns[i], batch.value[i]
        p = params.row[s]
        score, difference, old, new, age, cut = np.nan, np.nan, np.nan, np.nan, np.nan, np.nan
        known, k = abs(x) <= LARGEST and batch.quality[i] != BAD, params.k[p]
        if known:
            sizes, newest = (params.before[p], params.after[p]), state.seen[s]
            keep = max(state.first[s], newest + 1 - sizes[0] - sizes[1])
            if newest - keep >= width:
                if state.ring_fixed[0] == 0:
                    out.count[0] = n
                    return i
                state.truncated[0] += newest - keep - width + 1
                keep = newest - width + 1
            if params.false_alarms[p] > 0:
                k = limit_now(state.peaks[s], params.theory[p], params.false_alarms[p], t)
            leaves = state.x[s, (keep - 1) % width]  # may be where x goes to
            middle = newest + 1 - sizes[1]
            state.t_ns[s, newest % width], state.x[s, newest % width] = t, x
            state.first[s], state.seen[s] = keep, newest + 1
            if newest + 1 - keep == sizes[0] + sizes[1]:
                fresh, crosses = state.churn[s] == 0, state.x[s, (middle - 1) % width]
                state.churn[s] += 1
                old, a2, new, b2, good = moved(
                    (state.old_mean[s], state.old_m2[s]), (state.new_mean[s], state.new_m2[s]),
                    sizes, leaves, crosses, x,
                )  # fmt: skip
                if not good or state.churn[s] == 1 or state.churn[s] > sizes[0] + sizes[1]:
                    state.churn[s] = 1
                    old, a2 = ring_moments(state.x[s], keep, middle)
                    new, b2 = ring_moments(state.x[s], middle, newest + 1)
                state.old_mean[s], state.old_m2[s] = old, a2
                state.new_mean[s], state.new_m2[s] = new, b2
                difference = new - old
                if params.test[p] == KS:
                    score, cut = ranked(s, state, newest, sizes, leaves, crosses, fresh)
                else:
                    floor = max(params.min_std[p], params.min_std_share[p] * abs(old))
                    score = welch(difference, floor, a2, b2, sizes, params.min_effect[p])
                if abs(score) > k:
                    begin = onset_at(state.x[s], keep, newest + 1, cut)
                    age = (t - state.t_ns[s, begin % width]) * 1e-9
                if params.false_alarms[p] > 0:
                    score = note(state.peaks[s], params.theory[p], params.false_alarms[p], score)
        out.series[n], out.t_ns[n], out.start_ns[n] = s, t, batch.start_ns[i]
        out.value[n], out.quality[n] = score, batch.quality[i] if np.isfinite(score) else BAD
        out.fields[n, 0], out.fields[n, 1] = difference, old
        out.fields[n, 2], out.fields[n, 3] = new, age
        if params.false_alarms[p] > 0:
            out.fields[n, 4] = k if known else np.nan
        n += 1
    out.count[0] = n
    return batch.series.size


OPERATOR = Operator(
    name="change_point",
    summary="Finds where the mean or the spread changed, by comparing the last samples with those before them.",
    params=ChangePoint,
    state=State,
    rows=Rows,
    step=step,
    example="change_point: {before: 60, after: 60, k: 6}",
    source="Welch 1947",
    emits="score",
    fields=with_limit("difference", "before", "after", "onset_age_s"),
    condition=condition,
)
