"""A daemon with durable state in one process, which can die at any point between two turns."""

from pathlib import Path

from config.state import State
from daemon.ages import Expiry
from daemon.clock import ManualClock
from daemon.durability import Durability
from daemon.engine import Engine
from daemon.inbox import Inbox
from daemon.ledger import Ledger
from daemon.messages import Outgoing
from daemon.offline import BROKER
from daemon.outbox import Outbox
from daemon.transport.memory import MemoryTransport
from daemon.transport.port import Wiring
from tests.graphs import T0, gateway

MS = 1_000_000


class Committed:
    """Publish, turn, commit, checkpoint, die; the bus and the clock outlive the daemon."""

    def __init__(self, folder: Path, pipelines, sources, **more):
        state = {"folder": str(folder), "commit_delay": "50ms"} | more.pop("state", {})
        self.gateway = gateway(pipelines, sources, state=state, **more)
        self.gateway = self.gateway.model_copy(update={"broker": BROKER})
        self.clock, self.transport = ManualClock(T0), None
        self.start()

    def start(self):
        limits = self.gateway.limits
        self.ledger = Ledger()
        self.inbox = Inbox(limits.inbox_messages_max, limits.inbox_bytes_max, self.ledger)
        self.outbox = Outbox(
            limits.outbox_messages_max,
            limits.outbox_bytes_max,
            self.ledger,
            Expiry(limits.outbox_age_max, self.clock),
        )
        birth = Outgoing("status", b"online", 1, True, "status")
        wiring = Wiring(
            broker=BROKER,
            client_id="gw",
            inbox=self.inbox,
            outbox=self.outbox,
            ledger=self.ledger,
            clock=self.clock,
            birth=birth,
            will=birth,
        )
        if self.transport is None:
            self.transport = MemoryTransport(wiring)
        else:
            self.transport.belong_to(wiring)
        assert isinstance(self.gateway.state, State)
        self.durability = Durability(
            self.gateway.state, self.outbox, self.transport, self.ledger, self.clock
        )
        # No threads: this class says when what they do is done.
        self.durability.outlet.start = lambda: None
        checkpointer = self.durability.checkpointer
        checkpointer.start = lambda engine, at_once: at_once and self.checkpoint(engine)
        checkpointer._due_ns += self.gateway.state.every
        self.engine = self.durability.recover(
            lambda graph: Engine(
                graph, self.inbox, self.ledger, self.clock, self.durability.outlet
            ),
            self.gateway,
        )
        self.durability.start(self.engine)
        self.transport.start()
        self.transport.subscribe(self.engine.filters())

    def turn(self):
        self.engine.turn(0)
        self.durability.turned(self.engine)

    def commit(self):
        self.durability.outlet.commit()

    def checkpoint(self, engine=None):
        checkpointer = self.durability.checkpointer
        checkpointer._capture(engine or self.engine)
        self.commit()
        checkpointer._write(checkpointer._taken)
        checkpointer._done.set()
        assert not checkpointer.failed

    def die(self):
        """Everything in memory is gone; what was written stays, as after kill -9."""
        self.durability.journal.close()
        self.start()

    def published(self, *kinds):
        return [out for out in self.transport.published if out.kind in kinds]
