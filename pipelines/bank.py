"""Bank: pipelines of one source that have the same steps, run as one.

What differs between them are numbers, labels and words: limits, `where`, topics.  Each has its
own state as if it stood alone; a bank only calls the kernels of all of them at once, see
`pipelines.each`.  So a pipeline that gets no row in a turn costs nothing, and hundreds that do
cost little more than one.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np

from pipelines import alerts
from pipelines.alerting import Alerting
from pipelines.batch import I8, Batch, copied, rows
from pipelines.calm import Calm
from pipelines.core import NOTHING
from pipelines.each import NO_CLOCKS, Each
from pipelines.flow import Made
from pipelines.foresight import Foresight
from pipelines.links import Links
from pipelines.operator import Makes
from pipelines.pipeline import Pipeline
from pipelines.runner import StepRunner
from pipelines.series import FULL, NEVER, SeriesTable

NONE: Final = np.zeros(0, np.int64)


class Dealt(NamedTuple):
    """Rows of several members, one after the other; `members` are ascending."""

    batch: Batch
    members: I8
    ends: I8

    part: tuple[int, int, int]
    """First and last of the members that are meant, and the number of the first there is."""

    @property
    def begin(self) -> int:
        """Where the rows of the first of them begin."""
        return int(self.ends[self.part[0] - 1]) if self.part[0] else 0


class Bank:
    """Pipelines whose steps are the same operators."""

    def __init__(self, pipelines: Sequence[Pipeline], first: int, members: int) -> None:
        """`first`: number of the first of them among all `members` of the source."""
        self.pipelines, self.first, self.last = pipelines, first, first + len(pipelines)
        one = pipelines[0]
        self._steps = [
            Each(stage.operator, [p.stages[k].runner for p in pipelines], members)
            for k, stage in enumerate(one.stages)
        ]
        self._watch: Each | None = None
        if one.alerting is not None:
            watches = [p.alerting.watch for p in pipelines if p.alerting is not None]
            self._watch = Each(alerts.OPERATOR, [watch.runner for watch in watches], members)
        self._all: I8 = np.arange(len(pipelines))
        self._none: I8 = np.zeros(len(pipelines), np.int64)
        self._telling = {m for m, p in enumerate(pipelines) if _is_wanted(p)}
        self.makes = max(map(_makes, pipelines))
        """What the values at the end are to those that come in, of every member."""

    @staticmethod
    def form(pipeline: Pipeline) -> tuple[object, ...]:
        """What pipelines of one bank have in common; of kernels, the types they are called with."""
        runners = [stage.runner for stage in pipeline.stages]
        if pipeline.alerting is not None:
            runners.append(pipeline.alerting.watch.runner)
        kinds = [(r.operator.name, len(r.fields), r.form) for r in runners]
        return tuple(kinds)

    def calm(self) -> Calm:
        """Which rows leave the alerts of all members at rest; they have no steps."""
        assert self._watch is not None
        return Calm(self._watch.runners, self.first)

    @property
    def is_quiet(self) -> bool:
        """Whether at most alerts on values like those that come in are told before a tick."""
        return self.makes == Makes.LATER or (self.makes < Makes.OTHER and not self._telling)

    @property
    def alerts(self) -> tuple[int, Sequence[StepRunner]] | None:
        """The first member, and of all members their alerts."""
        return (self.first, self._watch.runners) if self._watch is not None else None

    def run(self, dealt: Dealt, before_ns: int, made: dict[int, Made]) -> None:
        """Let members take rows; what comes of it goes to `made`, by member.

        `before_ns`: the last tick, 0 before the first.
        """
        self._run(dealt, NO_CLOCKS, (before_ns, 0), made)

    def tick(self, clocks: tuple[I8, I8], ticks: tuple[int, int], made: dict[int, Made]) -> None:
        """Let members know how far the time of their rows has come; `ticks`: the last and this."""
        n = len(self.pipelines)
        self._run(Dealt(NOTHING, self._all, self._none, (0, n, 0)), clocks, ticks, made)

    def _run(
        self,
        dealt: Dealt,
        clocks: tuple[I8, I8],
        ticks: tuple[int, int],
        made: dict[int, Made],
    ) -> None:
        before_ns, tick_ns = ticks
        batch, members, ends, part = dealt
        first, last, less = part
        ticking, begin = clocks is not NO_CLOCKS, dealt.begin
        n = int(ends[last - 1]) - begin
        for step in self._steps:
            if n or (ticking and step.operator.tick is not None):
                batch, ends, n = step.run(batch, ends, members, part, begin, clocks)
                begin = 0
        told: tuple[Batch, I8] | None = None
        if self._watch is not None and (n or ticking):
            raised, raised_ends, changes = self._watch.run(
                batch, ends, members, part, begin, clocks
            )
            told = (raised, raised_ends) if changes else None
        if told is None and not (n and self._telling):
            return
        changed = set[int]() if told is None else _filled(told[1], first, last, 0)
        wanted = self._wanted(members, ends, part, begin) if n else set[int]()
        for j in sorted(changed | wanted):
            m = int(members[j]) - less
            wants = m in self._telling
            found = copied(_part(batch, ends, j, first, begin)) if wants else NOTHING
            changed_rows = _part(*told, j, first, 0) if told is not None else NOTHING
            pipeline = self.pipelines[m]
            if pipeline.alerting is not None:
                pipeline.alerting.throttle.quiet(before_ns)
                _come(pipeline.alerting, tick_ns)
            pipeline.note(
                found, changed_rows, made.setdefault(m + self.first, Made()), ticking=ticking
            )

    def _wanted(self, members: I8, ends: I8, part: tuple[int, int, int], begin: int) -> set[int]:
        """Which of the members have rows that somebody wants."""
        if not self._telling:
            return set()
        first, last, less = part
        return {
            j for j in _filled(ends, first, last, begin) if int(members[j]) - less in self._telling
        }


class Banks:
    """All pipelines of one source that can stand in a bank."""

    def __init__(self, table: SeriesTable, pipelines: Sequence[Pipeline]) -> None:
        by_form: dict[tuple[object, ...], list[Pipeline]] = {}
        for pipeline in sorted(pipelines, key=_only_watches):
            by_form.setdefault((_only_watches(pipeline), *Bank.form(pipeline)), []).append(pipeline)
        self.table = table
        self.pipelines = [p for some in by_form.values() for p in some]
        self.banks: list[Bank] = []
        for some in by_form.values():
            first = self.banks[-1].last if self.banks else 0
            self.banks.append(Bank(some, first, len(self.pipelines)))
        calm = self.banks[-1].calm() if _only_watches(self.pipelines[-1]) else None
        self._links = Links(table, [p.selection for p in self.pipelines], calm)
        near, far = (
            [bank.alerts for bank in self.banks if bank.makes == kind and bank.alerts is not None]
            for kind in (Makes.SAME, Makes.BETWEEN)
        )
        self.quiet = all(bank.is_quiet for bank in self.banks)
        """Whether nothing is told before a tick of a sample that is calm, by `foresight`."""
        self.foresight = Foresight(near, far if self.quiet else ())
        self._below = [m for m, p in enumerate(self.pipelines) if p.followed]
        self._upstream = self._clock_ends = NONE
        self._clock_ns = NONE
        self._open: set[int] = set()
        """Members with alerts of which something stands."""
        self._tick_ns = 0
        self._stale, self._renumbered = True, table.renumbered
        self._behind = True
        """Whether anything was taken since pipelines were let know of time."""

    def again(self) -> None:
        """Look anew at which series there are: states were put in place, or alerts recalled."""
        self._stale = True

    def run(
        self, batch: Batch, tick_ns: int | None, *, last: bool
    ) -> Iterator[tuple[Pipeline, Made]]:
        """What comes of rows of the source, and of a tick, by pipeline; `last`: no more will come."""
        self._sync()
        self._behind = True
        made: dict[int, Made] = {}
        if batch.size:
            rows_, members, ends, n = self._links.deal(batch)
            for bank, a, b in self._touched(members, n):
                bank.run(Dealt(rows_, members, ends, (a, b, bank.first)), self._tick_ns, made)
            self._links.look()
            self.foresight.look(batch, *self._links.links)
            if made:
                self._open.update(m for m in made if _is_open(self.pipelines[m]))
        if tick_ns is not None or last:
            self._advance()
            for m in self._below:
                made.setdefault(m, Made())
                self._settle(m)
        if tick_ns is not None:
            self._tick(tick_ns, made)
        elif last:
            for m, alerting in self._opened():
                made.setdefault(m, Made()).events += alerting.throttle.summary(last=True)
        for m, found in made.items():
            yield self.pipelines[m], found

    def settle(self) -> None:
        """Let every pipeline know how far time has come, once after what was taken."""
        if not self._behind:
            return
        self._behind = False
        self._sync()
        self._links.settle()
        for m, pipeline in enumerate(self.pipelines):
            if self._clock_ns.size:
                self._settle(m)
            alerting = pipeline.alerting
            if alerting is not None:
                alerting.throttle.quiet(self._tick_ns)

    # --- inside --------------------------------------------------------------------------

    def _sync(self) -> None:
        """Meet series that are new to the source, or to us."""
        anew = self._stale or self.table.renumbered != self._renumbered
        if not (anew or self._links.is_behind):
            return
        if anew:
            self._links.again()
            self._clock_ns = NONE
            self._open = {m for m, p in enumerate(self.pipelines) if _is_open(p)}
        met = self._links.sync()
        self.foresight.meet(len(self.table), anew=anew)
        for m in range(len(self.pipelines)) if anew else met:
            self.pipelines[m].core.sync()
        if met or anew:
            self._upstream = NONE
        self._stale, self._renumbered = False, self.table.renumbered

    def _touched(self, members: I8, n: int) -> Iterator[tuple[Bank, int, int]]:
        """The banks of the first `n` of these members, which are ascending; first and last of each."""
        given, first = members[:n].tolist(), 0
        for bank in self.banks:
            last = bisect_left(given, bank.last, first)
            if last > first:
                yield bank, first, last
            first = last

    def _advance(self) -> None:
        """Take over how far the time of each series has come."""
        if not self._upstream.size:
            self._upstream, self._clock_ends = self._links.upstream()
        known = self._upstream != FULL
        self._clock_ns = np.where(known, self.table.clock_ns[self._upstream], NEVER)

    def _settle(self, m: int) -> None:
        """Let a table say how far the time of its series had come at the last tick."""
        begin = int(self._clock_ends[m - 1]) if m else 0
        clock_ns = self._clock_ns[begin : int(self._clock_ends[m])]
        ours = self.pipelines[m].selection.table.clock_ns[: clock_ns.size]
        np.copyto(ours, clock_ns, where=clock_ns != NEVER)

    def _opened(self) -> Iterator[tuple[int, Alerting]]:
        """Members with alerts of which something stands."""
        for m in sorted(self._open):
            alerting = self.pipelines[m].alerting
            if alerting is not None and _is_open(self.pipelines[m]):
                yield m, alerting
            else:
                self._open.discard(m)

    def _tick(self, tick_ns: int, made: dict[int, Made]) -> None:
        """Let time come to a tick: what was withheld, then timers, then what they made due."""
        for m, alerting in self._opened():
            if not alerting.throttle.idle:
                made.setdefault(m, Made()).events += alerting.throttle.at(tick_ns)
        before_ns, self._tick_ns = self._tick_ns, tick_ns
        if not before_ns:
            for pipeline in self.pipelines:
                if pipeline.alerting is not None:
                    _come(pipeline.alerting, tick_ns)
        for bank in self.banks:
            a, b = bank.first, bank.last
            begin = int(self._clock_ends[a - 1]) if a else 0
            clock_ns = self._clock_ns[begin : int(self._clock_ends[b - 1])]
            clocks = clock_ns, self._clock_ends[a:b] - begin
            bank.tick(clocks, (before_ns, tick_ns), made)
        self._open.update(m for m in made if _is_open(self.pipelines[m]))
        for m, alerting in self._opened():
            if alerting.announcer.waits or not alerting.throttle.idle:
                self._settle(m)
                alerting.throttle.quiet(before_ns)
                _come(alerting, tick_ns)
                made.setdefault(m, Made()).events += alerting.tick()


def _come(alerting: Alerting, tick_ns: int) -> None:
    """Tell a throttle of the tick that is being made, 0 between two; others were told before."""
    if tick_ns and alerting.throttle.idle:
        alerting.throttle.at(tick_ns)


def _only_watches(pipeline: Pipeline) -> bool:
    """Whether nothing comes of its rows but alerts."""
    return pipeline.alerting is not None and not pipeline.stages and not _is_wanted(pipeline)


def _makes(pipeline: Pipeline) -> Makes:
    of = [stage.operator.makes_of(stage.sets.sets) for stage in pipeline.stages]
    return Makes.LATER if Makes.LATER in of else max(of, default=Makes.SAME)


def _is_wanted(pipeline: Pipeline) -> bool:
    """Whether somebody wants its rows."""
    return pipeline.spec.publish is not None or pipeline.taken


def _is_open(pipeline: Pipeline) -> bool:
    """Whether any alert of it is not normal, or its series shelved, or something is withheld."""
    alerting = pipeline.alerting
    return alerting is not None and (alerting.announcer.open or not alerting.throttle.idle)


def _part(batch: Batch, ends: I8, j: int, first: int, begin: int) -> Batch:
    """Rows of one member; those of the `first` begin at `begin`."""
    return rows(batch, begin if j == first else int(ends[j - 1]), int(ends[j]))


def _filled(ends: I8, first: int, last: int, begin: int) -> set[int]:
    """Which of the members [first, last) have any rows; those of the first begin at `begin`."""
    found, at = set[int](), begin
    for j, end in enumerate(ends[first:last].tolist(), first):
        if end > at:
            found.add(j)
        at = end
    return found
