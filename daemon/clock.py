"""Clock: what time it is, injected. The only home of the wall clock and of waiting."""

import ctypes
import logging
import threading
import time
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

log = logging.getLogger(__name__)

SECOND: Final = 1_000_000_000
LOOK_NS: Final = SECOND
"""How often the wall clock is looked at."""
SHORT_NS: Final = 3_000_000
"""A wait so short is a sleep: waiting for an event takes 25 µs more CPU, to be woken earlier."""
SLEW_PPM: Final = 500
SLEW_MAX_NS: Final = 60 * SECOND
SURE_NS: Final = 3600 * SECOND
EARLIEST_NS: Final = 1_767_225_600 * SECOND
"""2026-01-01: this program is younger, so a clock that shows less was never set."""
APART: Final = "The wall clock was set; time goes on steadily, restart to take the new one over"

TIME_ERROR: Final = 5
"""Result of adjtimex(2) while the wall clock is not synchronised."""
TIMEX_BYTES: Final = 512
"""More than `struct timex` has on any platform."""


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


class Machine(NamedTuple):
    """What `SystemClock` reads; another one is for tests."""

    wall_ns: Callable[[], int]
    steady_ns: Callable[[], int]
    """Runs evenly, through sleep of the machine, too."""
    synchronised: Callable[[], bool]
    """Whether something, such as NTP, keeps the wall clock right."""


class SystemClock:
    """The wall clock as it was at the start, and the steady clock since.

    Who sets the wall clock, by a second or by a day, therefore moves nothing: no timer, no
    watermark, no arrival.  Three rules let processing time come right where it was wrong:

    * A gap of at most `SLEW_MAX_NS` closes slowly, by `SLEW_PPM`: leap seconds, small steps.
    * A gateway without a clock of its own starts in 1970 or at its last shutdown.  Where the
      start was before `EARLIEST_NS`, or while nothing kept the wall clock right, the first time
      that is later and known to be right is taken over at once, forward.
    * Where the start was right, the same needs the wall clock to be kept right, and ahead of us,
      for `SURE_NS` on end: the machine was frozen, not set.

    It never goes back: of a start in the future only a restart of the daemon helps, and the log
    says so.
    """

    def __init__(self, machine: Machine | None = None) -> None:
        self._machine = machine or _machine()
        self._lock = threading.Lock()
        steady_ns = self._machine.steady_ns()
        self._offset_ns = self._machine.wall_ns() - steady_ns
        self._last_ns = steady_ns + self._offset_ns
        self._looked_ns = steady_ns
        self._trusted = self._machine.synchronised()
        self._ahead_ns = 0
        """How long the wall clock has been kept right and ahead of us."""
        self._apart = False

    def now_ns(self) -> int:
        """Nanoseconds since 1970 UTC."""
        said = None
        with self._lock:
            steady_ns = self._machine.steady_ns()
            if steady_ns - self._looked_ns >= LOOK_NS:
                said = self._look(steady_ns)
            now_ns = self._last_ns = max(self._last_ns, steady_ns + self._offset_ns)
        if said is not None:
            log.warning(said[0], extra={"facts": {"gap_s": round(said[1] / 1e9, 3)}})
        return now_ns

    def monotonic_ns(self) -> int:
        """Nanoseconds of the machine's steady clock."""
        return time.monotonic_ns()

    def wait(self, event: threading.Event, timeout_ns: int) -> bool:
        """Block this thread until `event` is set, at most `timeout_ns`."""
        if timeout_ns > SHORT_NS:
            return event.wait(timeout_ns / 1e9)
        if not event.is_set():
            time.sleep(max(0, timeout_ns) / 1e9)
        return event.is_set()

    def _look(self, steady_ns: int) -> tuple[str, int] | None:
        """Compare with the wall clock, follow it as the rules say; what is to be logged."""
        passed_ns, self._looked_ns = steady_ns - self._looked_ns, steady_ns
        ours_ns, wall_ns = steady_ns + self._offset_ns, self._machine.wall_ns()
        gap_ns, right = wall_ns - ours_ns, self._machine.synchronised()
        self._ahead_ns = self._ahead_ns + passed_ns if right and gap_ns > SLEW_MAX_NS else 0
        known = ours_ns < EARLIEST_NS <= wall_ns or (right and not self._trusted)
        self._trusted = self._trusted or right
        if gap_ns > 0 and (known or self._ahead_ns >= SURE_NS):
            self._offset_ns += gap_ns
            self._ahead_ns, self._apart = 0, False
            return ("Time is known now and goes on from there", gap_ns) if gap_ns > SECOND else None
        if abs(gap_ns) <= SLEW_MAX_NS:
            most_ns = passed_ns * SLEW_PPM // 1_000_000
            self._offset_ns += max(-most_ns, min(most_ns, gap_ns))
            self._apart = False
            return None
        first, self._apart = not self._apart, True
        return (APART, gap_ns) if first else None


def _machine() -> Machine:
    boot = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    kept = kernel_clock()
    return Machine(time.time_ns, lambda: time.clock_gettime_ns(boot), lambda: kept() is True)


def kernel_clock() -> Callable[[], bool | None]:
    """Asks the kernel whether something keeps the wall clock right; None where it does not say.

    adjtimex(2) of Linux, which any user may read and a system call filter may forbid.
    """
    try:
        adjtimex = ctypes.CDLL(None).adjtimex
    except (OSError, AttributeError):
        return lambda: None
    # All zero: read only. Its result is the state of the clock, -1 where it is not permitted.
    timex = ctypes.create_string_buffer(TIMEX_BYTES)

    def ask() -> bool | None:
        state = adjtimex(timex)
        return None if state == -1 else state != TIME_ERROR

    return ask


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
