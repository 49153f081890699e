"""rolling: one number about the samples of a trailing window.

There is no `last`: a window that ends with the sample in hand has that very sample as its last.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
from pydantic import Field, model_validator

from config.params import Params, Window
from pipelines.batch import BAD, F8, I8, U1, Batch, handed_on
from pipelines.jit import inlined, kernel
from pipelines.numerics import (
    COLLAPSE,
    LARGEST,
    added,
    exchange,
    joined,
    parted,
    place,
    ring_moments,
    ring_total,
    slid_line,
    slot,
)
from pipelines.operator import GROWING, RING, SINGLE, Makes, Operator, column, rows_of
from pipelines.primitives import fetched, moved


class Rolling(Params):
    """Which number, over which window."""

    EXTRA_ROWS: ClassVar = ("by_sums",)

    stat: Literal[
        "mean", "sum", "min", "max", "std", "var", "median", "quantile", "range", "count", "first",
        "slope",
    ] = Field(
        description="Number to compute. range: largest minus smallest · first: the oldest one · "
        "slope: change per second of the straight line that fits best."
    )  # fmt: skip
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
        1,
        ge=0,
        le=1,
        description="std and var divide by n - ddof: 1 for a sample, 0 for all there is.",
    )
    weight: Literal["none", "step", "linear"] = Field(
        "none",
        description="What counts in a mean. none: each sample once · step: the time that it holds "
        "until the next one · linear: the time, on straight lines between samples. For sensors "
        "that send when something changes.",
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
        if self.weight != "none" and (self.stat != "mean" or self.window.n > 0):
            raise ValueError(
                f"`weight: {self.weight}` belongs to the mean over a window of time, for example "
                f"{{stat: mean, window: 60s, weight: {self.weight}}}"
            )
        return self

    @classmethod
    def extra_rows(cls, sets: Sequence["Rolling"]) -> dict[str, Any]:
        """Array by_sums (R,): whether `_by_sums` is for full windows of each set."""
        stats = ("mean", "sum", "std", "var")
        most = [p.window.n if p.stat in stats else 0 for p in sets]
        fits = [n > 1 and n >= p.min_samples for n, p in zip(most, sets, strict=True)]
        return {"by_sums": np.array(fits, np.int64)}


AHEAD = 8  # rows between asking for the memory of a series and using it
MEAN, SUM, MIN, MAX, STD, VAR, MEDIAN, QUANTILE, RANGE, COUNT, FIRST, SLOPE = range(12)
NONE, STEP, LINEAR = range(3)


class State(NamedTuple):
    """Per series the samples of its window, and what the statistic in use keeps about them."""

    t_ns: I8 = column("i8", RING)  # untouched where neither window nor statistic asks for times
    x: F8 = column("f8", RING)
    first: I8 = column("i8")
    seen: I8 = column("i8")
    order: F8 = column("f8", GROWING)  # window in order; min, max: positions of a falling queue
    head: I8 = column("i8")  # the queue is order[head:tail]
    tail: I8 = column("i8")
    sums: F8 = column("f8", 2)  # sum (weighted: area) and lost digits · std, var: see `joined`
    churn: I8 = column("i8")  # samples that left since `sums` were last computed afresh
    line: F8 = column("f8", 5)  # see numerics.ring_line
    base_ns: I8 = column("i8")  # time zero of `line`
    ring_fixed: U1 = column("u1", SINGLE)
    truncated: I8 = column("i8", SINGLE)


Rows = rows_of(Rolling)


@inlined
def slid_sums(
    x: F8, oldest: int, keep: int, newest: int, sums: F8, churn: I8, s: int, stat: int, ddof: int
) -> float:
    """Let positions [oldest, keep) of one ring out of `sums` (2,) and position `newest` in."""
    a, b, of_squares = sums[0], sums[1], stat in (STD, VAR)
    before, value, width = b, x[slot(newest, x.size)], x.size
    for p in range(oldest, keep):
        if of_squares:
            a, b = parted(a, b, newest - 1 - p, x[slot(p, width)])
        else:
            a, b = added(a, b, -x[slot(p, width)])
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
        y = b / (n - ddof) if n > ddof else np.nan
        y = np.sqrt(y) if stat == STD else y
    else:
        a, b = added(a, b, value)
        y = (a + b) / (1 if stat == SUM else n)
    sums[0], sums[1] = a, b
    return float(y)


@kernel
def area(t0: int, x0: float, t1: int, x1: float, weight: int) -> float:
    """Value times seconds from (t0, x0) to (t1, x1)."""
    height = x0 if weight == STEP else 0.5 * x0 + 0.5 * x1
    return height * ((t1 - t0) / 1e9)


@kernel
def slid_areas(
    t_ns: I8, x: F8, oldest: int, keep: int, newest: int, sums: F8, churn: I8, s: int,
    since_ns: int, span_ns: int, weight: int,
) -> float:  # fmt: skip
    """Mean over time of positions [keep, newest] of one ring, from `since_ns` on.

    `sums` is the area from position oldest + 1 to newest - 1, and follows. The way from `keep` to
    the next one is not in it: of that the part from `since_ns` on counts, nothing if it is longer
    than `span_ns`.
    """
    a, b, sign, width = sums[0], sums[1], -1.0, x.size
    start, stop = oldest + 1, min(keep + 1, newest - 1)
    churn[s] += max(0, stop - start)
    if churn[s] > newest - keep or keep >= newest - 1:
        a, b, sign, churn[s] = 0.0, 0.0, 1.0, 0
        start, stop = keep + 1, newest - 1
    for p in range(start, stop):
        i, j = slot(p, width), slot(p + 1, width)
        a, b = added(a, b, sign * area(t_ns[i], x[i], t_ns[j], x[j], weight))
    i, j = slot(newest - 1, width), slot(newest, width)
    if newest - 1 > keep:
        a, b = added(a, b, area(t_ns[i], x[i], t_ns[j], x[j], weight))
    sums[0], sums[1] = a, b
    if keep == newest:
        return float(x[j])
    i, j = slot(keep, width), slot(keep + 1, width)
    begin, part = t_ns[j], 0.0
    if t_ns[j] - t_ns[i] <= span_ns:
        begin, x0 = max(since_ns, t_ns[i]), x[i]
        if weight == LINEAR and begin > t_ns[i]:
            x0 += (x[j] - x0) * ((begin - t_ns[i]) / (t_ns[j] - t_ns[i]))
        part = area(begin, x0, t_ns[j], x[j], weight)
    if begin == t_ns[slot(newest, width)]:
        return float(x[slot(newest, width)])
    return float((a + (b + part)) / ((t_ns[slot(newest, width)] - begin) / 1e9))


@kernel
def slid_order(x: F8, oldest: int, keep: int, newest: int, order: F8) -> None:
    """Let positions [oldest, keep) of one ring out of `order` (W,) and position `newest` in."""
    width, n = x.size, newest - oldest
    if keep == newest:
        order[0] = x[slot(newest, width)]
        return
    for p in range(oldest, keep - 1):
        n -= 1
        low = place(order, n + 1, x[slot(p, width)])
        moved(order, low, low + 1, n - low)
    value = x[slot(newest, width)]
    to = place(order, n, value)
    hole = n
    if keep > oldest:
        hole = place(order, n, x[slot(keep - 1, width)])
    exchange(order, hole, to, value)


@kernel
def slid_queue(
    x: F8, keep: int, newest: int, order: F8, head: I8, tail: I8, s: int, stat: int
) -> float:
    """Extreme of positions [keep, newest] of one ring, by a queue of those that may become it.

    order[head:tail] holds positions whose values rise (MAX: fall); at most one per sample of the window.
    """
    width, h, t, sign = x.size, head[s], tail[s], 1.0 if stat == MIN else -1.0
    value = sign * x[slot(newest, width)]
    while h < t and order[h] < keep:
        h += 1
    while t > h and sign * x[slot(np.int64(order[t - 1]), width)] >= value:
        t -= 1
    if t == width:
        for j in range(h, t):
            order[j - h] = order[j]
        h, t = 0, t - h
    order[t] = newest
    head[s], tail[s] = h, t + 1
    return float(x[slot(np.int64(order[h]), width)])


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


@inlined
def ask_for(s: int, state: State, params: Any) -> None:
    """Let the window of a series come near."""
    width = state.x.shape[1]
    newest, oldest = s * width + slot(state.seen[s], width), s * width + slot(state.first[s], width)
    fetched(state.x, newest)
    fetched(state.x, oldest)
    if params.window_n[params.row[s]] == 0:
        fetched(state.t_ns, newest)
        fetched(state.t_ns, oldest)


@inlined
def _by_sums(first: int, batch: Batch, state: State, params: Any, out: Batch, n: int) -> int:
    """The next row, from `first` on, that is more than one sample for another in a full window.

    Of others mean, sum, std and var follow from `sums`: most rows are such, and a loop of little
    code is through with more of them at once. Row i goes to row n + i of `out`.
    """
    i, last, width = first, batch.series.size, state.x.shape[1]
    of, window, stat, ddof = -1, 0, 0, 0
    while i < last:
        if i + AHEAD < last:
            ask_for(batch.series[i + AHEAD], state, params)
        s, x, quality = batch.series[i], batch.value[i], batch.quality[i]
        if params.row[s] != of:
            of = params.row[s]
            if params.by_sums[of] == 0:
                break
            window, stat, ddof = params.window_n[of], params.stat[of], params.ddof[of]
        oldest, newest = state.first[s], state.seen[s]
        full = newest - oldest == window and state.churn[s] + 1 < window
        if not full or quality == BAD or not abs(x) <= LARGEST:
            break
        a, b = state.sums[s, 0], state.sums[s, 1]
        left, y = state.x[s, slot(oldest, width)], np.nan
        if stat in (STD, VAR):
            before = b
            a, b = parted(a, b, window - 1, left)
            if b < COLLAPSE * before:
                break
            a, b = joined(a, b, window, x)
            y = b / (window - ddof)
            y = np.sqrt(y) if stat == STD else y
        else:
            a, b = added(a, b, -left)
            a, b = added(a, b, x)
            y = (a + b) / (1 if stat == SUM else window)
        state.sums[s, 0], state.sums[s, 1] = a, b
        state.x[s, slot(newest, width)] = x
        state.churn[s] += 1
        state.first[s], state.seen[s] = oldest + 1, newest + 1
        out.value[n + i], out.quality[n + i] = y, quality if np.isfinite(y) else BAD
        i += 1
    return i


@kernel
def step(batch: Batch, first: int, state: State, params: Any, out: Batch) -> int:
    """Take each known sample into the window of its series and give out the statistic.

    Equivalent to: over the known samples of the series up to and with this one that lie in
    (t - D, t], or the last n: numpy's mean, sum, min, max, std(ddof), var(ddof), median,
    quantile(q), max - min, size, the first, or the slope of polyfit(seconds, values, 1). NaN while
    there are fewer than `min_samples`, for std and var when n <= ddof, for slope when all times are
    equal. With `weight`: the integral over [t - D, t] of the last value so far (step) or of the
    straight lines between samples (linear), by its length; time before the first sample does not
    count, nor does that between two samples more than D apart; x where no time is left. |x| > 1e150
    is not known; a sample that is not known gives NaN and stays out of the window.
    """
    n, width, sums, last = out.count[0] - first, state.x.shape[1], state.sums, batch.series.size
    i = first - 1
    while True:
        i = _by_sums(i + 1, batch, state, params, out, n)
        if i >= last:
            break
        s, t, x = batch.series[i], batch.t_ns[i], batch.value[i]
        p, y = params.row[s], np.nan
        if abs(x) <= LARGEST and batch.quality[i] != BAD:
            oldest, newest, span = state.first[s], state.seen[s], params.window_ns[p]
            keep, stat, weight = oldest, params.stat[p], params.weight[p]
            # Weighted, the sample before the window is still needed: its value reaches in.
            held = 1 if weight != NONE else 0
            if params.window_n[p] > 0:
                keep = max(oldest, newest + 1 - params.window_n[p])
            else:
                while keep + held < newest and state.t_ns[s, slot(keep + held, width)] <= t - span:
                    keep += 1
            # One slot stays free: what leaves is still needed when the new sample is in.
            if newest - keep >= width - 1:
                if state.ring_fixed[0] == 0:
                    last = i
                    break
                state.truncated[0] += newest - keep - width + 2
                keep = newest - width + 2
            times, ring, order = state.t_ns[s], state.x[s], state.order[s]
            ring[slot(newest, width)] = x
            if params.window_n[p] == 0 or stat == SLOPE:
                times[slot(newest, width)] = t
            y, samples = float(newest - keep + 1), newest - keep + 1
            if held == 1:
                samples -= 1 if times[slot(keep, width)] <= t - span else 0
                y = slid_areas(
                    times, ring, oldest, keep, newest, sums[s], state.churn, s, t - span, span, weight
                )  # fmt: skip
            elif stat in (MEAN, SUM, STD, VAR):
                y = slid_sums(
                    ring, oldest, keep, newest, sums[s], state.churn, s, stat, params.ddof[p]
                )
            elif stat in (MIN, MAX):
                y = slid_queue(ring, keep, newest, order, state.head, state.tail, s, stat)
            elif stat == SLOPE:
                line = state.line[s]
                y = slid_line(times, ring, oldest, keep, newest + 1, line, state.base_ns, s)
            elif stat == FIRST:
                y = ring[slot(keep, width)]
            elif stat != COUNT:
                slid_order(ring, oldest, keep, newest, order)
                y = in_order(order, samples, 0.5 if stat == MEDIAN else params.q[p])
            state.first[s], state.seen[s] = keep, newest + 1
            y = y if samples >= params.min_samples[p] else np.nan
        out.value[n + i] = y
        out.quality[n + i] = batch.quality[i] if np.isfinite(y) else BAD
    handed_on(batch, first, last, out, n + first)
    out.count[0] = n + last
    return last


def _makes(params: Rolling) -> Makes:
    spreads = params.stat in ("sum", "std", "var", "range", "count", "slope")
    return Makes.OTHER if spreads else Makes.BETWEEN


OPERATOR = Operator(
    name="rolling",
    summary="Mean, extreme, spread, quantile, count or slope of the samples in a trailing window.",
    params=Rolling,
    state=State,
    rows=Rows,
    step=step,
    makes=_makes,
    example="rolling: {stat: mean, window: 60s}",
)
