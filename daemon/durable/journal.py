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
    a number of a record that a checkpoint knows is never given again, though the record be gone
    what was read at a start is synced before anything new is taken (`LocalLog`, `Checkpoints`)
    a message that may come again is compared with what is in the state, within one session only

The engine's thread calls what adds entries, one other thread `commit`, a third one `write`.
Nothing here knows a thread, a clock or a file: log and checkpoints are given.
"""

import struct
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from daemon.ages import Ages
from daemon.bulk import bytes_of
from daemon.durable.blocks import (
    Block,
    Session,
    Turn,
    pack,
)
from daemon.durable.duplicates import Duplicates
from daemon.durable.outputs import outputs_of, pack_outputs
from daemon.durable.port import SNAPSHOTS_KEPT, Log, Pieces, Snapshots
from daemon.durable.replayer import Machine, Recovered, Replayer
from daemon.durable.segments import RECORD_HEADER_BYTES
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
    ages: bytes

    def sections(self, lsn: int) -> dict[str, Pieces]:
        """As bytes; `lsn`: number of the log's record with which the entry ends."""
        head = _HEAD.pack(self.number, lsn, self.next_token, self.ticked_ns)
        made = pack_outputs(self.unsettled)
        sizes = struct.pack(f"<{len(made)}I", *map(len, made))
        return {
            "journal": [head],
            "duplicates": [self.duplicates],
            "config": [self.config],
            "ages": [self.ages],
            "outputs": [len(made).to_bytes(4, "little"), sizes, *made],
        }


class Journal:
    """Entries in order, from the machine to the log; and back at a start."""

    def __init__(self, log: Log, checkpoints: Snapshots) -> None:
        self.number = self.durable = 0
        """Of the newest entry taken, and of the newest that is durable."""
        self.next_token = 1
        self.duplicates = Duplicates()
        self.made = Ages()
        """When what the broker has not got was made, in processing time."""
        self.bytes_taken = 0
        """Sizes of entries since the start."""
        self._log, self._checkpoints = log, checkpoints
        self._committed = log.durable
        self._unsettled: dict[int, Outgoing] = {}
        self._queue: deque[Entry] = deque()
        self._records: deque[bytes] = deque()
        self._committing: list[Entry] = []
        self._ends: deque[tuple[int, int, int]] = deque()
        self._kept: deque[int] = deque(maxlen=SNAPSHOTS_KEPT)
        """The first record that each checkpoint needs, as far as they were written by us."""
        self.log_bytes = 0
        """Written to the log since the start."""
        self._covered_bytes = 0
        """The same when the newest checkpoint was; negative for what was written before."""
        self.unfounded = False
        """After a start that could use a part only, until a checkpoint is written: what comes
        meanwhile could not be made once more."""

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
            replayer = Replayer(self, machine, whole=whole)
            if lsn > self._log.head:
                replayer.give_up("what the log held when the last checkpoint was written")
            self._skip()
            return replayer.play(self._log, lsn)
        replayer = Replayer(self, machine, whole=False)
        self._skip()
        if self._checkpoints.hopeless:
            replayer.give_up("what the log holds, because several starts with it have failed")
        found = replayer.play(self._log, 0)
        self._checkpoints.well()  # nothing is left to try: only what died in here counts
        return found

    def _skip(self) -> None:
        """Go on behind all that any checkpoint covers; what the log lacks of it is missed so.

        Else new records get the numbers of those that are gone; a later start with that checkpoint
        passes over them, and takes its old state for the newest.
        """
        self._log.skip(self._checkpoints.covered)
        self._committed = self._log.durable

    def _take_up(self, machine: Machine, sections: Mapping[str, memoryview]) -> tuple[int, bool]:
        number, lsn, token, ticked_ns = _HEAD.unpack(sections["journal"])
        outputs = _outputs(sections["outputs"])
        whole = machine.begin(bytes(sections["config"]), ticked_ns, sections)
        self.duplicates.unpack(sections["duplicates"])
        self._unsettled = dict(outputs)
        if "ages" in sections:
            self.made.unpack(sections["ages"])
        else:  # written by a version that did not know them
            self.made.note(token, ticked_ns)
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
        size = bytes_of(taken) + MESSAGE_BYTES * len(taken)
        if isinstance(block, Turn):
            size += sum(len(p.outgoing.payload) + MESSAGE_BYTES for p in block.outputs)
            self.follow(block, note=False)
        self.number += 1
        self.bytes_taken += size
        self._queue.append(Entry(self.number, block, taken, size))

    def session(self, number: int) -> None:
        """The broker has begun another session, and all that came in the one before was taken.

        To be durable before the first message of it can come: else a start would compare those
        messages with what had the same packet ids in the session before.
        """
        self.duplicates.turn_to(number)
        self.add(Session(number))

    def known(self, settled: Sequence[int]) -> list[int]:
        """Those tokens that an entry must tell of."""
        return [token for token in settled if token in self._unsettled]

    def snapshot(self, ticked_ns: int, config: bytes) -> Snapshot:
        """What belongs to a copy of the machine that is made now."""
        self.made.forget(next(iter(self._unsettled), self.next_token))
        duplicates, ages = self.duplicates.pack(), self.made.pack()
        return Snapshot(
            self.number, ticked_ns, self.next_token, self.unsettled, duplicates, config, ages
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
        if turn.outputs:
            self.made.note(turn.outputs[-1].token + 1, turn.until_ns)
        for token in turn.settled:
            self._unsettled.pop(token, None)

    def forget(self) -> None:
        """A start without state: nothing of before counts."""
        self._unsettled.clear()
        self.made = Ages()
        self.duplicates.unpack(Duplicates().pack())

    def ends(self, number: int) -> None:
        """The log ends with this entry now."""
        self._ends.append((number, self._log.head, self.log_bytes))

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
            self.log_bytes += RECORD_HEADER_BYTES + len(self._records.popleft())
        if not self._committing:
            return []
        self._committed = self._log.commit(self._committed)
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
        lsn, end = 0, 0
        while self._ends and self._ends[0][0] <= snapshot.number:
            _, lsn, end = self._ends.popleft()
        self._ends.appendleft((snapshot.number, lsn, end))
        size = self._checkpoints.write({**sections, **snapshot.sections(lsn)}, lsn)
        self._kept.append(lsn + 1)
        self._covered_bytes, self.unfounded = end, False
        return size

    @property
    def uncovered_bytes(self) -> int:
        """What stands in the log and in no checkpoint; what is deleted of it would be lost."""
        return self.log_bytes - self._covered_bytes

    def covered(self, replayed_bytes: int, *, founded: bool) -> None:
        """At a start: so much of the log is in no checkpoint."""
        self._covered_bytes, self.unfounded = -replayed_bytes, not founded

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
