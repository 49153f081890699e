"""Amend: what was told is put right when rows turn up that belong before others already taken.

Roll back and run again, as in optimistic simulation (Jefferson, "Virtual Time", ACM TOPLAS 7(3),
1985).  Three cores compute the same pipeline: `live` takes rows as they come; `settled` runs
`amend_for` behind and takes them in order of event time; `replay` starts from the rows of the
settled state that a late row touches, takes the kept rows again in order, and what it tells is
compared with what was told.  Every operator is corrected in this way without knowing about it.

All of it happens at ticks, which are recorded inputs, so a replay repeats each revision.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from config.model import Pipeline as Spec
from pipelines.batch import I4, I8, Batch, copied
from pipelines.core import Core
from pipelines.events import ACTIVE, CLEARED, Event
from pipelines.history import NO_ROWS, History, Rows, latest, together
from pipelines.series import FULL, NEVER, Labels
from pipelines.stage import Stage
from pipelines.telling import Content, Key

_Name = TypeVar("_Name")
_What = TypeVar("_What")

SETTLES: Final = 8
"""The settled core follows in so many steps of `amend_for`; each costs a sort."""


@dataclass(slots=True)
class Told:
    """What some rows have told: rows of the last step by key, and alert events by id."""

    items: dict[Key, Content] = field(default_factory=dict)
    events: dict[str, Event] = field(default_factory=dict)


@dataclass(slots=True)
class Correction:
    """How what should have been told differs from what was told, for some series."""

    old: Told = field(default_factory=Told)
    """What no longer holds, or held with other content."""
    new: Told = field(default_factory=Told)
    """What holds instead, or was not told before."""
    gone: list[Event] = field(default_factory=list)
    """Turns of alerts that no longer stand in their place, series by series."""
    instead: list[Event] = field(default_factory=list)
    """Turns in the places of these; one that only has another before it, at its time, is in both,
    because their order counts."""
    newest: dict[int, tuple[Key, Content]] = field(default_factory=dict)
    """By row that comes out: the newest row of the last step that still may change."""


Run = Callable[[Core, Rows, Sequence[I8] | None], dict[int, Told]]
"""(core, rows, clocks) → what the core tells about them, by row of its table; None: no tick."""


class Amender:
    """Keeps what is needed to correct one pipeline, and corrects it."""

    STATE = (
        "live",
        "_settled",
        "_replay",
        "counts",
        "_history",
        "_told",
        "_pending",
        "_gone",
        "_component",
        "_sizes",
        "_of_steps",
        "_seen_ns",
        "_ticked_ns",
        "_settled_ns",
        "_settled_at_ns",
        "_held",
    )
    REMADE = ("_run", "_rank", "amend_for_ns", "rows_max", "_expects", "_holds")

    def __init__(
        self,
        live: Core,
        run: Run,
        amend_for_ns: int,
        rows_max: int,
        rank: Callable[[Labels], tuple[int, Labels]] | None = None,
    ) -> None:
        """`rows_max`: rows kept at most; beyond them the oldest are settled early.

        `rank`: by what rows of one time are in order, from their labels; default: their arrival.
        """
        self.live, self._run, self._rank = live, run, rank
        self._settled, self._replay = live.twin(), live.twin()
        self.amend_for_ns, self.rows_max = amend_for_ns, rows_max
        self.counts = {"amended": 0, "amend_too_late": 0, "amend_duplicate": 0, "amend_differs": 0}
        """Rows taken out of order, too late even for that, known already; and rows that the
        settled core told otherwise than was told, which never happens."""
        self._history = History()
        self._told: dict[int, Told] = {}
        self._pending: list[Rows] = []
        self._gone: list[Rows] = []
        self._component: I4 = np.zeros(0, np.int32)
        self._sizes: tuple[int, ...] = ()
        self._of_steps: list[I4] = []
        """(rows of each step's state,) the component that each belongs to."""
        self._seen_ns: I8 = np.zeros(0, np.int64)
        self._ticked_ns: I8 = np.zeros(0, np.int64)
        self._settled_ns: I8 = np.zeros(0, np.int64)
        """(rows of the table that comes in,) by component: newest row taken, clock of the last
        tick, time up to which nothing changes any more."""
        self._settled_at_ns = NEVER
        self._expects = any(s.operator.expected for s in live.stages)
        self._holds = any(s.operator.regroup for s in live.stages)
        """Rows of series that are combined come in order of time, as far as one tick goes."""
        self._held: list[Rows] = []

    def cores(self) -> tuple[Core, Core, Core]:
        """Everything whose parameters change at a reload."""
        return self.live, self._settled, self._replay

    # --- what comes ----------------------------------------------------------------------

    def in_order(self, rows: Rows, *, now: bool) -> Rows:
        """Those that follow what their series, or its group, has taken; the others wait.

        `now`: it is the time of a tick, and nothing is to be held back.
        """
        if self._holds:
            self._held.append(Rows(copied(rows.batch), rows.ids))
            if not now:
                return NO_ROWS
            rows, self._held = self._by_time(together(self._held)), []
        if not rows.batch.size:
            return rows
        self._grow()
        lead, t_ns = self._component[rows.batch.series], rows.batch.t_ns
        ranked = self._holds and self._rank is not None  # then one of that time may go before
        seen_ns = self._seen_ns[lead] + np.where(ranked & (self._seen_ns[lead] != NEVER), 1, 0)
        follows = (t_ns >= seen_ns) & (t_ns > self._ticked_ns[lead])
        if not follows.all():
            self.amend(rows.where(~follows), new=True)
            rows, lead = rows.where(follows), lead[follows]
        if self._expects:
            self._begin(rows.batch.series)
        np.maximum.at(self._seen_ns, lead, rows.batch.t_ns)
        self._history.add(rows)
        return rows

    def amend(self, rows: Rows, *, new: bool) -> None:
        """Take rows out of order, at the next tick. `new`: never taken before by the source."""
        if not rows.batch.size:
            return
        self._grow()
        in_time = rows.batch.t_ns >= self._settled_ns[self._component[rows.batch.series]]
        self.counts["amend_too_late"] += int((~in_time).sum())
        rows = rows.where(in_time)
        if not new and rows.batch.size:
            twice = self._history.has(rows.batch)
            self.counts["amend_duplicate"] += int(twice.sum())
            rows = rows.where(~twice)
        self.counts["amended"] += rows.batch.size
        self._pending.append(rows)

    def take_back(self, rows: Rows) -> None:
        """Forget rows that an upstream pipeline has retracted, at the next tick."""
        if rows.batch.size:
            self._grow()
            self._gone.append(rows)

    def note(self, told: dict[int, Told]) -> None:
        """Remember what the live core has told."""
        for row, some in told.items():
            mine = self._told.setdefault(row, Told())
            mine.items |= some.items
            mine.events |= some.events

    def recalled(
        self, row: int, since_ns: int, value: float, worst: float, level: str | None
    ) -> None:
        """An alert was active before the start: so it is in what is settled."""
        if self._settled.watch is not None:
            self._settled.watch.recall(row, since_ns, value, worst, level)

    def stand(self, row_out: int | None = None) -> None:
        """Let what was told stand for good, of all series or of those that lead to one row.

        Somebody has acted on it, or the rules are about to change.
        """
        self._grow()
        inside = np.ones(self._component.size, bool)
        if row_out is not None:
            inside = self._component == self._of_steps[-1][row_out]
        part = self.live.part(inside)
        self._settled.adopt(self.live, part)
        newest = np.maximum(self._seen_ns, self._ticked_ns)
        self._settled_ns[inside] = np.maximum(self._settled_ns, newest)[inside]
        for row in part.rows_out.tolist():
            self._told.pop(row, None)
        self._pending = [r.where(~inside[r.batch.series]) for r in self._pending]
        self._gone = [r.where(~inside[r.batch.series]) for r in self._gone]
        self._history.keep(~inside[self._history.rows().batch.series])

    # --- rows with other numbers ---------------------------------------------------------

    def waiting(self) -> I4:
        """(n,) the series of the rows that may still be taken again."""
        parts = [self._history.rows(), *self._pending, *self._gone, *self._held]
        return np.concatenate([rows.batch.series for rows in parts])

    def renumber(self, steps: Sequence[tuple[I4, I4]], moved: I4, members: I4) -> None:
        """Follow the tables, see `Core.renumber`; members: new rows of what comes in.

        None that is `waiting` was forgotten. The live core has followed already.
        """
        self._settled.renumber(steps, moved)
        self._replay.renumber(steps, moved)
        self._history.renumber(members)
        for some in (self._pending, self._gone, self._held):
            some[:] = [r._replace(batch=_renumbered(r.batch, members)) for r in some]
        new = moved.tolist()
        self._told = {
            new[row]: Told({(new[row], *key[1:]): x for key, x in told.items.items()}, told.events)
            for row, told in self._told.items()
            if new[row] != FULL
        }
        left = self._component[members[: self._component.size] != FULL]
        before = [times[left] for times in self._times()]
        self._component, self._of_steps = self.live.components()
        self._sizes, lead = self.live.sizes(), self._component[: left.size]
        self._seen_ns, self._ticked_ns, self._settled_ns = (
            latest(times, lead, self._component.size, NEVER) for times in before
        )

    def _times(self) -> tuple[I8, I8, I8]:
        return self._seen_ns, self._ticked_ns, self._settled_ns

    # --- at ticks ------------------------------------------------------------------------

    def correct(self, clocks: Sequence[I8]) -> Correction | None:
        """Put right what late rows have changed since the last tick; None when none came."""
        pending, gone = together(self._pending), together(self._gone)
        self._pending, self._gone = [], []
        if not pending.batch.size and not gone.batch.size:
            return None
        # What is taken back may be what came late in this very tick.
        self._history.add(pending)
        missed = gone.batch.size - self._history.remove(gone)
        self.counts["amend_too_late"] += missed
        touched = np.concatenate((pending.batch.series, gone.batch.series))
        inside = np.isin(self._component, self._component[touched])
        return self._again(inside, clocks)

    def ticked(self, tick_ns: int, clocks: Sequence[I8]) -> None:
        """Note how far the live core's time has come, and settle what is old enough."""
        self._grow()
        for component, clock_ns in zip(self._of_steps, clocks, strict=True):
            known = component != FULL
            come_ns = clock_ns[: component.size][known]
            np.maximum.at(self._ticked_ns, component[known], come_ns)
        crowded = self._history.size > self.rows_max
        due = self._settled_at_ns + self.amend_for_ns // SETTLES
        if self._settled_at_ns == NEVER:
            self._settled_at_ns = tick_ns
        elif tick_ns >= due or crowded:
            self._settled_at_ns = tick_ns
            self._settle(crowded)

    # --- inside --------------------------------------------------------------------------

    def _by_time(self, rows: Rows) -> Rows:
        if self._rank is None or not rows.batch.size:
            return rows.by_time()
        series, place = np.unique(rows.batch.series, return_inverse=True)
        labels = [self.live.table_in.labels(row) for row in series.tolist()]
        ranks = {label: i for i, label in enumerate(sorted(labels, key=self._rank))}
        return rows.by_time(np.array([ranks[label] for label in labels])[place])

    def _again(self, inside: NDArray[np.bool_], clocks: Sequence[I8]) -> Correction:
        part = self.live.part(inside)
        self._replay.adopt(self._settled, part)
        again = self._by_time(self._history.of(inside))
        should = self._run(self._replay, again, self.live.clocks_of(part, clocks))
        found = Correction()
        for row in part.rows_out.tolist():
            old, new = self._told.pop(row, Told()), should.get(row, Told())
            found.old.items |= _beyond(old.items, new.items)
            found.new.items |= _beyond(new.items, old.items)
            found.old.events |= _beyond(old.events, new.events)
            found.new.events |= _beyond(new.events, old.events)
            was, holds = _turns(old.events), _turns(new.events)
            found.gone += [old.events[i] for ids in _beyond(was, holds).values() for i in ids]
            found.instead += [new.events[i] for ids in _beyond(holds, was).values() for i in ids]
            if new.items:
                found.newest[row] = max(new.items.items())
            self._told[row] = new
        self.live.adopt(self._replay, part)
        return found

    def _settle(self, crowded: bool) -> None:
        kept = self._history.rows()
        if not kept.batch.size:
            return
        clock_ns = self.live.table_in.clock_ns[: self._component.size]
        size = self._component.size
        horizon = latest(clock_ns, self._component, size, NEVER)
        horizon[horizon != NEVER] -= self.amend_for_ns
        lead = self._component[kept.batch.series]
        if crowded:  # the older half goes, whatever its age
            half = kept.batch.size // 2
            early = latest(kept.batch.t_ns[:half], lead[:half], size, NEVER)
            horizon = np.maximum(horizon, early)
        old = kept.batch.t_ns < horizon[lead]
        self._settled_ns = np.maximum(self._settled_ns, horizon)
        settled = self._by_time(kept.where(old))
        self._history.keep(~old)
        for row, some in self._run(self._settled, settled, None).items():
            mine = self._told.get(row, Told())
            for key, content in some.items.items():
                self.counts["amend_differs"] += mine.items.pop(key, None) != content
            for name, event in some.events.items():
                self.counts["amend_differs"] += mine.events.pop(name, None) != event

    def _begin(self, series: I4) -> None:
        """A series that was expected has told something before its first row."""
        first = self._component[series]
        first = first[self._seen_ns[first] == NEVER]
        if first.size:
            self._settled.adopt(self.live, self.live.part(np.isin(self._component, first)))

    def _grow(self) -> None:
        sizes = self.live.sizes()
        if sizes == self._sizes:
            return
        known, before = sizes[0], self._component.size
        self._component, self._of_steps = self.live.components()
        self._sizes = self.live.sizes()
        lead = self._component[:before]
        self._seen_ns, self._ticked_ns, self._settled_ns = (
            latest(times[:before], lead, known, NEVER) for times in self._times()
        )


def amend_for_of(spec: Spec, stages: Sequence[Stage]) -> int:
    """How long the configuration lets what was told be corrected; a step may ask for it too."""
    asked = [getattr(stage.sets.sets[0], "amend_for", None) or 0 for stage in stages]
    return max(spec.amend_for or 0, *asked, 0)


def noted(
    into: dict[int, Told],
    items: list[tuple[Key, Content]],
    events: list[Event],
    changes: Batch,
) -> None:
    """Add what was told to what its row has told."""
    for key, content in items:
        into.setdefault(key[0], Told()).items[key] = content
    for row, event in zip(changes.series.tolist(), events, strict=True):
        into.setdefault(row, Told()).events[event.id] = event


def _renumbered(batch: Batch, moved: I4) -> Batch:
    return batch._replace(series=moved[batch.series])


def _beyond(these: dict[_Name, _What], those: dict[_Name, _What]) -> dict[_Name, _What]:
    """What stands in `these` and not, or otherwise, in `those`."""
    return {k: v for k, v in these.items() if k not in those or those[k] != v}


def _turns(events: dict[str, Event]) -> dict[int, list[str]]:
    """By time: ids of the events that raise or clear the alert of one series, as they were told."""
    found: dict[int, list[str]] = {}
    for name, event in events.items():
        if event.type in {ACTIVE, CLEARED}:
            found.setdefault(event.time_ns, []).append(name)
    return found
