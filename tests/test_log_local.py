"""LocalLog on a real disk: numbers, bounds, locks, permissions, kill -9, limits of file size."""

import os
import random
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from daemon.durable.local import LocalLog
from daemon.durable.port import RECORD_BYTES_MAX, Log, LogFailed, LogFenced, LogLocked
from tests.log_world import body_of

ROOT = Path(__file__).parent.parent
KILLS = 20


def open_log(folder, bytes_max=1 << 20, segment_bytes=1 << 16):
    return LocalLog(folder, bytes_max=bytes_max, segment_bytes=segment_bytes)


def test_an_empty_log(tmp_path):
    log: Log = open_log(tmp_path / "log")
    assert (log.first, log.head, log.commit(log.durable), list(log.read())) == (1, 0, 0, [])
    log.close()
    assert [p.name for p in (tmp_path / "log").iterdir()] == ["lock"]


def test_who_expects_another_end_writes_nothing(tmp_path):
    log = open_log(tmp_path)
    log.append(b"one")
    assert log.commit(0) == 1
    log.append(b"two")
    for expected in (0, 2):
        with pytest.raises(LogFenced, match="record 1 is the newest durable one"):
            log.commit(expected)
    assert [n for n, _ in log.read()] == [1]
    assert log.commit(1) == 2


def test_what_was_committed_is_read_here_and_after_opening_again(tmp_path):
    log = open_log(tmp_path)
    numbers = [log.append(body_of(n)) for n in range(1, 201)]
    assert numbers == list(range(1, 201))
    assert list(log.read()) == []
    assert log.commit(log.durable) == log.head == 200
    expected = [(n, body_of(n)) for n in numbers]
    assert list(log.read()) == expected
    log.append(b"never committed")
    log.close()
    log = open_log(tmp_path)
    assert log.damaged is None
    assert list(log.read()) == expected
    assert list(log.read(197)) == expected[197:]
    assert list(log.read(200)) == list(log.read(10**9)) == []
    assert log.append(b"") == 201
    log.commit(log.durable)
    assert list(log.read(200)) == [(201, b"")]
    log.close()


def test_the_reader_sees_what_is_committed_meanwhile_and_not_what_is_only_appended(tmp_path):
    log = open_log(tmp_path)
    got = []
    log.append(b"1")
    log.commit(log.durable)
    for number, record in log.read():
        got.append((number, record))
        if number < 5:
            log.append(b"%d" % (number + 1))
            log.commit(log.durable)
            log.append(b"not yet") if number == 4 else None
    assert got == [(n, b"%d" % n) for n in range(1, 6)]
    log.close()


def test_numbers_of_records_that_are_gone_are_not_given_again(tmp_path):
    log = open_log(tmp_path)
    log.append(b"one")
    log.commit(log.durable)
    for number in (5, 3):
        log.skip(number)
        assert (log.head, log.durable, log.commit(5), list(log.read())) == (5, 5, 5, [(1, b"one")])
    log.close()
    log = open_log(tmp_path)  # nobody needs to know before there is a record
    assert log.head == 1
    log.skip(5)
    assert log.append(b"six") == log.commit(5) == 6
    log.close()
    log = open_log(tmp_path)
    assert log.damaged is None
    assert (log.first, list(log.read()), list(log.read(1))) == (
        1,
        [(1, b"one"), (6, b"six")],
        [(6, b"six")],
    )
    log.close()


def test_an_empty_log_goes_on_behind_records_that_are_gone(tmp_path):
    log = open_log(tmp_path)
    log.skip(7)
    assert log.append(b"eight") == log.commit(7) == 8
    log.close()
    log = open_log(tmp_path)
    assert (log.damaged, log.first, list(log.read())) == (None, 8, [(8, b"eight")])
    log.close()


def test_old_segments_go_and_the_rest_stays_below_the_bound(tmp_path):
    log = open_log(tmp_path, bytes_max=100_000, segment_bytes=10_000)
    reader = log.read()
    for number in range(1, 2001):
        log.append(body_of(number))
        if number % 10 == 0:
            log.commit(log.durable)
            held = sum(p.stat().st_size for p in tmp_path.glob("*.log"))
            assert held <= 100_000
            assert log.first == 1 or held > 80_000
    kept = list(log.read())
    assert kept == [(n, body_of(n)) for n in range(log.first, 2001)]
    assert log.first > 1800
    assert next(reader)[0] == log.first
    log.close()


def test_a_record_above_the_size_of_a_segment_and_of_the_log_itself(tmp_path):
    log = open_log(tmp_path, bytes_max=4096, segment_bytes=1024)
    largest = random.Random(0).randbytes(RECORD_BYTES_MAX)
    log.append(b"before")
    log.append(largest)
    log.append(b"after")
    assert log.commit(log.durable) == 3
    with pytest.raises(ValueError, match="at most 16777216 fit"):
        log.append(largest + b"!")
    assert log.append(largest) == 4
    log.commit(log.durable)
    log.close()
    log = open_log(tmp_path, bytes_max=4096, segment_bytes=1024)
    assert list(log.read()) == [(4, largest)]
    log.close()


@pytest.mark.parametrize(("bytes_max", "segment_bytes"), [(1000, 600), (1000, 32), (0, 0)])
def test_bounds_that_cannot_hold_are_refused(tmp_path, bytes_max, segment_bytes):
    with pytest.raises(ValueError, match=f"got {segment_bytes} of {bytes_max}"):
        open_log(tmp_path, bytes_max, segment_bytes)


