"""What operators and alerts give out, one sample at a time: plain Python after their pages.

Every class is the state of one series. `feed(t_ms, x)` takes a sample, `x` None when it is not
known, and returns what comes of it: `Row`s, or for an alert `Change`s.
"""

import math
import statistics
from collections import deque
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

GOOD, UNCERTAIN, BAD = "good", "uncertain", "bad"


class Row(NamedTuple):
    """What a step gives out; `fields`: by name, of windows and detectors."""

    t_ms: int
    value: float | None
    quality: str = GOOD
    start_ms: int = 0
    fields: Mapping = MappingProxyType({})


class Change(NamedTuple):
    """An alert became active or cleared."""

    t_ms: int
    active: bool
    since_ms: int
    value: float
    worst: float
    fields: dict


def numbers(names, x):
    """The chosen statistics of these values."""
    known = {
        "mean": lambda: math.fsum(x) / len(x),
        "sum": lambda: math.fsum(x),
        "min": lambda: min(x),
        "max": lambda: max(x),
        "count": lambda: len(x),
        "first": lambda: x[0],
        "last": lambda: x[-1],
        "std": lambda: statistics.stdev(x) if len(x) > 1 else None,
    }
    return {name: known[name]() for name in names}


def _window(names, x, start_ms, end_ms, quality=GOOD):
    fields = numbers(names, x)
    return Row(end_ms, fields[names[0]], quality, start_ms, fields)


class Aggregate:
    def __init__(self, names, size_ms, hop_ms=None):
        self.names, self.size_ms, self.hop_ms = names, size_ms, hop_ms or size_ms
        self.open, self.born_ms = {}, None

    def until(self, now_ms):
        """Time has come to `now_ms`."""
        done = [start for start in sorted(self.open) if start + self.size_ms <= now_ms]
        return [
            _window(
                self.names,
                self.open.pop(start),
                start,
                start + self.size_ms,
                UNCERTAIN if start < self.born_ms else GOOD,
            )
            for start in done
        ]

    def feed(self, t_ms, x):
        if x is None:
            return []
        told = self.until(t_ms)
        self.born_ms = t_ms if self.born_ms is None else self.born_ms
        start = t_ms // self.hop_ms * self.hop_ms
        while start + self.size_ms > t_ms:
            self.open.setdefault(start, []).append(x)
            start -= self.hop_ms
        return told


class CountWindow:
    def __init__(self, names, n):
        self.names, self.n, self.held = names, n, []

    def feed(self, t_ms, x):
        if x is None:
            return []
        self.held.append((t_ms, x))
        if len(self.held) < self.n:
            return []
        start_ms, values = self.held[0][0], [value for _, value in self.held]
        self.held = []
        return [_window(self.names, values, start_ms, t_ms)]


class Session:
    def __init__(self, names, gap_ms):
        self.names, self.gap_ms, self.held = names, gap_ms, []

    def feed(self, t_ms, x):
        told = []
        if self.held and t_ms > self.held[-1][0] + self.gap_ms:
            start_ms, end_ms = self.held[0][0], self.held[-1][0] + self.gap_ms
            told = [_window(self.names, [value for _, value in self.held], start_ms, end_ms)]
            self.held = []
        if x is not None:
            self.held.append((t_ms, x))
        return told


class Ewma:
    def __init__(self, halflife_ms):
        self.halflife_ms, self.weight, self.total, self.last_ms = halflife_ms, 0.0, 0.0, 0

    def feed(self, t_ms, x):
        if x is None:
            return [Row(t_ms, None, BAD)]
        decay = 2.0 ** ((self.last_ms - t_ms) / self.halflife_ms)
        self.weight, self.total = self.weight * decay + 1, self.total * decay + x
        self.last_ms = t_ms
        return [Row(t_ms, self.total / self.weight)]


class Rolling:
    def __init__(self, stat, window_ms, min_samples=1):
        self.stat, self.window_ms, self.min_samples = stat, window_ms, min_samples
        self.past = deque()

    def feed(self, t_ms, x):
        if x is None:
            return [Row(t_ms, None, BAD)]
        self.past.append((t_ms, x))
        while self.past[0][0] <= t_ms - self.window_ms:
            self.past.popleft()
        if len(self.past) < self.min_samples:
            return [Row(t_ms, None, BAD)]
        values = [value for _, value in self.past]
        spread = max(values) - min(values)
        return [Row(t_ms, spread if self.stat == "range" else math.fsum(values) / len(values))]


