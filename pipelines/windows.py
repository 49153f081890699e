"""What windows that fill up sample by sample have in common: their state and their numbers.

The state of such an operator has the columns `samples`, `total`, `lost`, `mean`, `m2`, `low`,
`high`, `begin`, `end` and `quality`, each (S, k): series by open windows.
"""

from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np

from pipelines.batch import BAD, GOOD, I8, Batch
from pipelines.jit import kernel
from pipelines.numerics import added, joined

Stat = Literal["mean", "min", "max", "sum", "count", "std", "var", "first", "last", "range"]
MEAN, MIN, MAX, SUM, COUNT, STD, VAR, FIRST, LAST, RANGE = range(10)


def chosen(sets: Sequence[tuple[str, ...]]) -> I8:
    """(R, k) numbers of the statistics that each set of parameters names, as `stat_of` reads."""
    known = get_args(Stat)
    return np.array([[known.index(name) for name in stats] for stats in sets], np.int64)


def with_squares(sets: Sequence[tuple[str, ...]]) -> I8:
    """(R,) whether any of the statistics that each set of parameters names is about squares."""
    return np.array([not {"std", "var"}.isdisjoint(stats) for stats in sets], np.int64)


@kernel
def count_in(state: Any, s: int, k: int, x: float, quality: int, squares: int) -> None:
    """Count a sample of series `s` in its window at slot `k`; `squares`: 0 for a window without."""
    samples = state.samples[s, k]
    if samples == 0:
        state.total[s, k], state.lost[s, k] = 0.0, 0.0
        state.mean[s, k], state.m2[s, k] = 0.0, 0.0
        state.low[s, k], state.high[s, k], state.begin[s, k] = x, x, x
        state.quality[s, k] = GOOD
    state.samples[s, k] = samples + 1
    state.total[s, k], state.lost[s, k] = added(state.total[s, k], state.lost[s, k], x)
    if squares != 0:
        state.mean[s, k], state.m2[s, k] = joined(state.mean[s, k], state.m2[s, k], samples + 1, x)
    state.low[s, k] = min(state.low[s, k], x)
    state.high[s, k] = max(state.high[s, k], x)
    state.end[s, k] = x
    state.quality[s, k] = max(state.quality[s, k], quality)


@kernel
def stat_of(which: int, state: Any, s: int, k: int) -> float:
    """One number about the window in slot `k` of series `s`."""
    count = state.samples[s, k]
    if which == COUNT:
        return float(count)
    if which == MIN:
        return float(state.low[s, k])
    if which == MAX:
        return float(state.high[s, k])
    if which == RANGE:
        return float(state.high[s, k] - state.low[s, k])
    if which == FIRST:
        return float(state.begin[s, k])
    if which == LAST:
        return float(state.end[s, k])
    if which in (STD, VAR):
        var = state.m2[s, k] / (count - 1) if count > 1 else np.nan
        return float(np.sqrt(var) if which == STD else var)
    total = state.total[s, k] + state.lost[s, k]
    return float(total if which == SUM else total / count)


@kernel
def tell(state: Any, s: int, k: int, start_ns: int, end_ns: int, stats: I8, out: Batch) -> None:
    """Give out the window at slot `k` of series `s`, with its `stats`, and empty it."""
    n = out.count[0]
    out.series[n], out.t_ns[n], out.start_ns[n] = s, end_ns, start_ns
    for j in range(stats.size):
        out.fields[n, j] = stat_of(stats[j], state, s, k)
    out.value[n] = out.fields[n, 0]
    out.quality[n] = state.quality[s, k] if np.isfinite(out.value[n]) else BAD
    state.samples[s, k] = 0
    out.count[0] = n + 1
