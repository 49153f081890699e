"""Links: which rows of which pipelines a series of a source goes to.

Met once for each new series, by labels; from then on a batch is dealt out by two kernels.  What
the label of a new series is decides who is asked at all: a pipeline with `where: {device: b7}`
costs nothing when b8 turns up, or sends.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import numpy as np

from pipelines.batch import I4, I8, Batch, new_batch, roomy
from pipelines.jit import kernel
from pipelines.series import FULL, Labels, SeriesTable
from pipelines.stage import Selection
from pipelines.values import is_plain

FEW: Final = 64
"""Members that are sorted; if more have rows all are looked at."""


class Links:
    """Rows of one source's table, and where each of them leads."""

    def __init__(self, table: SeriesTable, selections: Sequence[Selection]) -> None:
        self.table, self.selections = table, selections
        self._by_label: dict[tuple[str, str], list[int]] = {}
        self._others: list[int] = []
        """Members that have to be asked about every series."""
        for m, selection in enumerate(selections):
            selection.linked = True
            pairs = _literal(selection)
            for pair in pairs:
                self._by_label.setdefault(pair, []).append(m)
            if not pairs:
                self._others.append(m)
        self._known = 0
        self._starts: I8 = np.zeros(1, np.int64)
        self._member: I4 = np.zeros(0, np.int32)
        self._row: I4 = np.zeros(0, np.int32)
        self._counts: I8 = np.zeros(len(selections), np.int64)
        self._batch = new_batch(0)
        self._members: I8 = np.zeros(len(selections), np.int64)
        self._ends: I8 = np.zeros(len(selections), np.int64)
        self._size: I8 = np.zeros(1, np.int64)
        self._calls: tuple[Callable[..., int], Callable[..., None]] | None = None

    @property
    def is_behind(self) -> bool:
        """Whether there are series that are new."""
        return self._known != len(self.table)

    def sync(self) -> list[int]:
        """Meet the series that are new; members that have new rows, ascending."""
        first = self._known
        if first == len(self.table):
            return []
        member, row, starts = list[int](), list[int](), list[int]()
        at = int(self._starts[first])
        for upstream in range(first, len(self.table)):
            for m, ours in self._meet(upstream):
                member.append(m)
                row.append(ours)
            starts.append(at + len(row))
        self._known = len(self.table)
        self._starts = np.concatenate((self._starts[: first + 1], np.array(starts, np.int64)))
        self._member = np.concatenate((self._member[:at], np.array(member, np.int32)))
        self._row = np.concatenate((self._row[:at], np.array(row, np.int32)))
        return sorted(set(member))

    def settle(self) -> None:
        """Let the selections know what was met."""
        for selection in self.selections:
            selection.sync(self.table)

    def again(self) -> None:
        """Follow the selections: states were put in place, or rows have other numbers."""
        n = len(self.table)
        for upstream in range(min((s.known for s in self.selections), default=n), n):
            for _ in self._meet(upstream):
                pass
        self.settle()
        parts = [selection.of_each() for selection in self.selections]
        upstream_of = np.concatenate(parts)
        order = np.argsort(upstream_of, kind="stable")
        order = order[upstream_of[order] != FULL]
        members = [np.full(part.size, m, np.int32) for m, part in enumerate(parts)]
        self._member = np.concatenate(members)[order]
        self._row = np.concatenate([np.arange(part.size, dtype=np.int32) for part in parts])[order]
        self._starts = np.searchsorted(upstream_of[order], np.arange(n + 1)).astype(np.int64)
        self._known = n

    def upstream(self) -> tuple[I8, I8]:
        """(rows of all members,) the row of the source, FULL where there is none; ends of each."""
        ends = np.cumsum([len(selection.table) for selection in self.selections])
        found = np.full(int(ends[-1]), FULL, np.int64)
        theirs = np.repeat(np.arange(self._known), np.diff(self._starts))
        begins = ends - np.diff(ends, prepend=0)
        found[begins[self._member] + self._row] = theirs
        return found, ends

    def deal(self, batch: Batch) -> tuple[Batch, I8, I8, int]:
        """The rows of each member with its own numbers, one member after the other.

        (rows, members that have any, where the rows of each of them end, how many members);
        there may be more behind all of them, which mean nothing. Valid until the next call.
        """
        links = (self._starts, self._member, self._counts, self._members, self._size)
        into = (self._row, self._batch, self._ends)
        if self._calls is None:
            self._calls = (
                _counted.bound(batch.series, *links),
                _dealt.bound(batch, *links, *into),
            )
        n = self._calls[0](batch.series, *links)
        self._batch.count[0] = 0
        self._batch = roomy(self._batch, n)
        self._calls[1](batch, *links, self._row, self._batch, self._ends)
        return self._batch, self._members, self._ends, int(self._size[0])

    def _meet(self, upstream: int) -> Iterator[tuple[int, int]]:
        """Let members take a series that they do not know; (member, its row) of each that does."""
        labels = self.table.labels(upstream)
        for m in self._asked(labels):
            if self.selections[m].known <= upstream:
                ours = self.selections[m].meet(upstream, labels)
                if ours != FULL:
                    yield m, ours

    def _asked(self, labels: Labels) -> Iterator[int]:
        """Members that may take a series, ascending."""
        found = [m for pair in labels for m in self._by_label.get(pair, ())]
        yield from sorted({*found, *self._others}) if found else self._others


def _literal(selection: Selection) -> list[tuple[str, str]]:
    """Labels one of which every series of a selection has; none when that cannot be told."""
    for name, patterns in selection.where.items():
        if all(is_plain(pattern) for pattern in patterns):
            return [(name, pattern) for pattern in patterns]
    return []


@kernel
def _counted(series: I4, starts: I8, member: I4, counts: I8, members: I8, size: I8) -> int:
    """Count the rows of each member, and all of them; note the members that have any."""
    for j in range(size[0]):
        counts[members[j]] = 0
    n, k = 0, 0
    for i in range(series.size):
        for link in range(starts[series[i]], starts[series[i] + 1]):
            m = member[link]
            if counts[m] == 0:
                members[k] = m
                k += 1
            counts[m] += 1
            n += 1
    size[0] = k
    return n


@kernel
def _dealt(
    batch: Batch,
    starts: I8,
    member: I4,
    counts: I8,
    members: I8,
    size: I8,
    row: I4,
    out: Batch,
    ends: I8,
) -> None:
    """Write the rows of each member behind those of the one before, members ascending."""
    k = size[0]
    if k > FEW:
        k = 0
        for m in range(counts.size):
            if counts[m] > 0:
                members[k] = m
                k += 1
    else:
        for j in range(1, k):
            m, place = members[j], j
            while place > 0 and members[place - 1] > m:
                members[place] = members[place - 1]
                place -= 1
            members[place] = m
    n = 0
    for j in range(k):
        m = members[j]
        n, counts[m] = n + counts[m], n
        ends[j] = n
    for i in range(batch.series.size):
        s = batch.series[i]
        for link in range(starts[s], starts[s + 1]):
            at = counts[member[link]]
            out.series[at], out.value[at] = row[link], batch.value[i]
            out.t_ns[at], out.start_ns[at] = batch.t_ns[i], batch.start_ns[i]
            out.quality[at] = batch.quality[i]
            counts[member[link]] = at + 1
