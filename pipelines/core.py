"""Core: the steps and the alert of one pipeline with their state; rows in, rows and changes out.

It is a function of its rows and clocks alone, and knows neither events nor topics, so it can be
run a second time over the same rows: see `pipelines.amend`.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np

from pipelines.batch import I4, I8, Batch, Mask, new_batch, rows
from pipelines.series import FULL, NEVER, SeriesTable
from pipelines.stage import Stage
from pipelines.watch import Watch

CAUSES_MAX: Final = 16
"""Causes named by one event; of a chain of many alerts the newest are kept."""
NOTHING: Final = new_batch(0)


class Part(NamedTuple):
    """Some series that touch no others, and the rows they have in each table on the way."""

    rows_in: I4
    steps: tuple[I4, ...]  # rows of each step's state
    rows_out: I4


class Core:
    """State and plan of one pipeline's computation."""

    STATE = ("table_in", "stages", "watch", "causes", "numbers")
    REMADE = ("table",)

    def __init__(self, table_in: SeriesTable, stages: Sequence[Stage], watch: Watch | None) -> None:
        self.table_in = table_in
        self.stages = stages
        self.watch = watch
        self.table = stages[-1].places.table_out if stages else table_in
        self.causes: dict[int, deque[tuple[int, str]]] = {}
        """By row that comes out: (time, id) of the newest events that led to it; also some that
        came too late to be a cause of what is told with them."""
        self.numbers: dict[int, tuple[int, int]] = {}
        """By row that comes out: its newest time, and how often it had that time before."""

    def twin(self) -> "Core":
        """The same computation between the same tables, with fresh state."""
        stages = [stage.twin() for stage in self.stages]
        return Core(self.table_in, stages, self.watch.twin() if self.watch else None)

    def feed(self, batch: Batch, ids: Sequence[str] = ()) -> Iterator[tuple[Batch, Batch]]:
        """What comes of these rows: (rows of the last step, changes of the alert), piece by piece.

        `ids`: the event that each row came with, if any. Such rows go one at a time, so that
        an event names no cause that came after it. Pieces hold until the next one is taken.
        """
        if ids:
            for i, cause in enumerate(ids):
                one = rows(batch, i, i + 1)
                if cause:
                    self.note_cause(int(batch.series[i]), int(batch.t_ns[i]), cause)
                yield self._run(one, None)
        elif batch.size:
            yield self._run(batch, None)

    def tick(self, clocks: Sequence[I8]) -> tuple[Batch, Batch]:
        """What comes of time alone; `clocks` of each step's rows, then of the rows that come out."""
        return self._run(NOTHING, clocks)

    def clocks(self, tick_ns: int | None) -> list[I8]:
        """How far the time of every row is, as `tick` wants it; `tick_ns` is the recorded tick."""
        found = []
        for stage in self.stages:
            stage.sync()
            found.append(stage.clocks(tick_ns))
        return [*found, self.table.clock_ns]

    def clocks_of(self, part: Part, clocks: Sequence[I8]) -> list[I8]:
        """The same for some rows only: for all others no time passes."""
        found = []
        for clock_ns, rows_of in zip(clocks, (*part.steps, part.rows_out), strict=True):
            some = np.full(clock_ns.size, NEVER, np.int64)
            some[rows_of] = clock_ns[rows_of]
            found.append(some)
        return found

    def note_cause(self, row: int, t_ns: int, event: str) -> None:
        """Remember that an upstream event of that time reached the last row that `row` leads to."""
        for stage in self.stages:
            row = stage.group(row) if row != FULL else FULL
        if row != FULL:
            self.causes.setdefault(row, deque(maxlen=2 * CAUSES_MAX)).append((t_ns, event))

    def number(self, row: int, t_ns: int) -> int:
        """How many rows with this time the series has given out before, without a gap: mostly 0."""
        before, n = self.numbers.get(row, (NEVER, 0))
        n = n + 1 if before == t_ns else 0
        self.numbers[row] = t_ns, n
        return n

    # --- parts ---------------------------------------------------------------------------

    def sizes(self) -> tuple[int, ...]:
        """Rows of each table on the way."""
        groups = [len(stage.places.groups) for stage in self.stages]
        return len(self.table_in), *groups, len(self.table)

    def components(self) -> tuple[I4, list[I4]]:
        """Which series touch each other.

        (rows of `table_in`,) the smallest row of those that each one shares a group with, and
        the same for the rows that `clocks` is about, as rows of `table_in`.
        """
        at = np.arange(len(self.table_in), dtype=np.int32)
        found, groups = at.copy(), []
        for stage in self.stages:
            stage.sync()
            group = np.full(at.size, FULL, np.int32)
            group[at != FULL] = stage.places.group_of(at[at != FULL])
            groups.append((group, len(stage.places.groups)))
            if stage.operator.regroup is not None:
                found = _united(found, group)
                at = at if stage.operator.per_member else group
        groups.append((at, len(self.table)))
        return found, [_of_groups(found, group, size) for group, size in groups]

    def part(self, inside: Mask) -> Part:
        """Where the rows of `table_in` for which `inside` is set lead to, step by step."""
        at = rows_in = np.flatnonzero(inside).astype(np.int32)
        steps = []
        for stage in self.stages:
            stage.sync()
            group = np.unique(stage.places.group_of(at))
            steps.append(group[group != FULL])
            at = at if stage.operator.per_member else steps[-1]
        return Part(rows_in, tuple(steps), at)

    def adopt(self, other: "Core", part: Part) -> None:
        """Take over the state that `other`, a twin, has for these rows."""
        for ours, theirs, rows_of in zip(self.stages, other.stages, part.steps, strict=True):
            ours.sync()
            theirs.sync()
            ours.runner.adopt(theirs.runner, rows_of)
        if self.watch is not None and other.watch is not None:
            self.watch.sync()
            other.watch.sync()
            self.watch.runner.adopt(other.watch.runner, part.rows_out)
        for row in part.rows_out.tolist():
            causes = other.causes.get(row)
            self.causes.pop(row, None)
            if causes is not None:
                self.causes[row] = causes.copy()
            self.numbers[row] = other.numbers.get(row, (NEVER, 0))

    # --- rows with other numbers ---------------------------------------------------------

    def sync(self) -> None:
        """Meet every series that comes in."""
        for stage in self.stages:
            stage.sync()
        if self.watch is not None:
            self.watch.sync()

    def leading_to(self, wanted: Mask) -> Mask:
        """(rows of `table_in`,) whether each leads to a row that comes out and is `wanted`."""
        for stage in reversed(self.stages):
            wanted = stage.leading_to(wanted)
        return wanted

    def renumber(self, steps: Sequence[tuple[I4, I4]], moved: I4) -> None:
        """Follow the tables, from which series were forgotten: the new rows, FULL: forgotten.

        steps: of what comes into each step, and of its groups. moved: of what comes out.
        """
        for stage, (members, groups) in zip(self.stages, steps, strict=True):
            stage.renumber(members, groups)
        if self.watch is not None:
            self.watch.renumber(moved)
        new = moved.tolist()
        self.causes = {new[r]: found for r, found in self.causes.items() if new[r] != FULL}
        self.numbers = {new[r]: found for r, found in self.numbers.items() if new[r] != FULL}

    # --- inside --------------------------------------------------------------------------

    def _run(self, batch: Batch, clocks: Sequence[I8] | None) -> tuple[Batch, Batch]:
        for i, stage in enumerate(self.stages):
            if batch.size == 0 and clocks is None:
                break
            batch = stage.run(batch, None if clocks is None else clocks[i])
        if self.watch is None or (batch.size == 0 and clocks is None):
            return batch, NOTHING
        return batch, self.watch.run(batch, None if clocks is None else clocks[-1])


def _united(component: I4, group: I4) -> I4:
    """Components joined wherever two of them have rows in one group."""
    known = group != FULL
    if not known.any():
        return component
    while True:
        lead = np.full(int(group.max()) + 1, np.iinfo(np.int32).max, np.int32)
        np.minimum.at(lead, group[known], component[known])
        smallest = np.arange(component.size, dtype=np.int32)
        np.minimum.at(smallest, component[known], lead[group[known]])
        joined = smallest[component]
        if (joined == component).all():
            return component
        component = joined


def _of_groups(component: I4, group: I4, size: int) -> I4:
    """(size,) the component of each group, FULL for one that has no member yet."""
    found = np.full(size, FULL, np.int32)
    known = group != FULL
    found[group[known]] = component[known]
    return found