def test_nobody_else_may_look(tmp_path):
    (tmp_path / "log").mkdir(mode=0o755)
    before = os.umask(0)
    try:
        log = open_log(tmp_path / "log")
        log.append(b"secret")
        log.commit(log.durable)
        log.close()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "log").stat().st_mode) == 0o700
    assert {stat.S_IMODE(p.stat().st_mode) for p in (tmp_path / "log").iterdir()} == {0o600}


def test_folders_above_are_made(tmp_path):
    log = open_log(tmp_path / "var" / "lib" / "log")
    log.close()
    assert (tmp_path / "var" / "lib" / "log" / "lock").exists()


def test_a_folder_has_one_owner(tmp_path):
    log = open_log(tmp_path)
    with pytest.raises(LogLocked, match=rf"in use by process {os.getpid()}; .* folder of its own"):
        open_log(tmp_path)
    log.append(b"still mine")
    assert log.commit(log.durable) == 1
    log.close()
    open_log(tmp_path).close()


def test_a_closed_log_takes_nothing(tmp_path):
    log = open_log(tmp_path)
    log.close()
    log.close()
    for act in (lambda: log.append(b""), lambda: log.commit(0)):
        with pytest.raises(LogFailed, match="takes nothing any more: it was closed"):
            act()


def test_a_folder_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(LogFailed, match="cannot be opened"):
        open_log(tmp_path / "file" / "log")


def test_a_damaged_file_is_set_aside(tmp_path):
    log = open_log(tmp_path, segment_bytes=10_000)
    for number in range(1, 41):
        log.append(body_of(number))
    log.commit(log.durable)
    log.close()
    files = sorted(tmp_path.glob("*.log"))
    data = bytearray(files[1].read_bytes())
    data[len(data) // 2] ^= 1
    files[1].write_bytes(data)
    log = open_log(tmp_path)
    first, last = log.damaged.missing
    assert first > 1
    assert last == log.head == 40
    assert list(log.read()) == [(n, body_of(n)) for n in range(1, first)]
    assert log.append(b"goes on") == 41
    log.commit(log.durable)
    log.close()
    folder = tmp_path / "quarantine"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    aside = {p.read_bytes() for p in folder.iterdir()}
    assert {p.name for p in folder.iterdir()} == {p.name for p in log.damaged.kept_at}
    assert bytes(data)[log.damaged.offset :] in aside
    log = open_log(tmp_path)
    assert log.damaged is None
    assert list(log.read(first - 1)) == [(41, b"goes on")]
    log.close()


# --- other processes ---------------------------------------------------------------------------

WRITER = """
import sys
from pathlib import Path
from daemon.durable.local import LocalLog
from tests.log_world import body_of

log = LocalLog(Path(sys.argv[1]), bytes_max=200_000_000, segment_bytes=1 << 16)
print("open", log.head, flush=True)
while True:
    for _ in range(log.head % 7 + 1):
        log.append(body_of(log.head + 1))
    print(log.commit(log.durable), flush=True)
"""

FULL = """
import resource, sys
from pathlib import Path
from daemon.durable.port import LogFull
from daemon.durable.local import LocalLog
from tests.log_world import body_of

log = LocalLog(Path(sys.argv[1]), bytes_max=1 << 24, segment_bytes=1 << 20)
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
try:
    while True:
        log.append(body_of(log.head + 1))
        log.commit(log.durable)
except LogFull as full:
    print(full, file=sys.stderr)
waiting, readable = log.head, list(log.read())
assert readable == [(n, body_of(n)) for n in range(1, len(readable) + 1)]
assert waiting > len(readable) > 3
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
assert log.commit(log.durable) == waiting
assert list(log.read()) == [(n, body_of(n)) for n in range(1, waiting + 1)]
print(waiting)
"""


def child(script, folder):
    return subprocess.Popen(
        [sys.executable, "-c", script, str(folder)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_nothing_committed_is_lost_when_the_writer_is_killed(tmp_path):
    promised, rng = 0, random.Random(1)
    for _ in range(KILLS):
        with child(WRITER, tmp_path) as writer:
            found = int(writer.stdout.readline().split()[1])
            assert found >= promised
            for _ in range(rng.randint(1, 25)):
                promised = int(writer.stdout.readline())
            writer.send_signal(signal.SIGKILL)
            rest = writer.stdout.read().split("\n")[:-1]
            promised = int(rest[-1]) if rest else promised
        log = open_log(tmp_path, 200_000_000)
        assert log.damaged is None
        assert log.head >= promised
        assert list(log.read()) == [(n, body_of(n)) for n in range(1, log.head + 1)]
        log.close()
    assert promised > 5 * KILLS


def test_another_process_is_told_who_has_the_folder(tmp_path):
    with child(WRITER, tmp_path) as writer:
        writer.stdout.readline()
        with pytest.raises(LogLocked, match=f"in use by process {writer.pid}"):
            open_log(tmp_path)
        writer.kill()
        writer.communicate()
    open_log(tmp_path, 200_000_000).close()


def test_a_full_disk_refuses_and_goes_on_when_there_is_space(tmp_path):
    with child(FULL, tmp_path) as writer:
        out, err = writer.communicate()
    assert writer.returncode == 0, err
    assert "no space for the log" in err
    log = open_log(tmp_path)
    assert log.head == int(out)
    assert list(log.read()) == [(n, body_of(n)) for n in range(1, log.head + 1)]
    log.close()
