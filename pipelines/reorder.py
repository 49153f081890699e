"""Reorder: each series of a source in event-time order, as far as its lateness allows.

Per series: a sample waits until the watermark (greatest event time seen minus lateness) has
passed it, or until it has waited as long as the lateness by its time of arrival.  One device
with a wrong clock therefore moves no other device's time.
"""

from typing import Final, NamedTuple

import numpy as np

from pipelines.batch import BAD, F8, GOOD, I4, I8, Batch, new_batch, rows
from pipelines.jit import kernel
from pipelines.series import NEVER, SeriesTable

NONE: Final = -1
USED, LATE, DUPLICATE, FUTURE, FORCED = range(5)
IDLE_GAPS: Final = 5
IDLE_FIRST_NS: Final = 10_000_000_000
IDLE_MIN_NS: Final = 1_000_000_000


class Arrivals(NamedTuple):
    """Decoded samples in the order of their arrival."""

    series: I4  # (n,) row of the source's series table
    t_ns: I8  # (n,) event time
    value: F8  # (n,) NaN where the device sent none
    arrival_ns: I8  # (n,) when our socket had the message


class Times(NamedTuple):
    """(S,) what is known of each series' time."""

    head_ns: I8  # greatest event time accepted
    released_ns: I8  # event time of the last sample handed on
    released: F8  # its value, to tell a duplicate
    arrival_ns: I8  # arrival of the newest sample
    gap_ns: F8  # usual distance of samples, exponentially smoothed
    seen: I8  # samples accepted
    waiting: I4  # first waiting sample in the pool, NONE
    clock_ns: I8  # complete up to here


class Pool(NamedTuple):
    """(P,) waiting samples of all series, as one linked list per series in event-time order."""

    t_ns: I8
    value: F8
    arrival_ns: I8
    following: I4  # next sample of the series, or next free place
    free: I4  # (1,) first free place, NONE when full
    held: I8  # (1,) samples waiting


class Rules(NamedTuple):
    """How long to wait, in nanoseconds; idle_ns < 0 is learned from the series' own gaps."""

    lateness_ns: int
    future_ns: int
    idle_ns: int


@kernel
def _release(
    s: int, until: int, now: int, times: Times, pool: Pool, rules: Rules, out: Batch
) -> int:
    """Hand on all of series `s` up to `until` or that waited long enough; how far that was."""
    node = times.waiting[s]
    while node != NONE:
        if pool.arrival_ns[node] + rules.lateness_ns <= now and pool.t_ns[node] > until:
            until = pool.t_ns[node]
        node = pool.following[node]
    n = out.count[0]
    node = times.waiting[s]
    while node != NONE and pool.t_ns[node] <= until:
        out.series[n], out.t_ns[n], out.value[n] = s, pool.t_ns[node], pool.value[node]
        n += 1
        times.released_ns[s], times.released[s] = pool.t_ns[node], pool.value[node]
        following = pool.following[node]
        pool.following[node] = pool.free[0]
        pool.free[0] = node
        pool.held[0] -= 1
        node = following
    times.waiting[s] = node
    out.count[0] = n
    return until


@kernel
def admit(arrivals: Arrivals, times: Times, pool: Pool, rules: Rules, out: Batch, fate: I8) -> None:
    """Take samples as they arrive, hand on those whose turn has come, count what became of each.

    Equivalent to, per series: drop what is older than the last one handed on (late), equals a
    waiting or the last one in time and value (duplicate) or lies too far ahead of its arrival
    (future); then hand on, sorted by time, all up to max(head - lateness, newest waiting sample
    that arrived at least `lateness` ago).
    """
    for i in range(arrivals.series.size):
        s, t, x = arrivals.series[i], arrivals.t_ns[i], arrivals.value[i]
        now = arrivals.arrival_ns[i]
        if t > now + rules.future_ns:
            fate[FUTURE] += 1
            continue
        if t < times.released_ns[s]:
            fate[LATE] += 1
            continue
        twice = t == times.released_ns[s] and _same(x, times.released[s])
        before, after = NONE, times.waiting[s]
        while after != NONE and pool.t_ns[after] <= t:
            twice = twice or (pool.t_ns[after] == t and _same(x, pool.value[after]))
            before, after = after, pool.following[after]
        if twice:
            fate[DUPLICATE] += 1
            continue
        if times.seen[s] > 0 and t > times.head_ns[s]:
            gap = float(t - times.head_ns[s])
            old = times.gap_ns[s]
            times.gap_ns[s] = gap if old == 0 else old + (gap - old) / 8
        times.head_ns[s] = max(t, times.head_ns[s])
        times.arrival_ns[s] = now
        times.seen[s] += 1
        until = times.head_ns[s] - rules.lateness_ns
        place = pool.free[0]
        if place == NONE:  # Nowhere to wait: go at once, after all of the series before it.
            fate[FORCED] += 1
            until = _release(s, max(until, t), now, times, pool, rules, out)
            n = out.count[0]
            out.series[n], out.t_ns[n], out.value[n] = s, t, x
            out.count[0] = n + 1
            times.released_ns[s], times.released[s] = t, x
        else:
            pool.free[0] = pool.following[place]
            pool.t_ns[place], pool.value[place], pool.arrival_ns[place] = t, x, now
            pool.following[place] = after
            pool.held[0] += 1
            if before == NONE:
                times.waiting[s] = place
            else:
                pool.following[before] = place
            until = _release(s, until, now, times, pool, rules, out)
        times.clock_ns[s] = max(times.clock_ns[s], until)


