"""LocalLog: the log in a folder of this machine, as segments that are only appended to."""

import logging
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NoReturn, TypeVar

from daemon.durable.disk import Disk, File, Lock, OsDisk, no_space
from daemon.durable.port import (
    RECORD_BYTES_MAX,
    LogDamaged,
    LogError,
    LogFailed,
    LogFenced,
    LogFull,
    LogUnreadable,
)
from daemon.durable.recovery import Recovered, recover
from daemon.durable.segments import (
    HEADER_BYTES,
    RECORD_HEADER_BYTES,
    Segment,
    create,
    frame,
    run,
)

log = logging.getLogger(__name__)

T = TypeVar("T")

PENDING_BYTES_MAX: Final = 1024 * 1024
"""What waits in memory for the next commit; beyond, it is written, not yet made durable."""


class LocalLog:
    """The port `Log` on segment files; what opening found broken is in `damaged`.

    `folder` belongs to one open log at a time (`LogLocked`).  A segment takes records up to
    `segment_bytes`, at least one.  After each commit the oldest segments beyond `bytes_max` are
    deleted, never the newest; `read` and recovery take one segment at a time into memory.
    """

    def __init__(
        self, folder: Path, *, bytes_max: int, segment_bytes: int, disk: Disk | None = None
    ) -> None:
        """Open and recover; raises `LogLocked`, `LogForeign`, `LogFull`, `LogFailed`."""
        if not HEADER_BYTES < segment_bytes <= bytes_max // 2:
            raise ValueError(
                f"segment_bytes must be above {HEADER_BYTES} and at most half of bytes_max, "
                f"got {segment_bytes} of {bytes_max}"
            )
        self.folder = folder
        self._bytes_max, self._segment_bytes = bytes_max, segment_bytes
        self._disk: Disk = OsDisk() if disk is None else disk
        self._failed: OSError | None = None
        self._pending: deque[bytes] = deque()
        self._pending_bytes = 0
        self._lock = self._opening(self._locked)
        try:
            recovered, self._file = self._opening(self._recovered)
        except LogError:
            self._lock.close()
            raise
        self.damaged: LogDamaged | None = recovered.damaged
        self._segments = deque(recovered.segments)
        self._head = self._written = self._durable = recovered.head
        if self.damaged is not None:
            _say(self.damaged)

    @property
    def first(self) -> int:
        """Number of the oldest record still kept; `head + 1` when there is none."""
        return next((s.first for s in self._segments if s.last >= s.first), self._written + 1)

    @property
    def head(self) -> int:
        """Number of the newest record appended, 0 before the first one."""
        return self._head

    @property
    def durable(self) -> int:
        """Number of the newest record that was durable when the log was opened or committed."""
        return self._durable

    def append(self, record: bytes) -> int:
        """Take a record and return its number; it is durable after the next `commit`."""
        self._usable()
        if len(record) > RECORD_BYTES_MAX:
            raise ValueError(f"a record of {len(record)} bytes, at most {RECORD_BYTES_MAX} fit")
        size = RECORD_HEADER_BYTES + len(record)
        if self._pending and self._pending_bytes + size > PENDING_BYTES_MAX:
            self._write_pending()
        self._pending.append(frame(self._head + 1, self._durable, record))
        self._pending_bytes += size
        self._head += 1
        return self._head

    def commit(self, expected: int) -> int:
        """Make all records appended so far durable; the number of the newest of them."""
        self._usable()
        if expected != self._durable:
            raise LogFenced(
                f"{self.folder}: record {self._durable} is the newest durable one, not {expected}: "
                "somebody else writes this log"
            )
        self._write_pending()
        if self._durable < self._written and self._file is not None:
            self._sync(self._file)
            self._durable = self._written
            self._delete_oldest()
        return self._durable

    def read(self, after: int = 0) -> Iterator[tuple[int, bytes]]:
        """Committed records with numbers above `after`, in order."""
        while (segment := self._holding(after + 1)) is not None:
            last = min(segment.last, self._durable)
            try:
                data = memoryview(self._disk.read(segment.path))
            except OSError as error:
                raise LogUnreadable(f"{segment.path}: {error}") from error
            for record in run(data, segment.first):
                if after < record.number <= last:
                    after = record.number
                    yield after, bytes(data[record.start : record.end])
            if after < last:
                raise LogUnreadable(
                    f"{segment.path}: record {after + 1} is damaged since the log was opened; "
                    "opening it again sets the damaged part aside"
                )

    def give_up(self, before: int) -> bool:
        """Delete segments of which all records are older than that, to make room.

        Never the newest; whether there was one. Raises `LogFailed`.
        """
        self._usable()
        found = False
        while len(self._segments) > 1 and self._segments[0].last < before:
            self._delete_first()
            found = True
        return found

    def skip(self, number: int) -> None:
        """Give no number up to this one again: who asks knows of records that are gone."""
        self._usable()
        assert self._head == self._durable, "records of this run are not durable yet"
        if number > self._head:
            self._head = self._written = self._durable = number
            if self._file is not None:  # within a segment numbers have no gap
                self._file.close()
                self._file = None

    def close(self) -> None:
        """Let go of the folder; what was not committed is forgotten."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self._failed = self._failed or OSError("it was closed")
        self._lock.close()

    def _holding(self, number: int) -> Segment | None:
        """The oldest segment with a committed record of that number or above."""
        for segment in self._segments:
            last = min(segment.last, self._durable)
            if number <= last and segment.first <= last:
                return segment
        return None

    def _locked(self) -> Lock:
        self._disk.make_folder(self.folder)
        return self._disk.lock(self.folder / "lock")

    def _recovered(self) -> tuple[Recovered, File | None]:
        found = recover(self._disk, self.folder, self._bytes_max)
        return found, self._disk.open(found.segments[-1].path) if found.segments else None

    def _opening(self, step: Callable[[], T]) -> T:
        try:
            return step()
        except OSError as error:
            kind = LogFull if no_space(error) else LogFailed
            raise kind(f"{self.folder}: the log cannot be opened: {error}") from error

    def _usable(self) -> None:
        if self._failed is not None:
            raise LogFailed(f"{self.folder}: the log takes nothing any more: {self._failed}")

    def _fail(self, error: OSError) -> NoReturn:
        self._failed = error
        raise LogFailed(f"{self.folder}: the log failed: {error}") from error

    def _refuse(self, error: OSError) -> NoReturn:
        if not no_space(error):
            self._fail(error)
        raise LogFull(
            f"{self.folder}: no space for the log: {error}; "
            f"{self._disk.free_bytes(self.folder)} bytes are free"
        ) from error

    def _write_pending(self) -> None:
        """Write what waits, as many records at once as the segment takes."""
        while self._pending:
            taken = self._fitting(self._segments[-1]) if self._file is not None else []
            if self._file is None or not taken:
                self._begin_segment()
            else:
                self._write(self._file, self._segments[-1], taken)

    def _fitting(self, segment: Segment) -> list[bytes]:
        room = self._segment_bytes - segment.size
        taken: list[bytes] = []
        empty = segment.last < segment.first
        for waiting in self._pending:
            if len(waiting) > room and (taken or not empty):
                break
            taken.append(waiting)
            room -= len(waiting)
        return taken

    def _write(self, file: File, segment: Segment, frames: list[bytes]) -> None:
        data = b"".join(frames)
        try:
            file.write(data, segment.size)
        except OSError as error:
            if no_space(error):
                try:
                    file.truncate(segment.size)
                except OSError as worse:
                    self._fail(worse)
            self._refuse(error)
        for _ in frames:
            self._pending.popleft()
        self._pending_bytes -= len(data)
        self._written += len(frames)
        segment.last, segment.size = self._written, segment.size + len(data)

    def _begin_segment(self) -> None:
        """Go on in a new segment; only the newest may hold what is not durable yet."""
        if self._file is not None:
            self._sync(self._file)
        previous = self._segments[-1].last if self._segments else self._written
        try:
            segment, file = create(self._disk, self.folder, self._written + 1, previous)
        except OSError as error:
            self._refuse(error)
        except LogFailed as error:
            self._failed = OSError(str(error))
            raise
        if self._file is not None:
            self._file.close()
        self._file = file
        self._segments.append(segment)

    def _sync(self, file: File) -> None:
        try:
            file.sync()
        except OSError as error:
            self._fail(error)

    def _delete_oldest(self) -> None:
        """One at a time: segments that come back after a power cut must not leave a gap."""
        total = sum(segment.size for segment in self._segments)
        while total > self._bytes_max and len(self._segments) > 1:
            total -= self._segments[0].size
            self._delete_first()

    def _delete_first(self) -> None:
        try:
            self._disk.unlink(self._segments[0].path)
            self._disk.sync_folder(self.folder)
        except OSError as error:
            self._fail(error)
        self._segments.popleft()


def _say(damaged: LogDamaged) -> None:
    first, last = damaged.missing
    facts = {
        "file": str(damaged.file),
        "offset": damaged.offset,
        "reason": damaged.reason,
        "records_missing": f"{first}-{last}",
        "kept_at": [str(path) for path in damaged.kept_at],
    }
    log.error("The log was damaged; what cannot be read was set aside", extra={"facts": facts})
