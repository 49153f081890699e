"""Whatever happens to the files of a log: what is read is what was written, and it opens again."""

import contextlib
import random

import pytest

from daemon.durable import segments
from daemon.durable.local import LocalLog
from daemon.durable.port import LogFull
from daemon.durable.recovery import QUARANTINE
from tests.disks import FOLDER, Crash, SimDisk

BODIES = {n: bytes([n]) * (3 * n) for n in range(1, 13)}
LIMITS = {"bytes_max": 2000, "segment_bytes": 200}


def open_log(disk, **limits):
    return LocalLog(FOLDER, disk=disk, **(LIMITS | limits))


def written():
    """Files of a log of four segments, committed in steps."""
    disk = SimDisk(random.Random(0))
    log = open_log(disk)
    for number, body in BODIES.items():
        assert log.append(body) == number
        if number % 2:
            log.commit(log.durable)
    log.commit(log.durable)
    log.close()
    return {p.name: bytes(inode.data) for p, inode in disk.live.items()}


FILES = written()
NAMES = sorted(FILES)


def disk_with(files):
    disk = SimDisk(random.Random(1))
    disk.put(FOLDER, files)
    return disk


def aside(disk):
    return {p.name: bytes(i.data) for p, i in disk.live.items() if p.parent.name == QUARANTINE}


def check_prefix(disk, log):
    """A valid prefix, nothing else; and the log takes records, in its next life too."""
    got = list(log.read())
    assert got == [(n, BODIES[n]) for n in range(1, len(got) + 1)]
    number = log.append(b"next")
    assert number == log.head > len(got)
    assert log.commit(log.durable) == number
    log.close()
    again = open_log(disk)
    assert again.damaged is None
    assert list(again.read()) == [*got, (number, b"next")]
    again.close()
    return len(got), number


def test_the_log_of_these_tests_has_several_segments():
    assert len(NAMES) == 4
    disk = disk_with(FILES)
    assert check_prefix(disk, open_log(disk)) == (12, 13)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("how", ["bit", "zero", "ones"])
def test_no_byte_that_changes_makes_a_wrong_record(name, how):
    newest = name == NAMES[-1]
    for at, byte in enumerate(FILES[name]):
        changed = {"bit": byte ^ 1 << at % 8, "zero": 0, "ones": 255}[how]
        if changed == byte:
            continue
        data = FILES[name][:at] + bytes([changed]) + FILES[name][at + 1 :]
        disk = disk_with(FILES | {name: data})
        log = open_log(disk)
        # Only what the newest segment holds behind the last commit can be a torn tail.
        assert log.damaged is not None or newest
        if log.damaged is not None:
            assert log.damaged.offset <= at
            assert data[log.damaged.offset :] in aside(disk).values()
            assert log.head == 12 or newest
        kept, number = check_prefix(disk, log)
        assert kept < 12
        assert newest or number > 12


@pytest.mark.parametrize("name", NAMES)
def test_no_truncation_makes_a_wrong_record(name):
    for size in range(len(FILES[name])):
        disk = disk_with(FILES | {name: FILES[name][:size]})
        log = open_log(disk)
        assert log.damaged is not None or name == NAMES[-1]
        kept, number = check_prefix(disk, log)
        assert kept < 12
        assert name == NAMES[-1] or number > 12


def test_a_segment_that_is_gone_is_noticed_unless_it_was_the_oldest():
    for name in NAMES[1:-1]:
        disk = disk_with({n: data for n, data in FILES.items() if n != name})
        log = open_log(disk)
        assert log.damaged.reason == "gap"
        assert log.damaged.missing == (segments.first_of(name), 12)
        assert set(aside(disk)) == {n for n in NAMES if n > name}
        check_prefix(disk, log)
    log = open_log(disk_with({n: FILES[n] for n in NAMES[1:]}))
    assert log.damaged is None
    assert [n for n, _ in log.read()] == list(range(log.first, 13))


def test_a_gap_before_a_newest_segment_without_a_record_is_noticed():
    name = NAMES[-1]
    for size in range(segments.HEADER_BYTES, segments.HEADER_BYTES + 40):
        disk = disk_with({n: FILES[n] for n in NAMES[:-2]} | {name: FILES[name][:size]})
        log = open_log(disk)
        assert log.damaged.reason == "gap"
        assert FILES[name][:size] in aside(disk).values()
        assert log.damaged.missing[0] == segments.first_of(NAMES[-2])
        assert check_prefix(disk, log)[1] > segments.first_of(name)


def test_an_oldest_segment_of_which_no_record_is_left_holds_up_no_reader():
    """Its records were damaged, and the log had deleted those before."""
    kept = {n: FILES[n] for n in NAMES[1:]}
    disk = disk_with(kept | {NAMES[1]: FILES[NAMES[1]][: segments.HEADER_BYTES + 40]})
    log = open_log(disk)
    assert log.damaged.reason == "record"
    assert list(log.read()) == []
    number = log.append(b"next")
    assert log.commit(log.durable) == number == log.first
    assert list(log.read()) == [(number, b"next")]


