"""Outlet: where the engine's turns have their effects, acknowledgements and outputs.

`Direct` lets them happen at once.  `Durable` (`daemon/committer.py`) lets them happen when the turn
is on disk.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from config.model import Gateway
from daemon.messages import Message, Outgoing
from daemon.outbox import Outbox
from daemon.transport.port import Transport
from pipelines.graph import above_of, in_order


class Done(NamedTuple):
    """A turn that has been made."""

    taken: Sequence[Message]
    """What came, in order of arrival; all of it is to be acknowledged."""
    messages: Sequence[Message]
    """What of it the turn was made of."""
    until_ns: int
    ticks: Sequence[int]
    """When time went on within it."""
    outputs: Sequence[Outgoing]
    """To be published, in order; what rests on committed sources only."""
    volatile: Sequence[Outgoing] = ()
    """The same for what rests on sources with `durability: none`."""


class Outlet(Protocol):
    """Called by the engine's thread."""

    def fresh(self, messages: Sequence[Message]) -> Sequence[Message]:
        """Those whose effects are not in the state already."""
        ...

    def turned(self, done: Done) -> None:
        """Let a turn have its effects. Turns with nothing in them are told too."""
        ...

    def adopted(self, gateway: Gateway) -> None:
        """Another configuration holds; what comes of that is in the next turn."""
        ...

    def put(self, outputs: Sequence[Outgoing]) -> None:
        """Publish what comes of no turn."""
        ...


class Direct:
    """Effects at once: an acknowledgement means that a message is in memory."""

    def __init__(self, outbox: Outbox, transport: Transport) -> None:
        self._outbox, self._transport = outbox, transport

    def fresh(self, messages: Sequence[Message]) -> Sequence[Message]:
        """All of them: nothing is remembered."""
        return messages

    def turned(self, done: Done) -> None:
        """Outputs first: what is acknowledged has had its effects."""
        if done.outputs or done.volatile:
            self._outbox.put([*done.outputs, *done.volatile])
        if done.taken:
            self._transport.acknowledge(done.taken)

    def adopted(self, gateway: Gateway) -> None:
        """Nothing depends on it here."""

    def put(self, outputs: Sequence[Outgoing]) -> None:
        """At once."""
        self._outbox.put(outputs)


def volatile(gateway: Gateway) -> frozenset[str]:
    """Sources with `durability: none`, and pipelines that rest on one of them."""
    if gateway.state is None:
        return frozenset()
    found = {name for name, source in gateway.sources.items() if source.durability == "none"}
    for name in in_order(gateway):
        spec = gateway.pipelines[name]
        above = above_of(spec) or (str(spec.from_),)
        if found.intersection(above):
            found.add(name)
    return frozenset(found)
