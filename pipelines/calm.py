"""Calm: between which values a sample leaves every alert on its series at rest.

Hundreds of rules on one series seldom have anything to say about a sample.  What all of them take
for normal is one interval; a sample in it is not handed to any.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipelines.alerts import ACTIVE, FINITE, State
from pipelines.batch import F8, I4, I8, U1
from pipelines.each import by_address
from pipelines.jit import inlined, kernel
from pipelines.primitives import loaded
from pipelines.resting import rests
from pipelines.runner import StepRunner


class Calm:
    """Members that have an alert and no step, and whose rows nobody else wants."""

    def __init__(self, runners: Sequence[StepRunner], first: int) -> None:
        """`runners`: of their alerts. `first`: number of the first of them; they are the last ones."""
        self.first = first
        self._found = by_address(runners)
        self._call: Any = None

    def look(
        self, stirred: I8, n: int, links: tuple[I8, I8, I4, I4], low: F8, high: F8, dirty: U1
    ) -> None:
        """Find the interval anew of the first `n` of these series, which were handed on.

        links: for each series where its links begin and where those to these members do; the
        member and the row of each link.  low, high: the intervals by series, empty where some
        alert is not at rest.  dirty: taken back.
        """
        of = stirred[:n]
        low[of], high[of], dirty[of] = -FINITE, FINITE, 0
        starts, middle, *to = links
        args = (of, middle, starts[1:], *to, self.first, *self._found, 0, low, high)
        if self._call is None:
            self._call = narrowed.bound(*args)
        self._call(*args)


@inlined
def stands(s: int, state: State, params: Any) -> tuple[float, float]:
    """Between which values a sample leaves an active alert as it is; (inf, -inf) where none does.

    As long as nothing else is under way, one with a single limit stands while that is passed by more
    than the deadband.
    """
    p, least, most = params.row[s], np.inf, -np.inf
    steady = state.phase[s] == ACTIVE and state.unknown[s] | state.waiting[s] == 0
    plain = params.slots[p] == 1 and params.flapping[p] == 0 and not params.update_by[p] > 0
    if steady and plain:
        above = params.high[p, 0] - params.deadband[p, 0]
        below = params.low[p, 0] + params.deadband[p, 0]
        if state.last[s] > above:
            least, most = np.nextafter(above, np.inf), float(FINITE)
        elif state.last[s] < below:
            least, most = -float(FINITE), np.nextafter(below, -np.inf)
    return least, most


@kernel
def narrowed(
    series: I8,
    begins: I8,
    ends: I8,
    member: I4,
    row: I4,
    less: int,
    addresses: I8,
    second: int,
    like_state: Any,
    like_params: Any,
    standing: int,
    low: F8,
    high: F8,
) -> None:
    """Leave of [low, high] of each of these series what some members take for normal.

    Nothing where an alert is not at rest; with `standing`, what leaves it as it is.  begins, ends:
    by series, the links to look at; those to members before `less`, or behind its last one, are
    passed over.
    """
    for j in range(series.size):
        s = series[j]
        least, most = low[s], high[s]
        for link in range(begins[s], ends[s]):
            m, r = member[link] - less, row[link]
            if m < 0 or m >= addresses.size:
                continue
            state = loaded(addresses[m] + 8, like_state)
            params = loaded(addresses[m] + 8 + second, like_params)
            p = params.row[r]
            floor, ceiling = params.floor[p], params.ceiling[p]
            if not rests(r, state, params):
                floor, ceiling = np.inf, -np.inf
                if standing:
                    floor, ceiling = stands(r, state, params)
            least, most = max(least, floor), min(most, ceiling)
            if least > most:
                break
        low[s], high[s] = least, most
