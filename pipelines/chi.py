"""How far normal noise in several dimensions lies from its mean."""

import math
from functools import lru_cache


def beyond(x: float, dimensions: int) -> float:
    """Share of normal noise of unit variance in so many dimensions whose distance exceeds x >= 0.

    The closed form of the chi-square distribution for whole degrees of freedom (Abramowitz and
    Stegun 1964, 26.4.4 and 26.4.5).
    """
    half = x * x / 2
    share = math.erfc(math.sqrt(half)) if dimensions % 2 else math.exp(-half)
    for fewer in range(2 - dimensions % 2, dimensions, 2):
        share += half ** (fewer / 2) * math.exp(-half) / math.gamma(fewer / 2 + 1)
    return share


@lru_cache(maxsize=256)
def quantile(share: float, dimensions: int) -> float:
    """Distance that the share 0 < `share` < 1 of such noise exceeds, by bisection."""
    low, high = 0.0, 100.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if beyond(middle, dimensions) > share else (low, middle)
    return high
