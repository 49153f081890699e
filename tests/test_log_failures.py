"""How the log refuses: broken disks, other formats, foreign files, and what it then still gives."""

import errno
import random

import pytest

from daemon.durable import port, segments
from daemon.durable.local import LocalLog
from daemon.durable.port import LogFailed, LogForeign, LogFull, LogUnreadable
from tests.disks import FOLDER, SimDisk
from tests.test_log_damage import FILES, NAMES, disk_with, open_log


class Failing(SimDisk):
    """Fails the operations named in `failing`, with an error number."""

    def __init__(self):
        super().__init__(random.Random(3))
        self.failing_with = {}

    def fail(self, what):
        if what in self.failing_with:
            raise OSError(self.failing_with[what], "injected")

    def create(self, path):
        self.fail("create")
        return self.watched(super().create(path))

    def open(self, path):
        self.fail("open")
        return self.watched(super().open(path))

    def watched(self, file):
        for what in ("write", "truncate", "sync"):
            setattr(file, what, self.before(what, getattr(file, what)))
        return file

    def before(self, what, act):
        def acts(*args):
            self.fail(what)
            return act(*args)

        return acts

    def names(self, folder):
        self.fail("names")
        return super().names(folder)

    def read(self, path):
        self.fail("read")
        return super().read(path)

    def rename(self, old, new):
        self.fail("rename")
        super().rename(old, new)

    def unlink(self, path):
        self.fail("unlink")
        super().unlink(path)

    def sync_folder(self, folder):
        self.fail("sync_folder")
        super().sync_folder(folder)


def log_with_one_record(disk):
    log = LocalLog(FOLDER, bytes_max=400, segment_bytes=100, disk=disk)
    log.append(b"one")
    assert log.commit(log.durable) == 1
    return log


def use(log):
    """Begins a segment, fills it, and makes room."""
    for _ in range(8):
        log.append(bytes(60))
        log.commit(log.durable)


@pytest.mark.parametrize(
    "what", ["write", "sync", "create", "rename", "unlink", "sync_folder"], ids=str
)
def test_a_disk_that_fails_ends_the_log_for_good(what):
    disk = Failing()
    log = log_with_one_record(disk)
    disk.failing_with = {what: errno.EIO}
    with pytest.raises(LogFailed, match="injected"):
        use(log)
    disk.failing_with = {}
    for act in (lambda: log.append(b"again"), lambda: log.commit(0)):
        with pytest.raises(LogFailed, match="takes nothing any more"):
            act()
    kept = list(log.read())
    assert kept[0] == (log.first, b"one" if log.first == 1 else bytes(60))
    log.close()
    again = LocalLog(FOLDER, bytes_max=400, segment_bytes=100, disk=disk)
    assert again.damaged is None
    assert list(again.read())[: len(kept)] == kept


