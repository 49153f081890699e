"""Recovery: what a folder still holds after a crash, made durable before anything is added.

The log is the longest run of valid records from the oldest one on.  What a power cut tore off
behind the last commit is cut away.  When records are missing that had been committed, all that
stands behind them is moved to `quarantine/`, and a new segment begins with a number that no
record ever had.  Each step can be cut off by another crash and is then done again.
"""

from pathlib import Path
from typing import Final, NamedTuple

from daemon.durable.disk import Disk
from daemon.durable.port import LogDamaged
from daemon.durable.segments import (
    Content,
    Segment,
    create,
    first_of,
    is_leftover,
    look,
)

QUARANTINE: Final = "quarantine"
JUMP_MAX: Final = 2**48
"""A file without a header, named by a number so far ahead, was never a segment of this log."""


class Recovered(NamedTuple):
    """A folder after recovery: all of it is durable."""

    segments: list[Segment]
    head: int
    """The next record gets `head + 1`."""
    damaged: LogDamaged | None


class _Break(NamedTuple):
    """Where the run of valid records ends although there was more."""

    path: Path
    offset: int
    reason: str
    missing_first: int


def recover(disk: Disk, folder: Path, quarantine_bytes_max: int) -> Recovered:
    """Bring the folder into order; raises `OSError`, and `LogForeign` for another format."""
    for name in disk.names(folder):
        if is_leftover(name):
            disk.unlink(folder / name)
    # A process that was killed may have renamed and deleted without the folder being durable.
    disk.sync_folder(folder)
    segments, broken, highest = _survey(disk, folder)
    damaged = None
    if broken is not None:
        damaged = _give_up_from(disk, folder, broken, segments, highest)
        _bound(disk, folder / QUARANTINE, quarantine_bytes_max)
    elif segments:
        settle(disk, segments[-1])
    return Recovered(segments, segments[-1].last if segments else 0, damaged)


def _survey(disk: Disk, folder: Path) -> tuple[list[Segment], _Break | None, int]:
    """The valid run, where it breaks off, and the highest number that a record may have had."""
    found: list[tuple[Path, int, Content]] = []
    highest = 0
    for name in disk.names(folder):
        first = first_of(name)
        if first is None:
            continue
        content = look(folder / name, disk.read(folder / name), first)
        if content.previous is None and first > highest + JUMP_MAX:
            continue
        # Without its header nobody knows whether the segment ever held its first record.
        by_name = first if content.previous is None else first - 1
        highest = max(highest, content.lost_last, by_name)
        found.append((folder / name, first, content))
    segments: list[Segment] = []
    for path, first, content in found:
        broken = _break_in(path, content, segments, path == found[-1][0])
        if broken is None or broken.reason == "record":
            segments.append(Segment(path, first, content.last, content.end))
        if broken is not None:
            return segments, broken, highest
    return segments, None, highest


def _break_in(path: Path, content: Content, before: list[Segment], newest: bool) -> _Break | None:
    expected = before[-1].last + 1 if before else content.last + 1
    if content.previous is None:
        return _Break(path, 0, "header", expected)
    if before and content.previous != before[-1].last:
        return _Break(path, 0, "gap", expected)
    # Only the newest segment is ever written to: all of an older one was made durable.
    if content.end < content.size and (content.promised or not newest):
        return _Break(path, content.end, "record", content.last + 1)
    return None


def settle(disk: Disk, segment: Segment) -> None:
    """Make the newest segment durable as it was read, and cut off what stands behind.

    It is written anew, in place: after an fsync that failed the kernel holds pages for clean that
    never reached the medium, and another fsync would say that all is well.
    """
    data = disk.read(segment.path)[: segment.size]
    file = disk.open(segment.path)
    try:
        file.write(data, 0)
        file.truncate(segment.size)
        file.sync()
    finally:
        file.close()


def _give_up_from(
    disk: Disk, folder: Path, broken: _Break, segments: list[Segment], highest: int
) -> LogDamaged:
    """Leave `segments` and a new, empty one; everything else goes to quarantine.

    The order matters: the new segment holds the highest number before the files that tell it are
    moved, and the damaged file goes last, so that after another crash all this is done again.
    """
    number = highest + 1
    if first_of(broken.path.name) == number:  # it holds no record, and must not be written over
        number += 1
    fresh, file = create(disk, folder, number, segments[-1].last if segments else highest)
    file.close()
    disk.make_folder(folder / QUARANTINE)
    left = {segment.path for segment in segments} | {fresh.path, broken.path}
    names = (name for name in disk.names(folder) if first_of(name) is not None)
    kept_at = [_move(disk, folder / name) for name in names if folder / name not in left]
    _settle_folders(disk, folder)
    if broken.reason == "record":
        kept_at.append(_copy(disk, broken))
    else:
        kept_at.append(_move(disk, broken.path))
    _settle_folders(disk, folder)
    if segments:
        settle(disk, segments[-1])
    segments.append(fresh)
    missing = (broken.missing_first, highest)
    return LogDamaged(broken.path, broken.offset, broken.reason, missing, tuple(kept_at))


def _settle_folders(disk: Disk, folder: Path) -> None:
    disk.sync_folder(folder / QUARANTINE)
    disk.sync_folder(folder)


def _move(disk: Disk, path: Path) -> Path:
    target = _free(disk, path.parent / QUARANTINE, path.name)
    disk.rename(path, target)
    return target


def _copy(disk: Disk, broken: _Break) -> Path:
    name = f"{broken.path.name}.from-{broken.offset}"
    target = _free(disk, broken.path.parent / QUARANTINE, name)
    file = disk.create(target)
    try:
        file.write(disk.read(broken.path)[broken.offset :], 0)
        file.sync()
    finally:
        file.close()
    return target


def _free(disk: Disk, folder: Path, name: str) -> Path:
    taken, number, free = set(disk.names(folder)), 1, name
    while free in taken:
        number += 1
        free = f"{name}.{number}"
    return folder / free


def _bound(disk: Disk, folder: Path, bytes_max: int) -> None:
    """Delete the lowest numbers first."""
    names = disk.names(folder)
    total = sum(disk.size(folder / name) for name in names)
    for name in names:
        if total <= bytes_max:
            break
        total -= disk.size(folder / name)
        disk.unlink(folder / name)
    disk.sync_folder(folder)
