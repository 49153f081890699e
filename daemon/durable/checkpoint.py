"""Checkpoints: the state of a daemon in a file that is there as a whole or not at all.

`<number, 20 digits>.state`, little endian:

    header   8s magic · u4 version · u4 sections · u8 bytes of body · u4 crc of body · u4 crc      32
    body     for each section: u2 length of name · name · u8 bytes of it; then the sections

A checkpoint is written beside, synced, renamed, and its folder synced; only then older ones are
deleted, but for the one before it.  What cannot be read goes to `quarantine/`.  A state that
cannot even be tried, because the daemon has died of it five times, goes there too; then the one
before it has as many tries, and then the log alone.
"""

import errno
import re
import struct
import zlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from daemon.durable.disk import Disk, File, no_space
from daemon.durable.port import SNAPSHOTS_KEPT, LogError, Pieces

VERSION: Final = 1
_MAGIC: Final = b"sweirckp"
_HEADER: Final = struct.Struct("<8sIIQI")
_CRC: Final = struct.Struct("<I")
_NAME: Final = struct.Struct("<H")
_SIZE: Final = struct.Struct("<Q")
HEADER_BYTES: Final = _HEADER.size + _CRC.size
BYTES_MAX: Final = 1 << 30
"""A bigger state is not kept: writing it every minute would wear out flash, and load slowly."""
CHUNK: Final = 1 << 20
QUARANTINED: Final = 2
TRIES: Final = 5
"""More than a flickering power supply interrupts; then the one before it gets as many."""
_SUFFIX, _NEW = ".state", ".new"
_NAMED: Final = re.compile(r"(\d{20})-(\d{20})\.state", re.ASCII)
_TRIED: Final = "tried"
QUARANTINE: Final = "quarantine"


class CheckpointDamaged(ValueError):  # noqa: N818 - what was found, as in `port`
    """Bytes that are no checkpoint of this version; the text says why."""


class CheckpointTooBig(LogError):  # noqa: N818 - what was found, as in `port`
    """A state that would take more than `BYTES_MAX`."""


def packed(sections: Mapping[str, Pieces]) -> list[bytes | memoryview]:
    """A checkpoint as pieces that belong one after the other. Raises CheckpointTooBig."""
    listed = {name: list(pieces) for name, pieces in sections.items()}
    table = b"".join(
        _NAME.pack(len(name)) + name.encode() + _SIZE.pack(sum(map(len, pieces)))
        for name, pieces in listed.items()
    )
    body: list[bytes | memoryview] = [table, *(x for pieces in listed.values() for x in pieces)]
    size, crc = sum(map(len, body)), 0
    if size > BYTES_MAX:
        raise CheckpointTooBig(f"the state has {size} bytes, at most {BYTES_MAX} are kept")
    for piece in body:
        crc = zlib.crc32(piece, crc)
    head = _HEADER.pack(_MAGIC, VERSION, len(listed), size, crc)
    return [head, _CRC.pack(zlib.crc32(head)), *body]


def unpacked(data: bytes) -> dict[str, memoryview]:
    """The sections of a checkpoint. Raises CheckpointDamaged."""
    if len(data) < HEADER_BYTES:
        raise CheckpointDamaged(f"{len(data)} bytes, a header has {HEADER_BYTES}")
    magic, version, count, size, crc = _HEADER.unpack_from(data)
    (of_head,) = _CRC.unpack_from(data, _HEADER.size)
    if magic != _MAGIC or of_head != zlib.crc32(data[: _HEADER.size]):
        raise CheckpointDamaged("the header is none, or damaged")
    if version != VERSION:
        raise CheckpointDamaged(f"format {version}, this sensorweir reads format {VERSION}")
    body = memoryview(data)[HEADER_BYTES:]
    if len(body) != size or zlib.crc32(body) != crc:
        raise CheckpointDamaged(f"{len(body)} of {size} bytes, or not those that were written")
    sizes, at = {}, 0
    for _ in range(count):
        (length,) = _NAME.unpack_from(body, at)
        at += _NAME.size
        name = bytes(body[at : at + length]).decode()
        (sizes[name],) = _SIZE.unpack_from(body, at + length)
        at += length + _SIZE.size
    found = {}
    for name, length in sizes.items():
        found[name] = body[at : at + length]
        at += length
    return found


