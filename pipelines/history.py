"""History: the rows a pipeline took of late, so that they can be taken again in another order."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.batch import I8, Batch, joined, new_batch, take


class Rows(NamedTuple):
    """Rows of one table, and the events they came with."""

    batch: Batch
    ids: tuple[str, ...] = ()
    """(n,) empty when rows come with no events, or the batch is empty."""

    def where(self, mask: NDArray[np.bool_]) -> "Rows":
        """Those for which `mask` is set, copied."""
        ids = tuple(self.ids[i] for i in np.flatnonzero(mask).tolist()) if self.ids else ()
        return Rows(take(self.batch, mask), ids)

    def by_time(self) -> "Rows":
        """The same rows in order of event time; equal times stay in the order they came."""
        order = np.argsort(self.batch.t_ns, kind="stable")
        ids = tuple(self.ids[i] for i in order.tolist()) if self.ids else ()
        return Rows(take(self.batch, order), ids)


NO_ROWS = Rows(new_batch(0))


def together(parts: Sequence[Rows]) -> Rows:
    """All rows, in order. Either all parts have ids or none has."""
    some = [p for p in parts if p.batch.size]
    if not some:
        return NO_ROWS
    if len(some) == 1:
        return some[0]
    return Rows(joined([p.batch for p in some]), tuple(i for p in some for i in p.ids))


class History:
    """Rows in the order of their arrival, until they are forgotten."""

    def __init__(self) -> None:
        self._parts: list[Rows] = []
        self.size = 0

    def add(self, rows: Rows) -> None:
        """Append rows; they must be the caller's no more."""
        if rows.batch.size:
            self._parts.append(rows)
            self.size += rows.batch.size

    def rows(self) -> Rows:
        """Everything, in order of arrival."""
        whole = together(self._parts)
        self._parts = [whole] if whole.batch.size else []
        return whole

    def replace(self, rows: Rows) -> None:
        """Keep these rows instead."""
        self._parts, self.size = [], 0
        self.add(rows)

    def has(self, batch: Batch) -> NDArray[np.bool_]:
        """(n,) whether a row with the series, time and value of each of these is there."""
        mine = self.rows().batch
        known = np.flatnonzero(np.isin(mine.t_ns, batch.t_ns))
        marks = set(_marks(take(mine, known)))
        return np.array([mark in marks for mark in _marks(batch)], bool)

    def remove(self, rows: Rows) -> int:
        """Forget one row for each of these, and how many were found.

        Rows that came with events are known by those, others by series, time and value.
        """
        mine = self.rows()
        keep = np.ones(mine.batch.size, bool)
        at: dict[object, list[int]] = {}
        marks = mine.ids or _marks(mine.batch)
        for i, mark in enumerate(marks):
            at.setdefault(mark, []).append(i)
        for mark in rows.ids or _marks(rows.batch):
            if at.get(mark):
                keep[at[mark].pop()] = False
        self.replace(mine.where(keep))
        return int((~keep).sum())


def _marks(batch: Batch) -> list[object]:
    value = np.where(np.isnan(batch.value), np.inf, batch.value).tolist()
    return list(zip(batch.series.tolist(), batch.t_ns.tolist(), value, strict=True))


def latest(times: I8, group: NDArray[np.int32], size: int, floor: int) -> I8:
    """(size,) the greatest time of each group, `floor` where it has none."""
    found = np.full(size, floor, np.int64)
    np.maximum.at(found, group, times)
    return found