@pytest.mark.parametrize("what", ["write", "create"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_ends_nothing(what, number):
    disk = Failing()
    log = log_with_one_record(disk)
    disk.failing_with = {what: number}
    log.append(bytes(60))
    for _ in range(3):
        with pytest.raises(LogFull, match=r"no space for the log.*0 bytes are free"):
            log.commit(log.durable)
    assert list(log.read()) == [(1, b"one")]
    disk.failing_with = {}
    assert log.append(b"three") == 3
    assert log.commit(log.durable) == 3
    assert list(log.read()) == [(1, b"one"), (2, bytes(60)), (3, b"three")]


@pytest.mark.parametrize("what", ["sync", "rename", "sync_folder"])
def test_no_space_in_an_fsync_is_a_failure_like_any_other(what):
    disk = Failing()
    log = log_with_one_record(disk)
    disk.failing_with = {what: errno.ENOSPC}
    with pytest.raises(LogFailed):
        use(log)


def test_what_a_full_disk_took_in_part_must_come_off_again():
    disk = Failing()
    log = log_with_one_record(disk)
    disk.failing_with = {"write": errno.ENOSPC, "truncate": errno.EIO}
    log.append(b"two")
    with pytest.raises(LogFailed):
        log.commit(log.durable)
    with pytest.raises(LogFailed):
        log.commit(log.durable)


def test_memory_for_what_waits_is_bounded_on_a_full_disk(monkeypatch):
    monkeypatch.setattr("daemon.durable.local.PENDING_BYTES_MAX", 1000)
    disk = Failing()
    log = log_with_one_record(disk)
    disk.failing_with = {"write": errno.ENOSPC}
    taken = 1000 // (60 + segments.RECORD_HEADER_BYTES)
    for _ in range(taken):
        log.append(bytes(60))
    for _ in range(3):
        with pytest.raises(LogFull):
            log.append(bytes(60))
    assert log.head == 1 + taken
    disk.failing_with = {}
    assert log.commit(log.durable) == 1 + taken


@pytest.mark.parametrize("what", ["names", "read", "open", "write", "sync", "sync_folder"])
def test_a_log_that_cannot_be_opened_gives_the_folder_back(what):
    disk = Failing()
    disk.put(FOLDER, FILES)
    disk.failing_with = {what: errno.EIO}
    for _ in range(2):
        with pytest.raises(LogFailed, match=r"cannot be opened.*injected"):
            open_log(disk)
    disk.failing_with = {}
    log = open_log(disk)
    assert log.head == 12


def test_a_reader_is_told_of_a_disk_that_fails():
    disk = Failing()
    log = log_with_one_record(disk)
    disk.failing_with = {"read": errno.EIO}
    with pytest.raises(LogUnreadable, match="injected"):
        list(log.read())


def test_another_format_is_left_alone():
    head = segments._HEADER.pack(segments._MAGIC, 2, 1, 0)
    data = head + segments._CRC.pack(segments.checksum(head)) + b"whatever format 2 is"
    disk = disk_with({NAMES[0]: data})
    with pytest.raises(LogForeign, match=r"format 2.*reads format 1"):
        open_log(disk)
    assert bytes(disk.live[FOLDER / NAMES[0]].data) == data
    with pytest.raises(LogForeign):  # the lock was given back
        open_log(disk)


def test_other_files_are_none_of_ours():
    others = {f"{n:020}.log": b"?" for n in (0, 2**62, 2**63, 2**64, 10**20 - 1)}
    others |= {"notes.txt": b"mine", "1.log": b"", f"{'9' * 20}.log.bak": b"", "lock": b"1"}
    disk = disk_with(FILES | others)
    log = open_log(disk)
    assert log.damaged is None
    assert set(others) <= {p.name for p in disk.live}


def test_a_record_that_rots_while_the_log_is_open_is_not_handed_out():
    disk = disk_with(FILES)
    log = open_log(disk)
    disk.live[FOLDER / NAMES[1]].data[-1] ^= 1
    got = []
    with pytest.raises(LogUnreadable, match="damaged since"):
        got.extend(record for record in log.read())
    disk.live.pop(FOLDER / NAMES[0])
    with pytest.raises(LogUnreadable):
        list(log.read())


def test_numbers_go_on_behind_a_file_that_lost_its_header_but_not_behind_any_name():
    far = 2**40
    disk = disk_with(FILES | {segments.name_of(far): b"?", segments.name_of(2**62): b"?"})
    log = open_log(disk)
    assert log.damaged.missing == (13, far)
    assert len(list(log.read())) == 12
    for _ in range(5):
        log.append(bytes(100))
        log.commit(log.durable)
    assert log.head == far + 5
    log.close()
    log = open_log(disk)
    assert log.damaged is None
    assert len(list(log.read())) == 17


def test_the_errors_stand_on_one_root():
    kinds = [getattr(port, n) for n in dir(port) if n.startswith("Log")]
    errors = [k for k in kinds if isinstance(k, type) and issubclass(k, Exception)]
    assert len(errors) == 7
    assert all(issubclass(k, port.LogError) for k in errors)
