"""Journal: the protocol by which an acknowledged message is in the state, come what may.

Each turn of the engine is an entry: what came in, what came of it, which earlier outputs are done
with.  Only when an entry is durable are its messages acknowledged and its outputs published.  What
is not durable was neither acknowledged nor published, so after a crash it comes again and nobody
has heard of it.  A start takes the newest checkpoint that can be used and makes the turns behind
it once more; outputs are those that were recorded, and recomputed only to be compared.

The rules, each of which `tests/journal_world.py` breaks on purpose to see that it is noticed:

    an entry is durable before its messages are acknowledged, and before its outputs go out
    outputs stay until the broker has them, and are in the state until an entry says so
    a checkpoint is written only when the log is durable up to it
    entries have numbers without gaps; behind a gap or a damaged record nothing is believed
    what was read at a start is synced before anything new is taken (`LocalLog`, `Checkpoints`)
    a message that may come again is compared with what is in the state, within one session only

The engine's thread calls what adds entries, one other thread `commit`, a third one `write`.
Nothing here knows a thread, a clock or a file: log and checkpoints are given.
"""

import struct
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from daemon.durable.blocks import Begins, Block, BlockError, Reload, Start, Turn, Unpacker, pack
from daemon.durable.checkpoint import KEPT, Checkpoints, Pieces
from daemon.durable.duplicates import Duplicates
from daemon.durable.outputs import outputs_of, pack_outputs
from daemon.durable.port import Log
from daemon.messages import Message, Outgoing
from daemon.outbox import Parcel

_HEAD: Final = struct.Struct("<QQQq")
MESSAGE_BYTES: Final = 64
"""What a message takes besides its topic and payload, about."""


class Entry(NamedTuple):
    """What becomes possible when a block is durable."""

    number: int
    block: Block
    taken: Sequence[Message]
    """To be acknowledged, in this order."""
    size: int


class Snapshot(NamedTuple):
    """What the journal itself adds to a state of the machine, as it was after one entry."""

    number: int
    ticked_ns: int
    next_token: int
    unsettled: Sequence[Parcel]
    duplicates: bytes
    config: bytes

    def sections(self, lsn: int) -> dict[str, Pieces]:
        """As bytes; `lsn`: number of the log's record with which the entry ends."""
        head = _HEAD.pack(self.number, lsn, self.next_token, self.ticked_ns)
        made = pack_outputs(self.unsettled)
        sizes = struct.pack(f"<{len(made)}I", *map(len, made))
        return {
            "journal": [head],
            "duplicates": [self.duplicates],
            "config": [self.config],
            "outputs": [len(made).to_bytes(4, "little"), sizes, *made],
        }


class Machine(Protocol):
    """What is kept: it must do the same whenever it is given the same."""

    def begin(
        self, config: bytes, ticked_ns: int, sections: Mapping[str, memoryview] | None
    ) -> bool:
        """Take up this state, or begin without one; False when it cannot be used as a whole.

        Raises StateError (a ValueError) when nothing of it can be used.
        """
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


