"""Gather: lets messages come to a lane for as long as none of them presses.

A turn costs as much as some hundred messages, whatever is in it.  So what has nothing told at once
waits for others, up to `broker.linger`; a sample that may raise an alert ends the wait.  One kernel
waits, reads, finds packets and looks into them, and needs no interpreter for it: a thread of Python
that never rests does not hold it up.
"""

import ctypes
import errno
import os
import select
import socket
import sys
from typing import Final, NamedTuple

import numpy as np

from daemon.decode.bulk.glance import CALM, PRESSING, Sights, glanced, unsighted
from daemon.decode.bulk.scan import FIELDS_MAX
from daemon.messages import COLUMNS, FIRST, QOS
from daemon.octets import PADDING, U8
from daemon.topics import Topics, number_
from daemon.transport.frames import FULL, OTHER, PUBACK, scan_
from daemon.transport.linger import PERIOD_NS
from pipelines.batch import I4, I8, U1
from pipelines.graph import TICK_NS
from pipelines.jit import kernel, settled
from pipelines.order import Arrivals, new_arrivals
from pipelines.primitives import called, peeked

MESSAGES_MAX: Final = 512
"""That wait: fewer than one turn takes, and than what brokers send ahead of acknowledgements."""
QUIET_NS: Final = TICK_NS
"""How long what nothing at all comes of may wait: ticks look no closer."""
READ_BYTES: Final = 256 * 1024
"""At most at once; a lane reads as much."""
ROOM_BYTES_MIN: Final = 16 * 1024
"""With less the lane has to find new memory first."""

_RECV, _PPOLL, _SETSOCKOPT, _CLOCK, _ERRNO = range(5)
(
    _DESCRIPTOR, _BELL, _AT, _END, _ADDRESS, _POLL_AT, _MOMENT_AT, _ONE_AT, _AHEAD, _V5, _CONFIRMS,
    _LINGER, _QUIET, _ERROR, _DRY, _RUNG,
) = range(16)  # fmt: skip
_FUNCTIONS: Final = ("recv", "ppoll", "setsockopt", "clock_gettime", "__errno_location")
_EOF: Final = -1
_NOW: Final = int(socket.MSG_DONTWAIT)
_TCP: Final = int(socket.IPPROTO_TCP)
_QUICK: Final = 12  # TCP_QUICKACK, which only Linux has
_READABLE: Final = int(select.POLLIN)
_MONOTONIC: Final = 1
_AGAIN: Final = int(errno.EAGAIN)
_INTERRUPTED: Final = int(errno.EINTR)


@kernel
def now_ns(calls: I8, state: I8, moment: I8) -> int:
    """The steady clock."""
    called(calls[_CLOCK], _MONOTONIC, state[_MOMENT_AT], 0, 0, 0)
    return int(moment[0] * 1_000_000_000 + moment[1])


@kernel
def rung(calls: I8, state: I8, poll: I4, moment: I8, wait_ns: int, descriptors: int) -> bool:
    """Wait for the bell, and with two descriptors for the socket, too; whether the bell rang."""
    moment[0], moment[1] = wait_ns // 1_000_000_000, wait_ns % 1_000_000_000
    poll[0], poll[1], poll[2], poll[3] = state[_BELL], _READABLE, state[_DESCRIPTOR], _READABLE
    called(calls[_PPOLL], state[_POLL_AT], descriptors, state[_MOMENT_AT], 0, 0)
    return bool(poll[1] >> 16)


@kernel
def received(calls: I8, state: I8, most: int) -> int:
    """Bytes read into the lane's memory, 0 when there are none; an end or an error is noted."""
    at = state[_ADDRESS] + state[_END]
    n: int = called(calls[_RECV], state[_DESCRIPTOR], at, most, _NOW, 0)
    if n > 0:
        state[_END] += n
        return n
    number = _EOF
    if n < 0:
        number = peeked(called(calls[_ERRNO], 0, 0, 0, 0, 0))
    if number not in (_AGAIN, _INTERRUPTED):
        state[_ERROR] = number
    return 0


