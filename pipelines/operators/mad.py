"""mad: how unusual a sample is for its series, by median and median absolute deviation."""

from typing import Any, Final, Literal, NamedTuple

import numpy as np
from pydantic import Field

from config.params import Span, Window
from pipelines.batch import BAD, F8, I8, U1, Batch, handed_on
from pipelines.budget import Budgeted, condition, limit_now, note, with_limit
from pipelines.jit import inlined, kernel
from pipelines.numerics import FEW, LARGEST, after, exchange, slot, taken_in
from pipelines.operator import GROWING, RING, SINGLE, Operator, column, rows_of
from pipelines.primitives import fetched, moved

ONE: Final = np.uint64(1)
AHEAD: Final = 8
"""Rows between asking for the memory of a series and using it."""
NEAR: Final = 128
LINE: Final = 16
"""Numbers of a window that are asked for, and how many come at a time: lines do by two."""
NO_GAP: Final = np.iinfo(np.int64).max

NORMAL_SCALE: Final = 1.4826022185056018
"""1 / 0.6745, the upper quartile of the normal distribution: with it the median absolute
deviation of normal noise is its standard deviation (Hampel 1974; Leys et al. 2013)."""


class Mad(Budgeted):
    """What a sample is compared with, and how far is too far."""

    window: Window = Field(
        Span(0, 288),
        description="Past that a sample is compared with: a time such as 1d, or so many samples. "
        "Each sample costs time in proportion to how many the window holds.",
    )
    k: float = Field(
        6.0, gt=0, description="Scaled median absolute deviations beyond which it is unusual."
    )
    min_samples: int = Field(
        30, ge=1, description="No score before the window holds this many samples."
    )
    on_anomaly: Literal["learn", "clip", "freeze"] = Field(
        "clip",
        description="What the window takes in of an unusual sample: learn: all of it · clip: the "
        "nearest usual value, so that a lasting change is learned slowly · freeze: nothing.",
    )
    min_mad: float = Field(
        1e-9,
        gt=0,
        description="Floor of the scaled deviation, in the unit of the series; "
        "give the sensor's resolution where its value often stands still.",
    )
    min_mad_share: float = Field(
        1e-4,
        ge=0,
        lt=1,
        description="Floor of the scaled deviation as a share of the median; 1e-4 is less than "
        "one step of a 13-bit sensor.",
    )


class State(NamedTuple):
    """Per series the samples of the window, in order of time and in order of size."""

    t_ns: I8 = column("i8", RING)  # untouched where the window counts samples
    x: F8 = column("f8", RING)  # as taken in, so clipped where `on_anomaly` says so
    ordered: F8 = column("f8", GROWING)  # the same values, ascending, from slot 0
    first: I8 = column("i8")
    seen: I8 = column("i8")
    peaks: F8 = column("f8", "learned_peaks")
    ring_fixed: U1 = column("u1", SINGLE)
    truncated: I8 = column("i8", SINGLE)


Rows = rows_of(Mad)


@kernel
def leave(ordered: F8, n: int, x: float) -> None:
    """Take one `x` out of the first n numbers of one row; of equals the last, to move fewest."""
    low = after(ordered, n, x)
    moved(ordered, low - 1, low, n - low)


@kernel
def enter(ordered: F8, n: int, x: float) -> None:
    """Put `x` among the first n numbers of one row, after those that equal it."""
    low = after(ordered, n, x)
    moved(ordered, low + 1, low, n - low)
    ordered[low] = x


@inlined
def ranked(ordered: F8, i: int, gap: int) -> float:
    """The i-th of ascending numbers that leave out slot `gap`."""
    return float(ordered[i + 1] if i >= gap else ordered[i])


@inlined
def middle_and_spread(ordered: F8, n: int, gap: int = NO_GAP) -> tuple[float, float]:
    """Median and scaled median absolute deviation of the first n > 0 numbers of one row.

    Slot `gap` is left out; n does not count it.
    Distances from the median ascend from the middle to both ends. Of the `rank` smallest, `low`
    lie below it: a binary search for how many finds the median distance in log n steps.
    """
    half, even = n // 2, n % 2 == 0
    median = ranked(ordered, half, gap)
    if even:
        median = (ranked(ordered, half - 1, gap) + median) / 2
    rank = (n - 1) // 2
    low, high = max(0, rank - (n - half)), min(rank, half)
    while high - low > FEW:
        middle = (low + high) >> 1
        below = median - ranked(ordered, half - 1 - middle, gap)
        if below < ranked(ordered, half + rank - middle - 1, gap) - median:
            low = middle + 1
        else:
            high = middle
    # Some more than there are to compare, which do not count: several at once, and none alone.
    begin, end = half - high, np.uint64(half - low)
    more = min(begin + ((high - low + 3) & -4), ordered.size - rank - 1)
    for m in range(np.uint64(begin), np.uint64(more)):
        far = m + np.uint64(rank)
        below, beside = ordered[m], ordered[m + ONE]
        above, further = ordered[far], ordered[far + ONE]
        below = beside if m >= np.uint64(gap) else below
        above = further if far >= np.uint64(gap) else above
        low += (median - below < above - median) & (m < end)
    high = rank - low
    below = median - ranked(ordered, half - 1 - low, gap) if low < half else np.inf
    above = ranked(ordered, half + high, gap) - median if half + high < n else np.inf
    mad = min(below, above)
    if even:
        if below <= above:
            more = low + 1 < half
            below = median - ranked(ordered, half - 2 - low, gap) if more else np.inf
        else:
            more = half + high + 1 < n
            above = ranked(ordered, half + high + 1, gap) - median if more else np.inf
        mad = (mad + min(below, above)) / 2
    return median, mad * NORMAL_SCALE


