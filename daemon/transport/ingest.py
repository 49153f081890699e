"""Ingest: the connection that subscribes, and acknowledges what the engine is done with."""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from daemon.bulk import Bulk, Origin
from daemon.ledger import Count
from daemon.messages import PACKET_ID, Message
from daemon.transport.address import V5, new_client
from daemon.transport.dialect import Dialect
from daemon.transport.gather import Gather
from daemon.transport.intake import Intake
from daemon.transport.lane import Lane, LaneClient
from daemon.transport.lane_check import lane_works
from daemon.transport.link import Link
from daemon.transport.loss import Loss
from daemon.transport.packets import pubacks
from daemon.transport.port import Wiring
from daemon.turns import AT_ONCE_MAX
from pipelines.batch import I4, U1

log = logging.getLogger(__name__)

RECEIVE_MAXIMUM: Final = 65_535
"""Bounds what the broker sends ahead of our acknowledgements, and so how large a burst it need not
keep: Mosquitto drops what is more than 1,000 beyond. All there are, for a message that waits for its
acknowledgement costs little more than its bytes."""
IN_FLIGHT_311: Final = 20
"""What brokers send ahead of acknowledgements where a client cannot say; Mosquitto's default."""
READS_PER_ROUND: Final = 256
FILTERS_PER_SUBSCRIBE: Final = 100


