"""rolling: one number about the samples of a trailing window."""

from typing import Any, Literal, NamedTuple, Self

import numpy as np
from pydantic import Field, model_validator

from config.params import Params, Window
from pipelines.batch import BAD, F8, I8, U1, Batch
from pipelines.jit import kernel
from pipelines.numerics import (
    COLLAPSE,
    LARGEST,
    added,
    joined,
    parted,
    place,
    ring_moments,
    ring_total,
    slid_line,
)
from pipelines.operator import GROWING, RING, SINGLE, Operator, column, rows_of


class Rolling(Params):
    """Which number, over which window."""

    stat: Literal[
        "mean", "sum", "min", "max", "std", "median", "quantile", "range", "count", "slope"
    ] = Field(
        description="Number to compute. range: largest minus smallest · slope: change per "
        "second of the straight line that fits best."
    )
    window: Window = Field(
        description="Samples that count: a time such as 60s, which is (t - 60 s, t], or so many."
    )
    q: float | None = Field(
        None, ge=0, le=1, description="Which quantile, for `stat: quantile`: 0.95 for 95 %."
    )
    min_samples: int = Field(
        1, ge=1, description="Not known before the window holds this many samples."
    )
    ddof: int = Field(
        1, ge=0, le=1, description="std divides by n - ddof: 1 for a sample, 0 for all there is."
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.stat == "quantile") != (self.q is not None):
            raise ValueError(
                "`q` belongs to `stat: quantile`, for example {stat: quantile, q: 0.9}"
            )
        if 0 < self.window.n < self.min_samples:
            raise ValueError(
                f"min_samples {self.min_samples} is more than the window's {self.window.n} samples"
            )
        return self


ONE = np.uint64(1)
MEAN, SUM, MIN, MAX, STD, MEDIAN, QUANTILE, RANGE, COUNT, SLOPE = range(10)


class State(NamedTuple):
    """Per series the samples of its window, and what the statistic in use keeps about them."""

    t_ns: I8 = column("i8", RING)
    x: F8 = column("f8", RING)
    first: I8 = column("i8")
    seen: I8 = column("i8")
    order: F8 = column("f8", GROWING)  # window in order; min, max: positions of a falling queue
    head: I8 = column("i8")  # the queue is order[head:tail]
    tail: I8 = column("i8")
    sums: F8 = column("f8", 2)  # mean, sum: sum and lost digits · std: mean and squared distances
    churn: I8 = column("i8")  # samples that left since `sums` were last computed afresh
    line: F8 = column("f8", 5)  # see numerics.ring_line
    base_ns: I8 = column("i8")  # time zero of `line`
    ring_fixed: U1 = column("u1", SINGLE)
    truncated: I8 = column("i8", SINGLE)


Rows = rows_of(Rolling)


@kernel
def slid_sums(
    x: F8, oldest: int, keep: int, newest: int, sums: F8, churn: I8, s: int, stat: int, ddof: int
) -> float:
    """Let positions [oldest, keep) of one ring out of `sums` (2,) and position `newest` in."""
    a, b, of_squares = sums[0], sums[1], stat == STD
    before, value, width = b, x[newest % x.size], x.size
    for p in range(oldest, keep):
        if of_squares:
            a, b = parted(a, b, newest - 1 - p, x[p % width])
        else:
            a, b = added(a, b, -x[p % width])
    churn[s] += keep - oldest
    # A wild sample leaving takes the digits of the others with it: start afresh.
    # `<`: a flat window has no squares for ever and must not be computed each time.
    if churn[s] > newest - keep or (of_squares and b < COLLAPSE * before):
        churn[s] = 0
        if of_squares and newest > keep:
            a, b = ring_moments(x, keep, newest)
        else:
            a, b = ring_total(x, keep, newest)
    n = newest - keep + 1
    if of_squares:
        a, b = joined(a, b, n, value)
        y = np.sqrt(b / (n - ddof)) if n > ddof else np.nan
    else:
        a, b = added(a, b, value)
        y = (a + b) / (1 if stat == SUM else n)
    sums[0], sums[1] = a, b
    return float(y)


@kernel
def slid_order(x: F8, oldest: int, keep: int, newest: int, order: F8) -> None:
    """Let positions [oldest, keep) of one ring out of `order` (W,) and position `newest` in."""
    width, n = x.size, newest - oldest
    if keep == newest:
        order[0] = x[newest % width]
        return
    for p in range(oldest, keep - 1):
        n -= 1
        for m in range(np.uint64(place(order, n + 1, x[p % width])), np.uint64(n)):
            order[m] = order[m + ONE]
    value = x[newest % width]
    to = place(order, n, value)
    hole = n
    if keep > oldest:
        hole = place(order, n, x[(keep - 1) % width])
    if hole < to:
        to -= 1
        # Slots are never negative; telling numba so lets LLVM move several at a time.
        for m in range(np.uint64(hole), np.uint64(to)):
            order[m] = order[m + ONE]
    else:
        top = np.uint64(hole)
        for m in range(np.uint64(hole - to)):
            order[top - m] = order[top - m - ONE]
    order[to] = value


