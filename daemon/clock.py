"""Clock: what time it is, injected. The only home of the wall clock and of waiting."""

import threading
import time
from typing import Protocol


class Clock(Protocol):
    """Time as the daemon sees it; whatever reads time takes one of these."""

    def now_ns(self) -> int:
        """Nanoseconds since 1970 UTC; never goes back within one run."""
        ...

    def monotonic_ns(self) -> int:
        """Nanoseconds since some fixed point, for measuring how long something took."""
        ...

    def wait(self, event: threading.Event, timeout_ns: int) -> bool:
        """Wait until `event` is set or the time is over; True when it was set."""
        ...


class SystemClock:
    """The machine's clocks. A wall clock that is set back stands still until it has caught up."""

    def __init__(self) -> None:
        self._last_ns = 0

    def now_ns(self) -> int:
        """Nanoseconds since 1970 UTC."""
        now = time.time_ns()
        # Two threads may both pass here; the larger of two near-equal times wins either way.
        if now > self._last_ns:
            self._last_ns = now
            return now
        return self._last_ns

    def monotonic_ns(self) -> int:
        """Nanoseconds of the machine's steady clock."""
        return time.monotonic_ns()

    def wait(self, event: threading.Event, timeout_ns: int) -> bool:
        """Block this thread until `event` is set, at most `timeout_ns`."""
        return event.wait(timeout_ns / 1e9)


class ManualClock:
    """A clock that moves only when told to: tests, replays and `sensorweir test`."""

    def __init__(self, now_ns: int = 1_700_000_000_000_000_000) -> None:
        self._now_ns = now_ns
        self._steady_ns = 0

    def now_ns(self) -> int:
        """The time it was set to."""
        return self._now_ns

    def monotonic_ns(self) -> int:
        """How far it was advanced."""
        return self._steady_ns

    def advance(self, ns: int) -> None:
        """Let `ns` nanoseconds pass. Raises ValueError when negative: time never goes back."""
        if ns < 0:
            raise ValueError(f"time does not go back: advance({ns})")
        self._now_ns += ns
        self._steady_ns += ns

    def wait(self, event: threading.Event, timeout_ns: int) -> bool:
        """Return at once; without the event, the whole time has passed."""
        if event.is_set():
            return True
        self.advance(timeout_ns)
        return False
