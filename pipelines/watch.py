"""Watch: the condition of one pipeline's alert over all its series, from rows to transitions.

A pure function of rows and clocks: what a transition means to anybody is told elsewhere.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from config.model import Alert, Bound, Number, Value, When
from config.model import Limits as Bounds
from pipelines.alerts import ACTIVE, NORMAL, OPERATOR, Level, Limits
from pipelines.batch import I4, I8, Batch
from pipelines.runner import StepRunner
from pipelines.series import FULL, Labels, SeriesTable
from pipelines.stage import Stage
from pipelines.values import reference, resolve


class Chosen(NamedTuple):
    """The limits of a series, and for each of their levels where it was written."""

    limits: Limits
    origins: tuple[str, ...]


class LimitSets:
    """The distinct limits in use, one set for each combination of per-device values."""

    def __init__(self, alert: Alert, values: Mapping[str, Value], last: Stage | None) -> None:
        """`last`: the step whose output is watched; a detector has a condition of its own."""
        self.last = last
        self.version = 0
        self.revalue(alert, values)

    def revalue(self, alert: Alert, values: Mapping[str, Value]) -> None:
        """Take other per-device values."""
        self.alert, self.values = alert, values
        self.version += 1
        self.sets: list[Chosen] = []
        self.limits: list[Limits] = []
        """Those of `sets`."""
        self._index: dict[Chosen, int] = {}
        self._known: dict[tuple[object, ...], int] = {}
        """By all that labels decide."""
        self._names: dict[str, None] = {}
        """Values that limits refer to."""
        self._choose(())
        self.of(())

    def of(self, labels: Labels) -> int:
        """Index of the set that a series with these labels uses; new sets are appended."""
        resolved = [resolve(self.values, name, labels) for name in self._names]
        decided = (0 if self.last is None else self.last.sets.of(labels), *resolved)
        index = self._known.get(decided)
        if index is None:
            chosen = self._choose(labels)
            index = self._known[decided] = self._index.setdefault(chosen, len(self.sets))
            if index == len(self.sets):
                self.sets.append(chosen)
                self.limits.append(chosen.limits)
        return index

    def _choose(self, labels: Labels) -> Chosen:
        when, base = self.alert.when, "alert.when"
        if when is None or not when.has_limit:
            assert self.last is not None, "checked when the configuration was read"
            condition = self.last.operator.condition
            assert condition is not None, "checked when the configuration was read"
            default = condition(self.last.params_of(labels))
            given = {} if when is None else {k: getattr(when, k) for k in when.model_fields_set}
            when, base = default.model_copy(update=given), ""
        written: list[tuple[str | None, When | Bound, str]] = [(None, when, base)]
        if when.levels:
            written = [(n, level, f"{base}.levels.{n}") for n, level in when.levels.items()]
        levels, origins = zip(
            *(self._level(labels, when, *level) for level in written), strict=True
        )
        update_by = self.alert.update_by
        limits = Limits(
            levels=levels,
            off_delay_ns=when.off_delay,
            latch=when.latch,
            flapping=self.alert.flapping == "hold",
            update_by=None if update_by is None else self._number(update_by, labels)[0],
            slots=len(levels),
            width=1 + (len(self.last.runner.fields) if self.last else 0),
        )
        return Chosen(limits, origins)

    def _level(
        self, labels: Labels, when: When, name: str | None, level: When | Bound, base: str
    ) -> tuple[Level, str]:
        """A level and where its limit was written; what it does not say itself `when` says."""
        low, high = (None, None) if level.outside is None else level.outside
        place = "outside" if level.outside is not None else ""
        if level.above is not None:
            high, place = level.above, "above"
        elif level.below is not None:
            low, place = level.below, "below"
        origins: dict[str, None] = {}
        numbers: list[float | None] = []
        for limit in (low, high):
            number, origin = (None, "") if limit is None else self._number(limit, labels)
            numbers.append(number)
            if limit is not None:
                assert self.last is not None or base, "a default is that of the last step"
                default = _by_itself(self.last, labels) if self.last else ""
                origins[origin or (f"{base}.{place}" if base else default)] = None
        deadband = when.deadband if level.deadband is None else level.deadband
        made = Level(
            name=name,
            low=numbers[0],
            high=numbers[1],
            deadband=self._number(deadband, labels)[0] or 0.0,
            on_delay_ns=when.on_delay if level.on_delay is None else level.on_delay,
            severity=getattr(level, "severity", None) or self.alert.severity,
        )
        return made, ", ".join(origins)

    def _number(self, written: Number, labels: Labels) -> tuple[float | None, str]:
        """A number for these labels, and where it stands when that is in `values`."""
        name = reference(written)
        if name is None:
            assert not isinstance(written, str)
            return written, ""
        self._names[name] = None
        found = resolve(self.values, name, labels)
        return found.number, found.origin


def _by_itself(last: Stage, labels: Labels) -> str:
    """Where the limit of a detector comes from whose user gave none."""
    budget = getattr(last.params_of(labels), "false_alarms", None)
    return f"{'default' if budget is None else 'false_alarms'} of {last.operator.name}"


class Watch:
    """State machine of every series, with the limits that each of them has."""

    STATE = ("table", "runner")
    REMADE = ("limits", "bounds", "_of_row", "_version")

    def __init__(self, limits: LimitSets, bounds: Bounds) -> None:
        self.limits = limits
        self.bounds = bounds
        self.table = SeriesTable(bounds.series_max)
        self._of_row: list[int] = []
        self._version = limits.version
        self.runner = StepRunner(
            OPERATOR, self.limits.limits, bounds.series_max, bounds.state_bytes_max
        )

    def remake(self) -> None:
        """Follow from a state that was put in place: limits are resolved anew."""
        self._of_row = []
        self.sync()

    def twin(self) -> "Watch":
        """Another watch of the same series with the same limits, where nothing happened so far."""
        other = Watch(self.limits, self.bounds)
        other.connect(self.table)
        return other

    def connect(self, table: SeriesTable) -> None:
        """Watch these series."""
        self.table = table

    @property
    def state(self) -> Any:
        """Arrays of the kernel, see `pipelines.alerts.State`. Replaced as they grow."""
        return self.runner.state

    def run(self, batch: Batch, clock_ns: I8 | None) -> Batch:
        """Transitions in order, of these rows and then of time having come to `clock_ns`."""
        self.sync()
        out = self.runner.run(batch)
        if clock_ns is not None:
            out = self.runner.tick(clock_ns, len(self.table), append=True)
        return out

    def revalue(self, alert: Alert, values: Mapping[str, Value]) -> None:
        """Take other limits, also for every twin; states stay as they are."""
        self.limits.revalue(alert, values)

    def chosen(self, row: int) -> Chosen:
        """Limits of a series, and where they were written."""
        self.sync()
        return self.limits.sets[self._of_row[row]]

    def active(self) -> list[int]:
        """Rows of the series whose alert is active."""
        state = self.state
        return [int(r) for r in np.flatnonzero((state.phase == ACTIVE) | (state.flapping == 1))]

    def is_active(self, row: int) -> bool:
        """Whether the alert of a series is active, as far as has been told."""
        return bool(self.state.phase[row] == ACTIVE or self.state.flapping[row])

    def recall(
        self, row: int, since_ns: int, value: float, worst: float, level: str | None = None
    ) -> bool:
        """Go on with an alert that was active before; False when this one has begun another.

        `level`: name of the level it was at.
        """
        self.sync()
        state = self.state
        if state.phase[row] != NORMAL:
            return False
        names = [known.name for known in self.chosen(row).limits.levels]
        state.phase[row], state.clearing[row] = ACTIVE, 0
        state.level[row] = state.shown[row] = 1 + (names.index(level) if level in names else 0)
        state.since_ns[row] = since_ns
        state.last[row], state.worst[row] = value, worst
        return True

    def renumber(self, moved: I4) -> None:
        """Follow the table, some of whose series were forgotten; see `SeriesTable.renumber`."""
        kept = np.flatnonzero(moved[: len(self._of_row)] != FULL)
        self._of_row = [self._of_row[row] for row in kept.tolist()]
        self.runner.renumber(moved, moved)

    def reset(self, row: int) -> None:
        """End the alert of a series, whatever holds it; the next sample may raise it again."""
        state = self.state
        state.phase[row] = state.level[row] = state.over[row] = state.shown[row] = NORMAL
        state.clearing[row] = state.waiting[row] = state.flapping[row] = state.changes[row] = 0

    def sync(self) -> None:
        """Resolve the limits of series that have none yet, or of all when they have changed."""
        if self._version != self.limits.version:
            self._version = self.limits.version
            self._of_row = []
        first = len(self._of_row)
        if first == len(self.table):
            return
        self._of_row += [
            self.limits.of(self.table.labels(row)) for row in range(first, len(self.table))
        ]
        self.runner.use(self.limits.limits)
        self.runner.assign(first, self._of_row[first:])
