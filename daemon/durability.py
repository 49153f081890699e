"""Durability: opens what is on disk, brings the engine to where it was, and keeps it written.

The parts: `durable/journal.py` is the protocol, `committer.py` writes turns, `checkpointer.py`
writes whole states.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

from config.model import Gateway
from config.state import State
from daemon import __version__
from daemon.checkpointer import Checkpointer
from daemon.clock import SECOND, Clock
from daemon.committer import Durable
from daemon.dead_letters import DeadLetters
from daemon.durable.blocks import Begins, Start
from daemon.durable.checkpoint import Checkpoints
from daemon.durable.disk import OsDisk
from daemon.durable.journal import Journal
from daemon.durable.local import LocalLog
from daemon.durable.port import LogError
from daemon.durable.replayer import Recovered
from daemon.durable.stored import stored
from daemon.durable.tape import LOG
from daemon.engine import Engine
from daemon.ledger import Ledger
from daemon.machine import EngineMachine
from daemon.outbox import Outbox
from daemon.transport.port import Transport
from pipelines.graph import TICK_NS, Graph
from pipelines.operator import OPERATORS

log = logging.getLogger(__name__)

SEGMENTS: Final = 16
WELL_TURNS: Final = 10
"""With so many turns made, or messages acknowledged, the state that was loaded has done no harm."""
SLOW_NS: Final = SECOND
"""After a start that took so long to make the state, it is written as soon as it is known to do no
harm: the next start, however soon it comes, shall not take even longer."""


class Durability:
    """Owns the folder of `state:`. Used by the engine's thread."""

    def __init__(
        self, state: State, outbox: Outbox, transport: Transport, ledger: Ledger, clock: Clock
    ) -> None:
        """Opens and locks. Raises LogError and OSError when the folder cannot be used."""
        folder, disk = Path(state.folder), OsDisk()
        checkpoints = Checkpoints(disk, folder)
        try:
            kept = LocalLog(
                folder / LOG, bytes_max=state.size, segment_bytes=state.size // SEGMENTS
            )
        except (LogError, OSError):
            checkpoints.close()
            raise
        self.journal = Journal(kept, checkpoints)
        self.outlet = Durable(
            self.journal,
            outbox,
            transport,
            ledger,
            clock,
            state.commit_delay,
            # Two in each segment: whatever is deleted, what is left begins with one soon.
            state.size // SEGMENTS // 2,
            state.size * 3 // 8,
        )
        self.checkpointer = Checkpointer(self.journal, self.outlet, state, clock)
        self.found: Recovered | None = None
        self.changed: Graph | None = None
        self._transport, self._clock = transport, clock
        self._session = self._session_entry = 0
        self._well = self._slow = False
        outbox.on_refused = DeadLetters(folder, clock).put

    def recover(self, make: Callable[[Graph], Engine], gateway: Gateway) -> Engine:
        """An engine that goes on where the last one was made durable, or begins anew.

        `make` builds an engine for a graph. Where the configuration has changed since, `changed`
        is the graph to adopt once the engine is started. Raises LogError, OSError.
        """
        machine = EngineMachine(self._clock)
        began_ns = self._clock.monotonic_ns()
        found = self.found = self.journal.recover(machine)
        before = machine.engine
        if before is None:
            engine = make(Graph(gateway, OPERATORS))
        else:
            engine = make(before.graph)
            engine.go_on(before)
            self.outlet.resume(found.outputs)
            graph = Graph(gateway, OPERATORS, keep=engine.graph)
            if stored(engine.gateway) == stored(gateway):
                engine.adopt(graph, told=False)  # the same, with the broker's address
            else:
                self.changed = graph
        self.journal.duplicates.identified = engine.identified
        self._session = self.journal.duplicates.session
        took_ns = self._clock.monotonic_ns() - began_ns
        self._slow = took_ns >= SLOW_NS
        self._say(found, machine.anew, took_ns)
        return engine

    @property
    def goes_on(self) -> bool:
        """Whether the engine is as if it had never stopped."""
        return self.found is not None and self.found.goes_on

    def start(self, engine: Engine) -> None:
        """Let turns have their effects from here on."""
        found = self.found
        assert found is not None
        begins = Begins.FRESH
        if found.goes_on:
            begins = Begins.GOES_ON
        elif found.found:
            begins = Begins.RESUMED
        now_ns, config = self._clock.now_ns(), stored(engine.gateway)
        if engine.ticked_ns > now_ns:
            facts = {"behind_s": (engine.ticked_ns - now_ns) // 10**9}
            log.warning("The clock is behind the state of before", extra={"facts": facts})
            engine.ticked_ns = now_ns // TICK_NS * TICK_NS
        self.outlet.config = config
        self.journal.add(Start(begins, now_ns, engine.ticked_ns, __version__, config))
        if self.changed is not None:
            engine.adopt(self.changed)
            self.changed = None
        self.outlet.volatile = engine.is_volatile if engine.has_volatile else None
        engine.run((), engine.ticked_ns)
        self.outlet.start()
        self.checkpointer.start(engine, at_once=begins is Begins.RESUMED)

    def turned(self, engine: Engine) -> None:
        """A turn has been made."""
        self.outlet.volatile = engine.is_volatile if engine.has_volatile else None
        if not self._well and (self.outlet.acknowledged or engine.turns >= WELL_TURNS):
            self._well = True
            self.journal.release()
            if self._slow:
                self.checkpointer.hasten()
        self.checkpointer.turned(engine)
        self._note_session(engine)

    def _note_session(self, engine: Engine) -> None:
        """A new session of the broker: first on disk, then is anything of it asked for."""
        session = self._transport.session
        # Only when all of the session before has been taken: numbers of entries are the order.
        if session > self._session and not len(engine.inbox):
            self._session = session
            self.journal.session(session)
            self._session_entry = self.journal.number
            self.outlet.urge()
        if self._session_entry and self.journal.durable >= self._session_entry:
            self._session_entry = 0
            self._transport.note_session(self._session)

    def close(self, engine: Engine) -> None:
        """The last turns and a last state; then let go of the folder."""
        self.outlet.close()
        self.checkpointer.close(engine)
        self.journal.close()

    @property
    def beats(self) -> dict[str, Callable[[], int]]:
        """{thread: when it last was at work}, for the watchdog; one that is gone ends the daemon."""
        return {"committer": lambda: self.outlet.beat_ns}

    @property
    def degraded(self) -> list[str]:
        """What does not work though the daemon does its work."""
        found = []
        if self.outlet.stalled:
            found.append(f"no space for the log, nothing is taken: {self.outlet.stalled}")
        if self.checkpointer.failed:
            found.append(f"no checkpoint is written: {self.checkpointer.failed}")
        return found

    def gauges(self) -> dict[str, tuple[str, Callable[[], float]]]:
        """What is exported, with its help."""
        found = self.found
        return {
            "log_commits": ("Commits of the log since the start.", lambda: self.outlet.commits),
            "log_bytes": (
                "Bytes written to the log since the start.",
                lambda: self.journal.log_bytes,
            ),
            "log_waiting_bytes": (
                "What came and is not durable yet.",
                lambda: self.outlet.waiting_bytes,
            ),
            "log_stalled": (
                "1 while the log has no space, so that nothing is taken.",
                lambda: bool(self.outlet.stalled),
            ),
            "replayed_messages": (
                "Messages that were taken from the log at the start.",
                lambda: found.messages if found else 0,
            ),
            "nondeterminism": (
                "Outputs that came out otherwise at the start than they were recorded; is always 0.",
                lambda: found.differing if found else 0,
            ),
            "state_lost": (
                "1 when a part of what was acknowledged before the start could not be read.",
                lambda: bool(found and found.lost),
            ),
            **self.checkpointer.gauges(),
        }

    def _say(self, found: Recovered, anew: dict[str, str], took_ns: int) -> None:
        for what in self.journal.aside:
            log.error(
                "A checkpoint cannot be used and is put aside", extra={"facts": {"file": what}}
            )
        if found.lost:
            log.error(
                "A part of what was acknowledged before cannot be read any more",
                extra={"facts": {"lost": found.lost}},
            )
        if found.differing:
            log.error(
                "Outputs came out otherwise than recorded",
                extra={"facts": {"outputs": found.differing}},
            )
        if found.found:
            facts = {
                "turns": found.turns,
                "messages": found.messages,
                "outputs": len(found.outputs),
                "anew": anew,
                "took_ms": took_ns // 1_000_000,
            }
            log.info("The state of before goes on", extra={"facts": facts})
