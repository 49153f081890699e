"""LogWorld: the life of a log over crashes, by a seed, and the promises that must hold in it.

python -m tests.log_world 4711        what happened in one life, step by step
"""

import random
import sys

from daemon.durable import local
from daemon.durable.local import LocalLog
from daemon.durable.port import LogFailed, LogFull
from daemon.durable.segments import HEADER_BYTES, RECORD_HEADER_BYTES
from tests.disks import FOLDER, Crash, SimDisk

PENDING_BYTES = 300


class BrokenPromise(AssertionError):
    """What the log promised and did not keep."""


class LogWorld:
    """Who appends, commits and reads, and remembers what the log must still know."""

    def __init__(self, seed, log_class=LocalLog, disk_class=SimDisk, tell=None):
        self.rng = random.Random(seed)
        self.disk = disk_class(self.rng, sector=self.rng.choice((8, 32, 512)))
        self.log_class, self.tell = log_class, tell or (lambda *_: None)
        self.segment_bytes = self.rng.choice((120, 300, 700))
        self.bytes_max = self.segment_bytes * self.rng.randint(2, 6)
        self.committed = {}  # number -> body
        self.appended = {}  # the same, not promised yet
        self.bodies = 0
        self.crashes = 0
        self.injected = False

    def run(self):
        for _ in range(self.rng.randint(3, 7)):
            self.life()
        self.check(self.open())
        return self

    def life(self):
        disk, rng = self.disk, self.rng
        disk.fuse = rng.randint(0, 50) if rng.random() < 0.6 else None
        disk.space = rng.randint(0, 2000) if rng.random() < 0.2 else None
        disk.broken_syncs = {rng.randint(0, 20)} if rng.random() < 0.2 else set()
        self.injected = bool(disk.broken_syncs)
        try:
            log = self.open()
            self.check(log)
            self.use(log)
            log.close()
        except Crash:
            self.tell("crash")
        except LogFailed as error:
            self.tell("failed", error)
            if not self.injected:
                raise BrokenPromise(f"failed without a cause: {error}") from error
        power = rng.random() < 0.6
        self.tell("power cut" if power else "kill")
        self.crashes += 1
        disk.crash(power)

    def open(self):
        return self.log_class(
            FOLDER, bytes_max=self.bytes_max, segment_bytes=self.segment_bytes, disk=self.disk
        )

    def use(self, log):
        if self.rng.random() < 0.1:  # somebody knows of records that this log never had
            log.skip(log.head + self.rng.randint(0, 9))
            self.tell("skip", log.head)
        for _ in range(self.rng.randint(1, 40)):
            try:
                self.step(log, self.rng.random())
            except LogFull:
                self.tell("full")
                if self.disk.space is None:
                    raise BrokenPromise("full without a cause") from None
                self.check_read(log, log.read(), self.committed)
                if self.rng.random() < 0.5:
                    self.disk.space = None

    def step(self, log, dice):
        if dice < 0.65:
            self.append(log)
        elif dice < 0.9:
            self.tell("commit", log.head)
            number, promised = log.commit(log.durable), log.head
            self.committed |= self.appended
            self.appended = {}
            if number != promised or number < max(self.committed, default=0):
                raise BrokenPromise(f"commit returned {number}")
            self.check_kept(log, self.committed)
        else:
            after = self.rng.randint(0, log.head)
            kept = {n: b for n, b in self.committed.items() if n > after}
            self.check_read(log, log.read(after), kept)

    def append(self, log):
        self.bodies += 1
        size = self.rng.choice((0, 5, 40, self.rng.randint(0, 900)))
        body = (b"%d:" % self.bodies + self.rng.randbytes(size))[: size + 8]
        number = log.append(body)
        self.tell("append", number, len(body))
        if number != log.head or number in self.committed or number in self.appended:
            raise BrokenPromise(f"append returned {number}")
        self.appended[number] = body

    def check(self, log):
        """After opening: all that was promised is there, and now all that is there is promised."""
        self.tell("opened", log.first, log.head)
        if log.damaged is not None:
            raise BrokenPromise(f"a crash is taken for damage: {log.damaged}")
        if log.head < max(self.committed, default=0):
            raise BrokenPromise(f"head {log.head}, committed {max(self.committed)}")
        known = self.committed | self.appended
        expected = {n: body for n, body in known.items() if n <= log.head}
        self.check_read(log, log.read(), expected)
        self.check_kept(log, expected)
        self.committed, self.appended = expected, {}

    def check_read(self, log, records, expected):
        got = list(records)
        want = [(n, body) for n, body in sorted(expected.items()) if n >= log.first]
        if got != want:
            raise BrokenPromise(f"read {brief(got)}, expected {brief(want)}")

    def check_kept(self, log, durable):
        """Was the newest segment that is gone really beyond the bound, with what is durable?

        It held the record before the oldest kept, and no more than a segment may.
        """
        gone = durable.get(log.first - 1)
        if gone is None:
            return
        kept = [n for n in durable if n >= log.first]
        held = sum(RECORD_HEADER_BYTES + len(durable[n]) for n in kept)
        headers = HEADER_BYTES * min(len(kept) + 2, 2 * held // self.segment_bytes + 3)
        segment = max(self.segment_bytes, HEADER_BYTES + RECORD_HEADER_BYTES + len(gone))
        if held + headers + segment <= self.bytes_max:
            raise BrokenPromise(f"only {held} bytes are left, from {log.first} on")


def brief(records):
    return [(number, body[:12], len(body)) for number, body in records]


def body_of(number):
    """What a record holds that anybody can check, of a size of its own."""
    rng = random.Random(number)
    return rng.randbytes(rng.choice((0, 10, 300, 5000)))


def small_buffers():
    """Appending writes early, so that crashes come between writing and commit too."""
    local.PENDING_BYTES_MAX = PENDING_BYTES


if __name__ == "__main__":
    small_buffers()
    LogWorld(int(sys.argv[1]), tell=print).run()
