"""Whether lanes work with the paho that is installed: they rest on what it calls private."""

import logging
import socket
from functools import cache
from typing import Any, Final

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from daemon.messages import FIRST, PACKET_ID
from daemon.transport.lane import Lane, LaneClient

log = logging.getLogger(__name__)

_ROUNDS: Final = 50
_CONNACK: Final = b"\x20\x03\x00\x00\x00"
_PUBLISHED: Final = b"\x32\x08\x00\x01a\x00\x07\x00xy" + b"\x30\x05\x00\x01b\x00z"
_SUBACK: Final = b"\x90\x04\x00\x01\x00\x01"
_PINGRESP: Final = b"\xd0\x00"


@cache
def lane_works() -> bool:
    """Play one connection through a lane; where that fails, paho looks at every packet."""
    try:
        why = _fault()
    except Exception as error:  # noqa: BLE001 - whatever it is, there is another way
        why = f"{type(error).__name__}: {error}"
    if why:
        log.warning(
            "Packets go through paho one by one, which costs twenty times as much",
            extra={"facts": {"why": why}},
        )
    return not why


class _Probe(LaneClient):
    """Connects to the other end of a pair."""

    ours: socket.socket
    other: socket.socket

    def _create_socket_connection(self) -> Any:
        self.ours, self.other = socket.socketpair()
        return self.ours


def _fault() -> str:
    """What does not work, empty when all does."""
    client = _Probe(
        CallbackAPIVersion.VERSION2,
        client_id="probe",
        protocol=MQTTProtocolVersion.MQTTv5,
        reconnect_on_failure=False,
        manual_ack=True,
    )
    heard: list[str] = []
    client.on_connect = lambda *_: heard.append("connected")
    client.on_subscribe = lambda *_: heard.append("subscribed")
    client.on_message = lambda *_: heard.append("message")
    client.on_disconnect = lambda *_: heard.append("gone")
    client.on_socket_register_write = lambda *_: None
    client.connect("localhost")
    try:
        lane, used = client.lane, client.socket() is client.lane
        if lane is None or not used:
            return "paho does not use the socket that it is given"
        return _exchanged(client, lane, heard)
    finally:
        client.ours.close()
        client.other.close()


def _exchanged(client: _Probe, lane: Lane, heard: list[str]) -> str:
    client.other.sendall(_CONNACK + _PUBLISHED + _SUBACK + _PUBLISHED + _PINGRESP)
    taken = _played(client, lane, 4)
    if taken != [(0x32, 7), (0x30, 0)] * 2 or heard != ["connected", "subscribed"]:
        return f"of what was sent came {taken}, {heard}"
    while client.want_write():
        client.loop_write()
    if client.next_packet_id() == client.next_packet_id():
        return "packet ids do not count up"
    lane.send(b"\x40\x02\x00\x07")
    if not client.other.recv(4096).endswith(b"\x40\x02\x00\x07"):
        return "what is written does not arrive"
    client.other.shutdown(socket.SHUT_RDWR)
    _played(client, lane, 1)
    return "" if heard[-1] == "gone" else "the end of a connection is not noticed"


def _played(client: Client, lane: Lane, most: int) -> list[tuple[int, int]]:
    """(First byte, packet id) of packets that come past paho."""
    taken: list[tuple[int, int]] = []
    for _ in range(_ROUNDS):
        if not lane.for_paho:
            lane.fill()
        if lane.for_paho and not lane.let(client) and client.socket() is None:
            break
        _, rows = lane.take(100)
        taken += [(row[FIRST], row[PACKET_ID]) for row in rows.tolist()]
        if len(taken) >= most and not lane.for_paho:
            break
    return taken
