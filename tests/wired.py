"""A whole daemon in one process: memory transport, manual clock, no threads."""

import json

from daemon.clock import ManualClock
from daemon.engine import Engine
from daemon.inbox import Inbox
from daemon.ledger import Ledger
from daemon.messages import Outgoing
from daemon.outbox import Outbox
from daemon.transport import Wiring
from daemon.transport.memory import MemoryTransport
from pipelines.graph import Graph
from pipelines.operator import load_all
from tests.graphs import T0, S, gateway

MS = 1_000_000


class Wired:
    """Publish payloads, let time go on, look at what came out."""

    def __init__(self, pipelines, sources=None, retained=(), **more):
        self.gateway = gateway(pipelines, sources, broker={"url": "memory://"}, **more)
        limits = self.gateway.limits
        self.clock, self.ledger = ManualClock(T0), Ledger()
        self.inbox = Inbox(limits.inbox_messages_max, limits.inbox_bytes_max, self.ledger)
        self.outbox = Outbox(limits.outbox_messages_max, limits.outbox_bytes_max, self.ledger)
        birth = Outgoing("status", b"online", 1, True, "status")
        self.transport = MemoryTransport(
            Wiring(
                self.gateway.broker,
                "gw",
                self.inbox,
                self.outbox,
                self.ledger,
                self.clock,
                birth,
                birth,
            )
        )
        self.engine = Engine(
            Graph(self.gateway, load_all()),
            self.inbox,
            self.outbox,
            self.ledger,
            self.clock,
            self.transport,
        )
        self.recalling = bool(retained)
        for topic, payload in retained:
            self.transport.publish(topic, payload, retain=True)
        self.transport.start()
        self.subscribe()

    def subscribe(self):
        self.transport.subscribe(self.engine.filters(recalling=self.recalling))

    def send(self, topic, payload, qos=1, after_ms=0):
        """Publish JSON (or bytes as they are) after some time has passed."""
        self.clock.advance(after_ms * MS)
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        self.transport.publish(topic, body, qos)

    def turn(self):
        return self.engine.turn(0)

    def wait(self, seconds):
        """Let time go on in turns of 100 ms."""
        for _ in range(round(seconds * 10)):
            self.clock.advance(100 * MS)
            self.turn()

    def reload(self, pipelines, sources=None, **more):
        new = gateway(pipelines, sources, broker={"url": "memory://"}, **more)
        self.engine.adopt(Graph(new, load_all(), keep=self.engine.graph))
        self.subscribe()

    def published(self, kind):
        return [o for o in self.transport.published if o.kind == kind]

    def events(self):
        """[(topic, short type, second)] of all alert events so far."""
        found = []
        for out in self.published("alert"):
            told = json.loads(out.payload)
            found.append((out.topic, told["type"].rsplit(".", 1)[1]))
        return found

    def close(self):
        """Stop as the daemon does; the ledger must balance."""
        while len(self.inbox):
            self.turn()
        self.engine.flush()
        self.transport.stop(1)
        assert self.ledger.balance() == []
        return self.ledger


__all__ = ["MS", "T0", "S", "Wired"]
