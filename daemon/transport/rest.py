"""Rest: how the thread of a connection waits, and lets others work on the connection meanwhile."""

import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from daemon.clock import Clock
from daemon.transport.linger import Linger

SELECT_S: Final = 1.0


class Rest:
    """Used by one thread, but for `ring` and `lock`."""

    def __init__(self, clock: Clock, stop: threading.Event) -> None:
        self.lock = threading.Lock()
        """Held by whoever works on the connection; its own thread lets go of it while it waits."""
        self._clock, self._stop = clock, stop
        self._wake_r, self._wake_w = socket.socketpair()
        self._wake_r.setblocking(False)
        self._wake_w.setblocking(False)
        self._poll = select.poll()
        self._descriptor = self._mask = -1
        self._linger = Linger()
        self._lingered = False
        """Whether it is likely that something has come."""
        self.eager = False
        """Whether whoever reads waits by itself for what may come soon."""

    def ring(self) -> None:
        """End a wait, or the next one."""
        # Full means that it will end anyway; closed, that the thread has ended.
        with suppress(OSError):
            self._wake_w.send(b"\0")

    def hush(self) -> None:
        """Forget that somebody rang."""
        with suppress(BlockingIOError):
            while self._wake_r.recv(4096):
                pass

    def begin(self) -> None:
        """Forget the connection before."""
        self._poll, self._descriptor, self._lingered = select.poll(), -1, False
        self._poll.register(self._wake_r, select.POLLIN)

    def until(self, descriptor: int, mask: int, *, buffered: bool, patient: bool) -> int:
        """Wait until something can be done; what the socket is ready for.

        `buffered`: there is something to read though the socket is silent. `patient`: for as long
        as a second.
        """
        if self._lingered and mask == select.POLLIN:
            self._lingered = False
            return select.POLLIN
        if (descriptor, mask) != (self._descriptor, self._mask):
            self._poll.register(descriptor, mask)
            self._descriptor, self._mask = descriptor, mask
        timeout_s = SELECT_S if patient and not self._stop.is_set() else 0.02
        with self.away():
            events = dict(self._poll.poll(0 if buffered else timeout_s * 1000))
        if self._wake_r.fileno() in events:
            self.hush()
        return events.get(descriptor, 0) | (select.POLLIN if buffered else 0)

    def let_come(self, looked_ns: int, *, hurries: bool) -> None:
        """Let more messages come to those that were found at `looked_ns`, for a moment.

        `hurries`: no longer than until somebody rings.
        """
        self._linger.read(looked_ns)
        left_ns = self._linger.left_ns(self._clock.monotonic_ns())
        if not left_ns:
            self._lingered = self.eager
            return
        with self.away():
            if hurries:
                select.select([self._wake_r], [], [], left_ns / 1e9)
            else:
                self._clock.wait(self._stop, left_ns)
        self._lingered = True

    def close(self) -> None:
        """The thread ends."""
        self._wake_r.close()
        self._wake_w.close()

    @contextmanager
    def away(self) -> Iterator[int]:
        """While inside, others may work on the connection; a descriptor that tells of a ring."""
        self.lock.release()
        try:
            yield self._wake_r.fileno()
        finally:
            self.lock.acquire()