@inlined
def ask_for(s: int, state: State, params: Any) -> None:
    """Let the window of a series come near."""
    width, oldest, newest = state.x.shape[1], state.first[s], state.seen[s]
    row = s * width
    for j in range(0, min(newest - oldest, NEAR), LINE):
        fetched(state.ordered, row + j)
    fetched(state.x, row + slot(newest, width))
    if params.window_n[params.row[s]] == 0:
        fetched(state.t_ns, row + slot(newest, width))
    fetched(state.x, row + slot(oldest, width))


@kernel
def step(batch: Batch, first: int, state: State, params: Any, out: Batch) -> int:
    """Score each sample against the samples before it, then let it into the window.

    Equivalent to: `past` is what the window took in of the known samples before this one, the
    last n of them or those in (t - D, t]; `mad = 1.4826 * median(|past - median(past)|)`; the
    score is `(x - median(past)) / max(mad, min_mad, min_mad_share * |median(past)|)`; NaN while
    `past` has fewer than `min_samples`. Fields: x, median, and median -/+ k times that
    deviation. The window takes in x; of an x with |score| > k the nearest of those two limits
    (clip) or nothing (freeze). |x| > 1e150 is not known.
    With `false_alarms`, k is the limit of `pipelines.budget`, a field; the score is over k.
    """
    n, width, last = out.count[0] - first, state.x.shape[1], batch.series.size
    for i in range(first, last):
        if i + AHEAD < last:
            ask_for(batch.series[i + AHEAD], state, params)
        s, t, x = batch.series[i], batch.t_ns[i], batch.value[i]
        p, score, median, reach = params.row[s], np.nan, np.nan, np.nan
        k = params.k[p]
        known = abs(x) <= LARGEST and batch.quality[i] != BAD
        if known:
            oldest, newest = state.first[s], state.seen[s]
            keep = oldest
            if params.window_n[p] > 0:
                keep = max(oldest, newest - params.window_n[p])
            else:
                while keep < newest and state.t_ns[s, slot(keep, width)] <= t - params.window_ns[p]:
                    keep += 1
            if newest - keep >= width:
                if state.ring_fixed[0] == 0:
                    last = i
                    break
                state.truncated[0] += newest - keep - width + 1
                keep = newest - width + 1
            if params.false_alarms[p] > 0:
                k = limit_now(state.peaks[s], params.theory[p], params.false_alarms[p], t)
            for j in range(oldest, keep - 1):
                leave(state.ordered[s], newest - j, state.x[s, slot(j, width)])
            size = newest - max(oldest, keep - 1)
            gap, low = size, after(state.ordered[s], size, x)
            if keep > oldest:
                # The last to leave gives its place to the one that comes, which moves fewest.
                gap = after(state.ordered[s], size, state.x[s, slot(keep - 1, width)]) - 1
                size -= 1
            state.first[s], learned = keep, x
            if size >= params.min_samples[p]:
                median, mad = middle_and_spread(state.ordered[s], size, gap)
                mad = max(mad, params.min_mad[p], params.min_mad_share[p] * abs(median))
                score, reach = (x - median) / mad, k * mad
                usual = median + reach if score > 0 else median - reach
                learned = taken_in(params.on_anomaly[p], x, score, k, usual)
                if params.false_alarms[p] > 0:
                    score = note(state.peaks[s], params.theory[p], params.false_alarms[p], score)
            if np.isfinite(learned):
                if learned != x:  # seldom, so that nothing waits for the score
                    low = after(state.ordered[s], size + 1 if gap < size else size, learned)
                exchange(state.ordered[s], gap, low, learned)
                if params.window_n[p] == 0:
                    state.t_ns[s, slot(newest, width)] = t
                state.x[s, slot(newest, width)], state.seen[s] = learned, newest + 1
            elif keep > oldest:
                leave(state.ordered[s], size + 1, state.x[s, slot(keep - 1, width)])
        row = n + i
        out.value[row], out.quality[row] = score, batch.quality[i] if np.isfinite(score) else BAD
        out.fields[row, 0], out.fields[row, 1] = x if known else np.nan, median
        out.fields[row, 2], out.fields[row, 3] = median - reach, median + reach
        if params.false_alarms[p] > 0:
            out.fields[row, 4] = k if known else np.nan
    handed_on(batch, first, last, out, n + first)
    out.count[0] = n + last
    return last


OPERATOR = Operator(
    name="mad",
    summary="Scores each sample by its distance from the recent median, in robust deviations.",
    params=Mad,
    state=State,
    rows=Rows,
    step=step,
    example="mad: {window: 288, k: 6}",
    source="Hampel 1974; Leys et al. 2013",
    emits="score",
    fields=with_limit("input", "expected", "lower", "upper"),
    condition=condition,
)
