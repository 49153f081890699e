"""Replayer: makes recorded turns once more at a start, as far as the log can be believed."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from daemon.durable.blocks import Begins, Block, BlockError, Reload, Session, Start, Turn, Unpacker
from daemon.durable.port import Log
from daemon.durable.segments import RECORD_HEADER_BYTES
from daemon.messages import Outgoing
from daemon.outbox import Parcel

if TYPE_CHECKING:
    from daemon.durable.journal import Journal


class Machine(Protocol):
    """What is kept: it must do the same whenever it is given the same."""

    def begin(
        self, config: bytes, ticked_ns: int, sections: Mapping[str, memoryview] | None
    ) -> bool:
        """Take up this state, or begin without one; False when it cannot be used as a whole.

        Raises StateError (a ValueError) when nothing of it can be used.
        """
        ...

    def resume(self, ticked_ns: int) -> None:
        """A start went on from this tick: the clock may have been behind the state of before."""
        ...

    def turn(self, turn: Turn) -> Sequence[Outgoing]:
        """Make a turn; what is to be published."""
        ...

    def adopt(self, config: bytes) -> None:
        """Go on with another configuration; what comes of it comes out of the next turn."""
        ...

    def identified(self, topic: str) -> bool:
        """Whether payloads on this topic tell messages apart."""
        ...


class Recovered(NamedTuple):
    """What a start found."""

    goes_on: bool
    """Whether the machine is as if it had never stopped."""
    found: bool
    """Whether there was anything to go on from."""
    turns: int
    messages: int
    outputs: Sequence[Parcel]
    """What the broker may not have."""
    differing: int
    """Outputs that came out otherwise than recorded; is always 0."""
    lost: str
    """What cannot be read any more though it was acknowledged; empty when nothing."""


class Replayer:
    """Makes recorded turns once more."""

    def __init__(self, journal: "Journal", machine: Machine, *, whole: bool) -> None:
        self._journal, self._machine, self._whole = journal, machine, whole
        self._alive = journal.number > 0
        """Whether the machine is as it was after the entry `journal.number`."""
        self._found, self._lost = self._alive, ""
        self._given_up = False
        self._turns = self._messages = self._differing = self._bytes = 0

    def give_up(self, lost: str) -> None:
        """Only see how far numbers have come."""
        self._given_up = True
        self._lose(lost)

    def play(self, log: Log, last: int) -> Recovered:
        """All that follows without a gap; a start without state is a beginning too."""
        journal, unpacker, highest = self._journal, Unpacker(), self._journal.number
        for lsn, record in log.read(last):
            if last and lsn != last + 1:
                unpacker = Unpacker()
                self._lose(f"records {last + 1} to {lsn - 1} of the log")
            last = lsn
            self._bytes += RECORD_HEADER_BYTES + len(record)
            try:
                block = unpacker.feed(record)
            except BlockError as error:
                unpacker = Unpacker()
                self._lose(f"record {lsn} of the log: {error}")
                continue
            if block is not None and unpacker.number > journal.number:
                highest = max(highest, unpacker.number)
                self._one(block, unpacker.number)
        if last < log.head:
            self._lose(f"records {last + 1} to {log.head} of the log")
        if self._found and not (self._alive or self._lost):
            self._lost = "what came before the log, and no checkpoint can be used"
        journal.number = journal.durable = highest
        journal.ends(highest)
        goes_on = self._alive and self._whole
        journal.covered(self._bytes, founded=goes_on or not self._found)
        outputs = journal.unsettled
        return Recovered(
            goes_on,
            self._found,
            self._turns,
            self._messages,
            outputs,
            self._differing,
            self._lost,
        )

    def _one(self, block: Block, number: int) -> None:
        journal, self._found = self._journal, True
        if isinstance(block, Start) and block.begins in (Begins.FRESH, Begins.RESUMED):
            if block.begins is Begins.FRESH and not self._given_up:
                self._machine.begin(block.config, block.ticked_ns, None)
                journal.forget()
                self._alive = self._whole = True
                self._lost, journal.number = "", number
            else:
                self._lose("what a start went on with that found a part of its state only")
        elif self._alive and number != journal.number + 1:
            self._lose(f"entries {journal.number + 1} to {number - 1}")
        elif self._alive:
            journal.number = number
            match block:
                case Start(Begins.GOES_ON):
                    self._machine.resume(block.ticked_ns)
                case Reload(config):
                    self._machine.adopt(config)
                case Session(session):
                    journal.duplicates.turn_to(session)
                case Turn():
                    self._turn(block)

    def _turn(self, turn: Turn) -> None:
        made = self._machine.turn(turn)
        recorded = [parcel.outgoing for parcel in turn.outputs]
        if list(made) != recorded:
            self._differing += max(len(made), len(recorded))
        self._journal.follow(turn)
        self._turns += 1
        self._messages += len(turn.messages)

    def _lose(self, what: str) -> None:
        self._alive = False
        self._lost = self._lost or what
