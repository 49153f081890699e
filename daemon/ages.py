"""Ages: how long outputs have waited, by their tokens: what has a lower token was made earlier.

Noted are not outputs but minutes, each with the token behind the last output that was made in it.  So
an age costs no memory per output, needs no field in the log, and is some minutes short at most.
"""

import struct
from collections import deque
from typing import Final

from daemon.clock import SECOND, Clock

STEP_NS: Final = 60 * SECOND
_MARK: Final = struct.Struct("<Qq")


class Ages:
    """Until when outputs were made, in steps of one time line."""

    def __init__(self) -> None:
        self._marks: deque[tuple[int, int]] = deque()
        """(token, time): what has a lower token was made before that time. Both ascend."""

    def note(self, token: int, now_ns: int) -> None:
        """All that have a lower token have been made by now."""
        until_ns = (now_ns // STEP_NS + 1) * STEP_NS
        if not self._marks or (token > self._marks[-1][0] and until_ns > self._marks[-1][1]):
            self._marks.append((token, until_ns))
        elif token > self._marks[-1][0]:
            self._marks[-1] = (token, self._marks[-1][1])

    def forget(self, token: int) -> None:
        """Nobody asks any more for those that have a lower token."""
        while self._marks and self._marks[0][0] <= token:
            self._marks.popleft()

    def before(self, time_ns: int) -> int:
        """What has a lower token than this was made before that time, and nobody asks for it again."""
        token = 0
        while self._marks and self._marks[0][1] <= time_ns:
            token = self._marks.popleft()[0]
        return token

    def pack(self) -> bytes:
        """As bytes."""
        return b"".join(_MARK.pack(*mark) for mark in self._marks)

    def unpack(self, data: bytes | memoryview) -> None:
        """The way back. Raises struct.error."""
        self._marks = deque((token, time_ns) for token, time_ns in _MARK.iter_unpack(data))

    def moved(self, by_ns: int, latest_ns: int) -> "Ages":
        """The same on a time line that is `by_ns` ahead, on which it is `latest_ns` now."""
        made = Ages()
        for token, time_ns in self._marks:
            made.note(token, min(time_ns + by_ns, latest_ns) - 1)
        return made


class Expiry:
    """Which outputs of an outbox have waited too long.

    Measured on the steady clock, so that a clock that is set makes nothing old; only what comes from
    an earlier run has the age that the wall clock gives it.
    """

    def __init__(self, age_max_ns: int, clock: Clock) -> None:
        self._age_max_ns, self._clock = age_max_ns, clock
        self._ages = Ages()
        self._old = 0

    def made(self, token: int) -> None:
        """All that have a lower token have been made by now."""
        self._ages.note(token, self._clock.monotonic_ns())

    def resume(self, made: Ages) -> None:
        """When outputs of an earlier run were made, in processing time."""
        steady_ns = self._clock.monotonic_ns()
        self._ages = made.moved(steady_ns - self._clock.now_ns(), steady_ns)

    @property
    def old(self) -> int:
        """Whatever has a lower token than this has waited too long."""
        found = self._ages.before(self._clock.monotonic_ns() - self._age_max_ns)
        self._old = max(self._old, found)
        return self._old
