"""Order: each series of a source in event-time order, as far as its lateness allows.

Per series: a sample waits until the watermark (greatest event time seen minus lateness) has
passed it, or until it has waited as long as the lateness by its time of arrival.  One device
with a wrong clock therefore moves no other device's time.

Late is what is older than a sample of its series that was already handed on (`t < released`):
its place in the order is gone.  A sample between that and the clock (`released <= t <= clock`)
is not late: only silence had moved the clock, nothing was handed on after it, and a backlog sent
after an outage is news, not waste.  What timers told about the silence before stays told.

So whatever arrives less than `lateness` after the first newer sample of its series, and is less
than `lateness` older than it, finds its place: order of arrival makes no difference.  Samples of
equal time are ordered by counter, those without one by value.
"""

from typing import Final, NamedTuple

import numpy as np

from pipelines.batch import F8, I4, I8, U1, Batch
from pipelines.jit import kernel
from pipelines.series import NEVER

NONE: Final = -1
USED, LATE, DUPLICATE, FUTURE, FORCED = range(5)
IDLE_GAPS: Final = 5
IDLE_FIRST_NS: Final = 10_000_000_000
IDLE_MIN_NS: Final = 1_000_000_000
RECENT: Final = 32
"""Samples per series, handed on or late, among which one that comes again is recognised: what is
sent again was in flight, and a device has few messages in flight."""
CALM_NS: Final = 60_000_000_000
"""A device whose clock ran ahead is well again with the first plausible sample this long after
its last future one: a device that goes to and fro is told of twice a minute at most."""


class Arrivals(NamedTuple):
    """Decoded samples in the order of their arrival."""

    series: I4  # (n,) row of the source's series table
    t_ns: I8  # (n,) event time
    value: F8  # (n,) NaN where the device sent none
    arrival_ns: I8  # (n,) when our socket had the message
    seq: I8  # (n,) the device's counter, -1 where it sent none


class Times(NamedTuple):
    """(S,) what is known of each series' time."""

    head_ns: I8  # greatest event time accepted
    released_ns: I8  # event time of the last sample handed on
    arrival_ns: I8  # arrival of the newest sample
    gap_ns: F8  # usual distance of samples, exponentially smoothed
    seen: I8  # samples accepted
    waiting: I4  # first waiting sample in the pool, NONE
    clock_ns: I8  # complete up to here
    past_t_ns: I8  # (S, RECENT) the last samples that wait no more, a ring
    past_value: F8  # (S, RECENT)
    past_seq: I8  # (S, RECENT)
    past: I8  # samples written to the ring so far


class Pool(NamedTuple):
    """(P,) waiting samples of all series, as one linked list per series in event-time order."""

    t_ns: I8
    value: F8
    arrival_ns: I8
    seq: I8
    following: I4  # next sample of the series, or next free place
    free: I4  # (1,) first free place, NONE when full
    held: I8  # (1,) samples waiting


class Ahead(NamedTuple):
    """Devices whose clock runs ahead: (S,) the device of each series, then (D,) by device."""

    device: I4
    future: I8  # future samples since it began, 0 while all is well
    most_ns: I8  # how far ahead of its arrival the worst of them was
    since_ns: I8  # arrival of the first
    last_ns: I8  # arrival of the last


class Notices(NamedTuple):
    """(n,) devices whose clock began to run ahead, or is well again, in order of arrival."""

    series: I4  # one of the device's series
    ended: U1
    arrival_ns: I8  # of the sample that showed it
    ahead_ns: I8
    future: I8  # samples that were
    since_ns: I8
    written: I8  # (1,) rows so far


class Rules(NamedTuple):
    """How long to wait, in nanoseconds; idle_ns < 0 is learned from the series' own gaps."""

    lateness_ns: int
    future_ns: int
    idle_ns: int
    timed: bool = True
    """False: event time is time of arrival, so a sample sent again has another one."""


