"""Topics: names as numbers, looked up for many messages at once by a kernel.

A name is found by its hash and then compared byte by byte, so that no two are ever taken for one.
"""

from collections.abc import Callable
from typing import Any, Final
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from daemon.messages import NUMBER, TOPIC, TOPIC_END
from daemon.octets import SEED, U8, hashed, same
from pipelines.batch import I4, U1
from pipelines.jit import settled

_FREE: Final = -1
_MIXED: Final = -1
NEAR_MAX: Final = 4096
"""Names that are kept as text: making them costs a third of a microsecond."""


@settled
def number_(
    data: U1, rows: I4, first: int, letters: U1, begin: I4, slots: I4, hashes: U8, mask: int
) -> int:
    """Put into each row from `first` on the number of its topic; the first row that has none."""
    for i in range(first, rows.shape[0]):
        at, end = rows[i, TOPIC], rows[i, TOPIC_END]
        h = hashed(SEED, data, at, end)
        slot = np.int64(h & np.uint64(mask))
        found = _FREE
        while slots[slot] != _FREE:
            t = slots[slot]
            length = begin[t + 1] - begin[t]
            if hashes[t] == h and length == end - at and same(data, at, end, letters, begin[t]):
                found = t
                break
            slot = (slot + 1) & mask
        if found == _FREE:
            return i
        rows[i, NUMBER] = found
    return int(rows.shape[0])


@settled
def place_(hashes: U8, count: int, slots: I4, mask: int) -> None:
    """Put the first `count` names into the table of hashes, which has none."""
    for t in range(count):
        slot = np.int64(hashes[t] & np.uint64(mask))
        while slots[slot] != _FREE:
            slot = (slot + 1) & mask
        slots[slot] = t


@settled
def only_(answers: I4, rows: I4) -> int:
    """The answer that the topics of all rows have in common; `_MIXED` when they differ."""
    found = answers[rows[0, NUMBER]]
    for i in range(1, rows.shape[0]):
        if answers[rows[i, NUMBER]] != found:
            return _MIXED
    return int(found)


@settled
def answered_(answers: I4, rows: I4, first: int, out: I4) -> int:
    """The answer for the topic of each row from `first` on, up to the first that is negative."""
    for i in range(first, rows.shape[0]):
        out[i] = answers[rows[i, NUMBER]]
        if out[i] < 0:
            return i
    return int(rows.shape[0])


class Topics:
    """Names in the order in which they were met; used by one thread, `name` and `read` by any."""

    def __init__(self) -> None:
        self._count = 0
        self._near: dict[int, str] = {}
        """Some names, by number, as text."""
        self.answers: WeakKeyDictionary[ByTopic, I4] = WeakKeyDictionary()
        """What is kept of them by whoever looks at topics."""
        self._letters = np.zeros(4096, np.uint8)
        self._begin = np.zeros(128, np.int32)
        self._hashes = np.zeros(128, np.uint64)
        self._slots = np.full(256, _FREE, np.int32)

    def __len__(self) -> int:
        return self._count

    def name(self, t: int) -> str:
        """The name with this number; empty, which no source wants, for one that is not UTF-8."""
        name = self._near.get(t)
        if name is None:
            if len(self._near) >= NEAR_MAX:
                self._near.clear()
            name = self._near[t] = self.read(t)
        return name

    def read(self, t: int) -> str:
        """The same for who asks once for each: nothing is kept of it."""
        try:
            return self._letters[self._begin[t] : self._begin[t + 1]].tobytes().decode()
        except UnicodeDecodeError:
            return ""

    @property
    def columns(self) -> tuple[U1, I4, I4, U8]:
        """Letters, where each name begins in them, the table of hashes, hashes: see `number_`."""
        return self._letters, self._begin, self._slots, self._hashes

    def number(self, data: U1, rows: I4) -> None:
        """Put the number of its topic into each of these rows of `messages`."""
        first, n = 0, len(rows)
        while True:
            mask = self._slots.size - 1
            first = number_(
                data, rows, first, self._letters, self._begin, self._slots, self._hashes, mask
            )
            if first == n:
                return
            at, end = rows[first, TOPIC], rows[first, TOPIC_END]
            self._meet(data[at:end])

    def add(self, name: str) -> int:
        """The number of one that is new here."""
        self._meet(np.frombuffer(name.encode(), np.uint8).copy())
        return self._count - 1

    def _meet(self, raw: U1) -> None:
        t = self._count
        if t + 2 > self._begin.size:
            self._begin = _grown(self._begin, 2 * (t + 2))
            self._hashes = _grown(self._hashes, 2 * (t + 2))
        end = int(self._begin[t]) + raw.size
        if end > self._letters.size:
            self._letters = _grown(self._letters, 2 * end)
        self._letters[self._begin[t] : end] = raw
        self._begin[t + 1], self._hashes[t] = end, hashed(SEED, raw, 0, raw.size)
        if 2 * (t + 1) > self._slots.size:
            self._slots = np.full(2 * self._slots.size, _FREE, np.int32)
            place_(self._hashes, t + 1, self._slots, self._slots.size - 1)
        else:
            mask = self._slots.size - 1
            slot = int(self._hashes[t]) & mask
            while self._slots[slot] != _FREE:
                slot = (slot + 1) & mask
            self._slots[slot] = t
        self._count = t + 1


class ByTopic:
    """What is the answer for each topic: asked once for each, then an array."""

    def __init__(self, ask: Callable[[str], int]) -> None:
        """`ask`: a number from 0 on."""
        self._ask = ask

    def table(self, topics: Topics) -> I4:
        """(at least as many as there are topics,) the answer for each, by its number."""
        known = topics.answers.get(self)
        n = len(topics)
        if known is None or known.size < n:
            before = 0 if known is None else known.size
            fresh = np.fromiter(
                map(self._ask, map(topics.read, range(before, n))), np.int32, n - before
            )
            known = fresh if known is None else np.concatenate((known, fresh))
            topics.answers[self] = known
        return known

    def of(self, topics: Topics, rows: I4) -> I4:
        """(n,) the answer for each of these rows."""
        return self.table(topics)[rows[:, NUMBER]]

    def only(self, topics: Topics, rows: I4) -> int:
        """The answer for all of these rows, of which there is one; negative when they differ."""
        return int(only_(self.table(topics), rows))


def _grown(column: NDArray[Any], size: int) -> NDArray[Any]:
    grown = np.zeros(size, column.dtype)
    grown[: column.size] = column
    return grown


def warm_up() -> None:
    """Compile what is needed."""
    topics, rows = Topics(), np.zeros((1, NUMBER + 1), np.int32)
    topics.number(np.zeros(1, np.uint8), rows)
    place_(topics._hashes, 0, topics._slots, 0)  # noqa: SLF001
    ByTopic(lambda _: 0).only(topics, rows)
    answered_(np.zeros(1, np.int32), rows, 0, np.zeros(1, np.int32))
