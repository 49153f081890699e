"""Segments: what a file of the log looks like, and what the bytes of one still say.

A segment is `<number of its first record, 20 digits>.log`, little endian:

    header   8s magic · u4 version · u8 first · u8 previous · u4 crc                     32 bytes
    record   u4 magic · u4 crc · u4 length · u8 number · u8 durable · body               28 + body

`first` is the number of the first record.  `previous` is the number of the record before it in
the log: `first - 1`, or less where damaged records had to be given up, so that a segment that
got lost is noticed.  `durable` is the newest record that was durable when this one was appended:
it tells a record that was never promised, torn by a power cut, from one that was promised and
is gone.  CRC-32 (zlib), of the header over what stands before it, of a record over what stands
behind it.
"""

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from daemon.durable.disk import Disk, File
from daemon.durable.port import RECORD_BYTES_MAX, LogFailed, LogForeign

VERSION: Final = 1
_MAGIC: Final = b"sweirlog"
_RECORD_MAGIC: Final = 0xA75E0DC3  # no UTF-8 text and no JSON holds these bytes
_RECORD_MAGIC_BYTES: Final = _RECORD_MAGIC.to_bytes(4, "little")
_HEADER: Final = struct.Struct("<8sIQQ")
_RECORD: Final = struct.Struct("<IIIQQ")
_COVERED: Final = struct.Struct("<IQQ")
_CRC: Final = struct.Struct("<I")
HEADER_BYTES: Final = _HEADER.size + _CRC.size
RECORD_HEADER_BYTES: Final = _RECORD.size
_CRC_END: Final = _RECORD.size - _COVERED.size
_NAME: Final = re.compile(r"(\d{20})\.log")
_NEW: Final = ".new"
_LOOKS: Final = 8


class Record(NamedTuple):
    """One record where it stands in the bytes of a segment."""

    number: int
    durable: int
    start: int
    """First byte of the body."""
    end: int


@dataclass(slots=True)
class Segment:
    """A segment that is part of the log."""

    path: Path
    first: int
    last: int
    """`first - 1` while it holds no record."""
    size: int
    """Bytes up to the end of its last record."""


class Content(NamedTuple):
    """What the bytes of a segment still say."""

    previous: int | None
    """None when the header is no header, or of another segment."""
    last: int
    end: int
    """Behind the last record of the run that begins at the header."""
    size: int
    lost_last: int
    """The newest record that stands behind the end of that run or was durable by then; `last`
    when nothing is missing."""
    promised: bool
    """Whether a record that was durable is missing."""


def name_of(first: int) -> str:
    """Name of the segment whose first record has that number."""
    return f"{first:020}.log"


def first_of(name: str) -> int | None:
    """The way back; None for every other file."""
    match = _NAME.fullmatch(name)
    first = int(match[1]) if match else 0
    return first if 0 < first < 2**63 else None


def is_leftover(name: str) -> bool:
    """Whether it is a segment that was never finished."""
    return name.endswith(_NEW) and first_of(name.removesuffix(_NEW)) is not None


def checksum(head: bytes | memoryview, body: bytes = b"") -> int:
    """CRC-32 over both, as if they were one."""
    return zlib.crc32(body, zlib.crc32(head))


def frame(number: int, durable: int, body: bytes) -> bytes:
    """A record as it stands in the file."""
    crc = checksum(_COVERED.pack(len(body), number, durable), body)
    return _RECORD.pack(_RECORD_MAGIC, crc, len(body), number, durable) + body


def create(disk: Disk, folder: Path, first: int, previous: int) -> tuple[Segment, File]:
    """A segment without records: durable under its name, or not there at all.

    Raises `OSError` while another try can do no harm, `LogFailed` when none may follow.
    """
    head = _HEADER.pack(_MAGIC, VERSION, first, previous)
    path = folder / name_of(first)
    unfinished = path.with_name(path.name + _NEW)
    file = disk.create(unfinished)
    try:
        file.write(head + _CRC.pack(checksum(head)), 0)
    except OSError:
        file.close()
        raise
    try:
        file.sync()
        disk.rename(unfinished, path)
        disk.sync_folder(folder)
    except OSError as error:
        file.close()
        raise LogFailed(f"{path}: a new segment failed: {error}") from error
    return Segment(path, first, first - 1, HEADER_BYTES), file


def look(path: Path, data: bytes, first: int) -> Content:
    """Read a segment from its header on up to the first thing that is not right.

    Raises `LogForeign` for a valid header of another version.
    """
    previous = _previous(path, data, first)
    last, end = first - 1, HEADER_BYTES
    if previous is None:
        end = 0
    else:
        for record in run(data, first):
            last, end = record.number, record.end
    lost_last, promised = _behind(data, end, last) if end < len(data) else (last, False)
    return Content(previous, last, end, len(data), lost_last, promised)


def run(data: bytes | memoryview, first: int) -> Iterator[Record]:
    """The records from the header on, numbered without a gap, up to the first invalid one."""
    view, at, number = memoryview(data), HEADER_BYTES, first
    while (record := _record(view, at)) is not None and _in_order(record.number, number):
        yield record
        at, number = record.end, number + 1


def _in_order(number: int, expected: int) -> bool:
    return number == expected


def _previous(path: Path, data: bytes, first: int) -> int | None:
    if len(data) < HEADER_BYTES:
        return None
    magic, version, number, previous = _HEADER.unpack_from(data)
    (crc,) = _CRC.unpack_from(data, _HEADER.size)
    if magic != _MAGIC or crc != checksum(data[: _HEADER.size]):
        return None
    if version != VERSION:
        raise LogForeign(
            f"{path}: format {version}, this sensorweir reads format {VERSION}; "
            "use the version that wrote it, or move the folder away to begin an empty log"
        )
    return int(previous) if number == first and previous < first else None


def _record(view: memoryview, at: int) -> Record | None:
    body = at + RECORD_HEADER_BYTES
    if body > len(view):
        return None
    magic, crc, length, number, durable = _RECORD.unpack_from(view, at)
    end = body + length
    if magic != _RECORD_MAGIC or length > RECORD_BYTES_MAX or end > len(view):
        return None
    if crc != checksum(view[at + _CRC_END : end]):
        return None
    return Record(number, durable, body, end)


def _behind(data: bytes, end: int, last: int) -> tuple[int, bool]:
    """(newest record known of behind an invalid one, whether one that was durable is missing).

    Payloads come from strangers and may hold what looks like a record.  A number is only believed
    as far as that many records would have had room, so that none can make the log skip more; and
    who makes us check more than `_LOOKS` times the bytes there are gets them all kept.
    """
    view, newest, promised, at = memoryview(data), last, False, end
    checked = 0
    while (at := data.find(_RECORD_MAGIC_BYTES, at)) >= 0:
        claimed = _claimed(view, at, last, _room(at - end))
        record = _record(view, at) if claimed else None
        checked += claimed
        if checked > _LOOKS * len(data):
            return last + _room(len(data) - end), True
        if record is None:
            at += 1
            continue
        newest = max(newest, record.number)
        promised = promised or last < record.durable
        at = record.end
    return newest, promised


def _room(size: int) -> int:
    return size // RECORD_HEADER_BYTES + 1


def _claimed(view: memoryview, at: int, last: int, room: int) -> int:
    """Bytes of what may be a record, 0 when it cannot be one."""
    if at + RECORD_HEADER_BYTES > len(view):
        return 0
    _, _, length, number, durable = _RECORD.unpack_from(view, at)
    size = RECORD_HEADER_BYTES + int(length)
    return (
        size if at + size <= len(view) and durable < number and last < number <= last + room else 0
    )
