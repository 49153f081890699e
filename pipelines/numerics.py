"""Sums, variances and lines over sliding windows that stay right for months.

Helpers of kernels. Those on one sample take and return scalars; those named `ring_*` walk over a
window again and are for rare calls: passing an array costs two atomic operations.
"""

import math
from typing import Final

import numpy as np

from pipelines.batch import F8, I8
from pipelines.jit import inlined, kernel
from pipelines.primitives import moved

LARGEST: Final = 1e150
"""A larger value counts as not known: its square is no number, and no sensor measures it."""

COLLAPSE: Final = 1e-6
"""Squares that fall to less than this share took the digits of the rest with them."""


@kernel
def slot(position: int, width: int) -> int:
    """Where a ring holds a position. Its width is a power of two: `operator.RING_START` doubled."""
    return position & (width - 1)


@kernel
def added(total: float, lost: float, x: float) -> tuple[float, float]:
    """Sum and lost digits after one more summand (Neumaier 1974); the sum is total + lost."""
    new = total + x
    if abs(total) >= abs(x):
        return new, lost + ((total - new) + x)
    return new, lost + ((x - new) + total)


@kernel
def joined(mean: float, m2: float, n: int, x: float) -> tuple[float, float]:
    """Mean and squared distances once `x` is the n-th sample (Welford 1962)."""
    distance = x - mean
    mean += distance / n
    return mean, m2 + distance * (x - mean)


@kernel
def parted(mean: float, m2: float, n: int, x: float) -> tuple[float, float]:
    """Mean and squared distances once `x` has left and `n` samples stay: Welford backwards."""
    if n == 0:
        return 0.0, 0.0
    distance = x - mean
    mean -= distance / n
    return mean, m2 - distance * (x - mean)


@kernel
def ring_total(x: F8, first: int, last: int) -> tuple[float, float]:
    """`added` over positions [first, last) of one ring `x` (W,)."""
    total, lost = 0.0, 0.0
    for p in range(first, last):
        total, lost = added(total, lost, x[slot(p, x.size)])
    return total, lost


@kernel
def ring_moments(x: F8, first: int, last: int) -> tuple[float, float]:
    """Mean and squared distances of positions [first, last) of one ring `x` (W,)."""
    start, mean, m2 = x[slot(first, x.size)], 0.0, 0.0
    for p in range(first, last):
        mean += (x[slot(p, x.size)] - start) / (last - first)
    mean += start  # a flat window has its very value as the mean, and exactly no variance
    for p in range(first, last):
        distance = x[slot(p, x.size)] - mean
        m2 += distance * distance
    return mean, m2


@kernel
def ring_line(t_ns: I8, x: F8, first: int, last: int, line: F8) -> None:
    """Fill `line` (5,) from positions [first, last); times in seconds after the first of them.

    line: mean time, mean value, squared distances of times and of values, and their products.
    """
    line[:] = 0.0
    n = last - first
    for p in range(first, last):
        line[0] += (t_ns[slot(p, x.size)] - t_ns[slot(first, x.size)]) * 1e-9 / n
        line[1] += (x[slot(p, x.size)] - x[slot(first, x.size)]) / n
    line[1] += x[slot(first, x.size)]
    for p in range(first, last):
        dt = (t_ns[slot(p, x.size)] - t_ns[slot(first, x.size)]) * 1e-9 - line[0]
        dx = x[slot(p, x.size)] - line[1]
        line[2] += dt * dt
        line[3] += dx * dx
        line[4] += dt * dx


