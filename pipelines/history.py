"""History: the rows a pipeline took of late, so that they can be taken again in another order."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.batch import I8, Batch, joined, new_batch, rows, take


class Rows(NamedTuple):
    """Rows of one table, and the events they came with."""

    batch: Batch
    ids: tuple[str, ...] = ()
    """(n,) empty when rows come with no events, or the batch is empty."""

    def where(self, mask: NDArray[np.bool_]) -> "Rows":
        """Those for which `mask` is set, copied."""
        ids = tuple(self.ids[i] for i in np.flatnonzero(mask).tolist()) if self.ids else ()
        return Rows(take(self.batch, mask), ids)

    def by_time(self, rank: NDArray[np.int64] | None = None) -> "Rows":
        """The same rows in order of event time; equal times by `rank`, else as they came."""
        keys = (self.batch.t_ns,) if rank is None else (rank, self.batch.t_ns)
        order = np.lexsort(keys)
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

    STATE = ("_kept", "_ids", "size")
    REMADE = ()

    def __init__(self) -> None:
        self._kept = new_batch(0)
        self._ids: list[str] = []
        self.size = 0

    def add(self, more: Rows) -> None:
        """Append rows, copied."""
        n, batch = self.size + more.batch.size, more.batch
        if n > self._kept.size or batch.fields.shape[1] != self._kept.fields.shape[1]:
            wider = new_batch(max(n, 2 * self._kept.size), batch.fields.shape[1])
            self._write(wider, 0, self.size, self._kept)
            self._kept = wider
        self._write(self._kept, self.size, batch.size, batch)
        self._ids += more.ids
        self.size = n

    def rows(self) -> Rows:
        """Everything, in order of arrival; views that hold until something is added or removed."""
        return Rows(rows(self._kept, 0, self.size), tuple(self._ids))

    def keep(self, mask: NDArray[np.bool_]) -> None:
        """Forget the rows for which `mask` is not set."""
        kept = self.rows().where(mask)
        self.size, self._ids = 0, []
        self.add(kept)

    def renumber(self, moved: NDArray[np.int32]) -> None:
        """Follow the table: the new row of each; no row of a series that was forgotten is here."""
        series = self._kept.series[: self.size]
        series[:] = moved[series]

    def of(self, inside: NDArray[np.bool_]) -> Rows:
        """The rows of the series that `inside` is set for, in order of event time."""
        whole = self.rows()
        return whole.where(inside[whole.batch.series]).by_time()

    def has(self, batch: Batch) -> NDArray[np.bool_]:
        """(n,) whether a row with the series, time and value of each of these is there."""
        there = {mark for _, mark in self._marked(Rows(batch))}
        return np.array([mark in there for mark in _marks(Rows(batch))], bool)

    def remove(self, gone: Rows) -> int:
        """Forget one row for each of these, the first that came, and how many were found.

        Rows that came with events are known by those, others by series, time and value.
        """
        if not gone.batch.size:
            return 0
        at: dict[object, list[int]] = {}
        for i, mark in reversed(list(self._marked(gone))):  # so that pop takes the first
            at.setdefault(mark, []).append(i)
        found = [at[mark].pop() for mark in _marks(gone) if at.get(mark)]
        mask = np.ones(self.size, bool)
        mask[found] = False
        self.keep(mask)
        return len(found)

    def _marked(self, some: Rows) -> Iterator[tuple[int, object]]:
        """(place, mark) of each row whose series is one of these rows' series."""
        mine = self.rows()
        if not mine.batch.size:
            return
        listed = np.zeros(1 + max(mine.batch.series.max(), some.batch.series.max()), bool)
        listed[some.batch.series] = True
        there = listed[mine.batch.series]
        yield from zip(np.flatnonzero(there).tolist(), _marks(mine.where(there)), strict=True)

    @staticmethod
    def _write(into: Batch, first: int, n: int, source: Batch) -> None:
        for name in ("series", "t_ns", "start_ns", "value", "quality"):
            getattr(into, name)[first : first + n] = getattr(source, name)[:n]
        width = source.fields.shape[1]
        into.fields[first : first + n, :width] = source.fields[:n]


def _marks(some: Rows) -> Sequence[object]:
    if some.ids:
        return some.ids
    value = np.where(np.isnan(some.batch.value), np.inf, some.batch.value).tolist()
    return list(zip(some.batch.series.tolist(), some.batch.t_ns.tolist(), value, strict=True))


def latest(times: I8, group: NDArray[np.int32], size: int, floor: int) -> I8:
    """(size,) the greatest time of each group, `floor` where it has none."""
    found = np.full(size, floor, np.int64)
    np.maximum.at(found, group, times)
    return found
