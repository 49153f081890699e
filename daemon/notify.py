"""Notify: tells the service manager how we are, by the protocol of sd_notify(3).

One datagram per word, to the socket that `NOTIFY_SOCKET` names.  Nobody listens when the daemon
is started by hand; then nothing is sent and nothing is looked at.
"""

import contextlib
import logging
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from daemon.clock import SECOND, Clock

log = logging.getLogger(__name__)

BEAT_AGE_MAX_NS: Final = 20 * SECOND
"""A loop whose last beat is older than this hangs.  Most beat each second; the committer waits for up
to ten with the longest `commit_delay`, and then for the disk."""
LOOK_NS: Final = 10 * SECOND
"""How often the state is told where no watchdog asks more often."""


class Notifier:
    """Sends words to a service manager; `address` is '' where there is none."""

    def __init__(self, address: str) -> None:
        """A leading @ stands for the zero byte of an abstract socket."""
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._failed = False

    def __bool__(self) -> bool:
        """True when somebody listens."""
        return bool(self._address)

    def send(self, *words: str) -> bool:
        """Send VARIABLE=value words in one datagram; whether it was taken. Raises nothing.

        A manager that cannot be reached costs the daemon nothing but a line in the log.
        """
        if not self:
            return False
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
                out.setblocking(False)
                out.connect(self._address)
                out.send("\n".join(words).encode())
        except OSError as error:
            if not self._failed:
                log.warning(
                    "The service manager cannot be told how we are",
                    extra={"facts": {"reason": str(error)}},
                )
            self._failed = True
            return False
        self._failed = False
        return True


class Watchdog:
    """What the manager hears of this daemon: ready, reloading, stopping, and that all loops run.

    The thread that turns the engine calls `look` in each turn, so its own beat is the call; the
    others are looked at.  One that hangs starves the manager's timer, and we are started again.
    """

    def __init__(
        self,
        clock: Clock,
        beats: Mapping[str, Callable[[], int]],
        env: Mapping[str, str] = os.environ,
    ) -> None:
        """`beats`: {loop: its last beat, nanoseconds of the steady clock}."""
        self._clock, self._beats = clock, beats
        self._notifier = Notifier(env.get("NOTIFY_SOCKET", ""))
        self._period_ns = _period_ns(env)
        """Within this a word is due; 0 when nobody waits for one."""
        self._next_ns = 0
        self._said = ""
        self._late: frozenset[str] = frozenset()

    def status(self, text: str) -> None:
        """A line for `systemctl status`; sent when it differs from the last one."""
        if text != self._said and self._notifier.send(f"STATUS={text}"):
            self._said = text

    def ready(self, text: str) -> None:
        """The start is done: kernels are warm, the state of before is back."""
        self._said = text
        self._notifier.send("READY=1", f"STATUS={text}")

    def stopping(self) -> None:
        """We finish what has arrived and end."""
        self._notifier.send("STOPPING=1", "STATUS=finishing what has arrived")

    @contextlib.contextmanager
    def reloading(self) -> Iterator[None]:
        """Around a reload, whether it is taken or refused."""
        now_us = self._clock.monotonic_ns() // 1000
        self._notifier.send("RELOADING=1", f"MONOTONIC_USEC={now_us}")
        yield
        self._notifier.send("READY=1")

    def look(self, text: Callable[[], str]) -> None:
        """When it is due, say that all loops beat, and `text()`; cheap when it is not."""
        now_ns = self._clock.monotonic_ns()
        if not self._notifier or now_ns < self._next_ns:
            return
        # Half the period is what the protocol asks for; a third leaves room for a long turn.
        self._next_ns = now_ns + (self._period_ns // 3 or LOOK_NS)
        late = frozenset(
            name for name, beat in self._beats.items() if now_ns - beat() > BEAT_AGE_MAX_NS
        )
        if late - self._late:
            log.error(
                "A loop hangs, the watchdog is not fed",
                extra={"facts": {"loops": sorted(late)}},
            )
        self._late = late
        if late:
            self.status(f"hangs: {', '.join(sorted(late))}")
            return
        if self._period_ns:
            self._notifier.send("WATCHDOG=1")
        self.status(text())


def _period_ns(env: Mapping[str, str]) -> int:
    """The manager's period, when it is meant for this process."""
    meant = env.get("WATCHDOG_PID") in {None, str(os.getpid())}
    text = env.get("WATCHDOG_USEC", "")
    return int(text) * 1000 if meant and text.isdecimal() else 0
