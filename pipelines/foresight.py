"""Foresight: between which values a sample has nothing told at once.

Whoever brings samples can tell by it, before anything is computed, which of them may wait for
others, and for how long.  Of alerts on values as they came it is known whether they change.  What
filters make of values lies between those that came of late: while these pass no limit, it seldom
does, and what it then does is told late by no more than a tick.  What else steps make of values is
not foreseen, and may wait: a window knows of a change later than that.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from pipelines.alerts import FINITE
from pipelines.batch import F8, I4, I8, Batch
from pipelines.calm import narrowed
from pipelines.each import by_address
from pipelines.jit import kernel
from pipelines.runner import StepRunner

Alerts = tuple[int, Sequence[StepRunner]]
"""Of some pipelines of the same form: the first one's number, and all runners."""


class Bounds(NamedTuple):
    """(series,) each."""

    low: F8
    """What is in [low, high] may wait."""
    high: F8
    least: F8
    """What is also in [least, most] is calm, and may wait for long where nothing else is told."""
    most: F8


_NOTHING: Final = Bounds(np.inf, -np.inf, np.inf, -np.inf)  # type: ignore[arg-type]


class Foresight:
    """Of the series of one source."""

    def __init__(self, near: Sequence[Alerts], far: Sequence[Alerts]) -> None:
        """`near`: on values as they came; `far`: on what filters make of them."""
        none = np.zeros(0)
        self.of = Bounds(none, none, none, none)
        """Replaced as series are met."""
        self._near, self._far = _Narrowing(near), _Narrowing(far)
        self._found: I8 = np.zeros(0, np.int64)
        self._beyond: Any = None

    def meet(self, series: int, *, anew: bool) -> None:
        """There are so many series; `anew`: nothing is known of any."""
        kept = 0 if anew else self.of.low.size
        unknown = [np.full(series - kept, nothing) for nothing in _NOTHING]
        both = zip(self.of, unknown, strict=True)
        self.of = Bounds._make(np.concatenate((was[:kept], more)) for was, more in both)

    def forget(self) -> None:
        """Something else than samples has moved alerts."""
        for column, nothing in zip(self.of, _NOTHING, strict=True):
            column.fill(nothing)

    def look(self, batch: Batch, starts: I8, member: I4, row: I4) -> None:
        """Find the bounds anew of the series that had a sample which is not within these.

        starts: by series, its first link; and behind them all. member, row: of each link.
        """
        if batch.size > self._found.size:
            self._found = np.zeros(2 * batch.size, np.int64)
        args = (batch.series, batch.value, self.of, self._found)
        if self._beyond is None:
            self._beyond = _beyond.bound(*args)
        of = self._found[: self._beyond(*args)]
        if of.size:
            links = (starts, starts[1:], member, row)
            self._near.narrow(of, links, self.of.low, self.of.high)
            self._far.narrow(of, links, self.of.least, self.of.most)


class _Narrowing:
    """Finds what leaves some alerts as they are."""

    def __init__(self, alerts: Sequence[Alerts]) -> None:
        self._alerts = [(first, by_address(runners)) for first, runners in alerts]
        self._calls: list[Any] = []

    def narrow(self, of: I8, links: tuple[I8, I8, I4, I4], low: F8, high: F8) -> None:
        """Find [low, high] of these series."""
        low[of], high[of] = -FINITE, FINITE
        for i, (first, found) in enumerate(self._alerts):
            args = (of, *links, first, *found, 1, low, high)
            if i == len(self._calls):
                self._calls.append(narrowed.bound(*args))
            self._calls[i](*args)


@kernel
def _beyond(series: I4, value: F8, of: Bounds, out: I8) -> int:
    """Series of samples that are not within the bounds, into `out`; how many."""
    n = 0
    for i in range(series.size):
        s, x = series[i], value[i]
        if not (of.low[s] <= x <= of.high[s] and of.least[s] <= x <= of.most[s]):
            out[n] = s
            n += 1
    return n
