"""Hostile traffic: everything that real sensors do to an operator, in one short stream."""

from typing import NamedTuple

import numpy as np

from pipelines.batch import BAD, GOOD, UNCERTAIN, Batch, GroupedBatch, new_batch, take
from pipelines.series import NEVER

START_NS = 1_764_000_000_000_000_000
SECOND = 1_000_000_000
MARK = 7
"""t_ns % 1000 of the samples that `with_unknown` adds; all other times are multiples of 1000."""


class Traffic(NamedTuple):
    batch: Batch | GroupedBatch
    ticks: tuple  # of (row of the batch before which it happens, clock_ns of every series)
    series: int


def signal(rng, n, s):
    """(n,) values of series `s`: its kind goes by s % 5."""
    kind = s % 5
    x = rng.normal(0.0, 1.0, n) * (0.01 if kind == 1 else 1.0)
    if kind == 1:
        x += 1e6  # digits of small changes are easily lost here
    elif kind == 2:
        x = np.round(x * 2) / 2  # a coarse sensor: ties, zero changes
    elif kind == 3:
        x = np.cumsum(np.abs(np.round(x * 9)))  # a counter that starts again now and then
        x[n // 2 :] -= x[n // 2 - 1] if n > 1 else 0
    elif kind == 4:
        x = 20 + 10 * np.sin(np.arange(n) / 9) + x * 0.1
    if n > 60:
        x[n // 3 : n // 3 + 40] = x[n // 3]  # stuck
        x[2 * n // 3] = 1e9  # wild
        x[0] = np.nan if kind == 2 else x[0]  # unknown from the start
    x[rng.random(n) < 0.04] = np.nan
    x[rng.random(n) < 0.01] = np.inf
    return x


def times(rng, n):
    """(n,) event times: irregular, some equal, some long gaps; multiples of 1000 ns."""
    gap = np.round(rng.exponential(2.0, n), 6)
    gap[rng.random(n) < 0.05] = 0
    gap[rng.random(n) < 0.01] = 900
    start = START_NS // 1000 + int(rng.integers(0, 10_000_000))
    return (start + np.cumsum((gap * 1e6).astype(np.int64))) * 1000


def traffic(seed, n=1000, series=5, slots=0):
    """`n` samples of `series` series, interleaved; grouped (member, slot) when slots > 0."""
    rng = np.random.default_rng(seed)
    batch = new_batch(n)
    batch.series[:] = rng.integers(0, series, n)
    batch.series[: min(series, n)] = np.arange(min(series, n))
    for s in range(series):
        at = np.flatnonzero(batch.series == s)
        batch.value[at] = signal(rng, at.size, s)
        batch.t_ns[at] = times(rng, at.size)
    batch.start_ns[:] = batch.t_ns
    batch.quality[rng.random(n) < 0.03] = UNCERTAIN
    batch.quality[~np.isfinite(batch.value)] = BAD
    batch.quality[rng.random(n) < 0.01] = BAD  # a finite value that its source calls bad
    ticks = _ticks(rng, batch, series)
    if slots:
        member = rng.integers(0, 4, n).astype(np.int32) + 4 * batch.series
        slot = (member % slots).astype(np.int32)
        return Traffic(GroupedBatch(*batch, member, slot), ticks, series)
    return Traffic(batch, ticks, series)


def _ticks(rng, batch, series):
    """Clocks somewhere between the last sample of each series and just before its next."""
    n, made = batch.size, []
    clock = np.full(series, NEVER, np.int64)
    for row in np.unique(np.append(rng.integers(1, n, 12), n)) if n > 1 else [n]:
        for s in range(series):
            at = np.flatnonzero(batch.series == s)
            past, future = at[at < row], at[at >= row]
            if not past.size:
                continue
            low = max(int(batch.t_ns[past[-1]]), int(clock[s]))
            high = batch.t_ns[future[0]] - 1000 if future.size else low + 1200 * SECOND
            clock[s] = low + max(0, int(rng.integers(0, max(int(high - low), 1)))) // 1000 * 1000
            if high <= low:
                clock[s] = low
        made.append((int(row), clock.copy()))
    return tuple(made)


def with_unknown(made, seed):
    """The same traffic with more unknown samples in it, at times that end in MARK."""
    rng = np.random.default_rng(seed)
    batch, last, index, extra = made.batch, {}, [], []
    for i in range(batch.series.size):
        s, t = int(batch.series[i]), int(batch.t_ns[i])
        if s in last and t - last[s] >= 2000 and rng.random() < 0.3:
            index.append(i)
            extra.append(True)
        index.append(i)
        extra.append(False)
        last[s] = t
    index, extra = np.array(index), np.array(extra)
    more = pick(batch, index)
    more.t_ns[extra] -= 1000 - MARK
    more.start_ns[:] = more.t_ns
    more.value[extra] = rng.choice([np.nan, np.inf, -np.inf, 3.0], int(extra.sum()))
    more.quality[extra] = BAD
    rows = np.flatnonzero(~extra)
    ticks = tuple(
        (int(rows[row]) if row < rows.size else extra.size, clock) for row, clock in made.ticks
    )
    # An added row stands right before its own sample, so a tick before that sample would come
    # between the two: move such ticks in front of the added row.
    ticks = tuple((r - 1 if 0 < r < extra.size and extra[r - 1] else r, c) for r, c in ticks)
    return Traffic(more, ticks, made.series)


def only(made, series):
    """The traffic of one series alone, ticks at the same points."""
    mask = made.batch.series == series
    before = np.concatenate(([0], np.cumsum(mask)))
    ticks = tuple((int(before[row]), clock) for row, clock in made.ticks)
    return Traffic(pick(made.batch, np.flatnonzero(mask)), ticks, made.series)


def pick(batch, index):
    """Rows of a plain or grouped batch, copied."""
    if isinstance(batch, GroupedBatch):
        return GroupedBatch(*take(Batch(*batch[:7]), index), batch.member[index], batch.slot[index])
    return take(batch, index)


def flat(n, value=21.5, slots=0):
    """One stuck series."""
    batch = new_batch(n)
    batch.t_ns[:] = START_NS + SECOND * np.arange(n)
    batch.start_ns[:] = batch.t_ns
    batch.value[:] = value
    batch.quality[:] = GOOD
    ticks = ((n, np.array([batch.t_ns[-1]])),)
    if slots:
        slot = (np.arange(n) % slots).astype(np.int32)
        return Traffic(GroupedBatch(*batch, slot, slot), ticks, 1)
    return Traffic(batch, ticks, 1)
