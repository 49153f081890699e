"""Linger: how long a connection lets more come before it looks again.

Each waking costs some 20 us of CPU, whatever for, and a turn of the engine as much as fifty
messages. So what comes after a pause is read at once, and while more keeps coming, it is read every
`PERIOD_NS`: no message waits longer for that, and no load makes more turns.
"""

from typing import Final

PERIOD_NS: Final = 1_500_000
PAUSE_NS: Final = 4_000_000
"""What comes so long after what came before stands alone."""
SHORT_NS: Final = 100_000
"""Not worth a sleep."""


class Linger:
    """When one connection is to be looked at again."""

    def __init__(self) -> None:
        self._looked_ns = -PAUSE_NS
        self._next_ns = 0

    def read(self, now_ns: int) -> None:
        """Messages have come, and are about to be read."""
        stands_alone = now_ns - self._looked_ns >= PAUSE_NS
        self._looked_ns = now_ns
        self._next_ns = now_ns if stands_alone else now_ns + PERIOD_NS

    def left_ns(self, now_ns: int) -> int:
        """How long to let more come; 0 for not at all."""
        left_ns = self._next_ns - now_ns
        return left_ns if left_ns > SHORT_NS else 0
