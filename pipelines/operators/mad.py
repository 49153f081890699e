"""mad: how unusual a sample is for its series, by median and median absolute deviation."""

from typing import Any, Final, Literal, NamedTuple

import numpy as np
from pydantic import Field

from config.model import When
from config.params import Params, Span, Window
from pipelines.batch import BAD, F8, I8, U1, Batch
from pipelines.jit import kernel
from pipelines.operator import GROWING, RING, SINGLE, Operator, column, rows_of

ONE: Final = np.uint64(1)
LEARN, CLIP, FREEZE = 0, 1, 2

NORMAL_SCALE: Final = 1.4826022185056018
"""1 / 0.6745, the upper quartile of the normal distribution: with it the median absolute
deviation of normal noise is its standard deviation (Hampel 1974; Leys et al. 2013)."""

LARGEST: Final = 1e150
"""A larger value counts as not known: differences would overflow, and no sensor measures it."""


class Mad(Params):
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

    t_ns: I8 = column("i8", RING)
    x: F8 = column("f8", RING)  # as taken in, so clipped where `on_anomaly` says so
    ordered: F8 = column("f8", GROWING)  # the same values, ascending, from slot 0
    first: I8 = column("i8")
    seen: I8 = column("i8")
    ring_fixed: U1 = column("u1", SINGLE)
    truncated: I8 = column("i8", SINGLE)


Rows = rows_of(Mad)


@kernel
def step(batch: Batch, first: int, state: State, params: Any, out: Batch) -> int:
    """Score each sample against the samples before it, then let it into the window.

    Equivalent to: `past` is what the window took in of the known samples before this one, the
    last n of them or those in (t - D, t]; `mad = 1.4826 * median(|past - median(past)|)`; the
    score is `(x - median(past)) / max(mad, min_mad, min_mad_share * |median(past)|)`; NaN while
    `past` has fewer than `min_samples`. Fields: x, median, and median -/+ k times that
    deviation. The window takes in x; of an x with |score| > k the nearest of those two limits
    (clip) or nothing (freeze). |x| > 1e150 is not known.
    """
    n = out.count[0]
    width = state.x.shape[1]
    ordered = state.ordered
    for i in range(first, batch.series.size):
        s, t, x = batch.series[i], batch.t_ns[i], batch.value[i]
        p = params.row[s]
        score, median, reach = np.nan, np.nan, np.nan
        known = abs(x) <= LARGEST and batch.quality[i] != BAD
        if known:
            oldest, newest = state.first[s], state.seen[s]
            keep = oldest
            if params.window_n[p] > 0:
                keep = max(oldest, newest - params.window_n[p])
            else:
                while keep < newest and state.t_ns[s, keep % width] <= t - params.window_ns[p]:
                    keep += 1
            if newest - keep >= width:
                if state.ring_fixed[0] == 0:
                    out.count[0] = n
                    return i
                state.truncated[0] += newest - keep - width + 1
                keep = newest - width + 1
            size = newest - oldest
            for j in range(oldest, keep):
                gone = state.x[s, j % width]
                low, high = 0, size
                while low < high:
                    middle = (low + high) >> 1
                    if ordered[s, middle] <= gone:
                        low = middle + 1
                    else:
                        high = middle
                size -= 1
                # Slots are never negative; telling numba so lets LLVM move eight at a time.
                for m in range(np.uint64(low), np.uint64(size) + ONE):
                    ordered[s, m - ONE] = ordered[s, m]
            state.first[s] = keep
            learned = x
            taken = True
            if size >= params.min_samples[p]:
                half = size // 2
                odd = size % 2 == 1
                median = ordered[s, half]
                if not odd:
                    median = (ordered[s, half - 1] + median) / 2
                # Distances from the median ascend from the middle to both ends. `low` of the
                # `rank` smallest are below it; binary search for how many.
                rank = (size - 1) // 2
                low, high = max(0, rank - (size - half)), min(rank, half)
                while low < high:
                    middle = (low + high) >> 1
                    below = median - ordered[s, half - 1 - middle]
                    if below < ordered[s, half + rank - middle - 1] - median:
                        low = middle + 1
                    else:
                        high = middle
                high = rank - low
                below = median - ordered[s, half - 1 - low] if low < half else np.inf
                above = ordered[s, half + high] - median if half + high < size else np.inf
                mad = min(below, above)
                if not odd:
                    if below <= above:
                        low += 1
                        below = median - ordered[s, half - 1 - low] if low < half else np.inf
                    else:
                        high += 1
                        above = ordered[s, half + high] - median if half + high < size else np.inf
                    mad = (mad + min(below, above)) / 2
                mad = max(
                    mad * NORMAL_SCALE, params.min_mad[p], params.min_mad_share[p] * abs(median)
                )
                score = (x - median) / mad
                reach = params.k[p] * mad
                if abs(score) > params.k[p]:
                    if params.on_anomaly[p] == CLIP:
                        learned = median + reach if score > 0 else median - reach
                    taken = params.on_anomaly[p] != FREEZE
            if taken:
                low, high = 0, size
                while low < high:
                    middle = (low + high) >> 1
                    if ordered[s, middle] <= learned:
                        low = middle + 1
                    else:
                        high = middle
                for m in range(np.uint64(size), np.uint64(low), -1):
                    ordered[s, m] = ordered[s, m - ONE]
                ordered[s, low] = learned
                state.t_ns[s, newest % width] = t
                state.x[s, newest % width] = learned
                state.seen[s] = newest + 1
        out.series[n] = s
        out.t_ns[n] = t
        out.start_ns[n] = batch.start_ns[i]
        out.value[n] = score
        out.quality[n] = batch.quality[i] if np.isfinite(score) else BAD
        out.fields[n, 0] = x if known else np.nan
        out.fields[n, 1] = median
        out.fields[n, 2] = median - reach
        out.fields[n, 3] = median + reach
        n += 1
    out.count[0] = n
    return batch.series.size


OPERATOR = Operator(
    name="mad",
    summary="Scores each sample by its distance from the recent median, in robust deviations.",
    params=Mad,
    state=State,
    rows=Rows,
    step=step,
    example="mad: {window: 288, k: 6}",
    emits="score",
    fields=lambda params: ("input", "expected", "lower", "upper"),  # noqa: ARG005 - same for all
    condition=lambda params: When(outside=(-params.k, params.k)),
)
