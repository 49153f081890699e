"""Blocks: what went into the engine, as bytes, one block a turn.

A block is one or more records of a log, because records have a largest size.  A record is

    version u1 · kind u1 · flags u1 · number of the block u8 · part of the body

and the parts of a body are joined.  Bodies of some length are deflated, with their true length
in front.  All numbers are little-endian.  A turn is stored by column: messages of one turn come
from the same devices at about the same time, and deflate well so.
"""

import struct
import zlib
from collections.abc import Sequence
from enum import IntEnum
from typing import Any, Final, NamedTuple

import numpy as np

from daemon.bulk import Bulk
from daemon.durable.outputs import outputs_of, pack_outputs
from daemon.messages import END, FIRST, NUMBER, PACKET_ID, PAYLOAD, RETAIN, Message
from daemon.outbox import Parcel

VERSION: Final = 1
RECORD_BYTES_MAX: Final = 8 << 20
BODY_BYTES_MAX: Final = 256 << 20
DEFLATE_FROM: Final = 256
"""Shorter bodies, such as ticks, are stored as they are."""

_START, _TURN, _RELOAD, _STOP, _SESSION = 1, 2, 3, 4, 5
_MORE, _CONTINUES, _DEFLATED = 1, 2, 4
_RETAINED, _QOS = 4, 3
_HEAD: Final = struct.Struct("<BBBQ")
_BEGIN: Final = struct.Struct("<Bqq")
_COUNTS: Final = struct.Struct("<qIIIIII")
_LENGTH: Final = struct.Struct("<I")
_COLUMNS: Final = ("<i8", "<u4", "<u2", "<u1", "<u4", "<u4", "<u4")


class BlockError(ValueError):
    """Bytes that are no block, or one of a version that is not known here."""


class Begins(IntEnum):
    """What came before in the same run."""

    MIDDLE = 0
    """A part of the run, which may be gone by now."""
    FRESH = 1
    """Nothing: a daemon started without state."""
    RESUMED = 2
    """A daemon started with the state of another run, which is not in the recording."""
    GOES_ON = 3
    """A daemon started with the state in which the blocks before this one end."""


class Start(NamedTuple):
    """From here on a recording can be played: what runs, and when it is."""

    begins: Begins
    now_ns: int
    """Processing time, nanoseconds since 1970 UTC."""
    ticked_ns: int
    """The last tick before."""
    version: str
    """Of the daemon."""
    config: bytes
    """The configuration in force, see `daemon.durable.stored`."""


class Turn(NamedTuple):
    """One turn of the engine: what it took, and how far time had come."""

    until_ns: int
    messages: Sequence[Message]
    outputs: Sequence[Parcel] = ()
    """What came of it and shall be published."""
    settled: Sequence[int] = ()
    """Tokens of earlier outputs that need not be published any more."""
    ticks: Sequence[int] = ()
    """When time went on, where that does not follow from these messages alone."""


class Reload(NamedTuple):
    """Another configuration from here on."""

    config: bytes


class Stop(NamedTuple):
    """The daemon ended in order: what waited for others was handed on."""


class Session(NamedTuple):
    """The broker has forgotten us, and begun another session."""

    number: int


Block = Start | Turn | Reload | Stop | Session


def pack(block: Block, number: int = 0) -> list[bytes]:
    """The records of a block, in order. Raises BlockError when it is larger than 256 MiB."""
    kind, body = _packed(block)
    if len(body) > BODY_BYTES_MAX:
        raise BlockError(f"a block of {len(body)} bytes, at most {BODY_BYTES_MAX} can be kept")
    deflated = 0
    if len(body) >= DEFLATE_FROM:
        deflated, body = _DEFLATED, _LENGTH.pack(len(body)) + zlib.compress(body, 1)
    records = []
    for first in range(0, max(len(body), 1), RECORD_BYTES_MAX):
        more = _MORE if first + RECORD_BYTES_MAX < len(body) else 0
        flags = deflated | more | (_CONTINUES if first else 0)
        part = body[first : first + RECORD_BYTES_MAX]
        records.append(_HEAD.pack(VERSION, kind, flags, number) + part)
    return records


class Unpacker:
    """Records in order, to blocks."""

    def __init__(self) -> None:
        self.number = 0
        """Of the block that was fed last; counts from 1 where blocks are numbered."""
        self._parts: list[bytes] = []
        self._begun = (0, 0, 0)

    def feed(self, record: bytes) -> Block | None:
        """The block that ends with this record; None when none does.

        The rest of a block whose beginning was never seen is passed over: a log deletes its
        oldest records.  Raises BlockError.
        """
        if len(record) < _HEAD.size:
            raise BlockError(f"a record of {len(record)} bytes, expected at least {_HEAD.size}")
        version, kind, flags, number = _HEAD.unpack_from(record)
        if version != VERSION:
            raise BlockError(
                f"a record of version {version}, this program knows {VERSION}; "
                "use the version that it was made with"
            )
        if flags & ~(_MORE | _CONTINUES | _DEFLATED):
            raise BlockError(f"a record with unknown flags: {flags}")
        if flags & _CONTINUES:
            if not self._parts:
                return None
            if self._begun != (kind, flags & _DEFLATED, number):
                raise BlockError("a record goes on with another block than the one before")
        else:
            self._parts, self._begun = [], (kind, flags & _DEFLATED, number)
        self._parts.append(record[_HEAD.size :])
        if flags & _MORE:
            return None
        body, self._parts, self.number = b"".join(self._parts), [], number
        return _unpacked(kind, _inflated(body) if flags & _DEFLATED else body)


