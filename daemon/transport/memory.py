"""memory://: an in-process bus with no threads, for tests, replays and `sensorweir test`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from config.topics import TopicFilter
from daemon.messages import Message, Outgoing
from daemon.transport.port import Wiring


class MemoryTransport:
    """Delivers at once, in order, in the caller's thread; behaves like one MQTT session."""

    def __init__(self, wiring: Wiring) -> None:
        self.published: list[Outgoing] = []
        """Everything that left the outbox, in order."""
        self.acknowledged: list[Message] = []
        self._wiring = wiring
        self._filters: dict[str, tuple[TopicFilter, int]] = {}
        self._recall: list[TopicFilter] = []
        self._retained: dict[str, tuple[bytes, int]] = {}
        self._unacknowledged: dict[int, Message] = {}
        self._held: list[tuple[str, bytes, int]] = []
        self._connected = False
        self._started = False
        self._epoch = 0
        self._next_mid = 1
        wiring.outbox.on_put = self._pump

    def belong_to(self, wiring: Wiring) -> None:
        """Be the broker of another process, in place of the one that has died."""
        self.cut()
        self._wiring = wiring
        wiring.outbox.on_put = self._pump

    @property
    def connected(self) -> bool:
        """True between `start` (or `restore`) and `stop` (or `cut`)."""
        return self._connected

    @property
    def publishing(self) -> bool:
        """The same."""
        return self._connected

    @property
    def beats(self) -> Mapping[str, Callable[[], int]]:
        """None: there is no thread."""
        return {}

    @property
    def recalled(self) -> bool:
        """Always: retained messages are delivered at once."""
        return self._connected

    def recall(self, filters: Sequence[str]) -> None:
        """Have `start` deliver these retained messages."""
        self._recall = [TopicFilter.parse(text) for text in filters]

    def start(self) -> None:
        """Open the bus, publish the birth message, deliver what `recall` asked for."""
        self._started = True
        self.restore()
        for topic, (payload, _) in list(self._retained.items()):
            if any(f.match(topic) is not None for f in self._recall):
                now_ns = self._wiring.clock.now_ns()
                message = Message(topic, payload, 0, 0, now_ns, retain=True, epoch=self._epoch)
                self._wiring.inbox.put_state(message)

    def end_recall(self) -> None:
        """It has ended."""

    def subscribe(self, filters: Mapping[str, int]) -> None:
        """Replace the subscriptions; new ones get the retained messages that match."""
        if self._wiring.canary_topic:
            filters = {**filters, self._wiring.canary_topic: 1}
        fresh = [text for text in filters if text not in self._filters]
        self._filters = {text: (TopicFilter.parse(text), qos) for text, qos in filters.items()}
        for topic, (payload, qos) in list(self._retained.items()):
            if any(self._filters[text][0].match(topic) is not None for text in fresh):
                self._deliver(topic, payload, qos, retain=True)

    def ask_canary(self, payload: bytes) -> None:
        """Comes back at once."""
        if self._wiring.canary_topic:
            self.publish(self._wiring.canary_topic, payload)

    @property
    def session(self) -> int:
        """The one session is never lost."""
        return 0

    def note_session(self, number: int) -> None:
        """Nothing waits for it here."""

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Forget these; those of an earlier connection come again."""
        for message in messages:
            if message.qos and message.epoch == self._epoch:
                self._unacknowledged.pop(message.mid, None)
                self.acknowledged.append(message)

    def status(self) -> dict[str, Any]:
        """One connection that is always good."""
        return {
            "connected": self._connected,
            "protocol": "memory",
            "session_present": self._epoch > 1,
            "subscriptions": sorted(self._filters),
            "unacknowledged": len(self._unacknowledged),
        }

    def stop(self, drain_s: float) -> None:  # noqa: ARG002 - nothing is ever on its way here
        """Publish what waits, then the will."""
        if self._connected:
            self._pump()
            self._emit(self._wiring.will)
        self._connected = self._started = False

    def publish(
        self,
        topic: str,
        payload: bytes,
        qos: int = 1,
        *,
        retain: bool = False,
        asked: tuple[str, bytes] = ("", b""),
    ) -> None:
        """Another client publishes: what matches a subscription lands in the inbox.

        `asked`: response topic and correlation data; a message held for us keeps neither.
        """
        if retain:
            self._retained.pop(topic, None)
            if payload:
                self._retained[topic] = (payload, qos)
        if self._connected:
            self._deliver(topic, payload, qos, retain=False, asked=asked)
        elif qos:
            self._held.append((topic, payload, qos))

    def cut(self) -> None:
        """Lose the connection; the session lives on and holds messages of QoS 1."""
        self._connected = False

    def restore(self) -> None:
        """Connect again: first what was never acknowledged, then what was held."""
        if self._connected or not self._started:
            return
        self._connected = True
        self._epoch += 1
        again = list(self._unacknowledged.values())
        for message in again:
            fresh = message._replace(
                epoch=self._epoch,
                arrival_ns=self._wiring.clock.now_ns(),
                retain=False,
                again=True,
            )
            self._unacknowledged[message.mid] = fresh
            self._wiring.inbox.put(fresh)
        held, self._held = self._held, []
        for topic, payload, qos in held:
            self._deliver(topic, payload, qos, retain=False)
        self._emit(self._wiring.birth)
        self._pump()

    def _pump(self) -> None:
        outbox = self._wiring.outbox
        while self._connected and (parcels := outbox.take(1, 1)):
            for parcel in parcels:
                outbox.settle(parcel.token)
                self._emit(parcel.outgoing)

    def _emit(self, outgoing: Outgoing) -> None:
        self.published.append(outgoing)
        self.publish(outgoing.topic, outgoing.payload, outgoing.qos, retain=outgoing.retain)

    def _deliver(
        self,
        topic: str,
        payload: bytes,
        qos: int,
        *,
        retain: bool,
        asked: tuple[str, bytes] = ("", b""),
    ) -> None:
        granted = [q for f, q in self._filters.values() if f.match(topic) is not None]
        if not granted:
            return
        qos = min(qos, max(granted))
        mid = 0
        if qos:
            mid, self._next_mid = self._next_mid, self._next_mid % 65_535 + 1
        message = Message(
            topic, payload, qos, mid, self._wiring.clock.now_ns(), retain, self._epoch, *asked
        )
        if self._wiring.inbox.put(message) and qos:
            self._unacknowledged[mid] = message