class Ingest(Link):
    """`<client id>-in`: a persistent session; messages go to the inbox as they come."""

    def __init__(self, wiring: Wiring, dialect: Dialect) -> None:
        super().__init__(wiring, "in", dialect)
        self._wanted: dict[str, int] = {}
        self._changed = False
        self._granted: dict[str, int] = {}
        self._protocol = V5
        self._asked: dict[int, list[tuple[str, int]]] = {}
        self.refused: dict[str, str] = {}
        self._acks: deque[tuple[int, bytes]] = deque()
        self.intake = Intake(wiring)
        self._taking = self.guarded(self._take)
        self._gather = Gather(wiring.broker.linger)
        self._moved = 0
        self.session = 0
        """Number of the broker's session: one more each time it has forgotten us."""
        self._noted = 0
        self.expected = False
        """Whether an earlier run of ours has left a session behind."""

    # --- from other threads ------------------------------------------------------------------

    def subscribe(self, filters: Mapping[str, int]) -> None:
        """Replace the set of subscriptions."""
        self._wanted = dict(filters)
        self._changed = True
        self.wake()

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Queue acknowledgements, in order; those of earlier connections are left out."""
        epoch = self.epoch
        if isinstance(messages, Bulk):
            if not messages.rows[:, PACKET_ID].any():
                return  # of QoS 0
            owed = messages.rows[messages.qos > 0, PACKET_ID]
            mids = owed if messages.origin.epoch == epoch else owed[:0]
        else:
            owed = np.array([m[3] for m in messages if m[2]], np.int32)
            mids = np.array([m[3] for m in messages if m[2] and m[6] == epoch], np.int32)
        if mids.size < owed.size:
            self.wiring.ledger.count(Count.ACKNOWLEDGEMENTS_STALE, owed.size - mids.size)
        if mids.size:
            self._acks.append((epoch, pubacks(mids)))
            if len(self._acks) == 1:  # else the thread has been woken, and has not looked yet
                self.wake()

    def note_session(self, number: int) -> None:
        """Subscribe in this session: it is on disk that it is a new one."""
        self._noted = number
        self.wake()

    def go_on(self, session: int, filters: Iterable[str]) -> None:
        """Before the first connection: an earlier run has left this session behind.

        What it subscribed to, with whatever QoS, is asked for again or left.
        """
        self.session = self._noted = session
        self.expected = True
        self._granted = dict.fromkeys(filters, -1)

    @property
    def settled(self) -> bool:
        """True when the broker has answered for every filter of the present set."""
        wanted = self._wanted
        return not self._changed and all(f in self._granted or f in self.refused for f in wanted)

    @property
    def granted(self) -> dict[str, int]:
        """{filter: QoS} as the broker granted it."""
        return {f: q for f, q in list(self._granted.items()) if f in self._wanted}

    # --- hooks -------------------------------------------------------------------------------

    def new_client(self, protocol: MQTTProtocolVersion) -> Client:
        """A client of the persistent session, with manual acknowledgement."""
        self._protocol = protocol
        self.hurries = protocol != V5  # it sends few messages ahead of our acknowledgements
        client = new_client(
            self.wiring.broker,
            f"{self.wiring.client_id}-in",
            protocol,
            clean=False,
            in_bulk=lane_works(),
        )
        client.on_message = self.guarded(self._on_message)
        client.on_subscribe = self.guarded(self._on_subscribe)
        return client

    def connect_options(self, protocol: MQTTProtocolVersion) -> dict[str, Any]:
        """MQTT 5: keep the session, and how much we take."""
        if protocol != V5:
            return {}
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = min(
            self.wiring.broker.session_expiry // 1_000_000_000, 0xFFFFFFFF
        )
        properties.ReceiveMaximum = RECEIVE_MAXIMUM
        properties.MaximumPacketSize = self.wiring.packet_bytes_max
        return {"clean_start": False, "properties": properties}

    def on_up(self, client: Client, *, session_present: bool) -> None:
        """Subscribe; without the old session, to everything."""
        self._asked.clear()
        self.refused.clear()
        self._gather.begin()
        self._tell_ceiling()
        if not session_present:
            self._granted.clear()
            self.session += 1
            self._changed = True
            if self.epoch > 1 or self.expected:
                self._session_lost()
        if self._may_subscribe:
            self._subscribe(client)

    def on_down(self, loss: Loss) -> None:  # noqa: ARG002 - nothing of ours caused it
        """What was asked will be asked again."""
        self._asked.clear()

    def work(self, client: Client) -> None:
        """Send acknowledgements, and subscriptions that changed."""
        while self._acks:
            epoch, frames = self._acks.popleft()
            if epoch == self.epoch:
                self.raw += frames
        if self._changed and self._may_subscribe:
            self._subscribe(client)

    def on_sent(self, n: int) -> None:
        """Acknowledgements need no answer."""

    def wants_read(self) -> bool:
        """Read only what the inbox has room for: the broker keeps the rest."""
        return self.wiring.inbox.has_room()

    def read(self, client: Client) -> None:
        """Read packets until nothing more has come, or the inbox is full."""
        if isinstance(client, LaneClient) and client.lane is not None:
            self._let_others_come(client.lane)
            client.lane.read(client, self.wiring.inbox.room, self._taking)
        else:
            self._read_paho(client)
        self.wiring.inbox.arrived()

    # --- inside ------------------------------------------------------------------------------

    def _let_others_come(self, lane: Lane) -> None:
        seen, topics = self.wiring.foreseen(), self.intake.topics
        knows = seen is not None and seen.topics is topics and self._gather.works
        self._waiting.eager = knows and not (self.hurries or len(self.wiring.inbox))
        if seen is not None and self._waiting.eager:
            with self._waiting.away() as bell:
                rung = lane.let_come(self._gather, topics, seen.sights, bell)
            if rung:  # what for is looked at in the next round
                self._waiting.hush()

    def _read_paho(self, client: Client) -> None:
        has_room = self.wiring.inbox.has_room
        idle = 0
        for _ in range(READS_PER_ROUND):
            before = self._moved
            if client.loop_read() or client.socket() is None or not has_room():
                return
            # A wrapper (TLS, websocket) may hold bytes that poll does not see: look twice.
            idle = idle + 1 if self._moved == before else 0
            if idle > 1:
                return

    def _take(self, data: U1, rows: I4) -> None:
        self.lingers = True
        self.intake.put(data, rows, Origin(self.epoch, self.session, self.session_present))
        if len(self.wiring.inbox) > AT_ONCE_MAX:
            self.wiring.inbox.arrived()  # the engine begins while more is read

    def _on_message(self, _client: Client, _: Any, message: MQTTMessage) -> None:
        self._moved += 1
        self.lingers = True
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = ""  # no source wants it: rejected as bad_topic, acknowledged in its turn
        ours = topic == self.wiring.canary_topic
        put: Callable[[Message], object] = (
            self.wiring.inbox.put_own if ours else self.wiring.inbox.put
        )
        put(
            Message(
                topic,
                bytes(message.payload),
                message.qos,
                message.mid,
                self.wiring.clock.now_ns(),
                message.retain,
                self.epoch,
                *_asked(message.properties),
                message.dup and self.session_present,
                self.session,
            )
        )

    @property
    def _may_subscribe(self) -> bool:
        """Before it is known that packet ids begin again, none of them may come."""
        return self.wiring.commit_delay_ns is None or self._noted >= self.session

    def _subscribe(self, client: Client) -> None:
        self._changed = False
        wanted = self._wanted
        gone = [f for f in self._granted if f not in wanted]
        if gone:
            client.unsubscribe(gone)
            for text in gone:
                del self._granted[text]
        for text in [f for f in self.refused if f not in wanted]:
            del self.refused[text]
        missing = [(f, min(q, 1)) for f, q in wanted.items() if self._granted.get(f) != min(q, 1)]
        for first in range(0, len(missing), FILTERS_PER_SUBSCRIBE):
            part = missing[first : first + FILTERS_PER_SUBSCRIBE]
            _, mid = client.subscribe(part)
            if mid is not None:
                self._asked[mid] = part

    def _on_subscribe(
        self, _client: Client, _: Any, mid: int, codes: Iterable[ReasonCode], _props: Any
    ) -> None:
        for (text, _qos), code in zip(self._asked.pop(mid, []), codes, strict=False):
            if code.value >= 0x80:
                self._refuse(text, code.getName())
            else:
                self._granted[text] = code.value
                self.refused.pop(text, None)

    def _refuse(self, text: str, why: str) -> None:
        self.refused[text] = why
        self.wiring.ledger.count(Count.SUBSCRIPTIONS_REFUSED)
        log.error(
            "The broker refuses a subscription, its messages will be missing",
            extra={"facts": {"filter": text, "reason": why}},
        )

    def _tell_ceiling(self) -> None:
        """What the window allows when acknowledgements wait for the disk."""
        if self.wiring.commit_delay_ns and self._protocol != V5:
            most = IN_FLIGHT_311 * 1_000_000_000 // self.wiring.commit_delay_ns
            log.warning(
                "MQTT 3.1.1 allows few messages in flight, which limits what can be taken",
                extra={
                    "facts": {
                        "messages_per_s_max": most,
                        "hint": "use a broker with MQTT 5, or a shorter state.commit_delay",
                    }
                },
            )

    def _session_lost(self) -> None:
        self.wiring.ledger.count(Count.SESSIONS_LOST)
        log.warning("The broker has forgotten our session, messages may be missing")
        self.wiring.on_session_lost()


def _asked(properties: Properties | None) -> tuple[str, bytes]:
    """Where an answer is wanted, and with what correlation data."""
    if properties is None:
        return "", b""
    given = vars(properties)
    return given.get("ResponseTopic", ""), given.get("CorrelationData", b"")
