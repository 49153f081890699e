"""Packets: PUBLISH and PUBACK to bytes, and what we want of the properties that come.

MQTT 5, sections 1.5 (data types), 2.2.2 (properties), 3.3 and 3.4; MQTT 3.1.1, 3.3 and 3.4.
"""

import struct
from typing import Final

import numpy as np

from daemon.messages import Outgoing
from pipelines.batch import I4

_EXPIRY, _CONTENT_TYPE, _RESPONSE, _CORRELATION, _USER = 0x02, 0x03, 0x08, 0x09, 0x26
_FIXED: Final = {0x01: 1, _EXPIRY: 4, 0x23: 2}
"""Bytes of the other properties that a PUBLISH may have; 0x0B is a variable byte integer."""
_SUBSCRIPTION: Final = 0x0B


def pubacks(packet_ids: I4) -> bytes:
    """PUBACK packets: success needs no reason code, in MQTT 5 as in 3.1.1."""
    made = np.empty((len(packet_ids), 4), np.uint8)
    made[:, 0], made[:, 1] = 0x40, 2
    made[:, 2:] = packet_ids.astype(">u2").view(np.uint8).reshape(-1, 2)
    return made.tobytes()


def asked(properties: bytes) -> tuple[str, bytes]:
    """Where an answer is wanted, and with what correlation data; of a PUBLISH's properties.

    Raises ValueError when they are malformed.
    """
    response, correlation, at = "", b"", 0
    while at < len(properties):
        kind, at = properties[at], at + 1
        if kind in _FIXED:
            at += _FIXED[kind]
        elif kind == _SUBSCRIPTION:
            while at < len(properties) and properties[at] & 128:
                at += 1
            at += 1
        elif kind in (_RESPONSE, _CONTENT_TYPE, _CORRELATION, _USER):
            for _ in range(2 if kind == _USER else 1):
                text, at = _text(properties, at)
            if kind == _RESPONSE:
                response = text.decode()
            elif kind == _CORRELATION:
                correlation = text
        else:
            raise ValueError(f"a PUBLISH has no property 0x{kind:02x}")
        if at > len(properties):
            raise ValueError("a property that is not whole")
    return response, correlation


def publish(outgoing: Outgoing, packet_id: int, qos: int, *, retain: bool, v5: bool) -> bytes:
    """A PUBLISH of QoS 0 or 1; the topic must be one."""
    topic = outgoing.topic.encode()
    head = len(topic).to_bytes(2, "big") + topic
    if qos:
        head += packet_id.to_bytes(2, "big")
    if v5:
        properties = _properties(outgoing)
        head += _length(len(properties)) + properties
    first = 0x30 | qos << 1 | retain
    size = _length(len(head) + len(outgoing.payload))
    return b"".join((bytes((first,)), size, head, outgoing.payload))


def _properties(outgoing: Outgoing) -> bytes:
    made = []
    if outgoing.expiry_s:
        made.append(struct.pack(">BI", _EXPIRY, outgoing.expiry_s))
    if outgoing.content_type:
        made.append(bytes((_CONTENT_TYPE,)) + _utf8(outgoing.content_type))
    if outgoing.correlation:
        size = len(outgoing.correlation).to_bytes(2, "big")
        made.append(bytes((_CORRELATION,)) + size + outgoing.correlation)
    for name, value in outgoing.properties:
        made.append(bytes((_USER,)) + _utf8(name) + _utf8(value))
    return b"".join(made)


def _utf8(text: str) -> bytes:
    """Raises ValueError above 65,535 bytes, and for half a surrogate pair."""
    data = text.encode()
    if len(data) > 65_535:
        raise ValueError(f"a property of {len(data)} bytes, at most 65,535 fit")
    return len(data).to_bytes(2, "big") + data


def _length(n: int) -> bytes:
    """A variable byte integer."""
    made = bytearray()
    while n > 127:
        made.append(n & 127 | 128)
        n >>= 7
    made.append(n)
    return bytes(made)


def _text(data: bytes, at: int) -> tuple[bytes, int]:
    end = at + 2 + int.from_bytes(data[at : at + 2], "big")
    if at + 2 > len(data) or end > len(data):
        raise ValueError("a property that is not whole")
    return data[at + 2 : end], end