@settled
def gather_(
    calls: I8,
    state: I8,
    poll: I4,
    moment: I8,
    data: U1,
    rows: I4,
    letters: U1,
    begin: I4,
    slots: I4,
    hashes: U8,
    sights: Sights,
    room: Arrivals,
) -> None:
    """Read until something presses or has waited long enough.

    rows (MESSAGES_MAX, COLUMNS), room: to work in. letters to hashes: of `Topics`.
    """
    found, unanswered, again = 0, 0, False
    if rows.shape[0] == 0:
        return
    due = now_ns(calls, state, moment) + state[_QUIET]
    while True:
        most = min(data.size - PADDING - int(state[_END]), READ_BYTES)
        if most < ROOM_BYTES_MIN:
            return
        n = received(calls, state, most)
        state[_DRY] = n < most
        if state[_ERROR] != 0:
            return
        if n > 0:
            k, at, why, _ = scan_(data, state[_AT], state[_END], state[_V5], rows.shape[0], rows)
            state[_AT], some = at, rows[:k]
            if number_(data, some, 0, letters, begin, slots, hashes, slots.size - 1) < k:
                return
            for i in range(k):
                if some[i, FIRST] == PUBACK:
                    return
                unanswered += (some[i, FIRST] & QOS) != 0
            found_to_be = glanced(data, some, k, sights, room)
            if found_to_be == PRESSING or why in (FULL, OTHER):
                return
            found += int(k)
            # Behind what waits for our answer the broker may keep back all else, so no more than
            # half of what it is known to send ahead waits for long.
            if found_to_be != CALM or 2 * unanswered > state[_AHEAD]:
                due = min(due, now_ns(calls, state, moment) + state[_LINGER])
            state[_AHEAD] = max(state[_AHEAD], unanswered)
            if found + k >= rows.shape[0]:  # as many may come again
                return
            if not state[_DRY]:
                continue
            if state[_CONFIRMS] and not again:
                # Now a broker with Nagle's algorithm sends what it has kept back.
                called(calls[_SETSOCKOPT], state[_DESCRIPTOR], _TCP, _QUICK, state[_ONE_AT], 4)
                again = True
                continue
        left = due - now_ns(calls, state, moment)
        came = n > 0 or again
        again = False
        if left <= 0:
            return
        wait_ns, descriptors = (min(left, PERIOD_NS), 1) if came else (left, 2)
        state[_RUNG] = rung(calls, state, poll, moment, wait_ns, descriptors)
        if state[_RUNG]:
            return


class Come(NamedTuple):
    """How a wait has ended."""

    end: int
    """Of what has been read."""
    dry: bool
    """Whether the last read took all there was."""
    over: OSError | None
    """How the connection has ended; number 0 is an end without an error."""
    rung: bool
    """Whether the bell rang."""


class Gather:
    """Used by one connection's thread."""

    def __init__(self, linger_ns: int) -> None:
        self._linger_ns = linger_ns
        self._poll: I4 = np.zeros(4, np.int32)
        self._moment: I8 = np.zeros(2, np.int64)
        self._one: I4 = np.ones(1, np.int32)
        self._rows: I4 = np.zeros((MESSAGES_MAX, COLUMNS), np.int32)
        self._room = new_arrivals(FIELDS_MAX)
        self._calls = _functions()
        self._state: I8 = np.zeros(_RUNG + 1, np.int64)
        self._state[[_POLL_AT, _MOMENT_AT, _ONE_AT]] = [
            column.ctypes.data for column in (self._poll, self._moment, self._one)
        ]

    def begin(self) -> None:
        """Forget the connection before."""
        self._state[_AHEAD] = 0

    @property
    def works(self) -> bool:
        """Whether it can be used, and shall."""
        return self._linger_ns > 0 and self._calls.size > 0

    def let_come(
        self,
        sockets: tuple[int, int],
        data: U1,
        where: tuple[int, int],
        topics: Topics,
        sights: Sights,
        *,
        v5: bool,
        confirms: bool,
    ) -> Come:
        """Read into `data`, of which `where` is what is there.

        sockets: descriptors of the connection, and of a bell that ends the wait.  confirms: whether
        TCP is to confirm what has come.
        """
        state = self._state
        state[:_POLL_AT] = (*sockets, *where, data.ctypes.data)
        state[_V5:] = (v5, confirms, self._linger_ns, max(self._linger_ns, QUIET_NS), 0, 0, 0)
        gather_(
            self._calls, state, self._poll, self._moment, data, self._rows,
            *topics.columns, sights, self._room,
        )  # fmt: skip
        number = int(state[_ERROR])
        over = None if not number else OSError(max(number, 0), os.strerror(max(number, 0)))
        return Come(int(state[_END]), bool(state[_DRY]), over, bool(state[_RUNG]))


def _functions() -> I8:
    """Addresses of what the kernel calls; none where it cannot."""
    if sys.platform != "linux":
        return np.zeros(0, np.int64)
    libc = ctypes.CDLL(None)
    found = [ctypes.cast(getattr(libc, name), ctypes.c_void_p).value for name in _FUNCTIONS]
    return np.array(found, np.int64)


def warm_up() -> None:
    """Compile it; without rows to work in a call does nothing."""
    gather_(
        *[np.zeros(0, np.int64)] * 2, np.zeros(0, np.int32), np.zeros(0, np.int64),
        np.zeros(0, np.uint8), np.zeros((0, COLUMNS), np.int32), *Topics().columns,
        unsighted(), new_arrivals(0),
    )  # fmt: skip
