"""Faults between sensor and broker: wrong clocks, disorder, duplicates, outages, rubbish."""

import heapq
from collections.abc import Callable, Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Annotated, Any, Final, Literal

import numpy as np
import orjson
from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema, model_validator

from config.params import Options
from config.units import Duration, Size, duration_ns, duration_text
from device_sim.items import Cut, Item, Outgoing
from device_sim.randomness import F8, I8, stream

SECOND: Final = 1_000_000_000


def _signed_ns(value: Any) -> int:
    text = str(value).strip()
    return -duration_ns(text[1:]) if text.startswith("-") else duration_ns(value)


def _signed_text(ns: int) -> str:
    return f"-{duration_text(-ns)}" if ns < 0 else duration_text(ns)


SignedDuration = Annotated[
    int,
    BeforeValidator(_signed_ns),
    PlainSerializer(_signed_text, return_type=str),
    WithJsonSchema({"type": "string", "examples": ["-90s", "2h"]}),
]
"""Nanoseconds, written with units, perhaps with a minus before them."""


class Anytime(Options):
    """Which devices, and when; default: all devices, the whole run."""

    device: str = Field("*", description="Which devices; * and ? match.")
    start: Duration = 0
    duration: Duration | None = Field(None, gt=0)

    def holds(self, device: str, t_ns: int) -> bool:
        """Whether this concerns the device at this virtual time."""
        if t_ns < self.start or (self.duration is not None and t_ns >= self.start + self.duration):
            return False
        return fnmatchcase(device, self.device)


class ClockSkew(Anytime):
    """A clock that is wrong, and gets more so."""

    offset: SignedDuration = 0
    drift_ppm: float = Field(0.0, description="Microseconds per second, since `start`.")

    def skew_ns(self, t_ns: I8) -> I8:
        """Give what the clock is ahead at these virtual times."""
        ahead = self.offset + (self.drift_ppm * 1e-6 * (t_ns - self.start)).astype(np.int64)
        over = t_ns < self.start
        if self.duration is not None:
            over = over | (t_ns >= self.start + self.duration)
        return np.where(over, 0, ahead)


class Jitter(Anytime):
    """Times that are a little off, evenly within ± `max`."""

    max: Duration = Field(gt=0)


class Sometimes(Anytime):
    """Happens to each message with this probability."""

    probability: float = Field(gt=0, le=1)


class Delayed(Sometimes):
    """Happens to a message with a probability, and makes it up to `delay_max` late."""

    delay_max: Duration = Field(gt=0)


class LateBurst(Anytime):
    """An outage: messages of that time all come at its end."""

    duration: Duration | None = Field(gt=0)

    @model_validator(mode="after")
    def _ends(self) -> "LateBurst":
        if self.duration is None:
            raise ValueError("an outage needs a duration")
        return self


class Storm(Options):
    """The connection to the broker breaks again and again."""

    start: Duration
    duration: Duration = Field(gt=0)
    times: int = Field(ge=1, le=10_000)


Rubbish = Literal[
    "truncated", "not_json", "wrong_types", "nan", "deep", "huge_numbers", "bad_utf8", "empty"
]
RUBBISH: Final[tuple[Rubbish, ...]] = (
    "truncated",
    "not_json",
    "wrong_types",
    "nan",
    "deep",
    "huge_numbers",
    "bad_utf8",
    "empty",
)


class Malformed(Sometimes):
    """A message nobody can read follows the good one."""

    kinds: tuple[Rubbish, ...] = Field(RUBBISH, min_length=1)


class Oversized(Sometimes):
    """A message that is too large follows the good one."""

    size: Size = Field(300 * 1024, ge=1024, le=64 * 1024 * 1024)


class TransportFault(Options):
    """One kind of trouble on the way: exactly one of these."""

    clock_skew: ClockSkew | None = None
    timestamp_jitter: Jitter | None = None
    late_burst: LateBurst | None = None
    out_of_order: Delayed | None = None
    duplicate: Delayed | None = None
    malformed: Malformed | None = None
    oversized: Oversized | None = None
    disconnect_storm: Storm | None = None

    @model_validator(mode="after")
    def _one(self) -> "TransportFault":
        if len(self.model_fields_set) != 1 or self.options is None:
            raise ValueError(f"give exactly one of {', '.join(TransportFault.model_fields)}")
        return self

    @property
    def kind(self) -> str:
        """Name of the trouble."""
        return next(iter(self.model_fields_set))

    @property
    def options(self) -> Any:
        """Its options."""
        return getattr(self, self.kind)


