"""Egress: the connection that publishes what lies in the outbox, and says that we are there."""

import logging
import re
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any, Final

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from daemon.ledger import Reason
from daemon.messages import (
    END,
    FIRST,
    PACKET_ID,
    PAYLOAD,
    RETAIN,
    TOPIC,
    TOPIC_END,
    Message,
    Outgoing,
)
from daemon.outbox import Parcel
from daemon.transport.address import V5, new_client
from daemon.transport.dialect import Dialect
from daemon.transport.frames import PUBACK
from daemon.transport.ingest import FILTERS_PER_SUBSCRIBE
from daemon.transport.lane import ROWS_MAX, LaneClient
from daemon.transport.lane_check import lane_works
from daemon.transport.link import Link
from daemon.transport.loss import Loss
from daemon.transport.packets import publish
from daemon.transport.port import Wiring
from pipelines.batch import I4, U1

log = logging.getLogger(__name__)

IN_FLIGHT_MAX: Final = 200
IN_FLIGHT_MAX_311: Final = 20
"""3.1.1 cannot say how much a broker takes: Mosquitto 2.0.11 confirms QoS 2 messages beyond its
own default of 20 and then never delivers some of them."""
GOODBYE_S: Final = 1.0
RECALL_QUIET_NS: Final = 300_000_000
"""No protocol says which retained message is the last: after this long without one, it was."""
TOPIC_BYTES_MAX: Final = 65_535
_BAD_TOPIC: Final = re.compile("[\x00-\x1f\x7f-\x9f+#\ud800-\udfff]")