def test_segments_that_change_places_or_names_are_noticed():
    swapped = FILES | {NAMES[1]: FILES[NAMES[2]], NAMES[2]: FILES[NAMES[1]]}
    renamed = {n: data for n, data in FILES.items() if n != NAMES[2]}
    renamed[segments.name_of(77)] = FILES[NAMES[2]]
    for files in (swapped, renamed):
        disk = disk_with(files)
        log = open_log(disk)
        assert log.damaged is not None
        check_prefix(disk, log)


def test_what_was_missing_is_said(caplog):
    name = NAMES[1]
    first = segments.first_of(name)
    data = bytearray(FILES[name])
    data[segments.HEADER_BYTES + segments.RECORD_HEADER_BYTES] ^= 1
    disk = disk_with(FILES | {name: bytes(data)})
    log = open_log(disk)
    damaged = log.damaged
    assert (damaged.file, damaged.reason) == (FOLDER / name, "record")
    assert damaged.missing == (first, 12)
    assert len(damaged.kept_at) == 3
    [said] = caplog.records
    assert said.levelname == "ERROR"
    assert said.facts["records_missing"] == f"{first}-12"
    assert log.first == 1
    assert log.head == 12


@pytest.mark.parametrize("seed", range(150))
def test_a_crash_while_damage_is_repaired_costs_nothing_more(seed):
    rng = random.Random(seed)
    name = rng.choice(NAMES[:-1])
    at = rng.randrange(len(FILES[name]))
    data = bytearray(FILES[name])
    data[at] ^= 1 << rng.randrange(8)
    plain = disk_with(FILES | {name: bytes(data)})
    expected = list(open_log(plain).read())
    disk = disk_with(FILES | {name: bytes(data)})
    disk.rng = rng
    for _ in range(rng.randint(1, 4)):
        disk.fuse = rng.randint(0, 20)
        with contextlib.suppress(Crash):
            open_log(disk)
        disk.crash(power=rng.random() < 0.7)
    log = open_log(disk)
    assert list(log.read()) == expected
    assert check_prefix(disk, log)[1] > 12


def test_quarantine_is_bounded():
    disk = disk_with(FILES)
    for _ in range(12):
        log = open_log(disk, bytes_max=700)
        for _ in range(4):
            log.append(bytes(150))
            log.commit(log.durable)
        log.close()
        oldest = min(p for p in disk.live if segments.first_of(p.name) and p.parent == FOLDER)
        disk.live[oldest].data[40] ^= 1
    assert sum(map(len, aside(disk).values())) <= 700
    assert aside(disk)


def test_repair_on_a_full_disk_waits_for_space_and_loses_nothing():
    data = bytearray(FILES[NAMES[0]])
    data[-1] ^= 1
    disk = disk_with(FILES | {NAMES[0]: bytes(data)})
    for space in (0, 40):
        disk.space = space
        with pytest.raises(LogFull):
            open_log(disk)
        disk.crash(power=True)
    disk.space = None
    log = open_log(disk)
    assert log.damaged.missing[1] == 12
    check_prefix(disk, log)


# --- what strangers put into payloads --------------------------------------------------------


def torn(body):
    """A log whose newest record holds `body` and was torn at its first byte, before its commit."""
    disk = SimDisk(random.Random(2))
    log = open_log(disk, segment_bytes=100_000, bytes_max=400_000)
    log.append(b"first")
    log.commit(log.durable)
    log.append(b"x" + body)
    log._write_pending()
    [inode] = disk.live.values()
    inode.data[inode.data.index(b"x" + body)] ^= 1
    disk.crash(power=False)
    return disk, open_log(disk, segment_bytes=100_000, bytes_max=400_000)


def test_records_forged_inside_a_torn_payload_are_never_read():
    for number in (1, 2, 3, 1000, 2**63, 2**64 - 1):
        for durable in (0, 1, number - 1):
            _, log = torn(segments.frame(number, durable, b"forged"))
            assert list(log.read()) == [(1, b"first")]
            assert log.head < 10
            assert log.append(b"next") == log.head
            log.commit(log.durable)
            assert dict(log.read())[log.head] == b"next"


def test_a_payload_full_of_beginnings_does_not_hold_up_the_start(monkeypatch):
    looked = []
    whole = segments.checksum

    def counting(head, body=b""):
        looked.append(len(head) + len(body))
        return whole(head, body)

    head = segments._RECORD.pack(segments._RECORD_MAGIC, 0, 30_000, 3, 0)
    body = head * 2500
    monkeypatch.setattr(segments, "checksum", counting)
    _, log = torn(body)
    assert list(log.read()) == [(1, b"first")]
    assert sum(looked) < 20 * len(body)
