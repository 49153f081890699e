"""Turns: which thread makes a turn of the engine, and that only one does at a time.

The state of the engine belongs to whoever holds the lock here. Waking another thread costs some
50 us, and a wait for the interpreter where something else wants it. So what came alone, or by a few
hundred, is taken in the thread that has read it; what takes longer is left to the engine's own, so
that the connection goes on to be read meanwhile.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from daemon.clock import Clock
from daemon.inbox import Inbox

AT_ONCE_MAX: Final = 1_024
"""Messages; the broker sends more than this within a turn of them."""
LONG_NS: Final = 5_000_000
"""A turn that takes longer keeps the connection waiting; one alone may have been held up itself."""
AWAY: Final = 20
"""After two of them, the engine's own thread makes all for so many times as long."""


class Turns:
    """Around each turn."""

    def __init__(self, inbox: Inbox, clock: Clock, turn: Callable[[], int]) -> None:
        """`turn`: takes what is in the inbox; messages taken."""
        self.fault: BaseException | None = None
        """What a turn in another thread has raised: the engine's own raises it."""
        self._inbox, self._clock, self._turn = inbox, clock, turn
        self._lock = threading.Lock()
        self._away_until_ns = 0
        self._was_long = False

    def open(self) -> None:
        """From now on, turns may be made where messages come in."""
        self._inbox.at_once = self._at_once

    @contextmanager
    def alone(self) -> Iterator[None]:
        """While inside, no other thread touches the engine. Raises what a turn elsewhere has."""
        with self._lock:
            if self.fault is not None:
                raise self.fault
            yield

    def _at_once(self) -> bool:
        """Make a turn here; False when the engine's own thread is to make it."""
        if len(self._inbox) > AT_ONCE_MAX or not self._lock.acquire(blocking=False):
            return False
        try:
            began_ns = self._clock.monotonic_ns()
            if self.fault is not None or began_ns < self._away_until_ns:
                return False
            taken = self._turn()
            self._took(began_ns, self._clock.monotonic_ns())
            return taken > 0
        except BaseException as error:  # noqa: BLE001 - it ends the daemon, not this connection
            self.fault = error
            return False
        finally:
            self._lock.release()

    def _took(self, began_ns: int, ended_ns: int) -> None:
        took_ns, before = ended_ns - began_ns, self._was_long
        self._was_long = took_ns > LONG_NS
        if self._was_long and before:
            self._away_until_ns = ended_ns + AWAY * took_ns
