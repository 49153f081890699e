"""Links: which rows of which pipelines a series of a source goes to.

Met once for each new series, by labels; from then on a batch is dealt out by two kernels.  What
the label of a new series is decides who is asked at all: a pipeline with `where: {device: b7}`
costs nothing when b8 turns up, or sends.  A row that leaves all alerts at rest (`pipelines.calm`) is
not dealt to those who only watch for them.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np

from pipelines.batch import F8, GOOD, I4, I8, U1, Batch, new_batch, roomy
from pipelines.calm import Calm
from pipelines.jit import kernel
from pipelines.series import FULL, Labels, SeriesTable
from pipelines.stage import Selection
from pipelines.values import is_plain

FEW: Final = 64
"""Members that are sorted; if more have rows all are looked at."""


class _Where(NamedTuple):
    """Arrays by which rows are dealt."""

    starts: I8
    """By series of the source: its first link; and behind them all."""
    member: I4
    """Of each link."""
    counts: I8
    """Rows of each member."""
    members: I8
    """Those that have any."""
    size: I8
    """How many these are, and how many series are to be looked at."""
    until: I8
    """The last link to follow from each row."""


class Links:
    """Rows of one source's table, and where each of them leads."""

    def __init__(
        self, table: SeriesTable, selections: Sequence[Selection], calm: Calm | None = None
    ) -> None:
        """`calm`: the last of the members, where they watch for alerts and no more."""
        self.table, self.selections, self._calm = table, selections, calm
        self._by_label: dict[tuple[str, str], list[int]] = {}
        self._others: list[int] = []
        """Members that have to be asked about every series."""
        for m, (selection, pairs) in enumerate(zip(selections, _telling(selections), strict=True)):
            selection.linked = True
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
        self._size: I8 = np.zeros(2, np.int64)
        """Members that have any rows, and series that are to be looked at."""
        self._middle: I8 = np.zeros(0, np.int64)
        """(series,) the first link to one of the calm members."""
        self._low: F8 = np.zeros(0)
        self._high: F8 = np.zeros(0)
        self._dirty: U1 = np.zeros(0, np.uint8)
        self._stirred: I8 = np.zeros(0, np.int64)
        self._until: I8 = np.zeros(0, np.int64)
        self._calls: tuple[Callable[..., int], Callable[..., None]] | None = None

    @property
    def links(self) -> tuple[I8, I4, I4]:
        """By series, its first link, and behind them all; the member and the row of each link."""
        return self._starts, self._member, self._row

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
        self._stir(first)
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
        self._stir(0)

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
        if batch.size > self._until.size:
            self._until = np.zeros(2 * batch.size, np.int64)
        where = _Where(
            self._starts, self._member, self._counts, self._members, self._size, self._until
        )
        calm = (self._middle, self._low, self._high, self._dirty, self._stirred)
        into = (self._row, self._batch, self._ends)
        if self._calls is None:
            self._calls = (
                _counted.bound(batch, where, *calm),
                _dealt.bound(batch, where, *into),
            )
        n = self._calls[0](batch, where, *calm)
        self._batch.count[0] = 0
        self._batch = roomy(self._batch, n)
        self._calls[1](batch, where, self._row, self._batch, self._ends)
        return self._batch, self._members, self._ends, int(self._size[0])

    def look(self) -> None:
        """Find out what leaves alerts at rest, of series whose rows were dealt, and taken."""
        n = int(self._size[1])
        if n and self._calm is not None:
            links = (self._starts, self._middle, self._member, self._row)
            self._calm.look(self._stirred, n, links, self._low, self._high, self._dirty)

    def _stir(self, first: int) -> None:
        """Nothing is known of series from `first` on: all of their rows are dealt."""
        n = self._known
        calm_from = len(self.selections) if self._calm is None else self._calm.first
        links = self._member[self._starts[first] : self._starts[n]]
        before = np.concatenate((np.zeros(1, np.int64), np.cumsum(links < calm_from)))
        at = self._starts[first : n + 1] - self._starts[first]
        middle = self._starts[first:n] + np.diff(before[at])
        self._middle = np.concatenate((self._middle[:first], middle))
        self._low = np.concatenate((self._low[:first], np.full(n - first, np.inf)))
        self._high = np.concatenate((self._high[:first], np.full(n - first, -np.inf)))
        self._dirty = np.concatenate((self._dirty[:first], np.zeros(n - first, np.uint8)))
        self._stirred = np.zeros(n, np.int64)

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


def _telling(selections: Sequence[Selection]) -> Iterator[list[tuple[str, str]]]:
    """For each selection labels one of which all of its series have; none when none can be told.

    Of several those that tell most selections apart: `device`, where all want one channel.
    """
    plain = [
        {name: p for name, p in selection.where.items() if all(map(is_plain, p))}
        for selection in selections
    ]
    values = dict[str, set[str]]()
    for wanted in plain:
        for name, patterns in wanted.items():
            values.setdefault(name, set()).update(patterns)
    for wanted in plain:
        name = max(wanted, key=lambda name: len(values[name]), default="")
        yield [(name, pattern) for pattern in wanted.get(name, ())]


@kernel
def _counted(
    batch: Batch,
    where: _Where,
    middle: I8,
    low: F8,
    high: F8,
    dirty: U1,
    stirred: I8,
) -> int:
    """Count the rows of each member, and all of them; note the members that have any.

    until (n,): the last link to follow from each row. Series with links behind `middle` whose value
    is not in [low, high] are noted, each once; from then on their rows are dealt, whatever they are.
    """
    starts, member, counts, members, size, until = where
    for j in range(size[0]):
        counts[members[j]] = 0
    n, k, k_stirred = 0, 0, 0
    for i in range(batch.series.size):
        s = batch.series[i]
        until[i] = starts[s + 1]
        if middle[s] < until[i]:
            calm = dirty[s] == 0 and batch.quality[i] == GOOD
            if calm and low[s] <= batch.value[i] <= high[s]:
                until[i] = middle[s]
            elif dirty[s] == 0:
                stirred[k_stirred], dirty[s] = s, 1
                k_stirred += 1
        for link in range(starts[s], until[i]):
            m = member[link]
            if counts[m] == 0:
                members[k] = m
                k += 1
            counts[m] += 1
            n += 1
    size[0], size[1] = k, k_stirred
    return n


@kernel
def _dealt(
    batch: Batch,
    where: _Where,
    row: I4,
    out: Batch,
    ends: I8,
) -> None:
    """Write the rows of each member behind those of the one before, members ascending."""
    starts, member, counts, members, size, until = where
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
        for link in range(starts[s], until[i]):
            at = counts[member[link]]
            out.series[at], out.value[at] = row[link], batch.value[i]
            out.t_ns[at], out.start_ns[at] = batch.t_ns[i], batch.start_ns[i]
            out.quality[at] = batch.quality[i]
            counts[member[link]] = at + 1
