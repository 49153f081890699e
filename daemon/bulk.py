"""Bulk: messages by column, as they lie in what was read from a socket.

No object is made for a message unless somebody looks at it alone: what a million of them cost is
made up of such objects.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Final, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from daemon.messages import (
    AGAIN,
    COLUMNS,
    END,
    FIRST,
    NUMBER,
    PACKET_ID,
    PAYLOAD,
    PROPERTIES,
    QOS,
    RETAIN,
    TOPIC,
    TOPIC_END,
    Message,
)
from daemon.octets import PADDING
from daemon.topics import ByTopic, Topics
from pipelines.batch import I4, I8, U1
from pipelines.jit import kernel, settled

_make = partial(tuple.__new__, Message)
_UNASKED: Final = ("", b"")
_NOTHING: Final[Mapping[int, tuple[str, bytes]]] = {}


class Origin(NamedTuple):
    """Where messages have come from."""

    epoch: int = 0
    """Number of the connection: an acknowledgement is only good on the same one."""
    session: int = 0
    """Number of the broker's session: packet ids of one mean nothing in another."""
    resumed: bool = False
    """Whether the broker knew our session: what it marks as sent again may be known to us."""


@kernel
def row_bytes_(rows: I4, i: int) -> int:
    """Bytes of the topic and the payload of one row."""
    return int(rows[i, TOPIC_END] - rows[i, TOPIC] + rows[i, END] - rows[i, PAYLOAD])


@settled
def bytes_(rows: I4) -> int:
    """Bytes of topics and payloads."""
    n = 0
    for i in range(rows.shape[0]):
        n += row_bytes_(rows, i)
    return n


