"""Engine: the turn that takes what has arrived, runs it through, and hands on what came of it.

One thread at a time owns everything here (`daemon.turns`). Time comes in with the messages: ticks lie on a grid of
processing time (`pipelines.graph.TICK_NS`), before the first message that arrived after them,
so the same messages with the same times of arrival give the same events however they are cut.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final, Protocol

import numpy as np

from config.model import Gateway
from config.topics import TopicFilter
from daemon.bulk import Bulk
from daemon.clock import Clock
from daemon.control import Control
from daemon.decode.reader import SourceReader
from daemon.decode.route import Router
from daemon.encode import Encoder
from daemon.foresight import Foresight
from daemon.inbox import Inbox
from daemon.ledger import Count, Counter, Gauge, Ledger, Reason
from daemon.messages import TOPICS_KEPT_MAX, Message, Outgoing
from daemon.outlet import Done, Outlet, volatile
from daemon.topics import ByTopic, Topics
from pipelines.events import Event
from pipelines.graph import TICK_NS, Graph
from pipelines.order import DUPLICATE, FUTURE, LATE, USED

_FATES: Final = (
    (USED, Count.SAMPLES_USED),
    (LATE, Count.SAMPLES_LATE),
    (DUPLICATE, Count.SAMPLES_DUPLICATE),
    (FUTURE, Count.SAMPLES_FUTURE),
)


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
        ledger: Ledger,
        clock: Clock,
        outlet: Outlet,
    ) -> None:
        self.inbox, self.outlet = inbox, outlet
        self.ledger, self.clock = ledger, clock
        self.held = False
        """While it is not known what else has come before now: time stands still."""
        self.turns = 0
        self.turned_ns = clock.monotonic_ns()
        """When the last turn ended, on the steady clock; health looks at it."""
        self.recording: Recording | None = None
        self.ticked_ns = clock.now_ns() // TICK_NS * TICK_NS
        """The last tick."""
        self._fates: dict[str, list[int]] = {}
        self._counted: dict[str, list[tuple[int, Counter]]] = {}
        self._made: list[Outgoing] = []
        self._made_volatile: list[Outgoing] = []
        self._identified: dict[str, bool] = {}
        self.canary_topic = ""
        """Messages on it are our own, and end here; they come one by one."""
        self._topics = Topics()
        """Of messages that come one by one."""
        self.on_canary: Callable[[bytes], None] = _ignore
        self.foresight = Foresight()
        self._adopt(graph)

    def turn(self, wait_s: float) -> int:
        """Take what has arrived, run it through, hand on what came of it; messages taken.

        Waits up to `wait_s` for the first message. What becomes of a turn, and of the messages
        it took, is up to the outlet.
        """
        taken = self.inbox.drain(self.gateway.limits.batch_messages_max, wait_s)
        if self.held:
            until = self.ticked_ns - 1  # before all of them: so a replay knows it, too
        else:
            # While more wait in the inbox, time has come no further than the last one taken.
            behind = len(taken) > 0 and len(self.inbox) > 0
            until = taken[-1].arrival_ns if behind else self.clock.now_ns()
        messages = self.outlet.fresh(self._without_canary(taken))
        self.run(messages, until, taken)
        if isinstance(taken, Bulk):
            self.foresight.turned(taken.topics)
        return len(taken)

    def run(
        self,
        messages: Sequence[Message],
        until_ns: int,
        taken: Sequence[Message] | None = None,
        ticks: Sequence[int] | None = None,
    ) -> None:
        """One turn with these messages, in order of arrival; time has come to `until_ns`.

        What comes of it depends on nothing else: a replay calls this with what was recorded.
        `taken`: the same and others that are to be acknowledged with them. `ticks`: where they were
        when messages of volatile sources stood between these.
        """
        if self.recording and (len(messages) or until_ns >= self.ticked_ns + TICK_NS):
            self.recording.turn(messages, until_ns)
        told: list[Event] = []
        made_at: list[int] = []
        bulk = self._in_bulk(messages)
        parts = self._parts(bulk, until_ns) if ticks is None else _cut(bulk, ticks)
        for part, tick_ns in parts:
            if tick_ns:
                made_at.append(tick_ns)
                self.ticked_ns = tick_ns
                told += self.graph.tick(tick_ns)
            else:
                told += self._take(part, backlog=int(part.arrival_ns[-1]) > until_ns)
        self._hand_on(told)
        made, self._made = self._made, []
        fleeting, self._made_volatile = self._made_volatile, []
        taken = messages if taken is None else taken
        self.outlet.turned(Done(taken, messages, until_ns, made_at, made, fleeting))
        self.turns += 1
        self.turned_ns = self.clock.monotonic_ns()

    def rest(self) -> None:
        """Say that there is nothing to turn yet, so that health does not take it for a standstill."""
        self.turned_ns = self.clock.monotonic_ns()

    def adopt(self, graph: Graph, *, told: bool = True) -> None:
        """Go on with another graph, between two turns; end what only the old one told.

        What comes of that is a turn of its own; unless `told` is false, because it stands in a log
        or changes nothing.
        """
        if told:
            if self.recording:
                self.recording.adopted(graph.gateway)
            self.outlet.adopted(graph.gateway)
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
        if told:
            self.run((), self.ticked_ns)

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
        self.run((), self.ticked_ns)

    def identified(self, topic: str) -> bool:
        """Whether every payload on this topic has a time or a counter of its device."""
        known = self._identified.get(topic)
        if known is None:
            sources = [self.gateway.sources[name] for name in self._router.of(topic)]
            known = bool(sources) and all(s.time or s.seq for s in sources)
            if len(self._identified) >= TOPICS_KEPT_MAX:
                self._identified.clear()
            self._identified[topic] = known
        return known

    def is_volatile(self, topic: str) -> bool:
        """Whether only sources with `durability: none` want messages on this topic."""
        if not self._volatile or self._control.takes(topic):
            return False
        return self._volatile.issuperset(self._router.of(topic))

    @property
    def has_volatile(self) -> bool:
        """Whether `is_volatile` is true of any topic."""
        return bool(self._volatile)

    def go_on(self, before: "Engine") -> None:
        """Be where another engine ended that had the same graph."""
        self.ticked_ns = before.ticked_ns
        self._made, self._made_volatile = before._made, before._made_volatile  # noqa: SLF001

    # --- inside --------------------------------------------------------------------------

    def _in_bulk(self, messages: Sequence[Message]) -> Bulk:
        if isinstance(messages, Bulk):
            return messages
        if len(self._topics) > TOPICS_KEPT_MAX:
            self._topics = Topics()
        return Bulk.of(messages, self._topics)

    def _without_canary(self, taken: Sequence[Message]) -> Sequence[Message]:
        if isinstance(taken, Bulk) or self.canary_topic not in {m.topic for m in taken}:
            return taken
        ours = [m for m in taken if m.topic == self.canary_topic]
        for message in ours:
            self.on_canary(message.payload)
        return [m for m in taken if m.topic != self.canary_topic]

    def _adopt(self, graph: Graph) -> None:
        self.graph = graph
        self.gateway: Gateway = graph.gateway
        self._encoder = Encoder(graph.gateway)
        self._volatile = volatile(graph.gateway)
        self._identified = {}
        for name, stage in graph.sources.items():
            self._counted[name] = [
                (index, self.ledger.counter(count, source=name)) for index, count in _FATES
            ]
            self.ledger.watch(Gauge.SAMPLES_BUFFERED, partial(self._waiting, name), source=name)
            if name not in self._fates:  # one that goes on from a state has a past
                self._fates[name] = stage.reorder.fate.tolist()
                held = stage.reorder.held
                self.ledger.count(Count.SAMPLES_RESTORED, held, source=name)
        self._control: Control = Control(graph.gateway, self._encoder, self.ledger)
        self._router: Router = Router(graph.gateway.sources, self.ledger)
        self._plain = ByTopic(self._plainly)
        self._readers = {
            name: SourceReader(
                name, stage.source, stage.table, stage.quota, graph.gateway.limits, self.ledger
            )
            for name, stage in graph.sources.items()
        }
        self.foresight.adopt(self._readers, graph.foresight, graph.quiet, self._wanted)

    def _wanted(self, topic: str) -> tuple[str, ...]:
        """The sources that want a topic which means nothing else to us."""
        return () if self._control.takes(topic) else self._router.of(topic)

    def _waiting(self, source: str) -> int:
        """Samples that wait for others."""
        stage = self.graph.sources.get(source)
        return stage.reorder.held if stage else 0

    def _plainly(self, topic: str) -> int:
        """From 1 on who wants a topic, 0 when it is no source's alone."""
        return 0 if self._control.takes(topic) else self._router.number(topic) + 1

    def _take(self, messages: Bulk, *, backlog: bool) -> list[Event]:
        """What comes of these messages, samples and commands in the order of their arrival."""
        plain = self._plain.only(messages.topics, messages.rows)
        if plain > 0:  # what nearly all are: of one source, or of the same ones
            names = self._router.counted(plain - 1, len(messages))
            return self.graph.run(
                {n: self._readers[n].read(messages, backlog=backlog) for n in names}
            )
        told: list[Event] = []
        for control, some in self._control.runs(messages):
            if control:
                for message in some:
                    events, answers = self._control.apply(message, self.graph)
                    told += events
                    self._made += answers
                self._control.settle(self.graph)
            else:
                read = {
                    s: self._readers[s].read(few, backlog=backlog)
                    for s, few in self._router.split(some)
                }
                told += self.graph.run(read)
        return told

    def _parts(self, messages: Bulk, until_ns: int) -> Iterator[tuple[Bulk, int]]:
        """Messages cut where ticks fall between them: (messages, 0) and (nothing, tick)."""
        first, n, arrival_ns = 0, len(messages), messages.arrival_ns
        if n and until_ns < self.ticked_ns + TICK_NS:
            yield messages, 0
            return
        while first < n:
            due = self.ticked_ns + TICK_NS
            last = first + int(np.searchsorted(arrival_ns[first:], due))
            if last == first:
                yield messages[:0], int(arrival_ns[first]) // TICK_NS * TICK_NS
            else:
                yield messages[first:last], 0
            first = last
        if until_ns >= self.ticked_ns + TICK_NS:
            yield messages[:0], until_ns // TICK_NS * TICK_NS

    def _hand_on(self, told: Sequence[Event]) -> None:
        for event in self.graph.with_hops(told, self.ticked_ns):
            fleeting = event.pipeline in self._volatile
            (self._made_volatile if fleeting else self._made).extend(self._encoder.encode(event))
        for name, stage in self.graph.sources.items():
            fate = stage.reorder.fate.tolist()
            before = self._fates[name]
            if fate != before:
                for index, counter in self._counted[name]:
                    counter.n += fate[index] - before[index]
                self._fates[name] = fate


def _cut(messages: Bulk, ticks: Sequence[int]) -> Iterator[tuple[Bulk, int]]:
    """Messages cut where these ticks fall, in the form of `_parts`."""
    first = 0
    for tick_ns in ticks:
        last = first + int(np.searchsorted(messages.arrival_ns[first:], tick_ns))
        if last > first:
            yield messages[first:last], 0
        yield messages[:0], tick_ns
        first = last
    if first < len(messages):
        yield messages[first:], 0


def _ignore(_payload: bytes) -> None:
    return None
