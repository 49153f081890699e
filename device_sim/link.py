"""One connection to the broker: paho holds the session, QoS 0 goes out in bulk past it.

A `Link` is used by one thread and has none of its own.  paho does CONNECT, PING and QoS 1 and 2;
QoS 0 PUBLISH packets are framed here and written many at once, 30 times as fast as `publish()`.
Both write to one socket, so neither starts while the other has bytes left to write.
"""

import select
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from paho.mqtt.client import MQTT_ERR_SUCCESS, Client, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion

KEEPALIVE_S: Final = 20
CHUNK_FRAMES: Final = 256
STALL_S_MAX: Final = 30.0
"""A broker that takes no byte for so long is as good as gone."""
TOPICS_MAX: Final = 100_000


class Unreachable(Exception):  # noqa: N818 - a state, its text says what is wrong
    """No connection: nobody there, or they refuse. Whoever reconnects catches this."""


class Address(NamedTuple):
    """Where the broker is, and how to log in."""

    url: str
    username: str | None = None
    password: str | None = None


def publish_frame(topic: bytes, payload: bytes) -> bytes:
    """MQTT 3.1.1 PUBLISH packet of QoS 0; `topic` with its two bytes of length before it."""
    rest = len(topic) + len(payload)
    if rest < 128:
        return b"\x30%c%b%b" % (rest, topic, payload)
    length = bytearray()
    while rest >= 128:
        length.append(rest & 0x7F | 0x80)
        rest >>= 7
    length.append(rest)
    return b"\x30%b%b%b" % (bytes(length), topic, payload)


class Link:
    """A connection; once `alive` is False it stays so, make a new one."""

    def __init__(
        self, address: Address, client_id: str, on_ack: Callable[[int], None], timeout_s: float
    ) -> None:
        """Connect and wait for the broker's yes. Raises Unreachable."""
        self._frames: list[bytes] = []
        self._chunk = b""
        self._chunk_frames: list[bytes] = []
        self._topics: dict[str, bytes] = {}
        self._answer: Any = None
        self._lost = False
        self.blocked_s = 0.0
        """How long the broker let us wait to write."""
        url = urlsplit(address.url)
        unix = url.scheme == "unix"
        self._client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            protocol=MQTTv311,
            transport="unix" if unix else "tcp",
        )
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_publish = lambda _c, _u, mid, _r, _p: on_ack(mid)
        self._client.max_inflight_messages_set(65_535)  # the sender keeps a narrower window
        self._client.connect_timeout = max(0.1, timeout_s)
        if address.username is not None:
            self._client.username_pw_set(address.username, address.password)
        try:
            self._client.connect(
                url.path if unix else url.hostname or "localhost",
                1 if unix else url.port or 1883,
                keepalive=KEEPALIVE_S,
            )
        except (OSError, ValueError) as error:
            raise Unreachable(f"no broker at {address.url}: {error}") from None
        self._wait_for_answer(address, timeout_s)

    def _wait_for_answer(self, address: Address, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while self._answer is None and not self._lost and time.monotonic() < deadline:
            self.service(0.1)
        if self._answer is None or self._answer.is_failure:
            why = "no answer" if self._answer is None else str(self._answer)
            self.close()
            raise Unreachable(f"broker at {address.url} refuses us: {why}")

    def _on_connect(self, _c: Any, _u: Any, _f: Any, reason: Any, _p: Any) -> None:
        self._answer = reason

    def _on_disconnect(self, _c: Any, _u: Any, _f: Any, _r: Any, _p: Any) -> None:
        self._lost = True

    @property
    def alive(self) -> bool:
        """Whether the connection stands, as far as we know."""
        return not self._lost and self._client.socket() is not None

    def write(self, topic: str, payload: bytes) -> None:
        """Queue one QoS 0 message; `flush` sends, as does every 256th call."""
        head = self._topics.get(topic)
        if head is None:
            if len(self._topics) >= TOPICS_MAX:
                self._topics.clear()
            raw = topic.encode()
            head = self._topics[topic] = len(raw).to_bytes(2, "big") + raw
        self._frames.append(publish_frame(head, payload))
        if len(self._frames) >= CHUNK_FRAMES:
            self.flush()

    def publish(self, topic: str, payload: bytes, qos: int) -> int | None:
        """Send one QoS 1 or 2 message now; its packet id, or None when the connection is gone."""
        self.flush()
        if not self.alive:
            return None
        answer = self._client.publish(topic, payload, qos)
        return answer.mid if answer.rc == MQTT_ERR_SUCCESS else None

    def flush(self) -> None:
        """Write all that is queued; waits for the broker to take it, that is the back-pressure."""
        if not self._frames:
            return
        while self.alive and self._client.want_write():
            self.service(0.1)
        self._chunk_frames, self._frames = self._frames, []
        self._chunk = b"".join(self._chunk_frames)
        since = time.monotonic()
        while self._chunk and self.alive:
            sock: Any = self._client.socket()
            try:
                sent = sock.send(self._chunk)
            except (BlockingIOError, InterruptedError):
                self._wait_to_write(sock, since)
                continue
            except OSError:
                self._lost = True
                break
            self._chunk = self._chunk[sent:]
            since = time.monotonic()

    def _wait_to_write(self, sock: Any, since: float) -> None:
        before = time.monotonic()
        readable, _, _ = select.select([sock], [sock], [], 0.1)
        if readable:
            self._client.loop_read()
        now = time.monotonic()
        self.blocked_s += now - before
        if now - since > STALL_S_MAX:
            self._lost = True

    def unwritten(self) -> int:
        """How many QoS 0 messages never left whole, once the connection is gone."""
        sent = sum(map(len, self._chunk_frames)) - len(self._chunk)
        whole = 0
        for frame in self._chunk_frames:
            sent -= len(frame)
            if sent < 0:
                break
            whole += 1
        return len(self._chunk_frames) - whole + len(self._frames)

    def service(self, timeout_s: float) -> None:
        """Wait up to `timeout_s` for something to do on the socket, and do it."""
        sock: Any = self._client.socket()
        if sock is None or self._lost:
            self._lost = True
            return
        writers = [sock] if self._client.want_write() else []
        readable, writable, _ = select.select([sock], writers, [], timeout_s)
        if readable:
            self._client.loop_read()
        if writable:
            self._client.loop_write()
        self._client.loop_misc()

    def cut(self) -> None:
        """Break the connection without a word, as a pulled cable does."""
        self.flush()
        sock: Any = self._client.socket()
        if sock is not None:
            sock.close()
        self._lost = True

    def close(self) -> None:
        """Flush, say goodbye, close."""
        if self.alive:
            self.flush()
            self._client.disconnect()
            for _ in range(20):
                if not (self.alive and self._client.want_write()):
                    break
                self.service(0.1)
        sock: Any = self._client.socket()
        if sock is not None:
            sock.close()
        self._lost = True
