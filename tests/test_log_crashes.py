"""The log keeps what it promised over power cuts, kills, full and failing disks; by seeds.

`python -m tests.log_world SEED` tells the story of a seed that fails here.
"""

import pytest

from daemon.durable import local, recovery, segments
from daemon.durable.local import LocalLog
from daemon.durable.port import LogError
from tests.disks import SimDisk, SimFile
from tests.log_world import PENDING_BYTES, BrokenPromise, LogWorld

SEEDS, SEEDS_BY_NIGHT, PARTS = 2000, 100_000, 4
SEEDS_FOR_MUTANTS = 600


@pytest.fixture(autouse=True)
def _small_buffers(monkeypatch):
    monkeypatch.setattr(local, "PENDING_BYTES_MAX", PENDING_BYTES)


def live(seeds):
    crashes = records = 0
    for seed in seeds:
        try:
            world = LogWorld(seed).run()
        except Exception as error:
            raise AssertionError(f"seed {seed}: {error!r}") from error
        crashes, records = crashes + world.crashes, records + world.bodies
    return crashes, records


@pytest.mark.parametrize("part", range(PARTS))
def test_promises_hold_over_crashes(part):
    crashes, records = live(range(part, SEEDS, PARTS))
    assert crashes > SEEDS / PARTS
    assert records > 10 * crashes / PARTS


@pytest.mark.nightly
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("part", range(PARTS))
def test_promises_hold_over_many_more_crashes(part):
    live(range(SEEDS + part, SEEDS_BY_NIGHT, PARTS))


def test_a_seed_tells_the_same_story_again():
    def story(seed):
        told = []
        LogWorld(seed, tell=lambda *facts: told.append(tuple(map(str, facts)))).run()
        return told

    assert story(5) == story(5) != story(6)


def test_the_faults_that_the_seeds_are_for_do_come():
    told = set()
    for seed in range(60):
        LogWorld(seed, tell=lambda what, *_: told.add(what)).run()
    assert {"crash", "failed", "full", "kill", "power cut"} <= told


# --- mutants: one rule is left out, and some seed must notice -------------------------------------


class NeverSynced(SimFile):
    def sync(self):
        self.disk.operate()


class NoSync(SimDisk):
    def create(self, path):
        return NeverSynced(self, super().create(path).inode)

    def open(self, path):
        return NeverSynced(self, super().open(path).inode)


class NoFolderSync(SimDisk):
    def sync_folder(self, folder):
        self.operate()


class DeletesFirst(LocalLog):
    """Makes room for what it is about to make durable."""

    def commit(self, expected):
        self._usable()
        self._write_pending()
        self._delete_oldest()
        return super().commit(expected)


class GoesOnAfterFailure(LocalLog):
    def _fail(self, error):
        self._pending_error = error

    def _usable(self):
        pass


class LeavesOldSegmentToTheKernel(LocalLog):
    def _begin_segment(self):
        self._file = None
        super()._begin_segment()


class DeletesInOneGo(LocalLog):
    def _delete_oldest(self):
        total = sum(segment.size for segment in self._segments)
        while total > self._bytes_max and len(self._segments) > 1:
            self._disk.unlink(self._segments[0].path)
            total -= self._segments.popleft().size


class SkipsWithinASegment(LocalLog):
    def skip(self, number):
        self._head = self._written = self._durable = max(number, self._head)


class NumbersFirst(LocalLog):
    """Tells a commit before the disk has it."""

    def commit(self, expected):
        self._usable()
        self._write_pending()
        self._durable = self._written
        return self._durable


def no_crc(monkeypatch):
    monkeypatch.setattr(segments, "checksum", lambda head, body=b"": 0)


def number_not_covered(monkeypatch):
    whole = segments.checksum

    def without(head, body=b""):
        covered = bytes(head) + body
        return whole(covered[:4], covered[12:])

    monkeypatch.setattr(segments, "checksum", without)


def number_not_compared(monkeypatch):
    monkeypatch.setattr(segments, "_in_order", lambda number, expected: True)


def number_believed(monkeypatch):
    number_not_covered(monkeypatch)
    number_not_compared(monkeypatch)


def tail_only_read(monkeypatch):
    monkeypatch.setattr(recovery, "settle", lambda disk, segment: None)


def tail_only_synced(monkeypatch):
    def settle(disk, segment):
        file = disk.open(segment.path)
        file.truncate(segment.size)
        file.sync()

    monkeypatch.setattr(recovery, "settle", settle)


def tail_not_cut(monkeypatch):
    def settle(disk, segment):
        file = disk.open(segment.path)
        file.write(disk.read(segment.path)[: segment.size], 0)
        file.sync()

    monkeypatch.setattr(recovery, "settle", settle)


def torn_is_damage(monkeypatch):
    look = segments.look

    def promised(path, data, first):
        return look(path, data, first)._replace(promised=True)

    monkeypatch.setattr(recovery, "look", promised)


def segment_begun_in_place(monkeypatch):
    def create(disk, folder, first, previous):
        segment, file = whole(disk, folder, first, previous)
        file.inode.dirty = set(range(len(file.inode.data)))
        file.inode.medium = bytearray()
        return segment, file

    whole = segments.create
    monkeypatch.setattr(local, "create", create)


DISKS = [NoSync, NoFolderSync]
LOGS = [
    DeletesFirst,
    DeletesInOneGo,
    GoesOnAfterFailure,
    LeavesOldSegmentToTheKernel,
    SkipsWithinASegment,
    NumbersFirst,
]
PATCHES = [
    no_crc,
    number_believed,
    tail_only_read,
    tail_only_synced,
    tail_not_cut,
    torn_is_damage,
    segment_begun_in_place,
]


def first_seed_that_notices(seeds=SEEDS_FOR_MUTANTS, **classes):
    for seed in range(seeds):
        try:
            LogWorld(seed, **classes).run()
        except (AssertionError, LogError):
            return seed
    return None


@pytest.mark.parametrize("mutant", [*DISKS, *LOGS, *PATCHES], ids=lambda m: m.__name__)
def test_a_rule_left_out_is_noticed(mutant, monkeypatch):
    classes = {}
    if mutant in DISKS:
        classes = {"disk_class": mutant}
    elif mutant in LOGS:
        classes = {"log_class": mutant}
    else:
        mutant(monkeypatch)
    assert first_seed_that_notices(**classes) is not None


@pytest.mark.parametrize("one", [number_not_covered, number_not_compared])
def test_a_number_is_held_twice(one, monkeypatch):
    """CRC and order guard numbers both: without one of them the other still does."""
    one(monkeypatch)
    assert first_seed_that_notices(SEEDS_FOR_MUTANTS // 2) is None


def test_a_broken_promise_is_what_the_world_raises():
    class Forgetful(LocalLog):
        def read(self, after=0):
            return (record for record in super().read(after) if record[0] % 7)

    with pytest.raises(BrokenPromise, match="expected"):
        LogWorld(0, log_class=Forgetful).run()