class Mad:
    def __init__(self, window, min_samples, k):
        self.past, self.min_samples, self.k = deque(maxlen=window), min_samples, k

    def feed(self, t_ms, x):
        if x is None:
            return [Row(t_ms, None, BAD)]
        if len(self.past) < self.min_samples:
            self.past.append(x)
            return [Row(t_ms, None, BAD)]
        median = statistics.median(self.past)
        spread = statistics.median([abs(y - median) for y in self.past]) * 1.4826022185056018
        spread = max(spread, 1e-9, 1e-4 * abs(median))
        low, high = median - self.k * spread, median + self.k * spread
        self.past.append(min(max(x, low), high))
        fields = {"input": x, "expected": median, "lower": low, "upper": high}
        return [Row(t_ms, (x - median) / spread, fields=fields)]


class Cusum:
    def __init__(self, learn, k=0.5):
        self.learn, self.k, self.learned, self.high, self.low = learn, k, [], 0.0, 0.0

    def feed(self, t_ms, x):
        if x is None:
            return [Row(t_ms, None, BAD)]
        if len(self.learned) < self.learn:
            self.learned.append(x)
            return [Row(t_ms, None, BAD)]
        if len(self.learned) == self.learn:
            mean = math.fsum(self.learned) / self.learn
            self.learned += [mean, max(statistics.stdev(self.learned), 1e-9, 1e-4 * abs(mean))]
        mean, std = self.learned[-2:]
        z = (x - mean) / std
        self.high, self.low = max(0, self.high + z - self.k), max(0, self.low - z - self.k)
        fields = {"input": x, "expected": mean, "high": self.high, "low": self.low}
        return [Row(t_ms, self.high if self.high >= self.low else -self.low, fields=fields)]


class Missing:
    def __init__(self, timeout_ms):
        self.timeout_ms, self.last_ms, self.silent = timeout_ms, None, False

    def feed(self, t_ms, x):
        told = []
        if self.last_ms is not None and not self.silent and t_ms > self.last_ms + self.timeout_ms:
            self.silent = True
            fields = {"silence_s": self.timeout_ms / 1e3}
            told.append(Row(self.last_ms + self.timeout_ms, 1.0, fields=fields))
        if x is None:
            return told
        if self.silent:
            self.silent = False
            told.append(Row(t_ms, 0.0, fields={"silence_s": (t_ms - self.last_ms) / 1e3}))
        self.last_ms = t_ms
        return told


class CounterRate:
    """Per minute."""

    def __init__(self, window_ms):
        self.window_ms, self.past, self.last = window_ms, deque(), None

    def feed(self, t_ms, x):
        if x is None:
            return [Row(t_ms, None, BAD)]
        more = 0 if self.last is None else x - self.last if x >= self.last else x
        self.past.append((t_ms, more))
        self.last = x
        while len(self.past) > 2 and self.past[0][0] <= t_ms - self.window_ms:
            self.past.popleft()
        if len(self.past) == 1:
            return [Row(t_ms, None, BAD)]
        counted = sum(more for _, more in list(self.past)[1:])
        return [Row(t_ms, counted / (t_ms - self.past[0][0]) * 60_000)]


class Product:
    """`a * b` over two channels of a device, each no older than `max_age_ms`."""

    def __init__(self, names, max_age_ms):
        self.names, self.max_age_ms, self.last = names, max_age_ms, {}

    def feed(self, t_ms, values):
        """`values`: those of the two channels that the message holds."""
        self.last |= {n: (t_ms, x) for n, x in values.items() if x is not None}
        parts = []
        for name in self.names:
            at_ms, x = self.last.get(name, (t_ms, None))
            unknown = name in values and values[name] is None
            parts.append(None if unknown or t_ms - at_ms > self.max_age_ms else x)
        if None in parts:
            return [Row(t_ms, None, BAD)]
        return [Row(t_ms, parts[0] * parts[1])]