class Checkpoints:
    """The checkpoints in a folder, which is ours alone as long as this is open."""

    def __init__(self, disk: Disk, folder: Path) -> None:
        """Raises LogLocked when another process has the folder, OSError when it cannot be used."""
        self._disk, self.folder = disk, folder
        disk.make_folder(folder)
        self._lock = disk.lock(folder / "lock")
        for name in disk.names(folder):
            if name.endswith(_NEW):
                disk.unlink(folder / name)
        self._number = max((number for number, _ in self._files()), default=0)
        self._loaded = self._number
        self.put_aside: list[str] = []
        """What `load` could not use, and why."""
        self.hopeless = False
        """After `load` gave nothing: whether the starts without a checkpoint have failed too."""
        self._tries = self._tried()
        self._counted = False

    def load(self) -> dict[str, memoryview] | None:
        """The newest one that can be read, None without any. Raises OSError."""
        for number, name in reversed(self._files()):
            path = self.folder / name
            if self._tries >= TRIES:
                tries, self._tries = self._tries, 0
                self._tell_tries(0)
                self.quarantine(number, f"{tries} starts with it have failed")
                continue
            try:
                found = self._read(path)
            except CheckpointDamaged as error:
                self.quarantine(number, str(error))
                continue
            self._count_start()
            self._loaded = number
            return found
        self.hopeless = self._tries >= TRIES
        if self.hopeless:
            self._tries = 0
        self._count_start()
        return None

    def refuse(self, why: str) -> None:
        """What `load` has given cannot be used after all; it gives the one before it next."""
        self.quarantine(self._loaded, why)

    def well(self) -> None:
        """What was loaded has done no harm, or is not the newest one any more."""
        with suppress(FileNotFoundError):
            self._disk.unlink(self.folder / _TRIED)
            self._disk.sync_folder(self.folder)

    @property
    def covered(self) -> int:
        """The last record that any of them covers, those put aside and not deleted yet included."""
        names = [*self._disk.names(self.folder), *self._disk.names(self.folder / QUARANTINE)]
        return max((covers for _, covers, _ in map(_read_name, names)), default=0)

    def write(self, sections: Mapping[str, Pieces], covers: int) -> int:
        """Make a state durable, which holds what came of records up to `covers`; its size in bytes.

        The name tells of it, too: what a damaged state knew of is missed then, if the log lacks it.
        Raises OSError, CheckpointTooBig.
        """
        pieces = packed(sections)
        path = self.folder / _name_of(self._number + 1, covers)
        new = path.with_name(path.name + _NEW)
        file = self._disk.create(new)
        try:
            size = _write(file, pieces)
            file.sync()
        finally:
            file.close()
        self._disk.rename(new, path)
        self._disk.sync_folder(self.folder)
        self._number += 1
        for _, name in self._files()[:-SNAPSHOTS_KEPT]:
            self._disk.unlink(self.folder / name)
        self._disk.sync_folder(self.folder)
        self.well()
        return size

    def quarantine(self, number: int, why: str) -> None:
        """Put a checkpoint aside, so that somebody may look at it; the newest ones are kept."""
        place, name = self.folder / QUARANTINE, dict(self._files())[number]
        self._disk.make_folder(place)
        self._disk.rename(self.folder / name, place / name)
        for old in self._disk.names(place)[:-QUARANTINED]:
            self._disk.unlink(place / old)
        self._disk.sync_folder(place)
        self._disk.sync_folder(self.folder)
        self.put_aside.append(f"{name}: {why}")

    def close(self) -> None:
        """Let go of the folder."""
        self._lock.close()

    # --- inside --------------------------------------------------------------------------

    def _files(self) -> list[tuple[int, str]]:
        """(number, name), the oldest first."""
        found = map(_read_name, self._disk.names(self.folder))
        return sorted((number, name) for number, _, name in found if number)

    def _read(self, path: Path) -> dict[str, memoryview]:
        if self._disk.size(path) > BYTES_MAX + HEADER_BYTES:
            raise CheckpointDamaged("bigger than any that was written")
        try:
            data = self._disk.read(path)
        except OSError as error:
            if error.errno == errno.EIO:  # a medium that has lost it will not find it again
                raise CheckpointDamaged(str(error)) from None
            raise
        return unpacked(data)

    def _tried(self) -> int:
        if _TRIED not in self._disk.names(self.folder):
            return 0
        return self._disk.size(self.folder / _TRIED)

    def _count_start(self) -> None:
        """However many of them it tries to use, it is one start."""
        if not self._counted:
            self._counted = True
            self._tell_tries(self._tries + 1)

    def _tell_tries(self, tries: int) -> None:
        """As many bytes as starts: nothing to parse, and nothing to go wrong."""
        file = self._disk.create(self.folder / _TRIED)
        try:
            file.write(b"." * tries, 0)
            file.sync()
        except OSError as error:
            if not no_space(error):  # a full disk is no reason not to start
                raise
        finally:
            file.close()
        self._disk.sync_folder(self.folder)


def _write(file: File, pieces: Iterable[bytes | memoryview]) -> int:
    at = 0
    for piece in pieces:
        for first in range(0, len(piece), CHUNK):
            part = bytes(piece[first : first + CHUNK])
            file.write(part, at)
            at += len(part)
    return at


def _name_of(number: int, covers: int) -> str:
    return f"{number:020}-{covers:020}{_SUFFIX}"


def _read_name(name: str) -> tuple[int, int, str]:
    """(number, what it covers, the name); zeros for what is no checkpoint."""
    found = _NAMED.fullmatch(name)
    return (int(found[1]), int(found[2]), name) if found else (0, 0, name)
