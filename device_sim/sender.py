"""The sender: takes items in order of time and publishes each when it is due.

Time passes through a `Clock`, the broker is reached through `connect`; tests put in their own.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Final, NamedTuple, Protocol

import orjson

from device_sim import truth
from device_sim.items import Cut, Item, Note
from device_sim.link import Unreachable

SECOND: Final = 1_000_000_000
WINDOW: Final = 20
"""Messages of QoS 1 and 2 on their way at once: what Mosquitto handles per client by default."""
LOOK_EVERY: Final = 256
"""Messages between looks at the clock and the socket: 1 ms of sending at the highest rates."""
LOOK_EVERY_NS: Final = 50_000_000
"""Time between looks at the lowest."""
NAP_S: Final = 0.001
"""Shortest wait: at high rates messages leave in groups of a millisecond."""
NAP_S_MAX: Final = 0.2
BEHIND_NS_MAX: Final = SECOND
WARN_EVERY_NS: Final = 5 * SECOND
DRAIN_S: Final = 10.0


class Wire(Protocol):
    """What the sender needs of `device_sim.link.Link`."""

    blocked_s: float

    @property
    def alive(self) -> bool:
        """Whether the connection stands."""

    def write(self, topic: str, payload: bytes) -> None:
        """Queue a QoS 0 message."""

    def publish(self, topic: str, payload: bytes, qos: int) -> int | None:
        """Send a QoS 1 or 2 message; its packet id, or None when the connection is gone."""

    def flush(self) -> None:
        """Write what is queued."""

    def unwritten(self) -> int:
        """QoS 0 messages that never left."""

    def service(self, timeout_s: float) -> None:
        """Wait for the socket and serve it."""

    def cut(self) -> None:
        """Break the connection."""

    def close(self) -> None:
        """Close it properly."""


class Clock(Protocol):
    """Both clocks, nanoseconds; `wall_ns` since 1970 UTC, `mono_ns` never goes back."""

    def wall_ns(self) -> int:
        """Wall clock."""

    def mono_ns(self) -> int:
        """Monotonic clock."""

    def sleep(self, seconds: float) -> None:
        """Wait while there is no connection."""


class SystemClock:
    """The machine's clocks."""

    wall_ns = staticmethod(time.time_ns)
    mono_ns = staticmethod(time.monotonic_ns)
    sleep = staticmethod(time.sleep)


class Pending(NamedTuple):
    """A message that waits for its acknowledgement."""

    topic: str
    payload: bytes
    qos: int
    is_truth: bool = False


