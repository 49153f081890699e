"""The disk, as little of it as the log needs, so that tests can put a worse one in its place.

What a power cut leaves: of a file what `File.sync` covered, of a folder what `sync_folder`
covered.  Everything else may be there, not there, or there in part.  Methods raise `OSError` unless they say otherwise.
"""

import errno
import fcntl
import os
from pathlib import Path
from typing import Protocol

from daemon.durable.port import LogLocked


class File(Protocol):
    """A file open for writing."""

    def write(self, data: bytes, at: int) -> None:
        """Write all of `data` at offset `at`; an error may leave a part of it behind."""

    def truncate(self, size: int) -> None:
        """Cut the file to `size` bytes."""

    def sync(self) -> None:
        """Return when content and size are on the medium."""

    def close(self) -> None:
        """Let go of it, without `sync`."""


class Lock(Protocol):
    """The right to be the only one in a folder."""

    def close(self) -> None:
        """Give it back."""


class Disk(Protocol):
    """Files in folders, all private to our user."""

    def make_folder(self, folder: Path) -> None:
        """Make `folder`, durably, where there is none; nobody else may look into it."""

    def lock(self, path: Path) -> Lock:
        """Be the only one that holds `path`; raises `LogLocked`.  Ends with the process."""

    def names(self, folder: Path) -> list[str]:
        """Names of the files in `folder`, sorted; none where there is no such folder."""

    def size(self, path: Path) -> int:
        """Bytes in a file."""

    def read(self, path: Path) -> bytes:
        """All of a file."""

    def create(self, path: Path) -> File:
        """A new and empty file, in place of one that may be there."""

    def open(self, path: Path) -> File:
        """A file that is there."""

    def rename(self, old: Path, new: Path) -> None:
        """Give a file another name, in place of a file that may have it; all or nothing."""

    def unlink(self, path: Path) -> None:
        """Delete a file."""

    def sync_folder(self, folder: Path) -> None:
        """Return when what was created, renamed and deleted in `folder` is on the medium."""

    def free_bytes(self, folder: Path) -> int:
        """Space left to us, for a message; 0 when the disk does not say.  Never raises."""


class OsFile:
    """A file of the operating system."""

    def __init__(self, path: Path, flags: int) -> None:
        self._fd = os.open(path, flags | os.O_CLOEXEC, 0o600)

    def write(self, data: bytes, at: int) -> None:
        """Write on until all is written: the kernel may take less than it is given."""
        rest = memoryview(data)
        while rest:
            written = os.pwrite(self._fd, rest, at)
            rest, at = rest[written:], at + written

    def truncate(self, size: int) -> None:
        """Cut the file to `size` bytes."""
        os.ftruncate(self._fd, size)

    def sync(self) -> None:
        """Data and size, which is all that a reader needs."""
        os.fdatasync(self._fd)

    def close(self) -> None:
        """Close it; a second time does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class OsDisk:
    """The real one, on any POSIX file system with fsync and flock."""

    def make_folder(self, folder: Path) -> None:
        """Missing parents are made too, by the rules of the umask."""
        missing = [p for p in (folder, *folder.parents) if not p.exists()]
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        folder.chmod(0o700)
        for made in missing:
            self.sync_folder(made.parent)

    def lock(self, path: Path) -> Lock:
        """By flock, which ends with the process however that ends; tells who has it."""
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(file, 20, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(file)
            raise LogLocked(
                f"{path.parent}: in use by process {owner}; each process needs a folder of its own"
            ) from None
        os.ftruncate(file, 0)
        os.pwrite(file, b"%d\n" % os.getpid(), 0)
        return _OsLock(file)

    def names(self, folder: Path) -> list[str]:
        """Names of the files in `folder`, sorted; none where there is no such folder."""
        try:
            with os.scandir(folder) as entries:
                return sorted(e.name for e in entries if e.is_file(follow_symlinks=False))
        except FileNotFoundError:
            return []

    def size(self, path: Path) -> int:
        """Bytes in a file."""
        return path.stat().st_size

    def read(self, path: Path) -> bytes:
        """All of a file."""
        return path.read_bytes()

    def create(self, path: Path) -> File:
        """A new and empty file, in place of one that may be there."""
        return OsFile(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)

    def open(self, path: Path) -> File:
        """A file that is there."""
        return OsFile(path, os.O_WRONLY)

    def rename(self, old: Path, new: Path) -> None:
        """Give a file another name, in place of a file that may have it; all or nothing."""
        old.replace(new)

    def unlink(self, path: Path) -> None:
        """Delete a file."""
        path.unlink()

    def sync_folder(self, folder: Path) -> None:
        """Return when what was created, renamed and deleted in `folder` is on the medium."""
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def free_bytes(self, folder: Path) -> int:
        """Space left to a user without privileges."""
        try:
            facts = os.statvfs(folder)
        except OSError:
            return 0
        return facts.f_bavail * facts.f_frsize


class _OsLock:
    def __init__(self, fd: int) -> None:
        self._fd = fd

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def no_space(error: OSError) -> bool:
    """Whether more space, quota or a higher file size limit would have helped."""
    return error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
