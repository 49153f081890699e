"""Foresight: between which values a sample has nothing told at once.

Whoever brings samples can tell by it, before anything is computed, which of them may wait for
others.  It looks at alerts on values as they came; what steps make of values is not foreseen, and
may wait: a window or a filter knows of a change later than that.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipelines.alerts import FINITE
from pipelines.batch import F8, I4, I8, Batch
from pipelines.calm import narrowed
from pipelines.each import by_address
from pipelines.jit import kernel
from pipelines.runner import StepRunner


class Foresight:
    """Of the series of one source."""

    def __init__(self, alerts: Sequence[tuple[int, Sequence[StepRunner]]]) -> None:
        """`alerts`: of some pipelines of the same form, the first one's number and all runners."""
        self.low: F8 = np.zeros(0)
        self.high: F8 = np.zeros(0)
        """(series,) what is in [low, high] may wait; replaced as series are met."""
        self._alerts = [(first, by_address(runners)) for first, runners in alerts]
        self._pressing: I8 = np.zeros(0, np.int64)
        self._beyond: Any = None
        self._narrowed: list[Any] = []

    def meet(self, series: int, *, anew: bool) -> None:
        """There are so many series; `anew`: nothing is known of any."""
        kept = 0 if anew else self.low.size
        more = series - kept
        self.low = np.concatenate((self.low[:kept], np.full(more, np.inf)))
        self.high = np.concatenate((self.high[:kept], np.full(more, -np.inf)))

    def forget(self) -> None:
        """Something else than samples has moved alerts."""
        self.low.fill(np.inf)
        self.high.fill(-np.inf)

    def look(self, batch: Batch, starts: I8, member: I4, row: I4) -> None:
        """Find the interval anew of the series that had a sample which is not in it.

        starts: by series, its first link; and behind them all. member, row: of each link.
        """
        if batch.size > self._pressing.size:
            self._pressing = np.zeros(2 * batch.size, np.int64)
        args = (batch.series, batch.value, self.low, self.high, self._pressing)
        if self._beyond is None:
            self._beyond = _beyond.bound(*args)
        of = self._pressing[: self._beyond(*args)]
        if of.size:
            self._narrow(of, starts, member, row)

    def _narrow(self, of: I8, starts: I8, member: I4, row: I4) -> None:
        self.low[of], self.high[of] = -FINITE, FINITE
        for i, (first, found) in enumerate(self._alerts):
            args = (of, starts, starts[1:], member, row, first, *found, 1, self.low, self.high)
            if i == len(self._narrowed):
                self._narrowed.append(narrowed.bound(*args))
            self._narrowed[i](*args)


@kernel
def _beyond(series: I4, value: F8, low: F8, high: F8, out: I8) -> int:
    """Series of samples that are not in [low, high], into `out`; how many."""
    n = 0
    for i in range(series.size):
        s = series[i]
        if not low[s] <= value[i] <= high[s]:
            out[n] = s
            n += 1
    return n
