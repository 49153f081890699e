"""Ledger: what came in, what became of it, and the equations that nothing was lost silently."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Count(StrEnum):
    """A number that only grows."""

    MESSAGES_RECEIVED = "messages_received"
    MESSAGES_COPIED = "messages_copied"
    MESSAGES_DUPLICATE = "messages_duplicate"
    MESSAGES_ACCEPTED = "messages_accepted"
    MESSAGES_REJECTED = "messages_rejected"
    READINGS_REJECTED = "readings_rejected"
    SAMPLES_DECODED = "samples_decoded"
    SAMPLES_RESTORED = "samples_restored"
    SAMPLES_USED = "samples_used"
    SAMPLES_LATE = "samples_late"
    SAMPLES_DUPLICATE = "samples_duplicate"
    SAMPLES_FUTURE = "samples_future"
    SAMPLES_DROPPED = "samples_dropped"
    SAMPLES_UNKNOWN = "samples_unknown"
    OUTPUTS_PRODUCED = "outputs_produced"
    OUTPUTS_PUBLISHED = "outputs_published"
    OUTPUTS_DISCARDED = "outputs_discarded"
    CONNECTIONS = "connections"
    CONNECTION_FAILURES = "connection_failures"
    SESSIONS_LOST = "sessions_lost"
    SUBSCRIPTIONS_REFUSED = "subscriptions_refused"
    ACKNOWLEDGEMENTS_STALE = "acknowledgements_stale"
    CALLBACK_ERRORS = "callback_errors"
    LOG_LINES_SUPPRESSED = "log_lines_suppressed"


class Gauge(StrEnum):
    """A number that goes up and down."""

    INBOX_MESSAGES = "inbox_messages"
    INBOX_BYTES = "inbox_bytes"
    OUTBOX_MESSAGES = "outbox_messages"
    OUTBOX_BYTES = "outbox_bytes"
    OUTBOX_IN_FLIGHT = "outbox_in_flight"
    SAMPLES_BUFFERED = "samples_buffered"
    CONNECTED = "connected"
    PACKETS_IN_BULK = "packets_in_bulk"


class Reason(StrEnum):
    """Why something was rejected, dropped or discarded."""

    BAD_JSON = "bad_json"
    BAD_UTF8 = "bad_utf8"
    BAD_NUMBER = "bad_number"
    BAD_SHAPE = "bad_shape"
    BAD_TOPIC = "bad_topic"
    BAD_TIME = "bad_time"
    TOO_OLD = "too_old"
    NO_TIME = "no_time"
    RETAINED = "retained"
    NO_VALUES = "no_values"
    TOO_BIG = "too_big"
    TOO_DEEP = "too_deep"
    TOO_MANY_HOPS = "too_many_hops"
    TOO_MANY_KEYS = "too_many_keys"
    TOO_MANY_READINGS = "too_many_readings"
    UNKNOWN_TOPIC = "unknown_topic"
    INBOX_FULL = "inbox_full"
    RATE_LIMITED = "rate_limited"
    KEY_TOO_LONG = "key_too_long"
    SERIES_FULL = "series_full"
    SERIES_RATE = "series_rate"
    DEVICE_FULL = "device_full"
    REORDER_FULL = "reorder_full"
    OUTBOX_FULL = "outbox_full"
    OUTBOX_OLD = "outbox_old"
    SUPERSEDED = "superseded"
    POISON = "poison"
    REFUSED = "refused"
    STOPPED = "stopped"


LABELS: Final[Mapping[Count | Gauge, tuple[str, ...]]] = {
    Count.MESSAGES_REJECTED: ("reason", "source"),
    Count.MESSAGES_ACCEPTED: ("source",),
    Count.READINGS_REJECTED: ("reason", "source"),
    Count.SAMPLES_DECODED: ("source",),
    Count.SAMPLES_RESTORED: ("source",),
    Count.SAMPLES_USED: ("source",),
    Count.SAMPLES_LATE: ("source",),
    Count.SAMPLES_DUPLICATE: ("source",),
    Count.SAMPLES_FUTURE: ("source",),
    Count.SAMPLES_DROPPED: ("reason", "source"),
    Count.SAMPLES_UNKNOWN: ("source",),
    Count.OUTPUTS_PRODUCED: ("kind",),
    Count.OUTPUTS_PUBLISHED: ("kind",),
    Count.OUTPUTS_DISCARDED: ("kind", "reason"),
    Count.CONNECTIONS: ("connection",),
    Count.CONNECTION_FAILURES: ("connection",),
    Count.CALLBACK_ERRORS: ("connection",),
    Gauge.SAMPLES_BUFFERED: ("source",),
    Gauge.CONNECTED: ("connection",),
    Gauge.PACKETS_IN_BULK: ("connection",),
}
"""Names of the labels of each number; the others have none. A device or topic is never a label."""


@dataclass(frozen=True, slots=True)
class Equation:
    """What came in must equal what became of it."""

    name: str
    sources: tuple[Count, ...]
    fates: tuple[Count | Gauge, ...]


EQUATIONS: Final = (
    Equation(
        "messages",
        (Count.MESSAGES_RECEIVED, Count.MESSAGES_COPIED),
        (
            Count.MESSAGES_ACCEPTED,
            Count.MESSAGES_REJECTED,
            Count.MESSAGES_DUPLICATE,
            Gauge.INBOX_MESSAGES,
        ),
    ),
    Equation(
        "samples",
        (Count.SAMPLES_DECODED, Count.SAMPLES_RESTORED),
        (
            Count.SAMPLES_USED,
            Count.SAMPLES_LATE,
            Count.SAMPLES_DUPLICATE,
            Count.SAMPLES_FUTURE,
            Count.SAMPLES_DROPPED,
            Gauge.SAMPLES_BUFFERED,
        ),
    ),
    Equation(
        "outputs",
        (Count.OUTPUTS_PRODUCED,),
        (Count.OUTPUTS_PUBLISHED, Count.OUTPUTS_DISCARDED, Gauge.OUTBOX_MESSAGES),
    ),
)

_Key = tuple[Count | Gauge, tuple[str, ...]]


class Counter:
    """A number of the ledger that one thread alone counts up, at next to no cost."""

    __slots__ = ("n",)

    def __init__(self) -> None:
        self.n = 0


class Ledger:
    """All counters and gauges of one daemon. Any thread may write; count once per batch."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: dict[_Key, float] = {}
        self._watched: dict[_Key, Callable[[], float]] = {}
        self._counters: dict[_Key, Counter] = {}

    def count(self, name: Count, n: int = 1, **labels: str) -> None:
        """Add `n`; labels that are not given stay empty."""
        assert n >= 0, f"{name} cannot go down by {n}"
        key = _key(name, labels)
        with self._lock:
            self._values[key] = self._values.get(key, 0) + n

    def counter(self, name: Count, **labels: str) -> Counter:
        """What counts besides `count`; the same one for the same labels."""
        with self._lock:
            return self._counters.setdefault(_key(name, labels), Counter())

    def gauge(self, name: Gauge, value: float, **labels: str) -> None:
        """Set a gauge."""
        with self._lock:
            self._values[_key(name, labels)] = value

    def watch(self, name: Count | Gauge, read: Callable[[], float], **labels: str) -> None:
        """Have a number read from its owner whenever somebody asks; the last reader holds."""
        with self._lock:
            self._watched[_key(name, labels)] = read

    def value(self, name: Count | Gauge, **labels: str) -> float:
        """The number with exactly these labels, 0 when never counted."""
        return self._snapshot().get(_key(name, labels), 0)

    def total(self, name: Count | Gauge) -> float:
        """The sum over all labels."""
        return sum(v for (n, _), v in self._snapshot().items() if n == name)

    def balance(self) -> list[str]:
        """Equations that do not hold, as text. Call it while nothing is under way."""
        broken = []
        for equation in EQUATIONS:
            came = {count: self.total(count) for count in equation.sources}
            fates = {fate: self.total(fate) for fate in equation.fates}
            gap = sum(came.values()) - sum(fates.values())
            if gap:
                broken.append(f"{equation.name}: {_sum(came)} != {_sum(fates)} ({gap:+.0f})")
        return broken

    def rows(self) -> list[tuple[Count | Gauge, dict[str, str], float]]:
        """Every number with its labels, sorted."""
        return [
            (name, dict(zip(LABELS.get(name, ()), values, strict=True)), n)
            for (name, values), n in sorted(self._snapshot().items())
        ]

    def as_dict(self) -> dict[str, float]:
        """Every number by one flat name: 'messages_rejected{reason=bad_json}'."""
        flat = {}
        for name, labels, n in self.rows():
            given = ",".join(f"{k}={v}" for k, v in labels.items() if v)
            flat[f"{name}{{{given}}}" if given else str(name)] = n
        return flat

    def _snapshot(self) -> dict[_Key, float]:
        with self._lock:
            watched = list(self._watched.items())
            values = dict(self._values)
            for key, counter in self._counters.items():
                if counter.n:
                    values[key] = values.get(key, 0) + counter.n
        # Outside the lock: an owner may hold its own lock while it counts here.
        for key, read in watched:
            values[key] = values.get(key, 0) + read()
        return values


def _sum(parts: Mapping[Count | Gauge, float] | Mapping[Count, float]) -> str:
    return " + ".join(f"{name} {n:.0f}" for name, n in parts.items())


def _key(name: Count | Gauge, labels: Mapping[str, str]) -> _Key:
    known = LABELS.get(name, ())
    assert labels.keys() <= set(known), f"{name} has labels {known}, got {tuple(labels)}"
    return name, tuple([str(labels.get(label, "")) for label in known])
