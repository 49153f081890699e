"""A bare MQTT 3.1.1 client: costs next to nothing, so that it is never what is measured."""

import select
import socket
import struct

PUBACK = 0x40


def frame(topic, payload, qos=0, mid=1):
    """A PUBLISH packet."""
    name = topic.encode()
    body = struct.pack("!H", len(name)) + name
    body += (struct.pack("!H", mid) if qos else b"") + payload
    return bytes([0x30 | qos << 1]) + _length(len(body)) + body


def mid_of(i):
    """A packet id for the i-th message: never 0."""
    return i % 65_535 + 1


class Peer:
    """One connection, used by one thread."""

    def __init__(self, port, name):
        self.sock = socket.create_connection(("127.0.0.1", port), 10)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client = name.encode()
        body = b"\x00\x04MQTT\x04\x02\x00\x00" + struct.pack("!H", len(client)) + client
        self.sock.sendall(b"\x10" + _length(len(body)) + body)
        assert self._packet() == (0x20, b"\x00\x00"), "the broker refuses us"
        self._bytes = bytearray()

    def subscribe(self, text, qos):
        name = text.encode()
        body = b"\x00\x01" + struct.pack("!H", len(name)) + name + bytes([qos])
        self.sock.sendall(b"\x82" + _length(len(body)) + body)
        kind, _ = self._packet()
        assert kind == 0x90

    def send(self, data, chunk=65_536):
        """Send it all and read what the broker answers meanwhile; bytes of answers."""
        answered = 0
        for first in range(0, len(data), chunk):
            self.sock.sendall(memoryview(data)[first : first + chunk])
            answered += self.answers()
        return answered

    def answers(self, wait_s=0.0):
        """Bytes that the broker has answered, thrown away."""
        n = 0
        while select.select([self.sock], [], [], wait_s)[0]:
            got = len(self.sock.recv(1 << 20))
            if not got:
                raise ConnectionError("the broker hung up")
            n += got
            wait_s = 0.0
        return n

    def publishes(self, wait_s):
        """PUBLISH packets that have come, acknowledged where asked for: [packet's bytes]."""
        if not select.select([self.sock], [], [], wait_s)[0]:
            return []
        self._bytes += self.sock.recv(1 << 20)
        found, acks, at, data = [], [], 0, bytes(self._bytes)
        while (end := _end(data, at)) is not None:
            if data[at] >> 4 == 3:
                found.append(data[at:end])
                if data[at] & 6:
                    acks.append(b"\x40\x02" + _mid(found[-1]))
            at = end
        del self._bytes[:at]
        self.sock.sendall(b"".join(acks))
        return found

    def close(self):
        self.sock.sendall(b"\xe0\x00")
        self.sock.close()

    def _packet(self):
        kind, length = self.sock.recv(2, socket.MSG_WAITALL)
        return kind, self.sock.recv(length, socket.MSG_WAITALL)


def _length(n):
    out = bytearray()
    while True:
        n, low = divmod(n, 128)
        out.append(low | (0x80 if n else 0))
        if not n:
            return bytes(out)


def _end(data, at):
    """Where the packet at `at` ends; None when not all of it is there."""
    length, shift, i = 0, 0, at + 1
    while i < len(data):
        length |= (data[i] & 0x7F) << shift
        shift += 7
        if not data[i] & 0x80:
            return i + 1 + length if i + 1 + length <= len(data) else None
        i += 1
    return None


def _mid(packet):
    at = 1
    while packet[at] & 0x80:
        at += 1
    topic = struct.unpack_from("!H", packet, at + 1)[0]
    return packet[at + 3 + topic : at + 5 + topic]