def _inflated(body: bytes) -> bytes:
    if len(body) < _LENGTH.size:
        raise BlockError("a deflated block without its length")
    [length] = _LENGTH.unpack_from(body)
    if length > BODY_BYTES_MAX:
        raise BlockError(f"a block of {length} bytes, expected at most {BODY_BYTES_MAX}")
    inflate = zlib.decompressobj()
    try:
        whole = inflate.decompress(body[_LENGTH.size :], length + 1)
    except zlib.error as error:
        raise BlockError(f"a block that does not inflate: {error}") from None
    if len(whole) != length or not inflate.eof or inflate.unused_data:
        raise BlockError(f"a deflated block that is not of the {length} bytes it says")
    return whole


def _packed(block: Block) -> tuple[int, bytes]:
    match block:
        case Start(begins, now_ns, ticked_ns, version, config):
            said = version.encode()
            head = _BEGIN.pack(begins, now_ns, ticked_ns) + _LENGTH.pack(len(said)) + said
            return _START, head + config
        case Turn():
            return _TURN, _turn(block)
        case Reload(config):
            return _RELOAD, config
        case Stop():
            return _STOP, b""
        case Session(number):
            return _SESSION, _LENGTH.pack(number)


def _unpacked(kind: int, body: bytes) -> Block:
    if kind == _START:
        reader = _Reader(body)
        begins, now_ns, ticked_ns = reader.fields(_BEGIN)
        if begins not in iter(Begins):
            raise BlockError(f"a block with an unknown kind of start {begins}")
        [length] = reader.fields(_LENGTH)
        version = _text(reader.take(length))
        return Start(Begins(begins), now_ns, ticked_ns, version, reader.rest())
    if kind == _TURN:
        return _turn_of(_Reader(body))
    if kind == _RELOAD:
        return Reload(body)
    if kind == _STOP:
        return Stop()
    if kind == _SESSION:
        [session] = _Reader(body).fields(_LENGTH)
        return Session(session)
    raise BlockError(f"a block of unknown kind {kind}")


def _turn(turn: Turn) -> bytes:
    until_ns, messages = turn.until_ns, turn.messages
    made = pack_outputs(turn.outputs)
    behind = _u4([len(part) for part in made]) + b"".join(made)
    behind += np.array(turn.settled, "<u8").tobytes() + np.array(turn.ticks, "<i8").tobytes()
    counts = len(made), len(turn.settled), len(turn.ticks)
    if not messages:  # ten ticks a second, for ever
        return _COUNTS.pack(until_ns, 0, 0, 0, *counts) + behind
    topics, row, columns, payloads = (
        _of_bulk(messages) if isinstance(messages, Bulk) else _of_each(messages)
    )
    named = [topic.encode("utf-8", "surrogatepass") for topic in topics]
    asked = _asked(messages)
    where = [topic.encode("utf-8", "surrogatepass") for _, topic, _ in asked]
    whose = [correlation for *_, correlation in asked]
    arrival_ns, epochs, mids, flags, sessions = columns
    steps = np.diff(arrival_ns, prepend=np.int64(0))
    sizes = list(map(len, payloads))
    stored = (steps, epochs, mids, flags, row, sizes, sessions)
    return b"".join(
        [
            _COUNTS.pack(until_ns, len(messages), len(topics), len(asked), *counts),
            *(np.array(c, t).tobytes() for c, t in zip(stored, _COLUMNS, strict=True)),
            *(_u4(map(len, texts)) for texts in (named, where, whose)),
            _u4(i for i, *_ in asked),
            *named,
            *where,
            *whose,
            *payloads,
            behind,
        ]
    )


def _of_each(messages: Sequence[Message]) -> tuple[Any, ...]:
    """Of messages: (topics, topic of each, columns, payloads)."""
    topics: dict[str, int] = {}
    row = [topics.setdefault(m[0], len(topics)) for m in messages]
    columns = (
        np.array([m[4] for m in messages], np.int64),
        [m[6] for m in messages],
        [m[3] for m in messages],
        [m[2] | (_RETAINED if m[5] else 0) for m in messages],
        [m.session for m in messages],
    )
    return list(topics), row, columns, [m[1] for m in messages]


