"""Mutants: the daemon with one rule left out, which some life in `tests/journal_world.py` must notice.

By rule of delivery, each under the words of the rule.  Classes stand in for the shell of a daemon
or parts of it; functions patch a module.
"""

import random
import zlib

from daemon.durable import blocks, checkpoint, duplicates, journal, recovery, replayer
from daemon.durable.blocks import Session, Turn
from daemon.durable.checkpoint import Checkpoints
from daemon.durable.journal import Journal
from daemon.durable.local import LocalLog
from daemon.durable.port import LogFull
from tests.disks import SimFile
from tests.journal_shell import ROOT, Shell
from tests.journal_toy import Toy
from tests.journal_world import WorldDisk


class NeverSynced(SimFile):
    def sync(self):
        self.disk.operate()


def with_journal(mutant):
    return type(mutant.__name__, (Shell,), {"journal_class": mutant})


def with_checkpoints(mutant):
    return type(mutant.__name__, (Shell,), {"checkpoints_class": mutant})


def with_log(mutant):
    return type(mutant.__name__, (Shell,), {"log_class": mutant})


# --- an entry is durable before its messages are acknowledged ------------------------------------


class AcknowledgesAtOnce(Shell):
    def run(self, messages, until_ns, taken):
        super().run(messages, until_ns, taken)
        for message in taken:
            if message.qos and message.epoch == self.epoch and self.broker.up:
                self.broker.from_client.append(message.mid)

    def acknowledge(self, done):
        super().acknowledge([entry._replace(taken=()) for entry in done])


@with_journal
class TellsWithoutCommit(Journal):
    def commit(self):
        done = self._committing = list(self._queue)
        self._queue.clear()
        for entry in done:
            for record in blocks.pack(entry.block, entry.number):
                self._log.append(record)
        if done:
            self._committing = []
            self.durable = done[-1].number
            self.ends(self.durable)
        return done


# --- an entry is durable before its outputs go out ------------------------------------------------


class PublishesAtOnce(Shell):
    def run(self, messages, until_ns, taken):
        before = self.journal.next_token
        super().run(messages, until_ns, taken)
        self.outbox.release([p for p in self.journal.unsettled if p.token >= before])

    def release(self, done):
        self.effective_bytes += sum(entry.size for entry in done)


# --- acknowledgements in order, on the same connection ---------------------------------------------


class AcknowledgesBackwards(Shell):
    def acknowledge(self, done):
        super().acknowledge([e._replace(taken=list(reversed(e.taken))) for e in done])


class AcknowledgesElsewhere(Shell):
    def acknowledge(self, done):
        here = [e._replace(taken=[m._replace(epoch=self.epoch) for m in e.taken]) for e in done]
        super().acknowledge(here)


# --- an output is done with when the broker has it --------------------------------------------------


class SettlesWhatIsSent(Shell):
    def publish(self, most):
        super().publish(most)
        for token, _ in self.broker.out_from_client:
            self.outbox.settle(token)


@with_journal
class NeverDone(Journal):
    def known(self, settled):
        return []


# --- recovery: the newest checkpoint that is valid, what follows it without a gap, made durable -----


def checkpoint_believed(monkeypatch):
    class Any(int):
        def __eq__(self, other):
            return True

        def __ne__(self, other):
            return False

        __hash__ = int.__hash__

    class Never:
        crc32 = staticmethod(lambda data, start=0: Any(zlib.crc32(data, start)))

    monkeypatch.setattr(checkpoint, "zlib", Never)


@with_checkpoints
class NewestOnly(Checkpoints):
    def load(self):
        if self.put_aside:
            return None
        newest = self._files()[-1:]
        self._files = lambda: newest
        found = super().load()
        del self._files
        return found


def tail_only_read(monkeypatch):
    monkeypatch.setattr(recovery, "settle", lambda disk, segment: None)


# --- a file is synced, renamed, its folder synced; what is older is deleted last ---------------------