@kernel
def _same(x: float, y: float) -> bool:
    return x == y or (np.isnan(x) and np.isnan(y))


@kernel
def advance(now: int, size: int, times: Times, pool: Pool, rules: Rules, out: Batch) -> None:
    """Let time go on without samples: hand on what has waited, move clocks of silent series.

    A series is silent after `idle_ns` (5 of its usual gaps when learned) without an arrival;
    from then on its clock runs with ours, as far behind as its newest sample was.
    """
    for s in range(size):
        if times.seen[s] == 0:
            continue
        until = times.clock_ns[s]
        if times.waiting[s] != NONE:
            until = _release(s, until, now, times, pool, rules, out)
        idle = rules.idle_ns
        if idle < 0:
            idle = IDLE_FIRST_NS
            if times.gap_ns[s] > 0:
                idle = max(IDLE_MIN_NS, int(IDLE_GAPS * times.gap_ns[s]))
            idle = max(idle, rules.lateness_ns)
        silent = now - times.arrival_ns[s]
        if silent >= idle:
            until = max(until, times.head_ns[s] + silent - rules.lateness_ns)
        times.clock_ns[s] = until


class Reorder:
    """The time stage of one source."""

    def __init__(self, table: SeriesTable, rules: Rules, samples_max: int) -> None:
        self.table = table
        self.rules = rules
        self.fate: I8 = np.zeros(5, np.int64)
        """Samples since the start that were LATE, DUPLICATE, FUTURE or FORCED on."""
        self._times = _new_times(64)
        following = np.arange(1, samples_max + 1, dtype=np.int32)
        following[-1] = NONE
        self._pool = Pool(
            t_ns=np.zeros(samples_max, np.int64),
            value=np.zeros(samples_max, np.float64),
            arrival_ns=np.zeros(samples_max, np.int64),
            following=following,
            free=np.zeros(1, np.int32),
            held=np.zeros(1, np.int64),
        )
        self._out = new_batch(1024)

    @property
    def held(self) -> int:
        """Samples that wait for their turn."""
        return int(self._pool.held[0])

    def run(self, arrivals: Arrivals) -> Batch:
        """Samples whose turn has come; a view that holds until the next call."""
        self._make_room(arrivals.series.size)
        admit(arrivals, self._times, self._pool, self.rules, self._out, self.fate)
        return self._released()

    def tick(self, now_ns: int) -> Batch:
        """The same for time that passed without samples. `now_ns` is recorded, not read."""
        self._make_room(0)
        advance(now_ns, len(self.table), self._times, self._pool, self.rules, self._out)
        return self._released()

    def flush(self) -> Batch:
        """All samples that wait, in order, because no more will come."""
        self._make_room(0)
        for s in range(len(self.table)):
            until = int(self._times.head_ns[s])
            _release(s, until, until, self._times, self._pool, self.rules, self._out)
        return self._released()

    def _make_room(self, more: int) -> None:
        need = self.held + more
        if self._out.size < need:
            self._out = new_batch(2 * need)
        self._out.count[0] = 0
        size = self._times.seen.size
        if size < len(self.table):
            grown = _new_times(max(2 * size, len(self.table)))
            for name in Times._fields:
                getattr(grown, name)[:size] = getattr(self._times, name)
            self._times = grown

    def _released(self) -> Batch:
        n = int(self._out.count[0])
        used = len(self.table)
        self.table.clock_ns[:used] = self._times.clock_ns[:used]
        self.fate[USED] += n
        out = rows(self._out, 0, n)
        out.start_ns[:] = out.t_ns
        out.quality[:] = np.where(np.isfinite(out.value), GOOD, BAD)
        return out


def _new_times(size: int) -> Times:
    return Times(
        head_ns=np.full(size, NEVER, np.int64),
        released_ns=np.full(size, NEVER, np.int64),
        released=np.zeros(size, np.float64),
        arrival_ns=np.zeros(size, np.int64),
        gap_ns=np.zeros(size, np.float64),
        seen=np.zeros(size, np.int64),
        waiting=np.full(size, NONE, np.int32),
        clock_ns=np.full(size, NEVER, np.int64),
    )