class Egress(Link):
    """`<client id>-out`: a clean session; birth after each connect, the will when we vanish."""

    def __init__(self, wiring: Wiring, dialect: Dialect) -> None:
        super().__init__(wiring, "out", dialect)
        self._protocol = V5
        self._tokens: dict[int, int] = {}
        self._own: set[int] = set()
        self._answers: deque[tuple[int, int]] = deque()
        self._unanswered: deque[tuple[int, int]] = deque()
        """(Where it ends in what was ever sent here, its number) of QoS 0."""
        self._raw_bytes = self._sent_bytes = 0
        self._leave_by = 0
        self._canaries: deque[bytes] = deque(maxlen=1)
        self._recall: tuple[str, ...] = ()
        self._recalling: list[str] = []
        self._recall_heard_ns = self._recall_answered_ns = 0
        self.on_answer: Callable[[], None] = _nobody
        """Called when the broker has answered that it sends the retained messages."""
        wiring.outbox.on_put = self.work_now

    # --- recall: states that we left before a restart ----------------------------------------

    def recall(self, filters: Sequence[str]) -> None:
        """Put the retained messages of these filters into the inbox once we are connected."""
        self._recall = tuple(filters)

    @property
    def recalled(self) -> bool:
        """True when they have all come, as far as can be known."""
        if not self._recall:
            return True
        heard_ns = self._recall_heard_ns
        return bool(heard_ns) and self.wiring.clock.monotonic_ns() - heard_ns > RECALL_QUIET_NS

    def end_recall(self) -> None:
        """Take no more of them."""
        self._recall = ()
        self.wake()

    def ask_canary(self, payload: bytes) -> None:
        """Publish this for ourselves; only the newest counts."""
        self._canaries.append(payload)
        self.wake()

    # --- hooks -------------------------------------------------------------------------------

    def new_client(self, protocol: MQTTProtocolVersion) -> Client:
        """A client with a will."""
        self._protocol = protocol
        broker = self.wiring.broker.publisher
        name = f"{self.wiring.client_id}-out"
        client = new_client(broker, name, protocol, clean=True, in_bulk=lane_works())
        client.on_publish = self.guarded(self._on_publish)
        client.on_subscribe = self.guarded(self._on_subscribe)
        client.on_message = self.guarded(self._on_message)
        will = self.wiring.will
        client.will_set(will.topic, will.payload, will.qos, will.retain)
        return client

    def connect_options(self, protocol: MQTTProtocolVersion) -> dict[str, Any]:
        """MQTT 5: no session is kept, outputs come again from the outbox."""
        return {"clean_start": True} if protocol == V5 else {}

    def on_up(self, client: Client, *, session_present: bool) -> None:  # noqa: ARG002
        """Publish the birth message before anything else."""
        self._publish_own(client, self.wiring.birth)
        self._recall_heard_ns = 0
        self._recalling = list(self._recall)
        for first in range(0, len(self._recalling), FILTERS_PER_SUBSCRIBE):
            part = self._recalling[first : first + FILTERS_PER_SUBSCRIBE]
            client.subscribe([(text, 0) for text in part])

    def on_down(self, loss: Loss) -> None:
        """Bring back what the broker has not taken."""
        self._settle()
        self.wiring.outbox.lost(blame=loss.blames_us)
        self._tokens.clear()
        self._own.clear()
        self._unanswered.clear()
        self._raw_bytes = self._sent_bytes = 0
        self._leave_by = 0

    def work(self, client: Client) -> None:
        """Settle what the broker has answered, publish what comes next."""
        self._settle()
        while self._canaries:
            own = Outgoing(self.wiring.canary_topic, self._canaries.popleft(), 1, False, "status")
            self._publish_own(client, own)
        if self._recalling and not self._recall:
            client.unsubscribe(self._recalling)
            self._recalling = []
        room = self._in_flight_max() - len(self._own)
        if room <= 0:
            return
        for parcel in self.wiring.outbox.take(IN_FLIGHT_MAX, room):
            self._publish(client, parcel)

    def read(self, client: Client) -> None:
        """Read the broker's answers."""
        if isinstance(client, LaneClient) and client.lane is not None:
            client.lane.read(client, _always, self.guarded(self._take))
        else:
            client.loop_read()

    def on_sent(self, n: int) -> None:
        """Nobody answers to QoS 0: it is done when it has left."""
        self._sent_bytes += n
        while self._unanswered and self._unanswered[0][0] <= self._sent_bytes:
            self._answers.append((self._unanswered.popleft()[1], 0))

    def ready_to_leave(self, client: Client) -> bool:
        """Say good-bye with the will's message, and wait a moment until the broker has it."""
        now = self.wiring.clock.monotonic_ns()
        if not self._leave_by:
            self._leave_by = now + int(GOODBYE_S * 1e9)
            self._publish_own(client, self.wiring.will)
        return not self._own or now > self._leave_by

    # --- inside ------------------------------------------------------------------------------

    def _in_flight_max(self) -> int:
        if self._protocol != V5:
            return IN_FLIGHT_MAX_311
        return min(int(self.limits.get("ReceiveMaximum", 65_535)), IN_FLIGHT_MAX)

    def _publish(self, client: Client, parcel: Parcel) -> None:
        token, outgoing = parcel
        outbox = self.wiring.outbox
        if not is_topic(outgoing.topic):
            outbox.refuse(token, Reason.BAD_TOPIC, ascii(outgoing.topic[:100]))
            return
        most = self.limits.get("MaximumPacketSize")
        if most is not None and (size := packet_bytes(outgoing)) > most:
            outbox.refuse(token, Reason.TOO_BIG, f"{size} bytes, the broker takes {most}")
            return
        try:
            self._tokens[self._send(client, outgoing)] = token
        except ValueError as error:
            outbox.refuse(token, Reason.BAD_TOPIC, str(error))

    def _publish_own(self, client: Client, outgoing: Outgoing) -> None:
        """Birth and will: ours, not the engine's, so they are in no outbox and no count."""
        self._own.add(self._send(client, outgoing))

    def _send(self, client: Client, outgoing: Outgoing) -> int:
        """Put one output on its way; its packet id, or a number like one for QoS 0."""
        qos = min(outgoing.qos, int(self.limits.get("MaximumQoS", 2)))
        # A broker without retained messages must not be sent one: it would hang up.
        retain = outgoing.retain and bool(self.limits.get("RetainAvailable", 1))
        if qos > 1 or not isinstance(client, LaneClient):
            return self._send_by_paho(client, outgoing, qos, retain=retain)
        number = client.next_packet_id()
        packet = publish(outgoing, number, qos, retain=retain, v5=self._protocol == V5)
        self.raw += packet
        self._raw_bytes += len(packet)
        if not qos:
            self._unanswered.append((self._raw_bytes, number))
        return number

    def _send_by_paho(self, client: Client, outgoing: Outgoing, qos: int, *, retain: bool) -> int:
        properties = self._properties(outgoing) if self._protocol == V5 else None
        info = client.publish(outgoing.topic, outgoing.payload, qos, retain, properties)
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise ConnectionError(f"paho does not take a message: {info.rc!s}")
        return info.mid

    def _properties(self, outgoing: Outgoing) -> Properties | None:
        more = outgoing.content_type or outgoing.expiry_s or outgoing.correlation
        if not (outgoing.properties or more):
            return None
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        if outgoing.properties:
            properties.UserProperty = list(outgoing.properties)
        if outgoing.content_type:
            properties.ContentType = outgoing.content_type
        if outgoing.expiry_s:
            properties.MessageExpiryInterval = outgoing.expiry_s
        if outgoing.correlation:
            properties.CorrelationData = outgoing.correlation
        return properties

    def _on_publish(
        self, _client: Client, _: Any, mid: int, code: ReasonCode, _props: Properties
    ) -> None:
        self._answers.append((mid, code.value))

    def _on_subscribe(
        self, _client: Client, _: Any, _mid: int, codes: Iterable[ReasonCode], _props: Any
    ) -> None:
        self._recall_heard_ns = self.wiring.clock.monotonic_ns()
        if not self._recall_answered_ns:
            self._recall_answered_ns = self.wiring.clock.now_ns()
        self.on_answer()
        refused = [code.getName() for code in codes if code.value >= 0x80]
        if refused:
            log.warning(
                "The broker does not let us read our own states, active alerts start afresh",
                extra={"facts": {"reason": refused[0], "filters": len(refused)}},
            )

    def _take(self, data: U1, rows: I4) -> None:
        for row in rows.tolist():
            if row[FIRST] == PUBACK:
                self._answers.append((row[PACKET_ID], row[TOPIC]))
            else:
                topic = data[row[TOPIC] : row[TOPIC_END]].tobytes().decode(errors="replace")
                payload = data[row[PAYLOAD] : row[END]].tobytes()
                self._recalled(topic, payload, retain=bool(row[FIRST] & RETAIN))

    def _on_message(self, _client: Client, _: Any, message: MQTTMessage) -> None:
        self._recalled(message.topic, bytes(message.payload), retain=message.retain)

    def _recalled(self, topic: str, payload: bytes, *, retain: bool) -> None:
        if not self._recall or not retain:
            return  # the echo of what we publish ourselves
        self._recall_heard_ns = self.wiring.clock.monotonic_ns()
        # They count as here before whatever comes on the other connection.
        at_ns = self._recall_answered_ns or self.wiring.clock.now_ns()
        self.wiring.inbox.put_state(Message(topic, payload, 0, 0, at_ns, True, self.epoch))

    def _settle(self) -> None:
        outbox, done = self.wiring.outbox, []
        while self._answers:
            mid, code = self._answers.popleft()
            self._own.discard(mid)
            token = self._tokens.pop(mid, None)
            if token is None:
                continue
            if code >= 0x80:
                outbox.refuse(token, Reason.REFUSED, f"reason code 0x{code:02x}")
            else:
                done.append(token)
        if done:
            outbox.settle(*done)


def _always() -> int:
    return ROWS_MAX


def _nobody() -> None:
    return None


@lru_cache(maxsize=65_536)
def is_topic(text: str) -> bool:
    """True for a topic that a broker lets us publish to."""
    if not text or _BAD_TOPIC.search(text):
        return False
    return len(text.encode()) <= TOPIC_BYTES_MAX


def packet_bytes(outgoing: Outgoing) -> int:
    """An upper bound of the PUBLISH packet's size."""
    named = sum(len(k.encode()) + len(v.encode()) + 5 for k, v in outgoing.properties)
    fixed = 5 + 2 + 2 + 4 + 5 + 3  # header, topic length, packet id, lengths, expiry, content type
    return (
        fixed
        + len(outgoing.topic.encode())
        + len(outgoing.payload)
        + named
        + len(outgoing.content_type)
        + (len(outgoing.correlation) + 3 if outgoing.correlation else 0)
    )
