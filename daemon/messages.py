"""What crosses the border between transport and engine: plain messages, in and out."""

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

TOPICS_KEPT_MAX: Final = 200_000
"""Topics of which something is remembered, wherever that is; then all are forgotten."""

COLUMNS: Final = 8
FIRST, PACKET_ID, TOPIC, TOPIC_END, PROPERTIES, PAYLOAD, END, NUMBER = range(COLUMNS)
"""Of a packet in bulk: its first byte; packet id or 0; where in the bytes its topic begins and ends,
its properties from `PROPERTIES` to `PAYLOAD`, and its payload from there to `END`; the number of its
topic. Of a PUBACK, `TOPIC` is its reason code."""
AGAIN, QOS, RETAIN = 8, 6, 1
"""Bits of the first byte."""


class Message(NamedTuple):
    """One message as the transport delivered it."""

    topic: str
    payload: bytes
    qos: int
    mid: int
    """Packet id of the delivering connection; 0 for QoS 0."""
    arrival_ns: int
    """When our socket had it, nanoseconds since 1970 UTC; never goes back within one run."""
    retain: bool = False
    """True for a stored message that the broker sent because we subscribed."""
    epoch: int = 0
    """Number of the connection: an acknowledgement is only good on the same one."""
    response_topic: str = ""
    """MQTT 5: where the one who asks wants the answer."""
    correlation: bytes = b""
    """MQTT 5: what the answer is to carry, so that it is known which question it belongs to."""
    again: bool = False
    """The broker says, within a session that lives on, that it may have sent this before."""
    session: int = 0
    """Number of the broker's session: packet ids of one mean nothing in another."""


Kind = Literal["sample", "window", "answer", "state", "alert", "status"]
DROP_ORDER: Final[tuple[Kind, ...]] = ("sample", "window", "answer", "state", "alert", "status")
"""What the outbox gives up first when it is full."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message to publish."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    kind: Kind
    properties: tuple[tuple[str, str], ...] = ()
    """MQTT 5 user properties; a 3.1.1 connection leaves them out, the payload holds all."""
    content_type: str = ""
    expiry_s: int = 0
    """MQTT 5 message expiry; 0 is never."""
    correlation: bytes = b""
    """MQTT 5 correlation data of the question that this answers."""
