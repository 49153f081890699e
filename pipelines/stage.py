"""Stage: one step in its place, between the series that go in and the series that come out."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from config.model import Limits, Value
from config.params import Params
from pipelines.batch import I4, I8, Batch, GroupedBatch, Mask, take
from pipelines.history import NO_ROWS, Rows
from pipelines.operator import Operator
from pipelines.runner import StepRunner
from pipelines.series import FULL, NEVER, Labels, SeriesTable, moved_up, numbered
from pipelines.values import Resolved, matches, reference, resolve

LATEST: Final = np.iinfo(np.int64).max


class ParamSets:
    """The distinct sets of parameter values of one step, one for each combination in use."""

    def __init__(
        self, model: type[Params], options: Mapping[str, Any], values: Mapping[str, Value]
    ) -> None:
        self.model = model
        self.options = options
        self.values = values
        self.references = {k: r for k, v in options.items() if (r := reference(v)) is not None}
        self.sets: list[Params] = []
        self._index: dict[tuple[float | None, ...], int] = {}
        self.of(())

    def of(self, labels: Labels) -> int:
        """Index of the set that a series with these labels uses; new sets are appended."""
        if self.sets and not self.references:
            return 0
        numbers = tuple(r.number for r in self.resolved(labels).values())
        index = self._index.get(numbers)
        if index is None:
            chosen = dict(zip(self.references, numbers, strict=True))
            given = {k: v for k, v in {**self.options, **chosen}.items() if v is not None}
            self.sets.append(self.model.model_validate(given))
            index = self._index[numbers] = len(self.sets) - 1
        return index

    def resolved(self, labels: Labels) -> dict[str, Resolved]:
        """Value and place of each parameter that is a reference."""
        return {k: resolve(self.values, r, labels) for k, r in self.references.items()}


class Places:
    """Which rows a step takes, which rows its state has, and which rows come out of it."""

    STATE = ("table_in", "groups", "unheard", "expected", "_group", "_slot", "_members")
    REMADE = ("operator", "delay_ns")

    def __init__(self, operator: Operator, rows_max: int) -> None:
        self.operator = operator
        self.groups = self.table_in = SeriesTable(rows_max)
        """`groups`: what the rows of the state stand for; `table_in` itself without regrouping."""
        self.unheard: set[int] = set()
        """Rows of expected series that no member has joined."""
        self.expected: list[int] = []
        """Rows of expected series, in their order."""
        self.delay_ns = 0
        """How far what comes out is behind what went in."""
        self._group: I4 = np.full(64, FULL, np.int32)
        self._slot: I4 = np.zeros(64, np.int32)
        self._members = 0

    @property
    def table_out(self) -> SeriesTable:
        """Series of what comes out."""
        return self.table_in if self.operator.per_member else self.groups

    def join(self, row: int, chosen: tuple[Labels, int] | None) -> None:
        """Let row `row` of `table_in` belong to a group, or to none."""
        if row >= self._group.size:
            self._group = np.concatenate((self._group, np.full(row, FULL, np.int32)))
            self._slot = np.concatenate((self._slot, np.zeros(row, np.int32)))
        self._group[row] = FULL
        if chosen is not None:
            group = self.groups.intern(chosen[0])
            self._group[row], self._slot[row] = group, chosen[1]
            if group in self.unheard:
                self.unheard.remove(group)
                self.groups.clock_ns[group] = NEVER

    def forget(self) -> None:
        """Choose the group of every series anew, because what it depends on has changed."""
        self._members = 0

    def group_of(self, rows: I4) -> I4:
        """State row of each of these rows of `table_in`, FULL for those that are ignored."""
        return self._group[rows] if self.operator.regroup else rows

    def grouped(self, batch: Batch) -> GroupedBatch:
        """The same rows by group; those that belong to none left out."""
        group = self._group[batch.series]
        if (group == FULL).any():
            batch = take(batch, group != FULL)
            group = self._group[batch.series]
        slot = self._slot[batch.series]
        return GroupedBatch(*batch._replace(series=group), batch.series, slot)

    def sync(self, choose: Callable[[Labels], tuple[Labels, int] | None]) -> None:
        """Give new series their group."""
        for row in range(self._members, len(self.table_in)):
            self.join(row, choose(self.table_in.labels(row)))
        self._members = len(self.table_in)

    def renumber(self, moved: I4, held: Mask) -> I4:
        """Follow the table that comes in, some of whose series were forgotten, and forget groups.

        moved (rows,): new row of each of its series. held: groups that stay though they have no
        member. The new row of each group.
        """
        group, slot = self._group[: moved.size], self._slot[: moved.size]
        kept = np.flatnonzero(moved != FULL)
        stays = held.copy()
        stays[[*self.expected, *self.unheard]] = True
        stays[group[kept][group[kept] != FULL]] = True
        groups = numbered(stays)
        group[group != FULL] = groups[group[group != FULL]]
        moved_up(group, kept, moved.size, FULL)
        moved_up(slot, kept, moved.size)
        self._members = kept.size
        self.groups.renumber(groups)
        self.expected = groups[self.expected].tolist()
        self.unheard = set(groups[list(self.unheard)].tolist())
        return groups

    def advance(self) -> None:
        """Let groups come as far in time as their members have."""
        group, theirs = self._group[: self._members], self.table_in.clock_ns[: self._members]
        heard = (group != FULL) & (theirs != NEVER)
        group, theirs = group[heard], theirs[heard] - self.delay_ns
        ours = self.groups.clock_ns
        if not self.operator.slowest:
            np.maximum.at(ours, group, theirs)
        elif theirs.size:
            slowest = np.full(ours.size, LATEST, np.int64)
            np.minimum.at(slowest, group, theirs)
            for row in self.unheard:
                slowest[row] = theirs.min()
            known = slowest != LATEST
            ours[known] = np.maximum(ours[known], slowest[known])


class Stage:
    """An operator between two series tables; the same table when it keeps the series apart."""

    STATE = ("places", "runner")
    REMADE = ("operator", "sets", "group_by", "limits", "_assigned")

    def __init__(
        self,
        operator: Operator,
        sets: ParamSets,
        group_by: tuple[str, ...],
        limits: Limits,
        places: Places | None = None,
    ) -> None:
        """`places`: those of a stage that this one repeats, with a state of its own."""
        self.operator = operator
        self.sets = sets
        self.group_by = group_by
        self.limits = limits
        self.runner = StepRunner(operator, sets.sets, limits.series_max, limits.state_bytes_max)
        self.places = places or Places(operator, limits.series_max)
        self.runner.expect(self.places.expected)
        self.places.delay_ns = max(operator.delay_ns(p) for p in sets.sets)
        self._assigned = 0

    def remake(self) -> None:
        """Follow from a state that was put in place: parameters, and series that are expected."""
        self.runner.expect(self.places.expected)
        self.assign()
        self.expect()

    def twin(self) -> "Stage":
        """The same step between the same tables, with fresh state."""
        return Stage(self.operator, self.sets, self.group_by, self.limits, self.places)

    def connect(self, table_in: SeriesTable) -> SeriesTable:
        """Take samples of these series; the table of what comes out."""
        self.places.table_in = table_in
        if self.operator.regroup is None:
            self.places.groups = table_in
        self.expect()
        return self.places.table_out

    def expect(self) -> None:
        """Give expected series a row from the start."""
        if self.operator.expected is not None:
            groups = self.places.groups
            known = len(groups)
            rows = [groups.intern(x) for x in self.operator.expected(self.sets.sets[0])]
            self.places.unheard.update(row for row in rows if row >= known)
            self.places.expected = rows
            self.runner.expect(rows)

    def run(self, batch: Batch, clock_ns: I8 | None) -> Batch:
        """What comes of these rows, and then of time having come to `clock_ns` of each row."""
        self.sync()
        out = self.runner.run(self.places.grouped(batch) if self.operator.regroup else batch)
        if clock_ns is None or self.operator.tick is None:
            return out
        return self.runner.tick(clock_ns, len(self.places.groups), append=True)

    def clocks(self, tick_ns: int | None) -> I8:
        """How far the time of each row of the state is; `tick_ns` is the recorded tick."""
        groups = self.places.groups
        if self.operator.regroup is not None:
            self.places.advance()
        if tick_ns is not None and not self.operator.slowest:
            for row in self.places.unheard:  # nobody's event time: ours is all there is
                groups.clock_ns[row] = tick_ns
        delay_ns = self.places.delay_ns
        if delay_ns:
            return np.where(groups.clock_ns == NEVER, NEVER, groups.clock_ns + delay_ns)
        return groups.clock_ns

    def sync(self) -> None:
        """Give new series their group and their parameters."""
        if self.operator.regroup is not None:
            self.places.sync(self._choose)
        if self._assigned < len(self.places.groups):
            self.assign(self._assigned)

    def assign(self, first: int = 0) -> None:
        """Resolve the parameters of the state's rows from `first` on."""
        groups = self.places.groups
        indices = [self.sets.of(groups.labels(row)) for row in range(first, len(groups))]
        self.runner.use(self.sets.sets)
        self.runner.assign(first, indices)
        self._assigned = len(groups)

    def revalue(self, values: Mapping[str, Value], options: Mapping[str, Any]) -> None:
        """Take other per-device values and other contents of tables; state stays as it is."""
        if options != self.sets.options:
            self.places.forget()
        self.sets = ParamSets(self.sets.model, options, values)
        self.assign()
        self.expect()

    def leading_to(self, wanted: Mask) -> Mask:
        """(rows that come in,) whether each leads to a row that comes out and is `wanted`."""
        if self.operator.regroup is None or self.operator.per_member:
            return wanted
        group = self.places.group_of(np.arange(len(self.places.table_in), dtype=np.int32))
        found: Mask = (group != FULL) & wanted[group]
        return found

    def renumber(self, moved: I4, groups: I4) -> None:
        """Follow from what `Places.renumber` did: (rows,) the new row of each series and group."""
        self.runner.renumber(groups, moved)
        self.runner.expect(self.places.expected)
        self._assigned = int((groups[: self._assigned] != FULL).sum())

    def group(self, row: int) -> int:
        """Row of the output that a row of the input leads to, FULL when it is ignored."""
        if self.operator.regroup is None or self.operator.per_member:
            return row
        self.sync()
        return int(self.places.group_of(np.array([row], np.int32))[0])

    def params_of(self, labels: Labels) -> Params:
        """The parameters that a series with these labels has."""
        return self.sets.sets[self.sets.of(labels)]

    def _choose(self, labels: Labels) -> tuple[Labels, int] | None:
        assert self.operator.regroup is not None
        return self.operator.regroup(self.sets.sets[0], labels, self.group_by)


