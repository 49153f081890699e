"""Hops: how far what a source takes has come already, so that a loop across daemons ends.

An event that was derived from events carries how many daemons derived it before, one after the
other.  What is held is a bound, not the truth of each sample: of a device, the most that it brought
within the last hour.  So it cannot be less than that of what a window is made of, as long as the
way around takes no more than an hour; a loop that is slower costs one event an hour.
"""

from typing import Final

from config.terms import SECOND
from pipelines.series import Labels

HOPS_MAX: Final = 16
"""Events that carry so many are rejected."""
HELD_NS: Final = 3600 * SECOND
DEVICES_MAX: Final = 100_000


class Hops:
    """Of one source."""

    STATE = ("_of",)
    REMADE = ()

    def __init__(self) -> None:
        self._of: dict[Labels, tuple[int, int]] = {}
        """Of devices that brought any: (hops of what is derived from it, since when), oldest first."""

    def __len__(self) -> int:
        return len(self._of)

    def note(self, device: Labels, hops: int, now_ns: int) -> None:
        """The device has brought an event from which others have so many hops."""
        hops = max(hops, self.of(device, now_ns))
        self._of.pop(device, None)
        if len(self._of) >= DEVICES_MAX:
            del self._of[next(iter(self._of))]
        self._of[device] = (hops, now_ns)

    def of(self, device: Labels | None, now_ns: int) -> int:
        """Hops of what is derived from this device, None: from any of them."""
        if device is not None:
            hops, since_ns = self._of.get(device, (0, now_ns))
            return hops if now_ns - since_ns < HELD_NS else 0
        held = (hops for hops, since_ns in self._of.values() if now_ns - since_ns < HELD_NS)
        return max(held, default=0)
