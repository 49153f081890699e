"""Engine: the turn that takes what has arrived, runs it through, and hands on what came of it.

One thread owns everything here. Time comes in with the messages: ticks lie on a grid of
processing time (`pipelines.graph.TICK_NS`), before the first message that arrived after them,
so the same messages with the same times of arrival give the same events however they are cut.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Protocol

from config.model import Gateway
from config.topics import TopicFilter
from daemon.clock import Clock
from daemon.control import Control
from daemon.decode.reader import SourceReader
from daemon.decode.route import Router
from daemon.encode import Encoder
from daemon.inbox import Inbox
from daemon.ledger import Count, Gauge, Ledger, Reason
from daemon.messages import Message
from daemon.outbox import Outbox
from daemon.transport.port import Transport
from pipelines.events import Event
from pipelines.graph import TICK_NS, Graph
from pipelines.order import DUPLICATE, FUTURE, LATE, USED


class Recording(Protocol):
    """Who keeps what goes into an engine, so that it can be played again; must not block."""

    def turn(self, messages: Sequence[Message], until_ns: int) -> None:
        """Take a turn that is about to be made."""
        ...

    def adopted(self, gateway: Gateway) -> None:
        """Take another configuration that is about to hold."""
        ...

    def flushed(self) -> None:
        """No more messages will come."""
        ...


class Engine:
    """The data plane of one daemon."""

    def __init__(
        self,
        graph: Graph,
        inbox: Inbox,
        outbox: Outbox,
        ledger: Ledger,
        clock: Clock,
        transport: Transport,
    ) -> None:
        self.inbox, self.outbox, self.transport = inbox, outbox, transport
        self.ledger, self.clock = ledger, clock
        self.turns = 0
        self.turned_ns = clock.monotonic_ns()
        """When the last turn ended, on the steady clock; health looks at it."""
        self.recording: Recording | None = None
        self.ticked_ns = clock.now_ns() // TICK_NS * TICK_NS
        """The last tick."""
        self._fates: dict[str, list[int]] = {}
        self._adopt(graph)

    def turn(self, wait_s: float) -> int:
        """Take what has arrived, run it through, hand on what came of it; messages taken.

        Waits up to `wait_s` for the first message. Messages are acknowledged when their effects
        are in the outbox.
        """
        messages = self.inbox.drain(self.gateway.limits.batch_messages_max, wait_s)
        # While more wait in the inbox, time has come no further than the last one taken.
        until = messages[-1].arrival_ns if len(self.inbox) and messages else self.clock.now_ns()
        self.run(messages, until)
        return len(messages)

    def run(self, messages: Sequence[Message], until_ns: int) -> None:
        """One turn with these messages, in order of arrival; time has come to `until_ns`.

        What comes of it depends on nothing else: a replay calls this with what was recorded.
        """
        if self.recording and (messages or until_ns >= self.ticked_ns + TICK_NS):
            self.recording.turn(messages, until_ns)
        told: list[Event] = []
        for part, tick_ns in self._parts(messages, until_ns):
            if part:
                told += self._take(part)
            else:
                told += self.graph.tick(tick_ns)
        self._hand_on(told)
        if messages:
            self.transport.acknowledge(messages)
        self.turns += 1
        self.turned_ns = self.clock.monotonic_ns()

    def adopt(self, graph: Graph) -> None:
        """Go on with another graph, between two turns; end what only the old one told."""
        if self.recording:
            self.recording.adopted(graph.gateway)
        before = self.graph
        self._hand_on(before.retired(graph))
        for name, source in before.sources.items():
            if graph.sources.get(name) is not source:
                self.ledger.count(
                    Count.SAMPLES_DROPPED,
                    source.reorder.held,
                    reason=Reason.SUPERSEDED,
                    source=name,
                )
                del self._fates[name]
        self._adopt(graph)

    def filters(self) -> dict[str, int]:
        """What to subscribe to, {MQTT filter: QoS}."""
        sources = {
            TopicFilter.parse(source.topic).subscription: source.qos
            for source in self.gateway.sources.values()
        }
        return sources | self._control.filters()

    @property
    def states(self) -> tuple[str, ...]:
        """MQTT filters of our own retained states, to be recalled before anything else."""
        return self._control.states

    def flush(self) -> None:
        """Hand on samples that still wait for others, because no more will come."""
        if self.recording:
            self.recording.flushed()
        self._hand_on(self.graph.flush())

    # --- inside --------------------------------------------------------------------------

    def _adopt(self, graph: Graph) -> None:
        self.graph = graph
        self.gateway: Gateway = graph.gateway
        self._encoder = Encoder(graph.gateway)
        self._control = Control(graph.gateway, self._encoder.state_filters(), self.ledger)
        self._router = Router(graph.gateway.sources, self.ledger)
        self._readers = {
            name: SourceReader(name, stage.source, stage.table, graph.gateway.limits, self.ledger)
            for name, stage in graph.sources.items()
        }

    def _take(self, messages: Sequence[Message]) -> list[Event]:
        """What comes of these messages, samples and commands in the order of their arrival."""
        told: list[Event] = []
        for control, some in self._control.runs(messages):
            if control:
                for message in some:
                    events, answers = self._control.apply(message, self.graph)
                    told += events
                    self.outbox.put(answers)
                self._control.settle(self.graph)
            else:
                read = {s: self._readers[s].read(few) for s, few in self._router.split(some)}
                told += self.graph.run(read)
        return told

    def _parts(
        self, messages: Sequence[Message], until_ns: int
    ) -> Iterator[tuple[Sequence[Message], int]]:
        """Messages cut where ticks fall between them: (messages, 0) and (nothing, tick)."""
        first = 0
        while first < len(messages):
            due = self.ticked_ns + TICK_NS
            last = bisect_left(messages, due, first, key=lambda m: m.arrival_ns)
            if last == first:
                yield (), self._tick_before(messages[first].arrival_ns)
            else:
                yield messages[first:last], 0
            first = last
        if until_ns >= self.ticked_ns + TICK_NS:
            yield (), self._tick_before(until_ns)

    def _tick_before(self, time_ns: int) -> int:
        self.ticked_ns = time_ns // TICK_NS * TICK_NS
        return self.ticked_ns

    def _hand_on(self, told: Sequence[Event]) -> None:
        self.outbox.put(out for event in told for out in self._encoder.encode(event))
        for name, stage in self.graph.sources.items():
            fate = stage.reorder.fate.tolist()
            before = self._fates.get(name, [0] * len(fate))
            for count, index in (
                (Count.SAMPLES_USED, USED),
                (Count.SAMPLES_LATE, LATE),
                (Count.SAMPLES_DUPLICATE, DUPLICATE),
                (Count.SAMPLES_FUTURE, FUTURE),
            ):
                if fate[index] > before[index]:
                    self.ledger.count(count, fate[index] - before[index], source=name)
            self._fates[name] = fate
            self.ledger.gauge(Gauge.SAMPLES_BUFFERED, stage.reorder.held, source=name)
