"""MqttTransport: two connections to one broker, one that subscribes and one that publishes.

Two, because a broker can give them different rights, and because what comes in then never
stands in the way of an alert.  Each has a thread, a fresh client per connection and its own
supervision; paho's threads and its reconnecting are not used.
"""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from daemon.messages import Message
from daemon.transport.dialect import Dialect
from daemon.transport.egress import Egress
from daemon.transport.ingest import Ingest
from daemon.transport.lane_check import lane_works
from daemon.transport.port import Wiring

_JOIN_S: Final = 8.0
"""Longer than connecting may take, so that a thread ends by itself."""


class MqttTransport:
    """The `Transport` over MQTT."""

    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring
        self._dialect = Dialect(wiring.broker)
        self._ingest = Ingest(wiring, self._dialect)
        self._egress = Egress(wiring, self._dialect)
        self._never = threading.Event()
        self._waits = False
        """Whether the connection for messages is not to be made yet."""
        self._egress.on_answer = self._open

    @property
    def connected(self) -> bool:
        """True when both connections are up and every subscription is answered."""
        return self._ingest.up and self._egress.up and self._ingest.settled

    @property
    def publishing(self) -> bool:
        """True when the connection for what we publish is up."""
        return self._egress.up

    @property
    def alive(self) -> bool:
        """True while both threads run; `connected` says whether they have a connection."""
        return (self._ingest.alive or self._waits) and self._egress.alive

    @property
    def beats(self) -> Mapping[str, Callable[[], int]]:
        """Of both threads."""
        return {"ingest": lambda: self._ingest.beat_ns, "egress": lambda: self._egress.beat_ns}

    @property
    def recalled(self) -> bool:
        """True when the broker has been silent for a moment after it answered."""
        return self._egress.recalled

    def recall(self, filters: Sequence[str]) -> None:
        """Fetch retained messages on the clean connection; the other waits for its answer.

        So nothing waits in the inbox for states that cannot be asked for.
        """
        self._waits = True
        self._egress.recall(filters)

    def end_recall(self) -> None:
        """Take no more of them."""
        self._egress.end_recall()

    def start(self) -> None:
        """Begin to connect; returns at once."""
        lane_works()  # asked once: both threads and the main one would play it at the same time
        waits = self._waits  # for the other thread: it may have its answer at once
        self._egress.start()
        if not waits:
            self._ingest.start()

    def subscribe(self, filters: Mapping[str, int]) -> None:
        """Replace the whole set of subscriptions {filter: QoS}; at most QoS 1 is asked for."""
        if self._wiring.canary_topic:
            filters = {**filters, self._wiring.canary_topic: 1}
        self._ingest.subscribe(filters)

    def ask_canary(self, payload: bytes) -> None:
        """Have the other connection publish it."""
        self._egress.ask_canary(payload)

    @property
    def session(self) -> int:
        """Number of the broker's session with us, see `Message.session`."""
        return self._ingest.session

    def note_session(self, number: int) -> None:
        """Let the connection for messages subscribe in this session."""
        self._ingest.note_session(number)

    def go_on(self, session: int, filters: Iterable[str]) -> None:
        """Before `start`: an earlier run left a session of this number, with these filters."""
        self._ingest.go_on(session, filters)

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Queue acknowledgements in order, for messages of the present connection."""
        self._ingest.acknowledge(messages)

    def status(self) -> dict[str, Any]:
        """What is known of both connections."""
        return {
            "connected": self.connected,
            "alive": self.alive,
            "protocol": self._dialect.text("in"),
            "session_present": self._ingest.session_present,
            "subscriptions": self._ingest.granted,
            "refused": dict(self._ingest.refused),
            "in": self._link(self._ingest),
            "out": self._link(self._egress),
        }

    def stop(self, drain_s: float) -> None:
        """Send what waits for up to `drain_s`, say good-bye on both connections, end."""
        clock = self._wiring.clock
        until = clock.monotonic_ns() + int(drain_s * 1e9)
        while len(self._wiring.outbox) and self._egress.alive and clock.monotonic_ns() < until:
            clock.wait(self._never, 10_000_000)
        for link in (self._ingest, self._egress):
            link.ask_stop()
        for link in (self._ingest, self._egress):
            link.join(_JOIN_S)

    def _open(self) -> None:
        if self._waits:
            self._waits = False
            self._ingest.start()

    @staticmethod
    def _link(link: Ingest | Egress) -> dict[str, Any]:
        return {
            "up": link.up,
            "connections": link.epoch,
            "limits": link.limits,
            "last_error": link.last_error,
        }
