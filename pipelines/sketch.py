"""Quantiles of many numbers in little room: how many lie in each bin of a logarithmic scale.

Bin `key` holds the x with r^(key - 1) < |x| <= r^key, where r = exp(width 2^level). The state has
the columns positive, negative (S, B) i4; base, least, most, filled (S, 2), zeros, level (S,) i8;
low, high (S,) f8. The number of bin `key` stands at position key - base of its side of zero; those
from `least` to `most` hold something where `filled` is above 0. `low` and `high` are the extremes
of what was counted; zeros are counted apart.

Masson, Rim, Lee: DDSketch (VLDB 2019). What does not fit has its bins joined in pairs as in
Epicoco et al.: UDDSketch (IEEE Access 2020), so that one wild sample does not put all others into
one bin. Two sketches joined equally often are merged by adding the numbers of equal bins.
"""

import math
from typing import Any

from pipelines.batch import F8
from pipelines.jit import kernel

POSITIVE, NEGATIVE = 0, 1


@kernel
def join_pairs(counts: Any, state: Any, s: int, side: int) -> None:
    """Put the bins 2 k - 1 and 2 k of one side of series `s` together as bin k."""
    base = state.base[s, side]
    halved = -(-base // 2)
    for key in range(state.least[s, side], state.most[s, side] + 1):
        count = counts[s, key - base]
        counts[s, key - base] = 0
        counts[s, -(-key // 2) - halved] += count
    state.base[s, side] = halved
    state.least[s, side] = -(-state.least[s, side] // 2)
    state.most[s, side] = -(-state.most[s, side] // 2)


@kernel
def count_in(counts: Any, state: Any, s: int, side: int, key: int, bins: int) -> None:
    """Count a sample in bin `key` of level 0, joining and shifting bins until there is room."""
    key = -((-key) >> state.level[s])
    if state.filled[s, side] == 0:
        state.base[s, side] = key - bins // 2
        state.least[s, side], state.most[s, side] = key, key
    least, most = min(state.least[s, side], key), max(state.most[s, side], key)
    while most - least >= bins:
        for each in range(2):
            if state.filled[s, each] > 0:
                join_pairs(state.negative if each == NEGATIVE else state.positive, state, s, each)
        state.level[s] += 1
        key = -(-key // 2)
        least, most = min(state.least[s, side], key), max(state.most[s, side], key)
    base = state.base[s, side]
    if least < base or most >= base + bins:
        to = least - (bins - (most - least + 1)) // 2
        held = state.most[s, side] - state.least[s, side] + 1
        for j in range(held):
            at = state.least[s, side] + j if to > base else state.most[s, side] - j
            count = counts[s, at - base]
            counts[s, at - base] = 0
            counts[s, at - to] = count
        base = state.base[s, side] = to
    counts[s, key - base] += 1
    state.least[s, side], state.most[s, side] = least, most
    state.filled[s, side] += 1


@kernel
def quantiles(state: Any, s: int, width: float, wanted: F8, told: F8) -> None:
    """Fill told (k,) with the quantiles `wanted` (k,); `width`: of the bins as they are now.

    Each lies on a line between what stands for the two ranks around it: for the extremes they
    themselves, 0 for what was counted as zero, else the value that is off by the same share from
    both bounds of its bin, but nothing beyond the extremes.
    """
    below, not_above = state.filled[s, NEGATIVE], state.filled[s, NEGATIVE] + state.zeros[s]
    last, middle = not_above + state.filled[s, POSITIVE] - 1, 2.0 / (1.0 + math.exp(width))
    lowest, highest = state.low[s], state.high[s]
    for j in range(wanted.size):
        at = last * wanted[j]
        rank, found = int(at), lowest
        for each in range(2):
            x = 0.0
            if rank == 0:
                x = lowest
            elif rank == last:
                x = highest
            elif rank < below or rank >= not_above:
                negative = rank < below
                side, left = (NEGATIVE, rank) if negative else (POSITIVE, rank - not_above)
                counts = state.negative if negative else state.positive
                step, key = (-1, state.most[s, side]) if negative else (1, state.least[s, side])
                base = state.base[s, side]
                left -= int(counts[s, key - base])
                while left >= 0:
                    key += step
                    left -= int(counts[s, key - base])
                x = step * middle * math.exp(key * width)
            x = min(max(x, lowest), highest)
            found = x if each == 0 else found + (x - found) * (at - int(at))
            rank = min(rank + 1, last)
        told[j] = found


@kernel
def empty(state: Any, s: int) -> None:
    """Let series `s` have counted nothing."""
    for side in range(2):
        counts = state.negative if side == NEGATIVE else state.positive
        if state.filled[s, side] > 0:
            base = state.base[s, side]
            for key in range(state.least[s, side], state.most[s, side] + 1):
                counts[s, key - base] = 0
        state.filled[s, side] = 0
    state.zeros[s], state.level[s] = 0, 0


@kernel
def put_in_order(x: F8, n: int) -> None:
    """Sort the first `n` numbers in place: heapsort (Williams 1964), which needs no room."""
    top, last = n // 2, n
    while last > 1:
        if top > 0:
            top -= 1
        else:
            last -= 1
            x[0], x[last] = x[last], x[0]
        value, at, below = x[top], top, 2 * top + 1
        while below < last:
            if below + 1 < last and x[below + 1] > x[below]:
                below += 1
            if x[below] <= value:
                break
            x[at] = x[below]
            at, below = below, 2 * below + 1
        x[at] = value
