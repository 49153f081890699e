"""Machine: the engine as the journal sees it, which makes recorded turns once more at a start."""

from collections.abc import Mapping, Sequence

from config.model import Gateway
from daemon.clock import Clock
from daemon.durable.blocks import Turn
from daemon.durable.stored import restored
from daemon.engine import Engine
from daemon.inbox import Inbox
from daemon.ledger import Ledger
from daemon.messages import Message, Outgoing
from daemon.outlet import Done
from pipelines.graph import Graph
from pipelines.operator import OPERATORS
from pipelines.state import restore


class _Collected:
    """An outlet that lets nothing out."""

    def __init__(self) -> None:
        self.outputs: Sequence[Outgoing] = ()

    def fresh(self, messages: Sequence[Message]) -> Sequence[Message]:
        return messages

    def turned(self, done: Done) -> None:
        self.outputs = done.outputs

    def adopted(self, gateway: Gateway) -> None:
        """It stands in the log."""

    def put(self, outputs: Sequence[Outgoing]) -> None:
        """Nothing is published."""


class EngineMachine:
    """Engines of its own, with a ledger of their own: what they count was counted before."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._collected = _Collected()
        self.engine: Engine | None = None
        """Where it is; None before `begin`."""
        self.anew: dict[str, str] = {}
        """Parts of a state that could not be used, and why."""

    def begin(
        self, config: bytes, ticked_ns: int, sections: Mapping[str, memoryview] | None
    ) -> bool:
        """A graph as it was under that configuration. Raises StateError, ConfigUnknownError."""
        graph = Graph(restored(config), OPERATORS)
        self.anew = restore(graph, sections).anew if sections is not None else {}
        ledger = Ledger()
        inbox = Inbox(1, 1, ledger)
        self.engine = Engine(graph, inbox, ledger, self._clock, self._collected)
        self.engine.ticked_ns = ticked_ns
        return not self.anew

    def resume(self, ticked_ns: int) -> None:
        """A start went on from this tick."""
        assert self.engine is not None
        self.engine.ticked_ns = ticked_ns

    def turn(self, turn: Turn) -> Sequence[Outgoing]:
        """What comes of it now."""
        assert self.engine is not None
        self.engine.run(turn.messages, turn.until_ns, ticks=turn.ticks or None)
        return self._collected.outputs

    def adopt(self, config: bytes) -> None:
        """As a reload did it; the turn that it made follows in the log."""
        assert self.engine is not None
        before = self.engine.graph
        self.engine.adopt(Graph(restored(config), OPERATORS, keep=before), told=False)

    def identified(self, topic: str) -> bool:
        """Whether payloads on this topic tell messages apart."""
        return self.engine is not None and self.engine.identified(topic)
