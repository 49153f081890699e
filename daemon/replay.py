"""Replay: what went into a daemon, through the same data plane again, as fast as it can.

The same messages at the same times under the same configuration give the same outputs, byte for
byte; under another configuration they show what that would have told.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, NamedTuple

import orjson

from config.model import Gateway
from daemon import __version__
from daemon.durable.blocks import Begins, Reload, Start, Stop, Turn, Unpacker
from daemon.durable.journal import Journal
from daemon.durable.stored import restored
from daemon.messages import Outgoing
from daemon.offline import BROKER, Offline
from pipelines.events import rfc3339
from pipelines.graph import Graph
from pipelines.operator import OPERATORS
from pipelines.state import restore

AROUND_NS: Final = 60_000_000_000
"""How long before and after an event others are shown with it."""

_WITHIN: Final = (Begins.MIDDLE, Begins.GOES_ON)
_WHY: Final = {
    Begins.MIDDLE: "the recording begins in the middle of a run",
    Begins.GOES_ON: "the recording begins where a daemon was started again",
    Begins.RESUMED: "the daemon went on with a state that is not in the recording",
}


class Moment(NamedTuple):
    """One step of a replay."""

    now_ns: int
    """What the daemon's clock showed."""
    outputs: list[Outgoing]
    """What was published, in order; without the status of the daemon itself."""


class Replay:
    """Plays records in order; each run of the daemon starts without state."""

    def __init__(
        self,
        records: Iterable[tuple[int, bytes]],
        gateway: Gateway | None = None,
        *,
        note: Callable[[str], None],
        prepare: Callable[[Graph], None],
        state: Mapping[str, memoryview] | None = None,
    ) -> None:
        """`state`: sections of a checkpoint, to begin behind it where the beginning is gone.

        `gateway`: another configuration to try instead of those that were in force.

        `note` is told what a reader of the results must know; `prepare` may compile the kernels
        of a graph before it is used.
        """
        self._records, self._note, self._prepare = records, note, prepare
        self._gateway = gateway and gateway.model_copy(update={"broker": BROKER})
        self._state, self._behind = state, Journal.head(state)[0] if state else 0
        self._run: Offline | None = None
        self._exact = False
        """Whether the run has all that the daemon had."""
        self.messages = 0
        """How many have been played."""
        self.runs = 0
        """How many times a daemon started, or was met in the middle of its run."""
        self.now_ns = 0

    def __iter__(self) -> Iterator[Moment]:
        """Every step that published something, in order.

        Raises BlockError or ConfigUnknownError for a recording that this version cannot read.
        """
        last, unpacker = 0, Unpacker()
        for number, record in self._records:
            if last and number != last + 1:
                self._note(f"records {last + 1} to {number - 1} are missing")
                self._run, self._exact, unpacker = None, False, Unpacker()
            last = number
            block = unpacker.feed(record)
            if block is not None and self._state and unpacker.number == self._behind + 1:
                self._take_up(self._state)
            match block:
                case Start() as start:
                    if start.begins not in _WITHIN or self._run is None:
                        self._begin(start)
                case Turn(until_ns, messages) if self._run is not None:
                    self._run.play(messages, until_ns, block.ticks or None)
                    self.messages += len(messages)
                    yield from self._moment(until_ns)
                case Reload(config) if self._run is not None and self._gateway is None:
                    self._adopt(self._run, restored(config))
                    yield from self._moment(self.now_ns)
                case Stop() if self._run is not None:
                    self._run.engine.flush()
                    yield from self._moment(self.now_ns)
                    self._run = None

    def _begin(self, start: Start) -> None:
        when = rfc3339(start.now_ns)
        if start.begins is not Begins.FRESH:
            self._note(
                f"{_WHY[start.begins]} at {when}: what rests on earlier messages (windows, active "
                "alerts, rows of tables) can differ from what was published; all is the same from "
                "the next start without state on"
            )
        if start.version != __version__:
            self._note(
                f"from {when} on recorded by sensorweir {start.version}, played by {__version__}: "
                "results can differ from what was published"
            )
        self._exact = start.begins is Begins.FRESH
        gateway = self._gateway or restored(start.config)
        self._open(gateway, start.ticked_ns, Graph(gateway, OPERATORS))
        self.now_ns = start.now_ns
        self.runs += 1

    def _open(self, gateway: Gateway, ticked_ns: int, graph: Graph) -> None:
        self._run = Offline(gateway, ticked_ns, graph)
        self._prepare(self._run.engine.graph)
        self._run.transport.start()
        self._run.taken()

    def _take_up(self, state: Mapping[str, memoryview]) -> None:
        """Go on from a checkpoint, where we do not know as much by ourselves."""
        if self._exact or self._gateway is not None:
            return
        _, ticked_ns = Journal.head(state)
        gateway = restored(bytes(state["config"]))
        graph = Graph(gateway, OPERATORS)
        anew = restore(graph, state).anew
        when = rfc3339(ticked_ns)
        self._note(f"from the checkpoint of {when} on all is the same as what was published")
        for part, why in anew.items():
            self._note(f"but {part} begins anew: {why}")
        self._open(gateway, ticked_ns, graph)
        self._exact, self.now_ns = True, ticked_ns
        self.runs += self.runs == 0

    def _adopt(self, run: Offline, gateway: Gateway) -> None:
        graph = Graph(gateway, OPERATORS, keep=run.engine.graph)
        self._prepare(graph)
        run.engine.adopt(graph)

    def _moment(self, now_ns: int) -> Iterator[Moment]:
        self.now_ns = now_ns
        assert self._run is not None
        outputs = self._run.taken()
        if outputs:
            yield Moment(now_ns, outputs)


def between(moments: Iterable[Moment], from_ns: int, to_ns: int) -> Iterator[Moment]:
    """Those from `from_ns` to before `to_ns`; everything before is played, for its state."""
    for moment in moments:
        if moment.now_ns >= to_ns:
            return
        if moment.now_ns >= from_ns:
            yield moment


def around(moments: Iterable[Moment], event_id: str) -> Iterator[Moment]:
    """What happened within a minute of the event with this id, and of its corrections."""
    before: deque[Moment] = deque()
    until_ns = 0
    for moment in moments:
        while before and before[0].now_ns < moment.now_ns - AROUND_NS:
            before.popleft()
        if any(_is(out, event_id) for out in moment.outputs):
            until_ns = moment.now_ns + AROUND_NS
            yield from before
            before.clear()
        if moment.now_ns < until_ns:
            yield moment
        else:
            before.append(moment)


def line(out: Outgoing) -> bytes:
    """An output as a line of JSON."""
    text = out.payload.decode("utf-8", "replace")
    body = {"topic": out.topic, "retain": out.retain, "qos": out.qos, "payload": text}
    return orjson.dumps(body) + b"\n"


def _is(out: Outgoing, event_id: str) -> bool:
    """Whether it is that event; others only name it among their causes."""
    if event_id.encode() not in out.payload:
        return False
    try:
        event = orjson.loads(out.payload)
    except orjson.JSONDecodeError:
        return False
    return isinstance(event, dict) and event.get("id") == event_id
