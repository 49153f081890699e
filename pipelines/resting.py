"""Series whose alert is at rest: most rows are of such, and are to be done with soon.

`state` and `params` are those of `pipelines.alerts`.
"""

from typing import Any, Final

from pipelines.batch import GOOD, Batch
from pipelines.jit import inlined

CALM: Final = 16
BLOCK: Final = 32
"""Rows: after so many of series at rest, so many are looked at together."""


@inlined
def rests(s: int, state: Any, params: Any) -> bool:
    """Whether nothing that has been is of account: the next value decides by itself."""
    found: bool = _rests(s, state, params.flapping[params.row[s]])
    return found


@inlined
def _rests(s: int, state: Any, flapping: int) -> bool:
    flaps = flapping == 1 and state.changes[s] | state.shown[s] != 0
    return state.phase[s] | state.unknown[s] == 0 and not flaps


@inlined
def _all_rest(first: int, of: int, batch: Batch, state: Any, params: Any) -> bool:
    """Whether the next BLOCK rows, from `first` on, are of series at rest with set `of` and stay so.

    First all values, several at once, then all series: that takes less time than row by row.
    """
    floor, ceiling, off = params.floor[of], params.ceiling[of], 0
    for i in range(first, first + BLOCK):
        x = batch.value[i]
        off |= (batch.quality[i] != GOOD) | (not floor <= x) | (not x <= ceiling)
    if off != 0:
        return False
    flapping = params.flapping[of]
    for i in range(first, first + BLOCK):
        s = batch.series[i]
        if params.row[s] != of or not _rests(s, state, flapping):
            return False
    return True


@inlined
def at_rest(first: int, batch: Batch, state: Any, params: Any) -> int:
    """The next row, from `first` on, that is not of a series at rest, or does not leave it so.

    Most rows do, and nothing but `last` is to be kept of them.
    """
    i, n, calm = first, batch.series.size, 0
    while i < n:
        s, x = batch.series[i], batch.value[i]
        p = params.row[s]
        if calm >= CALM and i + BLOCK <= n:
            calm = -BLOCK
            if _all_rest(i, p, batch, state, params):
                for j in range(i, i + BLOCK):
                    state.last[batch.series[j]] = batch.value[j]
                i, calm = i + BLOCK, CALM
                continue
        within = batch.quality[i] == GOOD and params.floor[p] <= x <= params.ceiling[p]
        if not within or not rests(s, state, params):
            break
        state.last[s] = x
        i, calm = i + 1, calm + 1
    return i