@kernel
def _same(timed: bool, t: int, x: float, q: int, t2: int, x2: float, q2: int) -> bool:
    """Whether two samples of a series are one: by time and counter, without counter by value.

    Without times of the device: by counter and value, for counters start again with the device.
    """
    equal = x == x2 or (np.isnan(x) and np.isnan(x2))
    if q != q2:
        return False
    if q < 0:
        return t == t2 and equal
    return t == t2 if timed else equal


@kernel
def _follows(t: int, x: float, q: int, t2: int, x2: float, q2: int) -> bool:
    """Whether the first sample has its place behind the second; NaN is the greatest value."""
    if t != t2:
        return t > t2
    if q != q2:
        return q > q2
    return q >= 0 or np.isnan(x) or x >= x2


@kernel
def _had(s: int, t: int, x: float, q: int, timed: bool, times: Times) -> bool:
    """Whether the series had this sample before, among the last `RECENT` that wait no more."""
    for i in range(min(times.past[s], RECENT)):
        t2, x2, q2 = times.past_t_ns[s, i], times.past_value[s, i], times.past_seq[s, i]
        if _same(timed, t, x, q, t2, x2, q2):
            return True
    return False


@kernel
def _remember(s: int, t: int, x: float, q: int, times: Times) -> None:
    i = times.past[s] % RECENT
    times.past_t_ns[s, i], times.past_value[s, i], times.past_seq[s, i] = t, x, q
    times.past[s] += 1


@kernel
def _hand_on(s: int, t: int, x: float, q: int, times: Times, out: Batch) -> None:
    n = out.count[0]
    out.series[n], out.t_ns[n], out.value[n] = s, t, x
    out.count[0] = n + 1
    times.released_ns[s] = t
    _remember(s, t, x, q, times)


@kernel
def release(
    s: int, until: int, now: int, times: Times, pool: Pool, rules: Rules, out: Batch
) -> int:
    """Hand on all of series `s` up to `until` or that waited long enough; how far that was."""
    node = times.waiting[s]
    while node != NONE:
        if pool.arrival_ns[node] + rules.lateness_ns <= now and pool.t_ns[node] > until:
            until = pool.t_ns[node]
        node = pool.following[node]
    node = times.waiting[s]
    while node != NONE and pool.t_ns[node] <= until:
        _hand_on(s, pool.t_ns[node], pool.value[node], pool.seq[node], times, out)
        following = pool.following[node]
        pool.following[node] = pool.free[0]
        pool.free[0] = node
        pool.held[0] -= 1
        node = following
    times.waiting[s] = node
    return until


@kernel
def _note(s: int, over_ns: int, now: int, ahead: Ahead, notices: Notices) -> None:
    """What a sample that is `over_ns` too far ahead (0: plausible) says of its device's clock."""
    d = ahead.device[s]
    began = over_ns > 0 and ahead.future[d] == 0
    ended = over_ns == 0 and ahead.future[d] > 0 and now - ahead.last_ns[d] >= CALM_NS
    if began:
        ahead.since_ns[d], ahead.most_ns[d] = now, 0
    if over_ns > 0:
        ahead.future[d] += 1
        ahead.most_ns[d] = max(over_ns, ahead.most_ns[d])
        ahead.last_ns[d] = now
    if began or ended:
        n = notices.written[0]
        notices.series[n], notices.ended[n] = s, ended
        notices.arrival_ns[n], notices.ahead_ns[n] = now, ahead.most_ns[d]
        notices.future[n], notices.since_ns[n] = ahead.future[d], ahead.since_ns[d]
        notices.written[0] = n + 1
    if ended:
        ahead.future[d] = 0


