"""Lane: stands between a socket and paho, and takes most packets away before paho sees them.

A packet costs paho 25 to 40 us, nearly all of it Python that looks at one byte after the other.
Here the socket is read in large pieces, packets are found by a kernel, and what is left to paho is
what there is little of: CONNACK, SUBACK, PINGRESP, DISCONNECT, QoS 2, and whatever is malformed.
"""

import socket
import ssl
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from paho.mqtt.client import Client
from paho.mqtt.enums import MQTTProtocolVersion

from daemon.decode.bulk.glance import Sights
from daemon.messages import COLUMNS
from daemon.octets import PADDING
from daemon.topics import Topics
from daemon.transport.calls import receive
from daemon.transport.frames import FULL, OTHER, scan
from daemon.transport.gather import READ_BYTES, Gather
from pipelines.batch import I4, U1

ROOM_BYTES: Final = 1 << 20
"""What is read into one piece of memory; messages stay in it for as long as somebody needs them."""
WHOLE_BYTES_MAX: Final = 1 << 20
"""A packet that is bigger goes to paho, in pieces."""
ROWS_MAX: Final = 4_096
READS_PER_ROUND: Final = 64
"""Then something else may have its turn: what is to be sent, and a stop."""


class Lane:
    """What paho takes for its socket."""

    def __init__(self, inner: Any, *, v5: bool) -> None:
        """`v5`: whether packets have properties."""
        self.inner, self.v5 = inner, v5
        self._into, self._buffers = hasattr(inner, "recv_into"), hasattr(inner, "pending")
        self._descriptor = inner.fileno() if type(inner) is socket.socket else -1
        self.answer: Callable[[], None] | None = None
        """Confirms what has been read, where that is of use; see `Tcp.answer`."""
        self.moved = 0
        """Bytes that paho has read."""
        self.waits = False
        """Whether there are packets that have come and were not taken yet."""
        self._data = _memory(ROOM_BYTES)
        self._view, self._address = self._data.data, self._data.ctypes.data
        self._at = self._end = self._room = 0
        self._through = 0
        self._dry = False
        """Whether the last read took all there was."""
        self._fresh = False
        """Whether there is something behind what was looked at last."""
        self._ended: OSError | None = None
        self._eof = False
        self._out = np.zeros((ROWS_MAX, COLUMNS), np.int32)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    # --- for whoever takes packets -----------------------------------------------------------

    def fill(self) -> bool:
        """Read what the socket has, as far as there is room; whether something has come.

        What the socket says instead, an end or an error, is for paho: see `for_paho`.
        """
        if not self._fill():
            return False
        if self._dry and self.answer is not None:
            # Only now a broker with Nagle's algorithm sends what it has kept back since our last
            # answer, and where it is near that is there already.
            self.answer()
            self._fill()
        return True

    def let_come(self, gather: Gather, topics: Topics, sights: Sights, bell: int) -> bool:
        """Read for as long as nothing of what comes presses, and the bell does not ring.

        `bell`: its descriptor. Whether it rang.
        """
        ended = self._eof or self._ended is not None
        if self._descriptor < 0 or ended or self.for_paho or self.waits:
            return False
        self._make_room()
        before = self._end
        come = gather.let_come(
            (self._descriptor, bell),
            self._data,
            (self._at, self._end),
            topics,
            sights,
            v5=self.v5,
            confirms=self.answer is not None,
        )
        self._end, over = come.end, come.over
        if self._end > before:
            self._fresh, self._dry = True, come.dry
        self._eof = over is not None and not over.errno
        self._ended = over if over is not None and over.errno else None
        return come.rung

    def _fill(self) -> bool:
        if self._eof or self._ended is not None:
            return False
        self._make_room()
        room = min(len(self._data) - PADDING - self._end, READ_BYTES)
        try:
            if self._descriptor >= 0:
                n = receive(self._descriptor, self._address + self._end, room)
            elif self._into:
                n = self.inner.recv_into(self._view[self._end : self._end + room], room)
            else:  # paho's websocket
                piece = self.inner.recv(room)
                n = len(piece)
                self._view[self._end : self._end + n] = piece
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        except OSError as error:
            self._ended = error
            return False
        self._eof = n == 0
        self._dry = n < room and not self._buffers
        self._end += n
        self._fresh = self._fresh or n > 0
        return not self._eof

    def take(self, most: int) -> tuple[U1, I4]:
        """Packets that are whole, at most `most`: bytes, and where they are in them.

        The bytes stay as they are, the rows, of the columns in `messages`, until the next call.
        """
        if self._through:
            return self._data, self._out[:0]
        most = min(most, ROWS_MAX)
        found = scan(self._data, self._at, self._end, most, self._out, v5=self.v5)
        self._at, self.waits = found.at, found.why == FULL
        self._fresh = found.why == OTHER
        # Not for us, or so big that our buffer shall not grow to hold it.
        self._through = found.size if found.why == OTHER or found.size > WHOLE_BYTES_MAX else 0
        self._room = found.size
        return self._data, self._out[: found.rows]

    @property
    def for_paho(self) -> bool:
        """Whether the next thing is paho's to read: a packet, the end, an error."""
        return self._through > 0 or self._is_over

    def read(
        self,
        client: Client,
        room: Callable[[], int],
        put: Callable[[U1, I4], None],
    ) -> None:
        """Read until nothing more has come, or there is no room; `put` gets what `take` gives."""
        for _ in range(READS_PER_ROUND):
            # What paho reads may be a message, too.
            if self.for_paho and not (room() and self.let(client)):
                return
            if self._fresh or self.waits or self._through:
                data, rows = self.take(min(room(), ROWS_MAX))
                if len(rows):
                    put(data, rows)
                if self.for_paho:
                    continue
            if self.waits:
                if not room():
                    return
            elif self._dry or not (self.fill() or self.for_paho):
                self._dry = False
                return
        self.waits = True  # what came last has not been looked at, and nothing may follow it

    def let(self, client: Client) -> bool:
        """Let paho read what is for it; False when it has ended, or more must come first."""
        while self.for_paho:
            before = self.moved
            if client.loop_read() or client.socket() is None or self.moved == before:
                return False
        return True

    # --- for paho ------------------------------------------------------------------------

    def recv(self, most: int) -> bytes:
        """Bytes of the packet that is paho's."""
        if self._through:
            most = min(most, self._through)
            piece = bytes(self._view[self._at : min(self._end, self._at + most)])
            self._at += len(piece)
            if not piece and not self._is_over:
                piece = self.inner.recv(most)
            self._through -= len(piece)
            self.moved += len(piece)
            if piece:
                return piece
        if self._is_over:
            if self._ended is not None:
                raise self._ended
            return b""
        raise BlockingIOError

    def pending(self) -> int:
        """Whether there is something to do though the socket is silent."""
        if self.waits or (self._through and self._at < self._end):
            return 1
        return int(self.inner.pending()) if self._buffers else 0

    # --- inside --------------------------------------------------------------------------

    @property
    def _is_over(self) -> bool:
        """Whether the socket has ended, and nothing from before that is left."""
        ended = self._eof or self._ended is not None
        return ended and (self._at >= self._end or not (self._fresh or self.waits))

    def _make_room(self) -> None:
        """Have room for the packet that has begun, in other memory where this has none left."""
        left, size = self._end - self._at, len(self._data) - PADDING
        if size - self._end >= READ_BYTES // 4 and size - self._at >= self._room:
            return
        fresh = _memory(max(ROOM_BYTES, self._room))
        fresh[:left] = self._data[self._at : self._end]
        self._data, self._view, self._address = fresh, fresh.data, fresh.ctypes.data
        self._at, self._end = 0, left


class LaneClient(Client):
    """A paho client whose packets go through a lane."""

    lane: Lane | None = None

    def next_packet_id(self) -> int:
        """A packet id in paho's sequence, so that none is used twice."""
        return int(self._mid_generate())

    def _create_socket(self) -> Any:
        self.lane = Lane(super()._create_socket(), v5=self.protocol == MQTTProtocolVersion.MQTTv5)
        return self.lane


def _memory(size: int) -> U1:
    """Room for so many bytes, and `PADDING` behind them; what is in it is not looked at."""
    made = np.empty(size + PADDING, np.uint8)
    made[size:] = 0
    return made
