"""Watch: the condition of one pipeline's alert over all its series, from rows to transitions.

A pure function of rows and clocks: what a transition means to anybody is told elsewhere.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from config.model import Alert, Value
from config.model import Limits as Bounds
from pipelines.alerts import ACTIVE, NORMAL, OPERATOR, Limits
from pipelines.batch import I8, Batch
from pipelines.runner import StepRunner
from pipelines.series import Labels, SeriesTable
from pipelines.stage import Stage
from pipelines.values import reference, resolve


class Chosen(NamedTuple):
    """The limits of a series, and where they were written."""

    limits: Limits
    origin: str


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
        self._index: dict[Chosen, int] = {}
        self.of(())

    def of(self, labels: Labels) -> int:
        """Index of the set that a series with these labels uses; new sets are appended."""
        chosen = self._choose(labels)
        index = self._index.get(chosen)
        if index is None:
            index = self._index[chosen] = len(self.sets)
            self.sets.append(chosen)
        return index

    def _choose(self, labels: Labels) -> Chosen:
        when, base = self.alert.when, "alert.when"
        if when is None or (when.above, when.below, when.outside) == (None, None, None):
            assert self.last is not None, "checked when the configuration was read"
            condition = self.last.operator.condition
            assert condition is not None, "checked when the configuration was read"
            default = condition(self.last.params_of(labels))
            given = {} if when is None else {k: getattr(when, k) for k in when.model_fields_set}
            when, base = default.model_copy(update=given), f"default of {self.last.operator.name}"
        origins: list[str] = []

        def number(written: float | str | None, place: str) -> float | None:
            name = reference(written)
            if name is None:
                assert not isinstance(written, str)
                if written is not None and place:
                    origins.append(base if base.startswith("default") else f"{base}.{place}")
                return written
            found = resolve(self.values, name, labels)
            if place:
                origins.append(found.origin)
            return found.number

        high, low = number(when.above, "above"), number(when.below, "below")
        if when.outside is not None:
            low, high = (number(x, "outside") for x in when.outside)
        limits = Limits(
            low=low,
            high=high,
            deadband=number(when.deadband, "") or 0.0,
            on_delay_ns=when.on_delay,
            off_delay_ns=when.off_delay,
            latch=when.latch,
            update_by=number(self.alert.update_by, ""),
            width=1 + (len(self.last.runner.fields) if self.last else 0),
        )
        return Chosen(limits, ", ".join(dict.fromkeys(origins)))


class Watch:
    """State machine of every series, with the limits that each of them has."""

    def __init__(self, limits: LimitSets, bounds: Bounds) -> None:
        self.limits = limits
        self.bounds = bounds
        self.table = SeriesTable(bounds.series_max)
        self._of_row: list[int] = []
        self._version = limits.version
        self.runner = StepRunner(
            OPERATOR, self._packed(), bounds.series_max, bounds.state_bytes_max
        )

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
        return [int(row) for row in np.flatnonzero(self.state.phase == ACTIVE)]

    def recall(self, row: int, since_ns: int, value: float, worst: float) -> bool:
        """Go on with an alert that was active before; False when this one has begun another."""
        self.sync()
        state = self.state
        if state.phase[row] != NORMAL:
            return False
        state.phase[row], state.clearing[row] = ACTIVE, 0
        state.since_ns[row] = since_ns
        state.last[row], state.worst[row] = value, worst
        return True

    def reset(self, row: int) -> None:
        """End the alert of a series, whatever holds it; the next sample may raise it again."""
        self.state.phase[row], self.state.clearing[row] = NORMAL, 0

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
        self.runner.use(self._packed())
        for row in range(first, len(self.table)):
            self.runner.assign(row, self._of_row[row])

    # --- inside --------------------------------------------------------------------------

    def _packed(self) -> list[Limits]:
        return [chosen.limits for chosen in self.limits.sets]
