"""Offline: a whole daemon in one process, on a clock that stands still until it is told to move.

The same engine, decoders and encoders as the daemon's, on the memory transport and without a
thread: what trials and tests run on.
"""

from collections.abc import Sequence
from typing import Final

from config.model import Broker, Gateway
from daemon.clock import ManualClock
from daemon.engine import Engine
from daemon.inbox import Inbox
from daemon.ledger import Count, Ledger
from daemon.messages import Message, Outgoing
from daemon.outbox import Outbox
from daemon.outlet import Direct
from daemon.transport.memory import MemoryTransport
from daemon.transport.port import Wiring
from pipelines.graph import Graph
from pipelines.operator import OPERATORS

BROKER: Final = Broker(url="memory://")


class Offline:
    """Publish payloads, let time go on, look at what came out."""

    def __init__(self, gateway: Gateway, start_ns: int, graph: Graph | None = None) -> None:
        """`start_ns`: what the clock shows at first, nanoseconds since 1970 UTC.

        `graph`: one that goes on from a state, instead of a fresh one.
        """
        self.gateway = gateway.model_copy(update={"broker": BROKER})
        limits = gateway.limits
        self.clock, self.ledger = ManualClock(start_ns), Ledger()
        self.inbox = Inbox(limits.inbox_messages_max, limits.inbox_bytes_max, self.ledger)
        self.outbox = Outbox(limits.outbox_messages_max, limits.outbox_bytes_max, self.ledger)
        birth = Outgoing("status", b"online", 1, True, "status")
        self.transport = MemoryTransport(
            Wiring(
                broker=BROKER,
                client_id=gateway.gateway,
                inbox=self.inbox,
                outbox=self.outbox,
                ledger=self.ledger,
                clock=self.clock,
                birth=birth,
                will=birth,
            )
        )
        graph = Graph(self.gateway, OPERATORS) if graph is None else graph
        outlet = Direct(self.outbox, self.transport)
        self.engine = Engine(graph, self.inbox, self.ledger, self.clock, outlet)

    def start(self, *, recalling: bool = False) -> None:
        """Connect and subscribe; `recalling` fetches the retained states of alerts first."""
        if recalling:
            self.transport.recall(self.engine.states)
        self.transport.start()
        self.transport.subscribe(self.engine.filters())

    def turn(self) -> int:
        """Take what was published, and the time that has passed; messages taken."""
        return self.engine.turn(0)

    def play(
        self, messages: Sequence[Message], until_ns: int, ticks: Sequence[int] | None = None
    ) -> None:
        """A turn as it was recorded, instead of `turn`; messages keep their times of arrival."""
        self.clock.advance(max(0, until_ns - self.clock.now_ns()))
        self.ledger.count(Count.MESSAGES_RECEIVED, len(messages))
        self.engine.run(messages, until_ns, ticks=ticks)

    def taken(self) -> list[Outgoing]:
        """What came out since the last call; `published` then knows nothing of it any more."""
        out = self.transport.published.copy()
        self.transport.published.clear()
        self.transport.acknowledged.clear()
        return out

    def published(self, kind: str) -> list[Outgoing]:
        """What came out of this kind, in order."""
        return [out for out in self.transport.published if out.kind == kind]

    def close(self) -> Ledger:
        """Stop as the daemon does: nothing waits any more, and the ledger balances."""
        while len(self.inbox):
            self.turn()
        self.engine.flush()
        self.transport.stop(0)
        assert self.ledger.balance() == []
        return self.ledger