@kernel
def admit(
    arrivals: Arrivals,
    times: Times,
    pool: Pool,
    ahead: Ahead,
    rules: Rules,
    out: Batch,
    late: Arrivals,
    notices: Notices,
    fate: I8,
) -> int:
    """Take samples as they arrive, hand on those whose turn has come, count what became of each.

    Returns how many were written to `late`.  Equivalent to, per series: set aside what lies too
    far ahead of its arrival (future), drop what is there already (duplicate, see `_same`), put
    what is older than the last one handed on into `late`; then hand on, sorted by time, all up to
    max(head - lateness, newest waiting sample that arrived at least `lateness` ago).
    """
    behind = 0
    for i in range(arrivals.series.size):
        s, t, x, q = arrivals.series[i], arrivals.t_ns[i], arrivals.value[i], arrivals.seq[i]
        now = arrivals.arrival_ns[i]
        if t > now + rules.future_ns:
            _note(s, t - now, now, ahead, notices)
            fate[FUTURE] += 1
            continue
        if ahead.future[ahead.device[s]] > 0:
            _note(s, 0, now, ahead, notices)
        twice = False
        if t <= times.released_ns[s] or (q >= 0 and not rules.timed):
            twice = _had(s, t, x, q, rules.timed, times)
        before, after = NONE, times.waiting[s]
        while after != NONE and not twice:
            t2, x2, q2 = pool.t_ns[after], pool.value[after], pool.seq[after]
            twice = _same(rules.timed, t, x, q, t2, x2, q2)
            if not _follows(t, x, q, t2, x2, q2):
                break
            before, after = after, pool.following[after]
        if twice:
            fate[DUPLICATE] += 1
            continue
        if t < times.released_ns[s]:
            fate[LATE] += 1
            late.series[behind], late.t_ns[behind], late.value[behind] = s, t, x
            late.arrival_ns[behind], late.seq[behind] = now, q
            behind += 1
            _remember(s, t, x, q, times)
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
            until = release(s, max(until, t), now, times, pool, rules, out)
            _hand_on(s, t, x, q, times, out)
        else:
            pool.free[0] = pool.following[place]
            pool.t_ns[place], pool.value[place], pool.arrival_ns[place] = t, x, now
            pool.seq[place], pool.following[place] = q, after
            pool.held[0] += 1
            if before == NONE:
                times.waiting[s] = place
            else:
                pool.following[before] = place
            until = release(s, until, now, times, pool, rules, out)
        times.clock_ns[s] = max(times.clock_ns[s], until)
    return behind


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
            until = release(s, until, now, times, pool, rules, out)
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


def new_times(size: int) -> Times:
    """Nothing known of `size` series."""
    return Times(
        head_ns=np.full(size, NEVER, np.int64),
        released_ns=np.full(size, NEVER, np.int64),
        arrival_ns=np.zeros(size, np.int64),
        gap_ns=np.zeros(size, np.float64),
        seen=np.zeros(size, np.int64),
        waiting=np.full(size, NONE, np.int32),
        clock_ns=np.full(size, NEVER, np.int64),
        past_t_ns=np.zeros((size, RECENT), np.int64),
        past_value=np.zeros((size, RECENT), np.float64),
        past_seq=np.zeros((size, RECENT), np.int64),
        past=np.zeros(size, np.int64),
    )


def new_pool(size: int) -> Pool:
    """Room for `size` waiting samples, all of it free."""
    following = np.arange(1, size + 1, dtype=np.int32)
    following[-1] = NONE
    return Pool(
        t_ns=np.zeros(size, np.int64),
        value=np.zeros(size, np.float64),
        arrival_ns=np.zeros(size, np.int64),
        seq=np.zeros(size, np.int64),
        following=following,
        free=np.zeros(1, np.int32),
        held=np.zeros(1, np.int64),
    )


def new_ahead(size: int) -> Ahead:
    """No clock of `size` devices runs ahead."""
    device = np.zeros(size, np.int32)
    return Ahead(device, *(np.zeros(size, np.int64) for _ in Ahead._fields[1:]))


def new_arrivals(size: int) -> Arrivals:
    """Room for `size` samples."""
    numbers = [np.zeros(size, np.int64) for _ in range(3)]
    return Arrivals(np.zeros(size, np.int32), numbers[0], np.zeros(size), *numbers[1:])


def new_notices(size: int) -> Notices:
    """Room for `size` notices."""
    return Notices(
        series=np.zeros(size, np.int32),
        ended=np.zeros(size, np.uint8),
        arrival_ns=np.zeros(size, np.int64),
        ahead_ns=np.zeros(size, np.int64),
        future=np.zeros(size, np.int64),
        since_ns=np.zeros(size, np.int64),
        written=np.zeros(1, np.int64),
    )
