"""SeriesTable: which labels stand for which dense row, and how far the time of each row is."""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from config.topics import safe
from pipelines.batch import I4, I8, Mask

Labels = tuple[tuple[str, str], ...]
"""(name, value) pairs sorted by name; `channel` is a label like the others."""

NEVER: Final = np.iinfo(np.int64).min
FULL: Final = -1


def make_labels(pairs: dict[str, str]) -> Labels:
    """Labels in their canonical order."""
    return tuple(sorted(pairs.items()))


def without_channel(labels: Labels) -> Labels:
    """What names the device whose series this is."""
    return tuple([pair for pair in labels if pair[0] != "channel"])


class SeriesTable:
    """Labels ↔ row of one stream; rows are given out in order of first appearance."""

    STATE = ("refused", "_labels", "clock_ns")
    REMADE = ("rows_max", "_row", "forgotten", "renumbered")

    def __init__(self, rows_max: int) -> None:
        self.rows_max = rows_max
        self.refused = 0
        self.forgotten = 0
        """Series whose rows were given back since the start."""
        self.renumbered = 0
        """How often rows have got other numbers since the start."""
        self._row: dict[Labels, int] = {}
        self._labels: list[Labels] = []
        self.clock_ns: I8 = np.full(64, NEVER, np.int64)
        """(capacity,) event time up to which each series is complete; NEVER before any sample."""

    def __len__(self) -> int:
        return len(self._labels)

    def __iter__(self) -> Iterator[Labels]:
        return iter(self._labels)

    def remake(self) -> None:
        """Follow from a state that was put in place."""
        self._row = {labels: row for row, labels in enumerate(self._labels)}

    def labels(self, row: int) -> Labels:
        """Labels of a row."""
        return self._labels[row]

    def find(self, labels: Labels) -> int | None:
        """Row of these labels, None when never seen."""
        return self._row.get(labels)

    def intern(self, labels: Labels) -> int:
        """Row of these labels, a new one at first sight; FULL when the table is."""
        row = self._row.get(labels)
        if row is not None:
            return row
        if len(self._labels) >= self.rows_max:
            self.refused += 1
            return FULL
        row = len(self._labels)
        self._row[labels] = row
        self._labels.append(labels)
        if row >= self.clock_ns.size:
            self.clock_ns = np.concatenate((self.clock_ns, np.full(row, NEVER, np.int64)))
        return row

    def renumber(self, moved: I4) -> None:
        """Forget some series and close the gaps. moved (rows,): new row of each, FULL: forgotten."""
        kept = np.flatnonzero(moved != FULL)
        self._labels = [self._labels[row] for row in kept.tolist()]
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
