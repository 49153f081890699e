"""Average run lengths of control charts by Markov chains (Brook & Evans 1972).

A state of the chain is where the statistic is, on a grid. Nothing here follows a sample path, so
it shares nothing with a kernel that does.
"""

import numpy as np
import pytest

norm = pytest.importorskip("scipy.stats").norm


def cusum_arl(k, h, shift=0.0, cells=200):
    """Mean samples until a one-sided sum that starts at 0 exceeds h, of N(shift, 1) samples."""
    width = 2 * h / (2 * cells - 1)  # the first cell is half as wide, around 0
    middle = np.arange(cells) * width
    upper = middle[None, :] + width / 2 - middle[:, None] + k
    within = np.diff(norm.cdf(upper - shift), axis=1)
    moves = np.hstack((norm.cdf(upper[:, :1] - shift), within))
    return np.linalg.solve(np.eye(cells) - moves, np.ones(cells))[0]


def two_sided(above, below):
    """Run length of two one-sided sums together (Kemp 1961; exact for k > 0)."""
    return 1 / (1 / above + 1 / below)


def ewma_arl(lam, limit, shift=0.0, cells=251, varying=0):
    """Mean samples until |smoothed| exceeds limit * its final deviation.

    varying: so many samples use the exact, narrower limits of a chart that has just begun.
    """
    end = limit * np.sqrt(lam / (2 - lam))
    edges = np.linspace(-end, end, cells + 1)
    middle = (edges[1:] + edges[:-1]) / 2
    moves = np.diff(norm.cdf((edges[None, :] - (1 - lam) * middle[:, None]) / lam - shift), axis=1)
    ahead = np.linalg.solve(np.eye(cells) - moves, np.ones(cells))  # with the final limits
    for t in range(varying, 0, -1):
        now = end * np.sqrt(1 - (1 - lam) ** (2 * t))
        low, high = np.clip(edges[:-1], -now, now), np.clip(edges[1:], -now, now)
        kept = norm.cdf((high[None, :] - (1 - lam) * middle[:, None]) / lam - shift) - norm.cdf(
            (low[None, :] - (1 - lam) * middle[:, None]) / lam - shift
        )
        ahead = 1 + kept @ ahead
    return ahead[cells // 2]


def run_lengths(signals):
    """Samples from the end of one signal to the next."""
    return np.diff(np.flatnonzero(np.r_[True, signals]))