@kernel
def slid_line(
    t_ns: I8, x: F8, oldest: int, keep: int, last: int, line: F8, base_ns: I8, s: int
) -> float:
    """Slope per second of positions [keep, last) of a ring; NaN for less than two times.

    t_ns, x (W,): the ring; `line` (5,) as in `ring_line` and `base_ns` (S,), its time zero, are
    those of positions [oldest, last - 1) and follow. The line is fitted afresh when every sample
    of it has been replaced, and when samples that left took the digits of the others along.
    """
    width = x.size
    fresh = keep >= last - 1
    if not fresh:
        m2_t, m2_x = line[2], line[3]
        for p in range(oldest, keep):
            left = last - 2 - p
            dt = (t_ns[slot(p, width)] - base_ns[s]) * 1e-9 - line[0]
            dx = x[slot(p, width)] - line[1]
            line[0] -= dt / left
            line[1] -= dx / left
            after = x[slot(p, width)] - line[1]
            line[2] -= dt * ((t_ns[slot(p, width)] - base_ns[s]) * 1e-9 - line[0])
            line[3] -= dx * after
            line[4] -= dt * after
        fresh = t_ns[slot(keep, width)] > base_ns[s] and (
            line[2] < COLLAPSE * m2_t or line[3] < COLLAPSE * m2_x
        )
        # Once its zero has been out of the window for as long as the window is.
        zero = base_ns[s]
        fresh = fresh or (
            t_ns[slot(keep, width)] - zero > t_ns[slot(last - 1, width)] - t_ns[slot(keep, width)]
        )
    if fresh:
        ring_line(t_ns, x, keep, last, line)
        base_ns[s] = t_ns[slot(keep, width)]
    else:
        n = last - keep
        dt = (t_ns[slot(last - 1, width)] - base_ns[s]) * 1e-9 - line[0]
        dx = x[slot(last - 1, width)] - line[1]
        line[0] += dt / n
        line[1] += dx / n
        after = x[slot(last - 1, width)] - line[1]
        line[2] += dt * ((t_ns[slot(last - 1, width)] - base_ns[s]) * 1e-9 - line[0])
        line[3] += dx * after
        line[4] += dt * after
    if t_ns[slot(keep, width)] == t_ns[slot(last - 1, width)]:
        return math.nan
    return float(line[4] / line[2])


FEW: Final = 64
"""So many numbers are compared, several at once, in less time than one of them is found by halves: a
processor that guesses wrong which half it is in loses the time of twenty."""


@inlined
def _below(ordered: F8, n: int, x: float, even: bool) -> int:
    """How many of the first `n` numbers of one row, in order, are below `x`; `even`: or equal to it."""
    low, high = 0, n
    while high - low > FEW:
        middle = (low + high) >> 1
        if ordered[middle] < x or (even and ordered[middle] == x):
            low = middle + 1
        else:
            high = middle
    found = low
    for m in range(np.uint64(low), np.uint64(high)):
        found += (ordered[m] < x) | (even & (ordered[m] == x))
    return found


@kernel
def place(ordered: F8, n: int, x: float) -> int:
    """Leftmost position at which `x` keeps the first `n` numbers in order."""
    found: int = _below(ordered, n, x, False)
    return found


@kernel
def after(ordered: F8, n: int, x: float) -> int:
    """How many of the first `n` numbers of one row, in order, are not above `x`."""
    found: int = _below(ordered, n, x, True)
    return found


@inlined
def exchange(ordered: F8, gap: int, low: int, x: float) -> None:
    """Put `x` after the first `low` ascending numbers of one row, in place of that in slot `gap`."""
    # Which way numbers move is anybody's guess: no branch waits for it.
    down = int(low > gap)
    to = low - down
    begin = min(gap, to)
    moved(ordered, begin + 1 - down, begin + down, max(gap, to) - begin)
    ordered[to] = x


LEARN, CLIP, FREEZE = 0, 1, 2


@kernel
def taken_in(on_anomaly: int, x: float, score: float, k: float, usual: float) -> float:
    """What the window of a detector takes in of `x`; NaN for nothing.

    usual: the nearest value that would not have been unusual, that is |score| <= k.
    """
    if abs(score) <= k or on_anomaly == LEARN:
        return x
    return usual if on_anomaly == CLIP else np.nan