@dataclass
class Summary:
    """What came of a run."""

    sent: int = 0
    acked: int = 0
    resent: int = 0
    lost: int = 0
    unacked: int = 0
    truth_events: int = 0
    reconnects: int = 0
    seconds: float = 0.0
    rate: float = 0.0
    """Messages per second, measured."""
    asked_rate: float | None = None
    kept_up: bool = True
    behind_s_max: float = 0.0
    blocked_s: float = 0.0
    cpu_us_per_message: float = 0.0
    interrupted: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Plain types, floats rounded for people."""
        return {k: round(v, 3) if isinstance(v, float) else v for k, v in asdict(self).items()}


@dataclass
class Sender:
    """Publishes a stream of items, reconnects, counts."""

    connect: Callable[[Callable[[int], None]], Wire]
    """Makes a connection that calls back with acknowledged packet ids. Raises Unreachable."""
    speed: float | None = 1.0
    """Virtual seconds per second; None is as fast as the broker takes it."""
    asked_rate: float | None = None
    window: int = WINDOW
    give_up_s: float = 60.0
    note: Callable[[dict[str, Any]], None] = lambda _: None
    """Told of each ground truth event that is published."""
    say: Callable[[str], None] = lambda _: None
    """Told what a person should know, in one line."""
    clock: Clock = field(default_factory=SystemClock)
    progress: bool = False

    def __post_init__(self) -> None:
        self.summary = Summary(asked_rate=self.asked_rate)
        self._pending: dict[int, Pending] = {}
        self._stopping = False
        self._link: Wire | None = None
        self._virtual_ns = 0
        self._skip_before_ns = 0
        self._since_look = self._looked_ns = 0
        self._warned_ns = self._began_ns = self._cpu_ns = 0

    def stop(self) -> None:
        """End soon and cleanly; may be called from a signal handler."""
        self._stopping = True

    def run(self, items: Iterable[Item]) -> Summary:
        """Send all items, then wait for what is not acknowledged. Raises Unreachable."""
        self._began_ns = self._warned_ns = self.clock.mono_ns()
        self._link = self._connected(first=True)
        # The clock starts when the broker is there: waiting for it is not being behind.
        self._began_ns = self._warned_ns = self.clock.mono_ns()
        self._cpu_ns = time.process_time_ns()
        try:
            for item in items:
                self._wait_until(item.due_ns)
                if self._stopping:
                    self.summary.interrupted = True
                    break
                self._handle(item)
            self._drain()
        except Unreachable:
            if not self._stopping:
                raise
            self.summary.interrupted = True
        finally:
            self._finish()
        return self.summary

    def _handle(self, item: Item) -> None:
        if isinstance(item, Cut):
            assert self._link is not None
            self._link.cut()
            self._ensure()
        elif isinstance(item, Note):
            message = Pending(truth.topic(item.device), orjson.dumps(item.event), 1, is_truth=True)
            if self._send_surely(message):
                self.note(item.event)
                self.summary.truth_events += 1
        else:
            payload = item.payload
            if isinstance(payload, dict):
                if "sent_ns" in payload:
                    payload["sent_ns"] = self.clock.wall_ns()
                payload = orjson.dumps(payload)
            if item.qos:
                self.summary.sent += self._send_surely(Pending(item.topic, payload, item.qos))
            elif item.due_ns < self._skip_before_ns:
                self.summary.lost += 1
            else:
                assert self._link is not None
                self._link.write(item.topic, payload)
                self.summary.sent += 1

    def _wait_until(self, due_ns: int) -> None:
        """Come back when the item is due; serve the connection meanwhile and now and then."""
        self._since_look += 1
        looked = (
            self._since_look < LOOK_EVERY and self.clock.mono_ns() - self._looked_ns < LOOK_EVERY_NS
        )
        if looked and (self.speed is None or due_ns <= self._virtual_ns):
            return
        self._look(0.0)
        while self.speed is not None and due_ns > self._virtual_ns and not self._stopping:
            wait_s = (due_ns - self._virtual_ns) / self.speed / 1e9
            self._look(min(max(wait_s, NAP_S), NAP_S_MAX))
        if self.speed is not None and due_ns >= self._skip_before_ns:
            self._judge((self._virtual_ns - due_ns) / self.speed)

    def _look(self, timeout_s: float) -> None:
        assert self._link is not None
        self._since_look = 0
        self._link.flush()
        self._link.service(timeout_s)
        self._ensure()
        now = self._looked_ns = self.clock.mono_ns()
        if self.speed is not None:
            self._virtual_ns = int((now - self._began_ns) * self.speed)
        if self.progress and now - self._warned_ns >= WARN_EVERY_NS:
            self._warned_ns = now
            self.say(f"{self.summary.sent} sent, {self._rate(now):.0f} msg/s")

    def _judge(self, behind_ns: float) -> None:
        self.summary.behind_s_max = max(self.summary.behind_s_max, behind_ns / 1e9)
        if behind_ns <= BEHIND_NS_MAX:
            return
        self.summary.kept_up = False
        now = self.clock.mono_ns()
        if now - self._warned_ns >= WARN_EVERY_NS:
            self._warned_ns = now
            asked = f"{self.asked_rate:.0f} msg/s asked, " if self.asked_rate else ""
            self.say(
                f"cannot keep the rate: {asked}{self._rate(now):.0f} msg/s sent, "
                f"{behind_ns / 1e9:.1f} s behind"
            )

    def _rate(self, now_ns: int) -> float:
        return self.summary.sent * 1e9 / max(1, now_ns - self._began_ns)

    def _send_surely(self, message: Pending) -> bool:
        """Send QoS 1 or 2 once there is room in the window, over a new connection if need be.

        False when told to stop before there was room.
        """
        while True:
            while len(self._pending) >= self.window:
                if self._stopping:
                    return False
                assert self._link is not None
                self._link.service(NAP_S_MAX)
                self._ensure()
            assert self._link is not None
            mid = self._link.publish(message.topic, message.payload, message.qos)
            if mid is not None:
                self._pending[mid] = message
                return True
            self._link.cut()
            self._ensure()

    def _on_ack(self, mid: int) -> None:
        message = self._pending.pop(mid, None)
        if message is not None and not message.is_truth:
            self.summary.acked += 1

    def _ensure(self) -> None:
        """Have a connection: make a new one and send again what nobody acknowledged."""
        assert self._link is not None
        while not self._link.alive:
            self._leave(self._link)
            self._link = None  # while there is none, nothing is counted twice
            self._link = self._connected(first=False)
            self.summary.reconnects += 1
            if self.speed is not None:
                passed = self.clock.mono_ns() - self._began_ns
                self._virtual_ns = self._skip_before_ns = int(passed * self.speed)
            waiting, self._pending = list(self._pending.values()), {}
            for done, message in enumerate(waiting):
                mid = self._link.publish(message.topic, message.payload, message.qos)
                if mid is None:  # gone again: keep the rest for the next one, under ids of no one
                    self._pending |= {-1 - i: m for i, m in enumerate(waiting[done:])}
                    self._link.cut()
                    break
                self._pending[mid] = message
                self.summary.resent += 1

    def _leave(self, link: Wire) -> None:
        unwritten = link.unwritten()
        self.summary.lost += unwritten
        self.summary.sent -= unwritten
        self.summary.blocked_s += link.blocked_s
        link.close()

    def _connected(self, *, first: bool) -> Wire:
        """Try until there is a connection. Raises Unreachable after `give_up_s`."""
        deadline = self.clock.mono_ns() + int(self.give_up_s * 1e9)
        wait_s, told = 0.1, first
        while True:
            try:
                return self.connect(self._on_ack)
            except Unreachable as error:
                left_s = (deadline - self.clock.mono_ns()) / 1e9
                if first or left_s <= 0 or self._stopping:
                    raise
                if not told:
                    told = True
                    self.say(f"{error}; trying for {self.give_up_s:.0f} s")
                self.clock.sleep(min(wait_s, left_s))
                wait_s = min(wait_s * 2, 2.0)

    def _drain(self) -> None:
        assert self._link is not None
        self._link.flush()
        deadline = self.clock.mono_ns() + int(DRAIN_S * 1e9)
        while self._pending and self.clock.mono_ns() < deadline:
            self._link.service(NAP_S_MAX)
            self._ensure()

    def _finish(self) -> None:
        summary, link = self.summary, self._link
        cpu_ns = time.process_time_ns() - self._cpu_ns
        summary.unacked = len(self._pending)
        summary.seconds = (self.clock.mono_ns() - self._began_ns) / 1e9
        summary.rate = summary.sent / max(summary.seconds, 1e-9)
        summary.cpu_us_per_message = cpu_ns / 1e3 / max(1, summary.sent)
        if link is not None:
            link.flush()
            self._leave(link)
