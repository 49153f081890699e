"""Checkpointer: whole states on disk now and then, so that a start has little to make once more.

The engine's thread copies the state between two turns; a thread of its own turns the copy into
bytes, waits until the log is durable up to it, writes and syncs.  A disk that is full or broken
costs the checkpoint and not the daemon: the one before it stays, and it is tried again soon.
"""

import logging
import threading
from collections.abc import Callable
from typing import Final, NamedTuple

from config.state import State
from daemon.clock import SECOND, Clock
from daemon.committer import Durable
from daemon.durable.journal import Journal, Snapshot
from daemon.durable.port import LogError
from daemon.durable.stored import stored
from daemon.engine import Engine
from pipelines.graph import Graph
from pipelines.state import Captured, Capturer

log = logging.getLogger(__name__)

STOP_S: Final = 60.0
"""How long a stop waits for the checkpoint under way; systemd gives 90 s in all."""
POLL_NS: Final = 5_000_000
RETRY_NS: Final = 10 * SECOND
LOG_BYTES: Final = 64 << 20
"""With so much in the log since the last one, a checkpoint is due before its time."""


class _Taken(NamedTuple):
    """A state on its way to the disk."""

    captured: Captured
    snapshot: Snapshot


class Checkpointer:
    """`turned` and `close` are called by the engine's thread."""

    def __init__(self, journal: Journal, outlet: Durable, state: State, clock: Clock) -> None:
        self.failed = ""
        """Why the last checkpoint could not be written, empty when it was."""
        self.written = self.failures = self.bytes = self.stall_ns = self.stall_max_ns = 0
        self._journal, self._outlet, self._clock = journal, outlet, clock
        self._every_ns, self._log_bytes = state.every, min(LOG_BYTES, state.size // 4)
        self._capturer: Capturer | None = None
        self._graph: Graph | None = None
        self._taken: _Taken | None = None
        self._wake, self._done = threading.Event(), threading.Event()
        self._never = threading.Event()
        self._done.set()
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="checkpoints", daemon=True)
        self._due_ns = self.written_ns = clock.monotonic_ns()
        self._marked_bytes = 0

    def warm_up(self, graph: Graph) -> None:
        """Compile what copies, and make its memory ready."""
        self._graph, self._capturer = graph, Capturer(graph)
        self._capturer.take()

    def start(self, engine: Engine, *, at_once: bool) -> None:
        """Begin to write; `at_once`: an older one must not be used any more."""
        self._thread.start()
        self._marked_bytes = -self._journal.uncovered_bytes
        self._due_ns = self._clock.monotonic_ns() + self._every_ns
        if at_once:
            self._capture(engine)
            self._done.wait(STOP_S)

    def hasten(self) -> None:
        """The next turn is reason enough for a checkpoint."""
        self._due_ns = self._clock.monotonic_ns()

    def turned(self, engine: Engine) -> None:
        """A turn has been made: copy the state when it is time."""
        if self.is_due and self._done.is_set() and self._thread.is_alive():
            self._due_ns = self._clock.monotonic_ns() + self._every_ns
            self._capture(engine)

    @property
    def is_due(self) -> bool:
        """Whether it is time for the next one."""
        now_ns = self._clock.monotonic_ns()
        return now_ns >= self._due_ns or self.behind_bytes >= self._log_bytes

    @property
    def behind_bytes(self) -> int:
        """Written to the log since the last state was copied."""
        return self._journal.log_bytes - self._marked_bytes

    def close(self, engine: Engine) -> None:
        """Write the last state, and end."""
        if self._thread.is_alive():
            if self._done.wait(STOP_S) and self._journal.durable == self._journal.number:
                self._capture(engine)
            self._closing = True
            self._wake.set()
            self._thread.join(STOP_S)
        if self._thread.is_alive():
            log.error("The disk is too slow, the last state is not written")

    def gauges(self) -> dict[str, tuple[str, Callable[[], float]]]:
        """What is exported, with its help."""
        return {
            "state_written": ("Checkpoints written since the start.", lambda: self.written),
            "state_failures": ("Checkpoints that could not be written.", lambda: self.failures),
            "state_bytes": ("Size of the last checkpoint.", lambda: self.bytes),
            "state_age_seconds": (
                "Time since the last checkpoint, or since the start.",
                lambda: (self._clock.monotonic_ns() - self.written_ns) / 1e9,
            ),
            "state_stall_seconds": (
                "How long the engine waited for the copy of its state, last.",
                lambda: self.stall_ns / 1e9,
            ),
            "state_stall_seconds_max": (
                "How long the engine waited for a copy of its state at most.",
                lambda: self.stall_max_ns / 1e9,
            ),
        }

    def _capture(self, engine: Engine) -> None:
        began_ns = self._clock.monotonic_ns()
        if self._capturer is None or self._graph is not engine.graph:
            self._graph, self._capturer = engine.graph, Capturer(engine.graph)
        captured = self._capturer.take()
        snapshot = self._journal.snapshot(engine.ticked_ns, stored(engine.gateway))
        self._taken = _Taken(captured, snapshot)
        self._marked_bytes = self._journal.log_bytes
        self.stall_ns = self._clock.monotonic_ns() - began_ns
        self.stall_max_ns = max(self.stall_max_ns, self.stall_ns)
        self._done.clear()
        self._wake.set()

    # --- the thread's side -------------------------------------------------------------------

    def _work(self) -> None:
        try:
            while not self._closing or self._taken is not None:
                self._wake.wait()
                self._wake.clear()
                if self._taken is not None:
                    self._write(self._taken)
                    self._taken = None
                    self._done.set()
        finally:
            if not self._closing:
                self.failed = "a fault of ours, see the traceback"
            self._done.set()

    def _write(self, taken: _Taken) -> None:
        sections = taken.captured.sections()
        while self._journal.durable < taken.snapshot.number:
            if self._outlet.failed or (self._closing and not self._outlet.alive):
                return  # what it rests on never became durable
            self._clock.wait(self._never, POLL_NS)
        try:
            self.bytes = self._journal.write(taken.snapshot, sections)
        except (LogError, OSError) as error:
            self.failed = str(error)
            self.failures += 1
            self._due_ns = self._clock.monotonic_ns() + RETRY_NS
            log.error("No checkpoint is written", extra={"facts": {"why": self.failed}})
            return
        self.failed = ""
        self.written += 1
        self.written_ns = self._clock.monotonic_ns()
