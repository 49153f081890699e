"""zscore: how unusual a sample is for its series, in standard deviations.

Mean and squares follow Welford, adding and removing; they are computed afresh from the ring after
as many removals as it holds samples, and when a removal leaves less than a millionth of the
squares, for then their digits left with it.
"""

from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import Field

from config.params import Span, Window
from pipelines.batch import BAD, F8, I8, U1, Batch
from pipelines.budget import Budgeted, condition, limit_now, note, with_limit
from pipelines.jit import kernel
from pipelines.numerics import COLLAPSE, LARGEST, joined, parted, ring_moments, taken_in
from pipelines.operator import RING, SINGLE, Operator, column, rows_of


class Zscore(Budgeted):
    """What a sample is compared with, and how far is too far."""

    window: Window = Field(
        Span(0, 288),
        description="Past that a sample is compared with: a time such as 6h, or so many samples.",
    )
    k: float = Field(5.0, gt=0, description="Standard deviations beyond which it is unusual.")
    min_samples: int = Field(
        30, ge=2, description="No score before the window holds this many samples."
    )
    on_anomaly: Literal["learn", "clip", "freeze"] = Field(
        "clip",
        description="What the window takes in of an unusual sample: learn: all of it · clip: the "
        "nearest usual value, so that a lasting change is learned slowly · freeze: nothing.",
    )
    min_std: float = Field(
        1e-9,
        gt=0,
        description="Floor of the standard deviation, in the unit of the series; "
        "give the sensor's resolution where its value often stands still.",
    )
    min_std_share: float = Field(
        1e-4,
        ge=0,
        lt=1,
        description="Floor of the standard deviation as a share of the mean; 1e-4 is less than "
        "one step of a 13-bit sensor.",
    )


class State(NamedTuple):
    """Per series the samples of the window, their mean and their squared distances from it."""

    t_ns: I8 = column("i8", RING)
    x: F8 = column("f8", RING)  # as taken in, so clipped where `on_anomaly` says so
    first: I8 = column("i8")
    seen: I8 = column("i8")
    peaks: F8 = column("f8", "learned_peaks")
    mean: F8 = column("f8")
    m2: F8 = column("f8")
    churn: I8 = column("i8")  # samples that left since mean and m2 were last computed afresh
    ring_fixed: U1 = column("u1", SINGLE)
    truncated: I8 = column("i8", SINGLE)


Rows = rows_of(Zscore)


@kernel
def step(batch: Batch, first: int, state: State, params: Any, out: Batch) -> int:
    """Score each sample against the samples before it, then let it into the window.

    Equivalent to: `past` is what the window took in of the known samples before this one, the
    last n of them or those in (t - D, t]; the score is `(x - mean(past)) / max(std(past),
    min_std, min_std_share * |mean(past)|)` with n - 1 in the standard deviation; NaN while `past`
    has fewer than `min_samples`. Fields: x, mean, and mean -/+ k times that deviation. The window
    takes in x; of an x with |score| > k the nearest of those two limits (clip) or nothing
    (freeze). |x| > 1e150 is not known.
    With `false_alarms`, k is the limit of `pipelines.budget`, a field; the score is over k.
    """
    n, width = out.count[0], state.x.shape[1]
    for i in range(first, batch.series.size):
        s, t, x = batch.series[i], batch.t_ns[i], batch.value[i]
        p = params.row[s]
        k = params.k[p]
        score, expected, reach = np.nan, np.nan, np.nan
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
            if params.false_alarms[p] > 0:
                k = limit_now(state.peaks[s], params.theory[p], params.false_alarms[p], t)
            size, mean, m2 = newest - keep, state.mean[s], state.m2[s]
            for j in range(oldest, keep):
                mean, m2 = parted(mean, m2, newest - j - 1, state.x[s, j % width])
            state.first[s] = keep
            state.churn[s] += keep - oldest
            # `>=`: a standing value has m2 == 0 for ever and must not be recomputed each time.
            if size > 0 and (state.churn[s] > size or not m2 >= COLLAPSE * state.m2[s]):
                state.churn[s] = 0
                mean, m2 = ring_moments(state.x[s], keep, newest)
            learned = x
            if size >= params.min_samples[p]:
                std = max(params.min_std[p], params.min_std_share[p] * abs(mean))
                std = max(std, np.sqrt(m2 / (size - 1)))
                score, expected, reach = (x - mean) / std, mean, k * std
                usual = mean + reach if score > 0 else mean - reach
                learned = taken_in(params.on_anomaly[p], x, score, k, usual)
                if params.false_alarms[p] > 0:
                    score = note(state.peaks[s], params.theory[p], params.false_alarms[p], score)
            if np.isfinite(learned):
                mean, m2 = joined(mean, m2, size + 1, learned)
                state.t_ns[s, newest % width] = t
                state.x[s, newest % width] = learned
                state.seen[s] = newest + 1
            state.mean[s], state.m2[s] = mean, m2
        out.series[n], out.t_ns[n], out.start_ns[n] = s, t, batch.start_ns[i]
        out.value[n], out.quality[n] = score, batch.quality[i] if np.isfinite(score) else BAD
        out.fields[n, 0], out.fields[n, 1] = x if known else np.nan, expected
        out.fields[n, 2], out.fields[n, 3] = expected - reach, expected + reach
        if params.false_alarms[p] > 0:
            out.fields[n, 4] = k if known else np.nan
        n += 1
    out.count[0] = n
    return batch.series.size


OPERATOR = Operator(
    name="zscore",
    summary="Scores each sample by its distance from the recent mean, in standard deviations.",
    params=Zscore,
    state=State,
    rows=Rows,
    step=step,
    example="zscore: {window: 6h, k: 5}",
    source="Welford 1962",
    emits="score",
    fields=with_limit("input", "expected", "lower", "upper"),
    condition=condition,
)
