"""SeriesTable: which labels stand for which dense row, and how far the time of each row is."""

from array import array
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from config.topics import safe
from pipelines.batch import I4, I8, Mask
from pipelines.names import Names

Labels = tuple[tuple[str, str], ...]
"""(name, value) pairs sorted by name; `channel` is a label like the others."""

NEVER: Final = np.iinfo(np.int64).min
FULL: Final = -1
_END: Final = b"\xff"
"""Behind each text: none has such a byte."""


def make_labels(pairs: dict[str, str]) -> Labels:
    """Labels in their canonical order."""
    return tuple(sorted(pairs.items()))


def without_channel(labels: Labels) -> Labels:
    """What names the device whose series this is."""
    return tuple([pair for pair in labels if pair[0] != "channel"])


class Index:
    """Labels and their numbers, in the order in which they were met.

    What labels are called is kept once for all that are called the same.
    """

    def __init__(self) -> None:
        self._kinds = Names()
        """What labels are called, of all labels of one number."""
        self._values = Names()
        """By number: which of these, and the values."""
        self._kind: dict[tuple[str, ...], int] = {}
        """Which of `_kinds`, of those that were asked for: they are few."""

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Iterator[Labels]:
        return map(self.__getitem__, range(len(self)))

    def __getitem__(self, number: int) -> Labels:
        kind, _, values = self._values[number].partition(_END)
        return _labels(self._kinds[int(kind)], values)

    def near(self, number: int) -> Labels:
        """The same for who asks again and again: some are kept."""
        kind, _, values = self._values[number].partition(_END)
        return _labels_of_few(self._kinds[int(kind)], values)

    def find(self, labels: Labels) -> int | None:
        """The number of labels, None when they were never met."""
        names = tuple([name for name, _ in labels])
        kind = self._kind.get(names)
        if kind is None:
            kind = self._kinds.find(_joined(names))
        return None if kind is None else self._values.find(_written(kind, labels))

    def add(self, labels: Labels) -> int:
        """The number of labels, the next one at first sight."""
        names = tuple([name for name, _ in labels])
        kind = self._kind.get(names)
        if kind is None:
            kind = self._kind[names] = self._kinds.add(_joined(names))
        return self._values.add(_written(kind, labels))

    def keep(self, numbers: Sequence[int]) -> None:
        """Forget all but these, ascending, which close the gaps."""
        self._values.keep(numbers)

    def packed(self) -> tuple[bytes, ...]:
        """All of it, for `of`: letters as they are, and numbers of 32 bits, in turn."""
        return (*self._kinds.packed(), *self._values.packed())

    @classmethod
    def of(cls, *columns: bytes) -> "Index":
        """What was `packed` so. Raises ValueError or IndexError when it is none."""
        made = cls()
        made._kinds, made._values = Names.of(*columns[:2]), Names.of(*columns[2:])
        for _ in made:
            pass
        return made


def _joined(texts: Sequence[str]) -> bytes:
    return b"".join([text.encode("utf-8", "surrogatepass") + _END for text in texts])


def _written(kind: int, labels: Labels) -> bytes:
    return b"%d\xff" % kind + _joined([value for _, value in labels])


def _texts(joined: bytes) -> list[str]:
    return [text.decode("utf-8", "surrogatepass") for text in joined.split(_END)[:-1]]


def _labels(names: bytes, values: bytes) -> Labels:
    return tuple(zip(_texts(names), _texts(values), strict=True))


_labels_of_few = lru_cache(maxsize=1024)(_labels)


class SeriesTable:
    """Labels ↔ row of one stream; rows are given out in order of first appearance."""

    STATE = ("refused", "_index", "clock_ns")
    REMADE = ("rows_max", "forgotten", "renumbered", "_devices", "_device", "_held")

    def __init__(self, rows_max: int) -> None:
        self.rows_max = rows_max
        self.refused = 0
        self.forgotten = 0
        """Series whose rows were given back since the start."""
        self.renumbered = 0
        """How often rows have got other numbers since the start."""
        self._index = Index()
        """Labels of each row."""
        self.clock_ns: I8 = np.full(min(64, rows_max), NEVER, np.int64)
        """(capacity,) event time up to which each series is complete; NEVER before any sample."""
        self.remake()

    def __len__(self) -> int:
        return len(self._index)

    def __iter__(self) -> Iterator[Labels]:
        return iter(self._index)

    def remake(self) -> None:
        """Follow from a state that was put in place: devices are numbered anew, as before."""
        self._devices, self._device, self._held = Index(), array("i"), array("i")

    def labels(self, row: int) -> Labels:
        """Labels of a row."""
        return self._index.near(row)

    def find(self, labels: Labels) -> int | None:
        """Row of these labels, None when never seen."""
        return self._index.find(labels)

    def intern(self, labels: Labels) -> int:
        """Row of these labels, a new one at first sight; FULL when the table is."""
        if len(self) >= self.rows_max:
            known = self._index.find(labels)
            self.refused += known is None
            return FULL if known is None else known
        row = self._index.add(labels)
        if row >= self.clock_ns.size:
            more = min(row, self.rows_max - row)
            self.clock_ns = np.concatenate((self.clock_ns, np.full(more, NEVER, np.int64)))
        return row

    def device(self, row: int) -> int:
        """Number of the device whose series this is, in the order of their first rows."""
        self._meet_devices()
        return self._device[row]

    def held(self, device: Labels) -> int:
        """How many series the device with these labels has."""
        self._meet_devices()
        number = self._devices.find(device)
        return 0 if number is None else self._held[number]

    def _meet_devices(self) -> None:
        for row in range(len(self._device), len(self)):
            number = self._devices.add(without_channel(self._index[row]))
            if number == len(self._held):
                self._held.append(0)
            self._held[number] += 1
            self._device.append(number)

    def renumber(self, moved: I4) -> None:
        """Forget some series and close the gaps. moved (rows,): new row of each, FULL: forgotten."""
        kept = np.flatnonzero(moved != FULL)
        self._index.keep(kept.tolist())
        self.remake()
        self.forgotten += moved.size - kept.size
        self.renumbered += 1
        moved_up(self.clock_ns, kept, moved.size, NEVER)


def numbered(kept: Mask) -> I4:
    """(rows,) the new numbers of rows when only those that are `kept` stay, FULL for the others."""
    moved = np.cumsum(kept, dtype=np.int32) - 1
    moved[~kept] = FULL
    return moved


def moved_up(column: Any, kept: I4 | NDArray[np.int64], size: int, empty: Any = 0) -> None:
    """Close the gaps in an array by rows, of which `size` were in use; what gets free is empty."""
    column[: kept.size] = column[kept]
    column[kept.size : size] = empty


@lru_cache(maxsize=65_536)
def series_key(labels: Labels) -> str:
    """One line that names a series in ids and messages: 'channel=temperature,device=b7'.

    Different labels have different keys; values are encoded like levels of topics, so the key
    holds no control character and no separator of its own.
    """
    return ",".join(f"{name}={safe(value)}" for name, value in labels)
