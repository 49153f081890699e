"""The disk: may we write there, how long does it take until it is there, how much room is left."""

import errno
import math
import os
from pathlib import Path
from typing import Final, NamedTuple

from daemon.clock import SECOND, Clock
from daemon.doctor.finding import Finding, fail, ok, warn
from daemon.durable.disk import Disk, OsDisk

BLOCK: Final = bytes(4096)
SYNCS_MAX: Final = 200
TIME_MAX_NS: Final = 3 * SECOND
SOON_NS: Final = SECOND // 100
"""With a commit_delay of 0 each turn waits for the disk alone; up to this nobody notices."""
FREE_MIN: Final = 64 << 20
MIB: Final = 1 << 20
_FORGETFUL: Final = {"tmpfs", "ramfs", "overlay"}
MOUNTS: Final = Path("/proc/self/mountinfo")


class Place(NamedTuple):
    """A folder that the daemon writes to."""

    what: str
    """state or record"""
    folder: Path
    size: int
    """Bytes it may grow to."""
    commit_delay_ns: int


def check_disk(place: Place, clock: Clock, disk: Disk | None = None) -> list[Finding]:
    """All that is to be known of one folder; leaves nothing behind."""
    disk = disk or OsDisk()
    found = next((p for p in (place.folder, *place.folder.parents) if p.exists()), Path("/"))
    name = f"{place.what}.sync"
    try:
        times_ns = _sync_times(disk, found, clock)
    except OSError as error:
        return [
            fail(
                name,
                f"{found} cannot be written: {error.strerror}",
                f"the daemon cannot keep its {place.what}",
                _way_out(error, found),
            )
        ]
    return [_speed(place, found, times_ns), _medium(place, found), _room(place, found, disk)]


def _sync_times(disk: Disk, folder: Path, clock: Clock) -> list[int]:
    """Sorted nanoseconds of writing 4 KiB more and having them on the medium."""
    path = folder / f".doctor-{os.getpid()}"
    times: list[int] = []
    file = disk.create(path)
    try:
        began = clock.monotonic_ns()
        for i in range(SYNCS_MAX):
            before = clock.monotonic_ns()
            file.write(BLOCK, i * len(BLOCK))
            file.sync()
            after = clock.monotonic_ns()
            times.append(after - before)
            if after - began > TIME_MAX_NS:
                break
    finally:
        file.close()
        disk.unlink(path)
    return sorted(times)


def _speed(place: Place, folder: Path, times_ns: list[int]) -> Finding:
    name = f"{place.what}.sync"
    p50, p99 = (times_ns[math.ceil(q * len(times_ns)) - 1] for q in (0.5, 0.99))
    seen = f"{folder}: 4 KiB are synced in {p50 / 1e6:.2f} ms (p50), {p99 / 1e6:.2f} ms (p99)"
    limit_ns = max(place.commit_delay_ns, SOON_NS)
    delay = f"commit_delay of {place.commit_delay_ns / 1e6:g} ms"
    if p50 > limit_ns:
        return warn(
            name,
            seen,
            f"each commit takes longer than the {delay}: acknowledgements and alerts wait for it",
            f"a faster disk, or a greater {place.what}.commit_delay (SD cards: 200ms to 1s)",
        )
    if p99 > limit_ns:
        return warn(
            name,
            seen,
            f"one commit in a hundred takes longer than the {delay}; alerts then come that much later",
            "who else writes to this disk? a file system of its own helps",
        )
    return ok(name, seen, f"a commit fits into the {delay}")


def _medium(place: Place, folder: Path) -> Finding:
    name, kind = f"{place.what}.medium", _file_system(folder)
    if kind in _FORGETFUL:
        return warn(
            name,
            f"{folder} is on {kind}",
            "it is gone with the machine or the container",
            f"{place.what}.folder on a disk, or a volume mounted there",
        )
    return ok(name, f"{folder} is on {kind or 'a file system that is not named'}", "it stays")


def _file_system(folder: Path) -> str:
    """Kind of file system, by the longest mount point above; '' where nobody says."""
    try:
        lines = MOUNTS.read_text().splitlines()
    except OSError:
        return ""
    real = folder.resolve()
    best, kind = -1, ""
    for line in lines:
        before, _, after = line.partition(" - ")
        # Later mounts hide earlier ones of the same place.
        point = before.split()[4].encode().decode("unicode_escape")
        if real.is_relative_to(point) and len(point) >= best:
            best, kind = len(point), after.split()[0]
    return kind


def _room(place: Place, folder: Path, disk: Disk) -> Finding:
    name, free = f"{place.what}.room", disk.free_bytes(folder)
    used = 0
    if folder == place.folder:
        used = sum(disk.size(folder / each) for each in disk.names(folder))
    more = max(0, place.size - used)
    seen = f"{free / MIB:,.0f} MiB free, {used / MIB:,.0f} of {place.size / MIB:,.0f} MiB used"
    way_out = f"make room in {folder}, or a smaller {place.what}.size"
    if free < FREE_MIN:
        return fail(name, seen, "what comes in can soon not be kept any more", way_out)
    if free < more:
        return warn(name, seen, f"the disk is full before the {place.what} is", way_out)
    return ok(name, seen, f"room for all that {place.what}.size allows")


def _way_out(error: OSError, folder: Path) -> str:
    if error.errno in {errno.EACCES, errno.EPERM}:
        return f"give {folder} to the daemon's user; doctor runs as user {os.getuid()}"
    if error.errno == errno.EROFS:
        return f"mount it for writing, or add ReadWritePaths={folder} to the unit"
    return "make room, or choose another folder"
