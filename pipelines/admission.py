"""Admission: each series of a source in event-time order, as far as its lateness allows.

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

import numpy as np

from pipelines.batch import BAD, GOOD, I8, Batch
from pipelines.jit import kernel
from pipelines.order import (
    CALM_NS,
    DUPLICATE,
    FORCED,
    FUTURE,
    IDLE_FIRST_NS,
    IDLE_GAPS,
    IDLE_MIN_NS,
    LATE,
    NONE,
    RECENT,
    TWICE,
    Ahead,
    Arrivals,
    Notices,
    Pool,
    Rules,
    Times,
)


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
def _mixed(bits: np.uint64) -> np.uint64:
    """Another number for each number (the finalizer of splitmix64, Steele et al. 2014)."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


@kernel
def mark(t: int, x: float, q: int, timed: bool) -> np.uint64:
    """What is remembered of a sample: equal for those that are `_same`.

    Those that differ in one of the two numbers that decide have different marks, and others too
    but for a chance of 2**-64. It is a third of the memory of the numbers themselves.
    """
    value = np.uint64(np.float64(x + 0.0).view(np.int64))  # there are two zeros
    if np.isnan(x):
        value = np.uint64(np.float64(np.nan).view(np.int64))  # and many that are no number
    one, other = np.uint64(t), value
    if q >= 0:
        one, other = ~np.uint64(t if timed else q), np.uint64(q) if timed else value
    made: np.uint64 = _mixed(_mixed(one) ^ other)
    return made


@kernel
def _had(s: int, t: int, x: float, q: int, timed: bool, times: Times) -> bool:
    """Whether the series had this sample before, among the last that wait no more."""
    wanted, found = mark(t, x, q, timed), False
    for i in range(min(times.passed[s], RECENT)):
        found |= times.past[s, i] == wanted
    for i in range(min(times.passed_late[s], RECENT)):
        found |= times.past_late[s, i] == wanted
    return found


@kernel
def _hand_on(s: int, t: int, x: float, q: int, timed: bool, times: Times, out: Batch) -> None:
    n = out.count[0]
    out.series[n], out.t_ns[n], out.start_ns[n], out.value[n] = s, t, t, x
    out.quality[n] = GOOD if np.isfinite(x) else BAD
    out.count[0] = n + 1
    times.released_ns[s] = t
    times.past[s, times.passed[s] % RECENT] = mark(t, x, q, timed)
    times.passed[s] += 1


@kernel
def _wait(s: int, place: int, before: int, times: Times, pool: Pool) -> None:
    """Put the sample at `place` behind `before` (NONE: first) by time, and last by arrival."""
    after = times.first[s] if before == NONE else pool.after[before]
    pool.before[place], pool.after[place] = before, after
    if before == NONE:
        times.first[s] = place
    else:
        pool.after[before] = place
    if after == NONE:
        times.last[s] = place
    else:
        pool.before[after] = place
    older = times.newest[s]
    pool.older[place], pool.younger[place] = older, NONE
    if older == NONE:
        times.oldest[s] = place
    else:
        pool.younger[older] = place
    times.newest[s] = place
    pool.held[0] += 1


@kernel
def _end_wait(s: int, place: int, times: Times, pool: Pool) -> None:
    """Free the place of the first sample by time."""
    after, older, younger = pool.after[place], pool.older[place], pool.younger[place]
    times.first[s] = after
    if after == NONE:
        times.last[s] = NONE
    else:
        pool.before[after] = NONE
    if older == NONE:
        times.oldest[s] = younger
    else:
        pool.younger[older] = younger
    if younger == NONE:
        times.newest[s] = older
    else:
        pool.older[younger] = older
    pool.after[place] = pool.free[0]
    pool.free[0] = place
    pool.held[0] -= 1


@kernel
def release(
    s: int, until: int, now: int, times: Times, pool: Pool, rules: Rules, out: Batch
) -> int:
    """Hand on all of series `s` up to `until` or that waited long enough; how far that was."""
    node = times.oldest[s]
    while node != NONE and pool.arrival_ns[node] + rules.lateness_ns <= now:
        until = max(until, pool.t_ns[node])
        node = pool.younger[node]
    node = times.first[s]
    while node != NONE and pool.t_ns[node] <= until:
        t, x, q = pool.t_ns[node], pool.value[node], pool.seq[node]
        _hand_on(s, t, x, q, rules.timed, times, out)
        _end_wait(s, node, times, pool)
        node = times.first[s]
    return until


@kernel
def _place(s: int, t: int, x: float, q: int, timed: bool, times: Times, pool: Pool) -> int:
    """The waiting sample behind which a new one belongs, NONE: none; TWICE when it waits already.

    Looked for from the end: what comes in order is placed at once.
    """
    node = times.last[s]
    while node != NONE:
        t2, x2, q2 = pool.t_ns[node], pool.value[node], pool.seq[node]
        if _same(timed, t, x, q, t2, x2, q2):
            return TWICE
        if _follows(t, x, q, t2, x2, q2):
            break
        node = pool.before[node]
    found: int = node
    while not timed and q >= 0 and node != NONE:  # the same sample may have an earlier time
        if _same(timed, t, x, q, pool.t_ns[node], pool.value[node], pool.seq[node]):
            return TWICE
        node = pool.before[node]
    return found


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
    clock_ns: I8,
) -> int:
    """Take samples as they arrive, hand on those whose turn has come, count what became of each.

    clock_ns (S,): how far each series is complete, for others to see; written where it changes.
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
        before = TWICE if twice else _place(s, t, x, q, rules.timed, times, pool)
        if before == TWICE:
            fate[DUPLICATE] += 1
            continue
        if t < times.released_ns[s]:
            fate[LATE] += 1
            late.series[behind], late.t_ns[behind], late.value[behind] = s, t, x
            late.arrival_ns[behind], late.seq[behind] = now, q
            behind += 1
            times.past_late[s, times.passed_late[s] % RECENT] = mark(t, x, q, rules.timed)
            times.passed_late[s] += 1
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
            _hand_on(s, t, x, q, rules.timed, times, out)
        else:
            pool.free[0] = pool.after[place]
            pool.t_ns[place], pool.value[place] = t, x
            pool.arrival_ns[place], pool.seq[place] = now, q
            _wait(s, place, before, times, pool)
            until = release(s, until, now, times, pool, rules, out)
        times.clock_ns[s] = clock_ns[s] = max(times.clock_ns[s], until)
    return behind


@kernel
def advance(
    now: int, size: int, times: Times, pool: Pool, rules: Rules, out: Batch, clock_ns: I8
) -> None:
    """Let time go on without samples: hand on what has waited, move clocks of silent series.

    A series is silent after `idle_ns` (5 of its usual gaps when learned) without an arrival;
    from then on its clock runs with ours, as far behind as its newest sample was.
    """
    for s in range(size):
        if times.seen[s] == 0:
            continue
        until = times.clock_ns[s]
        if times.first[s] != NONE:
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
        times.clock_ns[s] = clock_ns[s] = until
