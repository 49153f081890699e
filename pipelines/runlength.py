"""Run lengths by theory: the limit that independent normal samples pass so seldom.

A run length is the mean number of samples from one false alarm to the next. It is computed when
parameters are packed, never in a kernel: each function gives a table (DECADES,) of limits for the
run lengths `LENGTHS`, between which kernels interpolate.
"""

import math
from collections.abc import Callable
from functools import cache
from statistics import NormalDist
from typing import Final

import numpy as np

from pipelines.batch import F8

STEPS_PER_DECADE: Final = 2
LENGTHS: Final = 10.0 ** (np.arange(25) / STEPS_PER_DECADE)
"""(25,) one sample to 10^12: a sample each millisecond for thirty years."""

_NORMAL: Final = NormalDist()
_OVERSHOOT: Final = 1.166
"""Twice 0.583: what a normal sum exceeds its limit by, on both ends (Siegmund 1985)."""
_CELLS: Final = 121


def shewhart_length(limit: float) -> float:
    """Run length of |sample| > limit."""
    return 1.0 / math.erfc(limit / math.sqrt(2.0))


def cusum_length(k: float, h: float) -> float:
    """Run length of a two-sided cumulative sum with slack k.

    Siegmund's approximation (1985): within 1 % of the Markov chain for k 0.5, 7 % for k 1.
    """
    b = h + _OVERSHOOT
    if k * b < 1e-4:
        return b * b / 2
    return (math.expm1(min(2 * k * b, 700.0)) - 2 * k * b) / (4 * k * k)


@cache
def ewma_length(weight: float, limit: float) -> float:
    """Run length of |smoothed| > limit times its final deviation (Lucas & Saccucci 1990).

    By the Markov chain of Brook & Evans (1972) over cells of the smoothed value.
    """
    end = limit * math.sqrt(weight / (2 - weight))
    edges = np.linspace(-end, end, _CELLS + 1)
    middle = (edges[1:] + edges[:-1]) / 2
    upper = (edges[None, :] - (1 - weight) * middle[:, None]) / weight
    share = np.vectorize(lambda z: math.erfc(-z / math.sqrt(2.0)) / 2)(upper)
    stay = np.diff(share, axis=1)
    return float(np.linalg.solve(np.eye(_CELLS) - stay, np.ones(_CELLS))[_CELLS // 2])


def scan_length(before: int, after: int, limit: float) -> float:
    """Run length of |difference of means| of two adjacent windows that move with the samples.

    The difference is a normal process whose correlation falls by eta from sample to sample near
    0; the rate of its clumps above a limit b is b phi(b) b eta v / b on each side, where v
    corrects for time in steps (Siegmund & Yakir 2007; Siegmund 1985, 4.4).
    """
    a, b = 1 / after, 1 / before
    eta = (a * a + (a + b) ** 2 + b * b) / (a + b) / 2
    step = limit * math.sqrt(2 * eta)
    rate = 2 * limit * eta * _NORMAL.pdf(limit) * math.exp(-_OVERSHOOT / 2 * step)
    return 1.0 / max(rate, 1e-300)


def rank_scan_length(before: int, after: int, limit: float) -> float:
    """Run length of twice sqrt(before after / (before + after)) times their largest difference.

    Of empirical distributions, that is. Its tail is 2 exp(-limit^2 / 2) at one sample (Kolmogorov
    1933; Smirnov 1939); near the middle of the distribution, where it is reached, the difference
    moves with the samples as that of `scan_length` does, of whose rate limit^2 eta v is the part
    that is not the tail phi(b) / b. In simulations 0.8 to 1.8 times as long with windows of 30 and
    60; longer with short windows, whose shares come in large steps.
    """
    tail = math.exp(-limit * limit / 2)
    of_means = 1 / scan_length(before, after, limit)
    part = of_means / (2 * _NORMAL.pdf(limit) / limit)
    return 1.0 / max(2 * tail * part, 1e-300)


@cache
def shewhart_limits() -> F8:
    """Limits for |sample| in standard deviations."""
    return np.array([-_NORMAL.inv_cdf(min(0.5 / n, 0.5 - 1e-6)) for n in LENGTHS])


@cache
def cusum_limits(k: float) -> F8:
    """Limits h for both sums of a chart with slack k."""
    return _solved(lambda h: cusum_length(k, h))


@cache
def ewma_limits(weight: float) -> F8:
    """Limits in final deviations of the smoothed value."""
    # Beyond, ln(length) is as good as a line over the square of the limit, and the chain's
    # digits run out.
    known = np.linspace(0.5, 5.5, 21)
    length = np.log([ewma_length(weight, float(limit)) for limit in known])
    square, wanted = known**2, np.log(LENGTHS)
    slope = (square[-1] - square[-3]) / (length[-1] - length[-3])
    beyond = square[-1] + (wanted - length[-1]) * slope
    within = np.interp(wanted, length, square)
    found: F8 = np.sqrt(np.where(wanted > length[-1], beyond, within))
    return found


@cache
def scan_limits(before: int, after: int) -> F8:
    """Limits for the difference of two windows in its own standard errors."""
    return _solved(lambda b: scan_length(before, after, b), 1.5)


@cache
def rank_scan_limits(before: int, after: int) -> F8:
    """Limits for the largest difference of two windows' distributions, as `rank_scan_length`."""
    return _solved(lambda b: rank_scan_length(before, after, b), 1.5)


def _solved(length: Callable[[float], float], least: float = 0.0) -> F8:
    """Where a run length that rises with its limit comes to each of `LENGTHS`."""
    found = []
    for wanted in LENGTHS:
        low, high = least, max(least, 1.0)
        while length(high) < wanted:
            high *= 2
        for _ in range(50):
            middle = (low + high) / 2
            low, high = (middle, high) if length(middle) < wanted else (low, middle)
        found.append(high)
    return np.array(found)