def _of_bulk(messages: Bulk) -> tuple[Any, ...]:
    """The same of columns, none of which is looked at one by one."""
    rows, data, n = messages.rows, messages.data.data, len(messages)
    met, first, row = np.unique(rows[:, NUMBER], return_index=True, return_inverse=True)
    order = np.argsort(first)  # topics stand in the order in which they come
    place = np.empty_like(order)
    place[order] = np.arange(order.size)
    columns = (
        messages.arrival_ns,
        np.full(n, messages.origin.epoch),
        rows[:, PACKET_ID],
        messages.qos | np.where(rows[:, FIRST] & RETAIN, _RETAINED, 0),
        np.full(n, messages.origin.session),
    )
    ends = zip(rows[:, PAYLOAD].tolist(), rows[:, END].tolist(), strict=True)
    topics = [messages.topics.name(t) for t in met[order].tolist()]
    return topics, place[row], columns, [data[a:b] for a, b in ends]


def _asked(messages: Sequence[Message]) -> list[tuple[int, str, bytes]]:
    """(Which one, response topic, correlation data) of those with an answer to be sent."""
    if isinstance(messages, Bulk):
        return [(i, *answer) for i, answer in sorted(messages.asked.items())]
    return [
        (i, m.response_topic, m.correlation)
        for i, m in enumerate(messages)
        if m.response_topic or m.correlation
    ]


def _turn_of(reader: "_Reader") -> Turn:
    until_ns, n, topics, asked, made, left, ticks = reader.fields(_COUNTS)
    messages = _messages(reader, n, topics, asked) if n else []
    try:
        outputs = outputs_of(reader.pieces(reader.column("<u4", made)))
    except ValueError as error:
        raise BlockError(f"a turn with outputs that cannot be read: {error}") from None
    settled = reader.column("<u8", left).tolist()
    ticked = reader.column("<i8", ticks).tolist()
    if reader.rest():
        raise BlockError("a turn with bytes behind its end")
    return Turn(until_ns, messages, tuple(outputs), tuple(settled), tuple(ticked))


def _messages(reader: "_Reader", n: int, topics: int, asked: int) -> list[Message]:
    steps, epochs, mids, flags, rows, sizes, sessions = (reader.column(t, n) for t in _COLUMNS)
    lengths = [reader.column("<u4", k) for k in (topics, asked, asked)]
    whose = reader.column("<u4", asked)
    if int(rows.max()) >= topics:
        raise BlockError("a turn with a message that has no topic")
    if int(flags.max()) > (_RETAINED | _QOS) or int((flags & _QOS).max()) > 2:
        raise BlockError("a turn with a message of unknown flags")
    if asked and int(whose.max()) >= n:
        raise BlockError("a turn with an answer for a message that it does not have")
    named, where, correlated = (reader.pieces(part) for part in lengths)
    payloads = reader.pieces(sizes)
    texts = [_text(name) for name in named]
    made = [
        Message(
            texts[row],
            payload,
            flag & _QOS,
            mid,
            arrival,
            bool(flag & _RETAINED),
            epoch,
            session=session,
        )
        for row, payload, flag, mid, arrival, epoch, session in zip(
            rows.tolist(),
            payloads,
            flags.tolist(),
            mids.tolist(),
            np.cumsum(steps, dtype=np.int64).tolist(),
            epochs.tolist(),
            sessions.tolist(),
            strict=True,
        )
    ]
    for i, topic, correlation in zip(whose.tolist(), where, correlated, strict=True):
        made[i] = made[i]._replace(response_topic=_text(topic), correlation=correlation)
    return made


class _Reader:
    """Takes parts off the front of a body. Raises BlockError where it ends too early."""

    def __init__(self, body: bytes) -> None:
        self._body, self._at = body, 0

    def take(self, n: int) -> bytes:
        if n > len(self._body) - self._at:
            raise BlockError(
                f"a block that ends too early: {n} more bytes expected at {self._at}, "
                f"{len(self._body) - self._at} are there"
            )
        self._at += n
        return self._body[self._at - n : self._at]

    def fields(self, layout: struct.Struct) -> tuple[Any, ...]:
        return layout.unpack(self.take(layout.size))

    def column(self, dtype: str, n: int) -> np.ndarray[Any, Any]:
        return np.frombuffer(self.take(n * np.dtype(dtype).itemsize), dtype)

    def pieces(self, lengths: np.ndarray[Any, Any]) -> list[bytes]:
        """Texts that follow each other."""
        return [self.take(n) for n in lengths.tolist()]

    def rest(self) -> bytes:
        return self.take(len(self._body) - self._at)


def _u4(numbers: Any) -> bytes:
    return np.fromiter(numbers, "<u4").tobytes()


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError as error:
        raise BlockError(f"a block with a text that is not UTF-8: {error.reason}") from None