class Clocks:
    """How the devices of one fleet stamp their samples."""

    def __init__(self, faults: tuple[TransportFault, ...], devices: list[str], seed: int) -> None:
        self._skews: list[tuple[int, ClockSkew]] = []
        self._jitters: list[tuple[int, Jitter, np.random.Generator]] = []
        for i, fault in enumerate(faults):
            for row, name in enumerate(devices):
                if fault.clock_skew and fnmatchcase(name, fault.clock_skew.device):
                    self._skews.append((row, fault.clock_skew))
                if fault.timestamp_jitter and fnmatchcase(name, fault.timestamp_jitter.device):
                    random = stream(seed, "timestamp_jitter", i, name)
                    self._jitters.append((row, fault.timestamp_jitter, random))

    def stamp(self, t_ns: I8) -> I8:
        """Virtual times (devices, ticks) → what the devices' clocks say at them."""
        if not self._skews and not self._jitters:
            return t_ns
        stamps = t_ns.copy()
        for row, skew in self._skews:
            stamps[row] += skew.skew_ns(t_ns[row])
        for row, jitter, random in self._jitters:
            off: F8 = np.subtract(2 * random.random(t_ns.shape[1]), 1) * jitter.max
            end = np.inf if jitter.duration is None else jitter.start + jitter.duration
            inside = (t_ns[row] >= jitter.start) & (t_ns[row] < end)
            stamps[row] += np.where(inside, off, 0).astype(np.int64)
        return stamps

    def stamp_one(self, row: int, t_ns: int) -> int:
        """Give what one device's clock says at a virtual time, without jitter."""
        at = np.array([t_ns], dtype=np.int64)
        return t_ns + sum(int(s.skew_ns(at)[0]) for device, s in self._skews if device == row)


class Transport:
    """Does to a stream of items what the scenario's transport faults say."""

    def __init__(self, faults: tuple[TransportFault, ...], seed: int) -> None:
        self._seed = seed
        self._randoms: dict[tuple[int, str], np.random.Generator] = {}
        self._waiting: list[tuple[int, int, Item]] = []
        self._count = 0
        done = {"clock_skew", "timestamp_jitter"}  # by Clocks, before messages are made
        self._faults = [(i, f) for i, f in enumerate(faults) if f.kind not in done]
        for _, fault in self._faults:
            if storm := fault.disconnect_storm:
                for k in range(storm.times):
                    self._hold(Cut(storm.start + storm.duration * k // storm.times))

    def run(self, items: Iterable[Item]) -> Iterator[Item]:
        """Pass items on in order of time; cuts after the last item are left out."""
        if not self._faults:
            yield from items
            return
        for item in items:
            yield from self._released(item.due_ns)
            if isinstance(item, Outgoing):
                self._through(item)
                yield from self._released(item.due_ns)
            else:
                yield item
        while self._waiting:
            item = heapq.heappop(self._waiting)[2]
            if not isinstance(item, Cut):
                yield item

    def _released(self, now_ns: int) -> Iterator[Item]:
        while self._waiting and self._waiting[0][0] <= now_ns:
            yield heapq.heappop(self._waiting)[2]

    def _hold(self, item: Item) -> None:
        heapq.heappush(self._waiting, (item.due_ns, self._count, item))
        self._count += 1

    def _through(self, message: Outgoing) -> None:
        """Decide what becomes of one message, and put that among the waiting."""
        device, t_ns = message.device, message.due_ns
        active = [
            (i, f)
            for i, f in self._faults
            if f.disconnect_storm is None and f.options.holds(device, t_ns)
        ]
        for _, fault in active:
            if outage := fault.late_burst:
                end_ns = outage.start + (outage.duration or 0)
                message = message._replace(due_ns=max(message.due_ns, end_ns))
        extras: list[Outgoing] = []
        for i, fault in active:
            if fault.late_burst:
                continue
            random = self._random(i, device)
            if random.random() >= fault.options.probability:
                continue
            if fault.malformed:
                kinds = fault.malformed.kinds
                rubbish = malformed(kinds[int(random.random() * len(kinds))], message.payload)
                extras.append(message._replace(payload=rubbish))
            elif fault.oversized:
                extras.append(message._replace(payload=oversized(fault.oversized.size)))
            else:
                delay = 1 + int(random.random() * fault.options.delay_max)
                later = message._replace(due_ns=message.due_ns + delay)
                if fault.duplicate:
                    extras.append(later)
                else:
                    message = later
        self._hold(message)
        for extra in extras:
            self._hold(extra)

    def _random(self, i: int, device: str) -> np.random.Generator:
        random = self._randoms.get((i, device))
        if random is None:
            random = self._randoms[i, device] = stream(self._seed, "transport", i, device)
        return random


def oversized(size: int) -> bytes:
    """Valid JSON of `size` bytes."""
    start, end = b'{"padding":"', b'"}'
    return start + b"x" * (size - len(start) - len(end)) + end


def malformed(kind: Rubbish, payload: dict[str, Any] | bytes) -> bytes:
    """Make a payload that is wrong in this way, out of a good one."""
    fields = payload if isinstance(payload, dict) else {"value": 1.0}
    return _RUBBISH[kind](fields)


def _each(fields: dict[str, Any], text: bytes) -> bytes:
    """Write all channels as `text`, times and counter as they are."""
    head = {"ts", "seq", "sent_ns"}
    parts = [
        b'"%s":%s' % (name.encode(), orjson.dumps(value) if name in head else text)
        for name, value in fields.items()
    ]
    return b"{" + b",".join(parts) + b"}"


_RUBBISH: Final[dict[Rubbish, Callable[[dict[str, Any]], bytes]]] = {
    "truncated": lambda fields: orjson.dumps(fields)[:-7],
    "not_json": lambda _: b"<temperature>hot</temperature>",
    "wrong_types": lambda fields: _each(fields, b'["hot",true]'),
    "nan": lambda fields: _each(fields, b"NaN"),
    "deep": lambda _: b"[" * 100_000,
    "huge_numbers": lambda fields: _each(fields, b"18446744073709551616"),
    "bad_utf8": lambda _: b'{"ts":1,"name":"\xff\xfe\xc3\x28"}',
    "empty": lambda _: b"",
}