class Journal:
    """Entries in order, from the machine to the log; and back at a start."""

    def __init__(self, log: Log, checkpoints: Checkpoints) -> None:
        self.number = self.durable = 0
        """Of the newest entry taken, and of the newest that is durable."""
        self.next_token = 1
        self.duplicates = Duplicates()
        self.bytes_taken = 0
        """Sizes of entries since the start."""
        self._log, self._checkpoints = log, checkpoints
        self._unsettled: dict[int, Outgoing] = {}
        self._queue: deque[Entry] = deque()
        self._records: deque[bytes] = deque()
        self._committing: list[Entry] = []
        self._ends: deque[tuple[int, int]] = deque()
        self._kept: deque[int] = deque(maxlen=KEPT)
        """The first record that each checkpoint needs, as far as they were written by us."""
        self.log_bytes = 0
        """Written to the log since the start."""

    # --- the start -------------------------------------------------------------------------

    def recover(self, machine: Machine) -> Recovered:
        """Bring the machine to where the log ends.

        Raises OSError, LogError. A checkpoint that cannot be used is put aside.
        """
        self.duplicates.identified = machine.identified
        while (sections := self._checkpoints.load()) is not None:
            try:
                lsn, whole = self._take_up(machine, sections)
            except (ValueError, KeyError, struct.error) as error:
                self._checkpoints.refuse(str(error))
                continue
            return _Replayer(self, machine, whole=whole).play(self._log.read(lsn))
        return _Replayer(self, machine, whole=False).play(self._log.read())

    def _take_up(self, machine: Machine, sections: Mapping[str, memoryview]) -> tuple[int, bool]:
        number, lsn, token, ticked_ns = _HEAD.unpack(sections["journal"])
        outputs = _outputs(sections["outputs"])
        whole = machine.begin(bytes(sections["config"]), ticked_ns, sections)
        self.duplicates.unpack(sections["duplicates"])
        self._unsettled = dict(outputs)
        self.number, self.next_token = number, token
        return lsn, whole

    # --- the engine's side ------------------------------------------------------------------

    @staticmethod
    def head(sections: Mapping[str, memoryview]) -> tuple[int, int]:
        """Of a checkpoint: the entry that it was made behind, and the last tick then."""
        number, _, _, ticked_ns = _HEAD.unpack(sections["journal"])
        return number, ticked_ns

    def tokens(self, outputs: Sequence[Outgoing]) -> list[Parcel]:
        """Outputs with the tokens that settle them."""
        first, self.next_token = self.next_token, self.next_token + len(outputs)
        return [Parcel(first + i, out) for i, out in enumerate(outputs)]

    def add(self, block: Block, taken: Sequence[Message] = ()) -> None:
        """An entry; `taken` are acknowledged when it is durable, those left out included."""
        size = sum([len(m[0]) + len(m[1]) + MESSAGE_BYTES for m in taken])
        if isinstance(block, Turn):
            size += sum(len(p.outgoing.payload) + MESSAGE_BYTES for p in block.outputs)
            self.follow(block, note=False)
        self.number += 1
        self.bytes_taken += size
        self._queue.append(Entry(self.number, block, taken, size))

    def known(self, settled: Sequence[int]) -> list[int]:
        """Those tokens that an entry must tell of."""
        return [token for token in settled if token in self._unsettled]

    def snapshot(self, ticked_ns: int, config: bytes) -> Snapshot:
        """What belongs to a copy of the machine that is made now."""
        return Snapshot(
            self.number, ticked_ns, self.next_token, self.unsettled, self.duplicates.pack(), config
        )

    @property
    def unsettled(self) -> list[Parcel]:
        """Outputs that the broker does not have yet, in order."""
        return [Parcel(token, out) for token, out in self._unsettled.items()]

    def follow(self, turn: Turn, *, note: bool = True) -> None:
        """Know what the broker has not got after this turn, and, `note`, what came in."""
        if note:
            self.duplicates.note(turn.messages)
        for token, out in turn.outputs:
            self._unsettled[token] = out
            self.next_token = max(self.next_token, token + 1)
        for token in turn.settled:
            self._unsettled.pop(token, None)

    def forget(self) -> None:
        """A start without state: nothing of before counts."""
        self._unsettled.clear()
        self.duplicates.unpack(Duplicates().pack())

    def ends(self, number: int) -> None:
        """The log ends with this entry now."""
        self._ends.append((number, self._log.head))

    # --- the committer's side ----------------------------------------------------------------

    def commit(self) -> list[Entry]:
        """Make all entries durable that were added; what they make possible, in order.

        Raises LogFull: nothing is lost, call again.  Raises LogFailed and BlockError: the end.
        """
        for _ in range(len(self._queue)):
            entry = self._queue.popleft()
            self._committing.append(entry)
            self._records.extend(pack(entry.block, entry.number))
        while self._records:
            self._log.append(self._records[0])
            self.log_bytes += len(self._records.popleft())
        if not self._committing:
            return []
        self._log.commit()
        done, self._committing = self._committing, []
        self.ends(done[-1].number)
        self.durable = done[-1].number
        return done

    # --- the writer's side --------------------------------------------------------------------

    def write(self, snapshot: Snapshot, sections: Mapping[str, Pieces]) -> int:
        """Make a checkpoint durable; its size. Only once the log is durable up to it.

        Raises OSError, LogError.
        """
        assert self.durable >= snapshot.number
        # The end of the last commit at or before it: what lies between is passed over by number.
        lsn = 0
        while self._ends and self._ends[0][0] <= snapshot.number:
            lsn = self._ends.popleft()[1]
        self._ends.appendleft((snapshot.number, lsn))
        size = self._checkpoints.write({**sections, **snapshot.sections(lsn)})
        self._kept.append(lsn + 1)
        return size

    def make_room(self) -> bool:
        """Give up what was kept only to be looked at; whether there was anything."""
        return len(self._kept) > 1 and self._log.give_up(self._kept[0])

    def release(self) -> None:
        """What was read at the start has done no harm."""
        self._checkpoints.well()

    @property
    def aside(self) -> Sequence[str]:
        """Checkpoints that could not be used, and why."""
        return self._checkpoints.put_aside

    def close(self) -> None:
        """Let go of log and checkpoints; what was not committed is forgotten."""
        self._log.close()
        self._checkpoints.close()


class _Replayer:
    """Makes recorded turns once more."""

    def __init__(self, journal: Journal, machine: Machine, *, whole: bool) -> None:
        self._journal, self._machine, self._whole = journal, machine, whole
        self._alive = journal.number > 0
        """Whether the machine is as it was after the entry `journal.number`."""
        self._found, self._lost = self._alive, ""
        self._turns = self._messages = self._differing = 0

    def play(self, records: Iterator[tuple[int, bytes]]) -> Recovered:
        """All that follows without a gap; a start without state is a beginning too."""
        journal, unpacker, last, highest = self._journal, Unpacker(), 0, self._journal.number
        for lsn, record in records:
            if last and lsn != last + 1:
                unpacker = Unpacker()
            last = lsn
            try:
                block = unpacker.feed(record)
            except BlockError as error:
                unpacker = Unpacker()
                self._lose(f"record {lsn} of the log: {error}")
                continue
            if block is not None and unpacker.number > journal.number:
                highest = max(highest, unpacker.number)
                self._one(block, unpacker.number)
        if self._found and not (self._alive or self._lost):
            self._lost = "what came before the log, and no checkpoint can be used"
        journal.number = journal.durable = highest
        journal.ends(highest)
        outputs = journal.unsettled
        return Recovered(
            self._alive and self._whole,
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
            if block.begins is Begins.FRESH:
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
            if isinstance(block, Reload):
                self._machine.adopt(block.config)
            elif isinstance(block, Turn):
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


def _outputs(data: memoryview) -> list[Parcel]:
    count = int.from_bytes(data[:4], "little")
    sizes = struct.unpack_from(f"<{count}I", data, 4)
    at, pieces = 4 + 4 * count, []
    for size in sizes:
        pieces.append(bytes(data[at : at + size]))
        at += size
    if at != len(data):
        raise ValueError(f"outputs of {at} bytes, found {len(data)}")
    return outputs_of(pieces)