class Bulk(Sequence[Message]):
    """Messages in order of arrival; as a sequence it makes each when it is looked at."""

    __slots__ = ("_made", "_size", "arrival_ns", "asked", "data", "origin", "rows", "topics")

    def __init__(
        self,
        data: U1,
        rows: I4,
        arrival_ns: I8,
        topics: Topics,
        origin: Origin,
        asked: Mapping[int, tuple[str, bytes]] = _NOTHING,
        made: Sequence[Message] | None = None,
        size: int = -1,
    ) -> None:
        """`data`: bytes in which the packets lie, and `PADDING` NULs somewhere behind them.

        rows (n, COLUMNS): see `messages`. asked: {row: response topic and correlation data}.
        size: `size_bytes`, where that is known.
        """
        self.data, self.rows, self.arrival_ns = data, rows, arrival_ns
        self.topics, self.origin, self.asked = topics, origin, asked
        self._made, self._size = made, size

    @classmethod
    def of(cls, messages: Sequence[Message], topics: Topics) -> "Bulk":
        """The same messages by column; those that are whole stay what they are."""
        if isinstance(messages, cls):
            return messages
        parts: list[bytes] = []
        lengths: list[int] = []
        rows = np.zeros((len(messages), COLUMNS), np.int32)
        for m in messages:
            topic = m[0].encode("utf-8", "surrogatepass")
            parts += (topic, m[1], b"\0")
            lengths += (len(topic), len(m[1]), 1)
        ends = np.cumsum(np.array(lengths, np.int64)).reshape(-1, 3)
        rows[:, TOPIC_END] = rows[:, PROPERTIES] = rows[:, PAYLOAD] = ends[:, 0]
        rows[:, TOPIC], rows[:, END] = ends[:, 0] - lengths[::3], ends[:, 1]
        rows[:, FIRST] = [0x30 | m[2] << 1 | m[5] | m[9] << 3 for m in messages]
        rows[:, PACKET_ID] = [m[3] for m in messages]
        data = np.frombuffer(bytearray(b"".join((*parts, bytes(PADDING)))), np.uint8)
        topics.number(data, rows)
        arrival_ns = np.array([m[4] for m in messages], np.int64)
        return cls(data, rows, arrival_ns, topics, Origin(), made=messages)

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, at: int) -> Message: ...
    @overload
    def __getitem__(self, at: slice) -> "Bulk": ...
    def __getitem__(self, at: int | slice) -> "Message | Bulk":
        if isinstance(at, slice):
            first, last, step = at.indices(len(self.rows))
            assert step == 1
            return self._part(
                at, {i - first: x for i, x in self.asked.items() if first <= i < last}
            )
        if self._made is not None:
            return self._made[at]
        return next(iter(self[at : at + 1 or None]))

    def __iter__(self) -> Iterator[Message]:
        return iter(self._messages())

    def where(self, chosen: NDArray[np.bool_]) -> "Bulk":
        """Those that a mask chooses."""
        asked = self.asked
        if asked:
            places = np.cumsum(chosen) - 1
            asked = {int(places[i]): x for i, x in asked.items() if chosen[i]}
        index = np.flatnonzero(chosen)
        made = self._made and [self._made[i] for i in index.tolist()]
        return Bulk(
            self.data,
            self.rows[index],
            self.arrival_ns[index],
            self.topics,
            self.origin,
            asked,
            made,
        )

    def kept(self, of: ByTopic) -> "Bulk":
        """Those for whose topics the answer is not 0; itself when that is all."""
        if not len(self.rows) or of.only(self.topics, self.rows) > 0:
            return self
        return self.where(of.of(self.topics, self.rows) > 0)

    @property
    def size_bytes(self) -> int:
        """Of topics and payloads."""
        if self._size < 0:
            self._size = int(bytes_(self.rows))
        return self._size

    @property
    def qos(self) -> I4:
        """(n,) quality of service of each."""
        return (self.rows[:, FIRST] & QOS) >> 1

    def goes_on(self, before: "Bulk") -> bool:
        """Whether this one and the one before it can be one."""
        return (
            self.data is before.data
            and self.topics is before.topics
            and self.origin == before.origin
        )

    # --- inside --------------------------------------------------------------------------

    def _part(self, at: slice, asked: Mapping[int, tuple[str, bytes]]) -> "Bulk":
        made = self._made and self._made[at]
        rows, arrival_ns = self.rows[at], self.arrival_ns[at]
        return Bulk(self.data, rows, arrival_ns, self.topics, self.origin, asked, made)

    def _messages(self) -> Sequence[Message]:
        if self._made is None:
            self._made = self._make()
        return self._made

    def _make(self) -> list[Message]:
        data, name, asked = self.data.data, self.topics.name, self.asked
        epoch, session, resumed = self.origin
        return [
            _make(
                (
                    name(row[NUMBER]),
                    data[row[PAYLOAD] : row[END]].tobytes(),
                    (row[FIRST] & QOS) >> 1,
                    row[PACKET_ID],
                    arrival_ns,
                    row[FIRST] & RETAIN > 0,
                    epoch,
                    *(asked.get(i, _UNASKED) if asked else _UNASKED),
                    resumed and row[FIRST] & AGAIN > 0,
                    session,
                )
            )
            for i, (row, arrival_ns) in enumerate(
                zip(self.rows.tolist(), self.arrival_ns.tolist(), strict=True)
            )
        ]


def bytes_of(messages: Sequence[Message]) -> int:
    """Of topics and payloads."""
    if isinstance(messages, Bulk):
        return messages.size_bytes
    return sum([len(m[0]) + len(m[1]) for m in messages])


def joined(parts: Sequence[Bulk]) -> Bulk:
    """Some that `goes_on` holds of, as one."""
    if len(parts) == 1:
        return parts[0]
    asked: dict[int, tuple[str, bytes]] = {}
    n = 0
    for part in parts:
        if part.asked:
            asked |= {n + i: x for i, x in part.asked.items()}
        n += len(part)
    head = parts[0]
    rows = np.concatenate([part.rows for part in parts])
    arrival_ns = np.concatenate([part.arrival_ns for part in parts])
    return Bulk(head.data, rows, arrival_ns, head.topics, head.origin, asked)