@kernel
def slid_queue(
    x: F8, keep: int, newest: int, order: F8, head: I8, tail: I8, s: int, stat: int
) -> float:
    """Extreme of positions [keep, newest] of one ring, by a queue of those that may become it.

    order[head:tail] holds positions whose values rise (MAX: fall); at most one per sample of the window.
    """
    width, h, t, sign = x.size, head[s], tail[s], 1.0 if stat == MIN else -1.0
    value = sign * x[newest % width]
    while h < t and order[h] < keep:
        h += 1
    while t > h and sign * x[np.int64(order[t - 1]) % width] >= value:
        t -= 1
    if t == width:
        for j in range(h, t):
            order[j - h] = order[j]
        h, t = 0, t - h
    order[t] = newest
    head[s], tail[s] = h, t + 1
    return float(x[np.int64(order[h]) % width])


@kernel
def in_order(order: F8, n: int, q: float) -> float:
    """Quantile of the first n numbers (numpy's method 'linear'); their range if q is NaN."""
    if np.isnan(q):
        return float(order[n - 1] - order[0])
    at = (n - 1) * q
    below = int(at)
    if below >= n - 1:
        return float(order[n - 1])
    share = at - below
    low, high = order[below], order[below + 1]
    if share < 0.5:
        return float(low + (high - low) * share)
    return float(high - (high - low) * (1 - share))


@kernel
def step(batch: Batch, first: int, state: State, params: Any, out: Batch) -> int:
    """Take each known sample into the window of its series and give out the statistic.

    Equivalent to: over the known samples of the series up to and with this one that lie in
    (t - D, t], or the last n: numpy's mean, sum, min, max, std(ddof), median, quantile(q), max -
    min, size, or the slope of polyfit(seconds, values, 1). NaN while there are fewer than
    `min_samples`, for std when n <= ddof, for slope when all times are equal. |x| > 1e150 is not
    known; a sample that is not known gives NaN and stays out of the window.
    """
    n, width = out.count[0], state.x.shape[1]
    for i in range(first, batch.series.size):
        s, t, x = batch.series[i], batch.t_ns[i], batch.value[i]
        p, y = params.row[s], np.nan
        if abs(x) <= LARGEST and batch.quality[i] != BAD:
            oldest, newest = state.first[s], state.seen[s]
            keep = oldest
            if params.window_n[p] > 0:
                keep = max(oldest, newest + 1 - params.window_n[p])
            else:
                while keep < newest and state.t_ns[s, keep % width] <= t - params.window_ns[p]:
                    keep += 1
            # One slot stays free: what leaves is still needed when the new sample is in.
            if newest - keep >= width - 1:
                if state.ring_fixed[0] == 0:
                    out.count[0] = n
                    return i
                state.truncated[0] += newest - keep - width + 2
                keep = newest - width + 2
            state.t_ns[s, newest % width], state.x[s, newest % width] = t, x
            y, stat = float(newest - keep + 1), params.stat[p]
            if stat in (MEAN, SUM, STD):
                y = slid_sums(
                    state.x[s], oldest, keep, newest, state.sums[s], state.churn, s, stat,
                    params.ddof[p],
                )  # fmt: skip
            elif stat in (MIN, MAX):
                y = slid_queue(
                    state.x[s], keep, newest, state.order[s], state.head, state.tail, s, stat
                )
            elif stat == SLOPE:
                y = slid_line(
                    state.t_ns[s], state.x[s], oldest, keep, newest + 1, state.line[s],
                    state.base_ns, s,
                )  # fmt: skip
            elif stat != COUNT:
                slid_order(state.x[s], oldest, keep, newest, state.order[s])
                q = 0.5 if stat == MEDIAN else params.q[p]
                y = in_order(state.order[s], newest - keep + 1, q)
            state.first[s], state.seen[s] = keep, newest + 1
            if newest - keep + 1 < params.min_samples[p]:
                y = np.nan
        out.series[n], out.t_ns[n], out.start_ns[n] = s, t, batch.start_ns[i]
        out.value[n] = y
        out.quality[n] = batch.quality[i] if np.isfinite(y) else BAD
        n += 1
    out.count[0] = n
    return batch.series.size


OPERATOR = Operator(
    name="rolling",
    summary="Mean, extreme, spread, quantile, count or slope of the samples in a trailing window.",
    params=Rolling,
    state=State,
    rows=Rows,
    step=step,
    example="rolling: {stat: mean, window: 60s}",
)