class Total:
    """Sum over the members of a group at multiples of `every_ms`."""

    def __init__(self, every_ms, max_age_ms, wait_ms=1_000):
        self.every_ms, self.max_age_ms, self.wait_ms = every_ms, max_age_ms, wait_ms
        self.samples, self.open, self.fresh_ms = {}, set(), None  # member → [(t, value)]

    def feed(self, t_ms, x, member):
        told = []
        if self.fresh_ms is not None:
            gone = (self.fresh_ms + self.max_age_ms) // self.every_ms + 1
            for k in sorted({*self.open, gone}):
                if k * self.every_ms < t_ms - self.wait_ms:
                    told.append(self._row(k * self.every_ms))
                    self.open.discard(k)
        self.samples.setdefault(member, deque(maxlen=8)).append((t_ms, x))
        self.open.add(-(-t_ms // self.every_ms))
        self.fresh_ms = t_ms
        return told

    def _row(self, at_ms):
        newest = [
            max(((t, x) for t, x in held if t <= at_ms), default=None)
            for held in self.samples.values()
        ]
        known = [each for each in newest if each is not None]
        counted = [x for t, x in known if at_ms - t <= self.max_age_ms]
        absent = len(known) - len(counted)
        fields = {"members": len(counted), "absent": absent}
        if not counted:
            return Row(at_ms, None, BAD, fields=fields)
        return Row(at_ms, math.fsum(counted), UNCERTAIN if absent else GOOD, fields=fields)


class Quorum:
    """How many members are active, or became so less than `within_ms` ago."""

    def __init__(self, within_ms):
        self.within_ms, self.told, self.now_ms = within_ms, 0, 0
        self.active, self.until_ms = {}, {}

    def until(self, now_ms):
        """What ended before `now_ms`."""
        told = []
        for end in sorted({u for u in self.until_ms.values() if self.now_ms < u < now_ms}):
            told += self._count(end)
        return told

    def feed(self, t_ms, active, member):
        t_ms = max(t_ms, self.now_ms)
        told = self.until(t_ms)
        if active and not self.active.get(member):
            self.until_ms[member] = t_ms + self.within_ms
        self.active[member] = active
        return told + self._count(t_ms)

    def _count(self, now_ms):
        self.now_ms = now_ms
        count = sum(a or self.until_ms.get(m, 0) > now_ms for m, a in self.active.items())
        if count == self.told:
            return []
        self.told = count
        return [Row(now_ms, float(count))]


class Alert:
    """Active once beyond a limit for `on_ms`, cleared once back by the deadband for `off_ms`."""

    def __init__(self, high, low=-math.inf, band=0.0, on_ms=0, off_ms=0):
        self.high, self.low, self.band, self.on_ms, self.off_ms = high, low, band, on_ms, off_ms
        self.active = self.unknown = False
        self.since_ms = self.normal_ms = None
        self.value = self.worst = None
        self.fields = {}

    def feed(self, t_ms, row):
        """`row`: of the last step."""
        told, x = self._due(t_ms), row.value
        self.unknown = x is None
        if x is None:
            return told
        self.value, self.fields = x, row.fields
        beyond = x > self.high or x < self.low
        if beyond and (self.since_ms is None or self._excess(x) > self._excess(self.worst)):
            self.since_ms = t_ms if self.since_ms is None else self.since_ms
            self.worst = x
        if self.active:
            if x > self.high - self.band or x < self.low + self.band:
                self.normal_ms = None
                return told
            self.normal_ms = t_ms if self.normal_ms is None else self.normal_ms
            return told + (self._clear(t_ms) if t_ms >= self.normal_ms + self.off_ms else [])
        if not beyond:
            self.since_ms = None
        elif t_ms >= self.since_ms + self.on_ms:
            told += self._raise(t_ms)
        return told

    def _excess(self, x):
        return x - self.high if x > self.high else self.low - x

    def _due(self, t_ms):
        """Delays that ran out before `t_ms`."""
        if self.unknown:
            return []
        if self.active:
            due = None if self.normal_ms is None else self.normal_ms + self.off_ms
            return self._clear(due) if due is not None and due < t_ms else []
        due = None if self.since_ms is None else self.since_ms + self.on_ms
        return self._raise(due) if due is not None and due < t_ms else []

    def _raise(self, t_ms):
        self.active, self.normal_ms = True, None
        return [Change(t_ms, True, self.since_ms, self.value, self.worst, self.fields)]

    def _clear(self, t_ms):
        since_ms, self.since_ms, self.active, self.normal_ms = self.since_ms, None, False, None
        return [Change(t_ms, False, since_ms, self.value, self.worst, self.fields)]
