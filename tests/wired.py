"""A whole daemon in one process, fed with what tests like to write."""

import json

from daemon.offline import BROKER, Offline
from pipelines.graph import Graph
from pipelines.operator import load_all
from tests.graphs import T0, S, gateway

MS = 1_000_000


class Wired(Offline):
    """Publish payloads, let time go on, look at what came out."""

    def __init__(self, pipelines, sources=None, retained=(), **more):
        super().__init__(gateway(pipelines, sources, **more), T0)
        for topic, payload in retained:
            self.transport.publish(topic, payload, retain=True)
        self.start(recalling=bool(retained))

    def send(self, topic, payload, qos=1, after_ms=0):
        """Publish JSON (or bytes as they are) after some time has passed."""
        self.clock.advance(after_ms * MS)
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        self.transport.publish(topic, body, qos)

    def wait(self, seconds):
        """Let time go on in turns of 100 ms."""
        for _ in range(round(seconds * 10)):
            self.clock.advance(100 * MS)
            self.turn()

    def reload(self, pipelines, sources=None, **more):
        new = gateway(pipelines, sources, **more).model_copy(update={"broker": BROKER})
        self.engine.adopt(Graph(new, load_all(), keep=self.engine.graph))
        self.transport.subscribe(self.engine.filters())

    def events(self):
        """[(topic, short type)] of all alert events so far."""
        found = []
        for out in self.published("alert"):
            told = json.loads(out.payload)
            found.append((out.topic, told["type"].rsplit(".", 1)[1]))
        return found


__all__ = ["MS", "T0", "S", "Wired"]