class NoSync(WorldDisk):
    def create(self, path):
        file = super().create(path)
        return NeverSynced(self, file.inode) if path.suffix == ".new" else file


class NoFolderSync(WorldDisk):
    def sync_folder(self, folder):
        if folder != ROOT:
            super().sync_folder(folder)


@with_checkpoints
class DeletesFirst(Checkpoints):
    def write(self, sections, covers):
        for _, name in self._files():
            self._disk.unlink(self.folder / name)
        return super().write(sections, covers)


def only_one_kept(monkeypatch):
    monkeypatch.setattr(checkpoint, "SNAPSHOTS_KEPT", 1)


def tries_of_one_are_those_of_all(monkeypatch):
    tell = Checkpoints._tell_tries
    monkeypatch.setattr(Checkpoints, "_tell_tries", lambda self, tries: tries and tell(self, tries))


def stops_count_as_failed(monkeypatch):
    monkeypatch.setattr(Checkpoints, "well", lambda self: None)


def part_is_no_ground(monkeypatch):
    covered = Journal.covered
    monkeypatch.setattr(
        Journal, "covered", lambda self, size, *, founded: covered(self, size, founded=True)
    )


def end_of_log_believed(monkeypatch):
    monkeypatch.setattr(replayer.Replayer, "give_up", lambda self, lost: None)


def numbers_given_again(monkeypatch):
    monkeypatch.setattr(LocalLog, "skip", lambda self, number: None)


def gap_believed(monkeypatch):
    lose = replayer.Replayer._lose

    def believing(self, what):
        if not what.startswith(("entries", "records")):
            lose(self, what)

    monkeypatch.setattr(replayer.Replayer, "_lose", believing)


class WritesTooSoon(Shell):
    """A checkpoint does not wait for the log."""

    @property
    def can_write(self):
        return self.taken is not None

    def write(self):
        before, self.journal.durable = self.journal.durable, self.journal.number
        super().write()
        self.journal.durable = before


@with_log
class DeletesWhatIsNeeded(LocalLog):
    """As little of the log is kept as there may be."""

    def commit(self, expected):
        done = super().commit(expected)
        while len(self._segments) > 2:
            self._delete_first()
        return done


class NeverBehind(Shell):
    """Takes on though no checkpoint can be written that covers what the log is about to delete."""

    behind = False

    def write(self):
        self.failures, self.taken = self.failures + 1, None


# --- a session that is lost takes its packet ids with it ---------------------------------------------


def session_ignored(monkeypatch):
    monkeypatch.setattr(duplicates.Duplicates, "turn_to", lambda self, session: None)


class SubscribesAtOnce(Shell):
    """Does not wait until a new session is known durably."""

    def connect(self):
        super().connect()
        self.broker.subscribe()

    @property
    def connecting(self):
        return False


def session_not_replayed(monkeypatch):
    one = replayer.Replayer._one

    def without(self, block, number):
        one(self, Turn(0, ()) if isinstance(block, Session) else block, number)

    monkeypatch.setattr(replayer.Replayer, "_one", without)


class SessionOutOfOrder(Shell):
    """Turns to a new session though messages of the one before still wait."""

    def after_turn(self):
        while self.new_sessions:
            self.journal.session(self.new_sessions.popleft())
        super().after_turn()


# --- a message that may come again is compared with what is in the state -----------------------------


def nothing_known(monkeypatch):
    monkeypatch.setattr(duplicates.Duplicates, "fresh", lambda self, messages: messages)


def flag_believed(monkeypatch):
    monkeypatch.setattr(
        duplicates.Duplicates, "fresh", lambda self, messages: [m for m in messages if not m.again]
    )


def not_noted_at_a_start(monkeypatch):
    monkeypatch.setattr(duplicates.Duplicates, "note", lambda self, messages: None)


def not_in_the_checkpoint(monkeypatch):
    monkeypatch.setattr(duplicates.Duplicates, "pack", lambda self: bytes(4))


# --- a failed sync is the end --------------------------------------------------------------------------


