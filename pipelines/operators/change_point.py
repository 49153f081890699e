"""change_point: the mean before and after, and when the one became the other."""

import math
from typing import Any, NamedTuple

import numpy as np
from pydantic import Field

from pipelines.batch import BAD, F8, I8, U1, Batch
from pipelines.budget import Budgeted, condition, limit_now, note, with_limit
from pipelines.jit import kernel
from pipelines.numerics import COLLAPSE, LARGEST, joined, parted, ring_moments
from pipelines.operator import RING, SINGLE, Operator, column, rows_of
from pipelines.runlength import scan_limits


class ChangePoint(Budgeted):
    """How many samples are compared with how many, and what is a change."""

    before: int = Field(60, ge=2, le=100_000, description="Samples of the older window.")
    after: int = Field(
        60, ge=2, le=100_000, description="Samples of the newer window, which follows the older."
    )
    k: float = Field(
        6.0,
        gt=0,
        description="Difference of the means beyond which it is a change, in its own standard "
        "errors (Welch's t).",
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

    def theory(self) -> F8:
        """(25,) limits by theory."""
        return scan_limits(self.before, self.after)


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
def step(batch: Batch, first: int, state: State, params: Any, out: Batch) -> int:
    """Compare the last samples with those before them.

    Equivalent to: `new` is the last `after` known samples up to this one, `old` the `before`
    known samples before them; difference = mean(new) - mean(old), the score is difference /
    sqrt(v(old) / before + v(new) / after) (Welch 1947) where v is the variance (n - 1), of a
    deviation not below min_std and min_std_share * |mean(old)|; 0 where |difference| <
    min_effect; NaN before both are full. Fields: difference, mean(old), mean(new), and where
    |score| > k seconds since the onset: the first sample of the second of the two parts into
    which old and new together split best. |x| > 1e150 is not known.
    With `false_alarms`, k is the limit of `pipelines.budget`, a field; the score is over k.
    """
    n, width = out.count[0], state.x.shape[1]
    for i in range(first, batch.series.size):
        s, t, x = batch.series[i], batch.t_ns[i], batch.value[i]
        p = params.row[s]
        score, difference, old, new, age = np.nan, np.nan, np.nan, np.nan, np.nan
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
                state.churn[s] += 1
                old, a2, new, b2, good = moved(
                    (state.old_mean[s], state.old_m2[s]), (state.new_mean[s], state.new_m2[s]),
                    sizes, leaves, state.x[s, (middle - 1) % width], x,
                )  # fmt: skip
                if not good or state.churn[s] == 1 or state.churn[s] > sizes[0] + sizes[1]:
                    state.churn[s] = 1
                    old, a2 = ring_moments(state.x[s], keep, middle)
                    new, b2 = ring_moments(state.x[s], middle, newest + 1)
                state.old_mean[s], state.old_m2[s] = old, a2
                state.new_mean[s], state.new_m2[s] = new, b2
                floor = max(params.min_std[p], params.min_std_share[p] * abs(old)) ** 2
                error = max(floor, a2 / (sizes[0] - 1)) / sizes[0]
                error += max(floor, b2 / (sizes[1] - 1)) / sizes[1]
                difference = new - old
                score = difference / math.sqrt(error)
                if abs(difference) < params.min_effect[p]:
                    score = 0.0
                if abs(score) > k:
                    begin = onset(state.x[s], keep, newest + 1)
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
    summary="Finds where the mean changed, by comparing the last samples with those before them.",
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
