"""Committer: the durable outlet. A turn has its effects when it is on disk, soon after it was made.

The engine's thread adds turns to the journal and goes on; this thread makes all of them durable at
once, acknowledges their messages and lets their outputs go.  A disk without space holds everything
up until there is some: nothing is lost, the broker keeps what we do not read.  A disk that fails
ends the daemon: what a failed sync covered may be anywhere, and only a start finds out.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from config.model import Gateway
from daemon import __version__
from daemon.bulk import Bulk
from daemon.clock import Clock
from daemon.durable.blocks import Begins, BlockError, Reload, Start, Turn
from daemon.durable.journal import Entry, Journal
from daemon.durable.port import LogError, LogFull
from daemon.durable.stored import stored
from daemon.ledger import Count, Ledger
from daemon.messages import Message, Outgoing
from daemon.outbox import Outbox, Parcel
from daemon.outlet import Done
from daemon.topics import ByTopic
from daemon.transport.port import Transport
from pipelines.graph import TICK_NS

log = logging.getLogger(__name__)

WAITING_BYTES_MAX: Final = 64 << 20
"""What may wait for the disk; then no more is taken, and the broker keeps the rest."""
SOON_BYTES: Final = 1 << 20
"""With so much waiting, it is written before `commit_delay` is over."""
QUIET_NS: Final = 1_000_000_000
"""Turns of which nothing came, and that nobody waits for, are written this often."""
RETRY_NS: Final = 1_000_000_000
FLUSH_NS: Final = 5_000_000_000
POLL_NS: Final = 2_000_000
CLOSE_S: Final = 10.0


class Durable:
    """The outlet of a daemon with `state:`."""

    def __init__(
        self,
        journal: Journal,
        outbox: Outbox,
        transport: Transport,
        ledger: Ledger,
        clock: Clock,
        commit_delay_ns: int,
        mark_bytes: int,
        uncovered_bytes_max: int,
    ) -> None:
        """`mark_bytes`: after so much, what a replay must know to begin there is written again.

        `uncovered_bytes_max`: so much of the log may be in no checkpoint, before it is deleted.
        """
        self.journal = journal
        self.failed = ""
        """Why the daemon must end, empty while it need not."""
        self.stalled = ""
        """Why nothing can be written at the moment."""
        self.commits = 0
        self.volatile: Callable[[str], bool] | None = None
        """Whether messages on a topic are not kept; None: all are."""
        self.on_commit: Callable[[], None] = _nothing
        """Called after each commit, in this thread."""
        self._lasting = ByTopic(self._lasts)
        self._outbox, self._transport = outbox, transport
        self._ledger, self._clock, self._delay_ns = ledger, clock, commit_delay_ns
        self._settled: deque[int] = deque()
        outbox.left = self._settled
        self._urgent = threading.Event()
        self._soon = threading.Event()
        self._effective_bytes = self._marked_bytes = 0
        self._outputs_made = self._outputs_released = 0
        self.acknowledged = False
        """Whether messages of this run have been."""
        self._mark_bytes, self._uncovered_bytes_max = mark_bytes, uncovered_bytes_max
        self.config = b""
        """The configuration in force, as it is stored."""
        self._never = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="committer", daemon=True)
        self.beat_ns = clock.monotonic_ns()

    # --- the engine's side -------------------------------------------------------------------

    def fresh(self, messages: Sequence[Message]) -> Sequence[Message]:
        """Those that are not in the state already."""
        kept = self.journal.duplicates.fresh(messages)
        if len(kept) < len(messages):
            self._ledger.count(Count.MESSAGES_DUPLICATE, len(messages) - len(kept))
        return kept

    def turned(self, done: Done) -> None:
        """An entry for the journal; what is volatile goes out at once."""
        journal = self.journal
        if done.volatile:
            self.put(done.volatile)
        messages: Sequence[Message] = done.messages
        ticks: Sequence[int] = ()
        if self.volatile is not None:
            kept = self._kept(messages)
            if len(kept) < len(messages):
                messages, ticks = kept, done.ticks
        if journal.log_bytes - self._marked_bytes >= self._mark_bytes:
            self._mark(done.until_ns)
        settled = journal.known([self._settled.popleft() for _ in range(len(self._settled))])
        if not (done.taken or messages or done.ticks or done.outputs or settled):
            return
        parcels = journal.tokens(done.outputs)
        self._outputs_made += len(parcels)
        journal.add(Turn(done.until_ns, messages, parcels, settled, ticks), done.taken)
        if done.taken or parcels:
            self._urgent.set()
            if self.waiting_bytes > SOON_BYTES:
                self._soon.set()

    def adopted(self, gateway: Gateway) -> None:
        """Another configuration holds from here on."""
        self.config = stored(gateway)
        self.journal.add(Reload(self.config))
        self.journal.duplicates.anew()
        self._lasting = ByTopic(self._lasts)

    def put(self, outputs: Sequence[Outgoing]) -> None:
        """At once, and only once: after a crash they are not known any more."""
        self._outbox.release(self.journal.tokens(outputs))

    def _kept(self, messages: Sequence[Message]) -> Sequence[Message]:
        """Those that are to be in the log."""
        if isinstance(messages, Bulk):
            return messages.kept(self._lasting)
        return [m for m in messages if self._lasts(m.topic)]

    def _lasts(self, topic: str) -> bool:
        return self.volatile is None or not self.volatile(topic)

    def _mark(self, until_ns: int) -> None:
        """What a replay must know that begins here, because older records are gone."""
        self._marked_bytes = self.journal.log_bytes
        self.journal.add(
            Start(Begins.MIDDLE, until_ns, until_ns // TICK_NS * TICK_NS, __version__, self.config)
        )

    @property
    def waiting_bytes(self) -> int:
        """What has not had its effects yet, about."""
        return self.journal.bytes_taken - self._effective_bytes

    @property
    def behind(self) -> bool:
        """Whether the engine must wait for the disk, or until what it has made has gone out.

        While nothing can go out it goes on, so that timers are heard of: then it is up to the
        outbox what is worth keeping.
        """
        journal = self.journal
        uncovered = journal.uncovered_bytes > self._uncovered_bytes_max
        coming = self._outputs_made - self._outputs_released
        crowded = self._transport.publishing and self._outbox.crowded(coming)
        return self.waiting_bytes > WAITING_BYTES_MAX or uncovered or journal.unfounded or crowded

    def resume(self, outputs: Sequence[Parcel]) -> None:
        """What an earlier run could not publish goes out first."""
        self._outbox.resume(outputs, self.journal.made)

    def start(self) -> None:
        """Begin to commit."""
        self._thread.start()

    def urge(self) -> None:
        """Commit soon, though nobody waits for an acknowledgement."""
        self._urgent.set()

    def flush(self) -> None:
        """Wait some seconds until all is durable that was added, and has its effects."""
        until_ns = self._clock.monotonic_ns() + FLUSH_NS
        while self.alive and self.journal.durable < self.journal.number:
            if self._clock.monotonic_ns() > until_ns:
                log.error("The disk is too slow, what came last was not acknowledged")
                return
            self._urgent.set()
            self._soon.set()
            self._clock.wait(self._never, POLL_NS)

    def close(self) -> None:
        """Make durable what is left, and end."""
        self._closing = True
        self._urgent.set()
        self._soon.set()
        if self._thread.is_alive():
            self._thread.join(CLOSE_S)

    @property
    def alive(self) -> bool:
        """Whether entries become durable."""
        return self._thread.is_alive()

    # --- the committer's side ----------------------------------------------------------------

    def _work(self) -> None:
        ended = False
        try:
            while not (self._closing or self.failed):
                self.beat_ns = self._clock.monotonic_ns()
                if self._clock.wait(self._urgent, QUIET_NS):
                    self._urgent.clear()
                    self._clock.wait(self._soon, self._delay_ns)
                    self._soon.clear()
                self.commit()
            self.commit()
            ended = True
        finally:
            if not (ended or self.failed):
                self._fail("a fault of ours, see the traceback")

    def commit(self) -> None:
        """Make durable what was added, and let it have its effects; in one thread only."""
        if self.failed:
            return
        try:
            self._commit()
        except (LogError, BlockError, OSError) as error:
            self._fail(str(error))

    def _commit(self) -> None:
        try:
            done = self.journal.commit()
        except LogFull as error:
            if self.journal.make_room():
                self._urgent.set()
                self._soon.set()
                return
            if not self.stalled:
                facts = {"why": str(error)}
                log.error(
                    "No space for the log, nothing is taken until there is", extra={"facts": facts}
                )
            self.stalled = str(error)
            self._urgent.set()
            if not self._closing:
                self._clock.wait(self._never, RETRY_NS)
            return
        if self.stalled:
            log.warning("There is space for the log again")
            self.stalled = ""
        if done:
            self.commits += 1
            self._effects(done)
            self.on_commit()

    def _effects(self, done: Sequence[Entry]) -> None:
        for entry in done:
            if entry.taken:
                self._transport.acknowledge(entry.taken)
                self.acknowledged = True
        made = [p for e in done if isinstance(e.block, Turn) for p in e.block.outputs]
        if made:
            self._outbox.release(made)
            self._outputs_released += len(made)
        self._effective_bytes += sum(entry.size for entry in done)

    def _fail(self, why: str) -> None:
        self.failed = why
        log.critical(
            "The log cannot be written, the daemon ends: nothing more is acknowledged",
            extra={"facts": {"why": why}},
        )


def _nothing() -> None:
    return None