class Selection:
    """Which series of the upstream table a pipeline takes, and under which of its own rows."""

    STATE = ("table", "_row", "_upstream", "_known")
    REMADE = ("where", "linked")

    def __init__(self, where: Mapping[str, tuple[str, ...]], rows_max: int) -> None:
        self.where = where
        self.table = SeriesTable(rows_max)
        self._row: I4 = np.full(64, FULL, np.int32)
        self._upstream: I4 = np.full(64, FULL, np.int32)
        """(rows of ours,) the upstream row; FULL for one that came from a recalled alert alone."""
        self._known = 0
        """Rows of the upstream table that were met."""
        self.linked = False
        """Whether `pipelines.links` meets them for us, and needs no map from theirs to ours."""

    def rows(self, series: I4, upstream: SeriesTable) -> I4:
        """(n,) our row of each of these rows of `upstream`, FULL for those not taken."""
        self.sync(upstream)
        return self._row[series]

    def ours(self, rows: Rows, upstream: SeriesTable) -> Rows:
        """Those of these rows of `upstream` that are taken, with our row numbers."""
        if not rows.batch.size:
            self.sync(upstream)
            return NO_ROWS
        mine = self.rows(rows.batch.series, upstream)
        if mine.min() < 0:
            rows = rows.where(mine >= 0)
            mine = mine[mine >= 0]
        return Rows(rows.batch._replace(series=mine), rows.ids)

    def tick(self, upstream: SeriesTable, until_ns: I8 | None = None) -> None:
        """Take over how far each series' time has come.

        `until_ns`: (rows of ours,) up to where its rows were handed on, when some wait.
        """
        clock_ns = self.of_upstream(upstream.clock_ns, upstream)
        known = clock_ns != NEVER
        ours = self.table.clock_ns[: clock_ns.size]
        if until_ns is not None:
            clock_ns = np.maximum(ours, np.minimum(clock_ns, until_ns))
        ours[known] = clock_ns[known]

    def of_upstream(self, times_ns: I8, upstream: SeriesTable) -> I8:
        """(rows of ours,) these times of the rows of `upstream`, NEVER where it has none."""
        self.sync(upstream)
        theirs = self._upstream[: len(self.table)]
        found = np.full(len(self.table), NEVER, np.int64)
        found[: theirs.size][theirs != FULL] = times_ns[theirs[theirs != FULL]]
        return found

    def leading_to(self, wanted: Mask) -> Mask:
        """(rows of the upstream,) whether each is taken here under a row that is `wanted`."""
        ours = self._ours(self._known)
        found: Mask = (ours != FULL) & wanted[ours]
        return found

    def _ours(self, known: int) -> I4:
        """(their rows,) our row of each of those that were met."""
        if not self.linked:
            return self._row[:known]
        found, of = np.full(known, FULL, np.int32), self.of_each()
        ours = np.flatnonzero(of != FULL)
        found[of[ours]] = ours
        return found

    def renumber(self, theirs: I4, held: Mask) -> I4:
        """Follow the upstream table, some of whose series were forgotten, and forget them, too.

        theirs (rows of the upstream,): the new row of each. held: rows of ours that stay though
        they have none there. The new row of each of ours.
        """
        more = max(0, held.size - self._upstream.size)
        self._upstream = np.concatenate((self._upstream, np.full(more, FULL, np.int32)))
        kept = np.flatnonzero(theirs != FULL)
        row, upstream = self._ours(theirs.size), self._upstream[: held.size]
        stays = held.copy()
        stays[row[kept][row[kept] != FULL]] = True
        moved = numbered(stays)
        row[row != FULL] = moved[row[row != FULL]]
        moved_up(row, kept, theirs.size, FULL)
        upstream[upstream != FULL] = theirs[upstream[upstream != FULL]]
        moved_up(upstream, np.flatnonzero(stays), held.size, FULL)
        self._known = kept.size
        self.table.renumber(moved)
        return moved

    def sync(self, upstream: SeriesTable) -> None:
        """Meet the series that are new upstream."""
        if self.linked:
            self._known = len(upstream)
            return
        for row in range(self._known, len(upstream)):
            if row >= self._row.size:
                self._row = np.concatenate((self._row, np.full(row, FULL, np.int32)))
            self._row[row] = self.meet(row, upstream.labels(row))
        self._known = len(upstream)

    def meet(self, row: int, labels: Labels) -> int:
        """Our row of a series that has this row upstream, FULL when it is not taken."""
        ours = self.table.intern(labels) if matches(self.where, labels) else FULL
        if ours >= self._upstream.size:
            self._upstream = np.concatenate((self._upstream, np.full(ours, FULL, np.int32)))
        if ours != FULL:
            self._upstream[ours] = row
        return ours

    @property
    def known(self) -> int:
        """Rows of the upstream table that were met, or fewer."""
        return self._known

    def of_each(self) -> I4:
        """(rows of ours,) the upstream row, FULL where there is none."""
        found = np.full(len(self.table), FULL, np.int32)
        theirs = self._upstream[: found.size]
        found[: theirs.size] = theirs
        return found