@with_log
class GoesOnAfterFailure(LocalLog):
    def _fail(self, error):
        self._pending_error = error

    def _usable(self):
        pass


# --- without space nothing is acknowledged -------------------------------------------------------------


class AcknowledgesUnwritten(Shell):
    def commit(self):
        waiting = [*self.journal._committing, *self.journal._queue]
        done = super().commit()
        if self.stalled and waiting:
            self.done = waiting
            self.effects.extend((self.acknowledge, self.release))
        return done


@with_journal
class ForgetsUnwritten(Journal):
    def commit(self):
        try:
            return super().commit()
        except LogFull:
            self._records.clear()
            raise


# --- a checksum covers everything ------------------------------------------------------------------------


def body_not_covered(monkeypatch):
    whole = zlib.crc32

    class Half:
        @staticmethod
        def crc32(data, start=0):
            return whole(bytes(data)[: len(data) // 2], start)

    monkeypatch.setattr(checkpoint, "zlib", Half)


# --- time is an input ------------------------------------------------------------------------------------


def time_not_recorded(monkeypatch):
    packed = blocks._turn
    monkeypatch.setattr(blocks, "_turn", lambda turn: packed(turn._replace(until_ns=0)))


class ClockNotReplayed(Shell):
    class machine_class(Toy):
        recovering = True

        def resume(self, ticked_ns):
            if not self.recovering:
                super().resume(ticked_ns)

    def recover(self):
        found = super().recover()
        self.machine.recovering = False
        return found


# --- outputs are stored, and recomputed only to be compared ----------------------------------------------


def outputs_not_stored(monkeypatch):
    packed = blocks._turn
    monkeypatch.setattr(blocks, "_turn", lambda turn: packed(turn._replace(outputs=())))


def outputs_not_in_the_checkpoint(monkeypatch):
    monkeypatch.setattr(journal, "pack_outputs", lambda parcels: [])


def settled_not_stored(monkeypatch):
    packed = blocks._turn
    monkeypatch.setattr(blocks, "_turn", lambda turn: packed(turn._replace(settled=())))


class NotDeterministic(Shell):
    class machine_class(Toy):
        """Says what depends on this run."""

        def __init__(self):
            super().__init__()
            self._own = random.Random(id(self))

        def _tell(self, kind, what, number, *values):
            super()._tell(kind, what, number, self._own.random(), *values)


RULES = {
    "durable before acknowledged": [AcknowledgesAtOnce, TellsWithoutCommit],
    "durable before published": [PublishesAtOnce],
    "acknowledged in order, on the same connection": [AcknowledgesBackwards, AcknowledgesElsewhere],
    "kept until the broker has it": [SettlesWhatIsSent, NeverDone, settled_not_stored],
    "recovered from what is valid, without a gap, made durable": [
        checkpoint_believed,
        NewestOnly,
        tail_only_read,
        part_is_no_ground,
        end_of_log_believed,
        numbers_given_again,
        gap_believed,
    ],
    "synced, renamed, synced, deleted last": [
        NoSync,
        NoFolderSync,
        DeletesFirst,
        only_one_kept,
        WritesTooSoon,
        DeletesWhatIsNeeded,
        NeverBehind,
    ],
    "a session takes its packet ids with it": [
        session_ignored,
        SubscribesAtOnce,
        session_not_replayed,
        SessionOutOfOrder,
    ],
    "compared with what is in the state": [
        nothing_known,
        flag_believed,
        not_noted_at_a_start,
        not_in_the_checkpoint,
    ],
    "a failed sync is the end": [GoesOnAfterFailure],
    "nothing acknowledged without space": [AcknowledgesUnwritten, ForgetsUnwritten],
    "a checksum covers everything": [body_not_covered],
    "time is an input": [time_not_recorded, ClockNotReplayed],
    "outputs are stored, and compared": [
        outputs_not_stored,
        outputs_not_in_the_checkpoint,
        NotDeterministic,
    ],
    "what kills is put aside, one by one": [tries_of_one_are_those_of_all, stops_count_as_failed],
}
