"""Back-off: how long to wait before the next attempt to connect."""

import random
from typing import Final

FIRST_S: Final = 0.5
LONGEST_S: Final = 30.0
STABLE_S: Final = 30.0
"""A connection that held this long was good: the next loss starts afresh."""
TAKEN_OVER_S: Final = 60.0
"""Somebody else uses our client id: two daemons that answer each other at once never end."""


class Backoff:
    """Decorrelated jitter: each wait is random between the shortest and three times the last.

    Source: M. Brooker, "Exponential Backoff and Jitter".  Spreads a fleet that lost its broker
    all at once.
    """

    def __init__(self, seed: int | None = None) -> None:
        self._random = random.Random(seed)  # noqa: S311 - spreads load, guards nothing
        self._last_s = FIRST_S

    def next_s(self, *, up_for_s: float, taken_over: bool = False) -> float:
        """Seconds to wait after a connection that was up for `up_for_s` (0: never was)."""
        if up_for_s >= STABLE_S:
            self._last_s = FIRST_S
        if taken_over:
            return TAKEN_OVER_S * self._random.uniform(1.0, 1.5)
        wait_s = self._random.uniform(FIRST_S, self._last_s * 3)
        self._last_s = min(LONGEST_S, wait_s)
        return self._last_s
