"""Pipeline: a named chain of steps at work, from the rows of its upstream to rows and events."""

from collections import deque
from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np

from config.model import Limits, Upstream
from config.model import Pipeline as Spec
from pipelines.alerting import Alerting
from pipelines.alerts import CLEARED, KIND, UPDATED
from pipelines.batch import GOOD, Batch, copied, joined, new_batch, rows, samples, take
from pipelines.events import SAMPLE, WINDOW, Event, event_id, rfc3339, sample_name
from pipelines.operator import Operator
from pipelines.series import FULL, Labels, SeriesTable
from pipelines.stage import ParamSets, Selection, Stage

CAUSES_MAX: Final = 16
"""Causes named by one event; of a chain of many alerts the newest are kept."""


class Flow(NamedTuple):
    """Rows that one part of the graph hands to the next, valid until its next turn."""

    batch: Batch
    table: SeriesTable
    ids: tuple[str, ...] = ()
    """(n,) id of the event that each row came with; empty when rows have none."""


class Pipeline:
    """State and plan of one pipeline. Knows neither topics nor clocks."""

    def __init__(
        self,
        gateway: str,
        name: str,
        spec: Spec,
        operators: Mapping[str, Operator],
        limits: Limits,
    ) -> None:
        self.gateway, self.name, self.spec = gateway, name, spec
        self.selection = Selection(spec.where, limits.series_max)
        self.stages: list[Stage] = []
        table = self.selection.table
        for step in spec.steps:
            operator = operators[step.name]
            sets = ParamSets(operator.params, step.options, spec.values)
            stage = Stage(operator, sets, spec.group_by, limits)
            table = stage.connect(table)
            self.stages.append(stage)
        self.table = table
        self.alerting: Alerting | None = None
        if spec.alert is not None:
            last = self.stages[-1] if self.stages else None
            self.alerting = Alerting((gateway, name), spec.alert, spec.values, last, limits)
            self.alerting.connect(table)
        self._causes: dict[int, deque[str]] = {}

    @property
    def active(self) -> int:
        """Series whose alert is active now."""
        return len(self.alerting.active()) if self.alerting else 0

    @property
    def upstream(self) -> tuple[str, str]:
        """('source' or 'alerts', 'samples', 'windows'; its name)."""
        if isinstance(self.spec.from_, Upstream):
            return self.spec.from_.kind, self.spec.from_.pipeline
        return "source", self.spec.from_

    def run(self, flow: Flow, tick_ns: int | None) -> tuple[Flow, Flow, list[Event]]:
        """Rows of the last step, alert changes as rows (1 active, 0 cleared), and the events."""
        if not flow.ids:
            return self._run(self.selection.run(flow.batch, flow.table), flow.table, tick_ns)
        # Alerts come one at a time, so that an event names no cause that came after it.
        below, alerts, told = [], [], []
        for i, cause in enumerate(flow.ids):
            one = self.selection.run(rows(flow.batch, i, i + 1), flow.table)
            self._note_cause(self.selection.row(int(flow.batch.series[i])), cause)
            out, changes, events = self._run(one, flow.table, None)
            below.append(copied(out.batch))
            alerts.append(changes)
            told += events
        if tick_ns is not None:
            out, changes, events = self._run(_NOTHING, flow.table, tick_ns)
            below.append(copied(out.batch))
            alerts.append(changes)
            told += events
        ids = tuple(i for change in alerts for i in change.ids)
        changes = Flow(joined([c.batch for c in alerts]), self.table, ids)
        return Flow(joined(below), self.table), changes, told

    def _run(
        self, batch: Batch, upstream: SeriesTable, tick_ns: int | None
    ) -> tuple[Flow, Flow, list[Event]]:
        ticking = tick_ns is not None
        if ticking:
            self.selection.tick(upstream)
        for stage in self.stages:
            if batch.size == 0 and not ticking:
                break
            stage.sync()
            batch = stage.run(batch, None if tick_ns is None else stage.clocks(tick_ns))
        told: list[Event] = []
        alerts = Flow(_NOTHING, self.table)
        if self.spec.publish is not None and batch.size:
            told += self._published(batch)
        if self.alerting is not None and (batch.size or ticking):
            out = self.alerting.run(batch, ticking)
            if out.size:
                changes = self.alerting.tell(out, self._led_to)
                alerts = self._as_samples(out, changes)
                told += changes
        return Flow(batch, self.table), alerts, told

    def recall(self, labels: Labels, since_ns: int, value: float, worst: float) -> Flow | None:
        """Go on with an alert from before a restart; the row that tells it to pipelines below."""
        if not self.alerting or not self.alerting.recall(labels, since_ns, value, worst):
            return None
        row = np.array([self.table.find(labels)], np.int32)
        batch = samples(row, np.array([since_ns], np.int64), np.ones(1))
        return Flow(batch, self.table, (self.alerting.alert_id(labels, since_ns),))

    def present(self, spec: Spec) -> None:
        """Take what does not touch the state: topics, texts, severity, per-device values."""
        self.spec = spec
        for stage in self.stages:
            stage.revalue(spec.values)
        if self.alerting is not None and spec.alert is not None:
            self.alerting.present(spec.alert, spec.values)

    def retire(self, reason: str) -> list[Event]:
        """Events that end what this pipeline has told, before it goes away."""
        return self.alerting.retire(reason) if self.alerting else []

    def counters(self) -> dict[str, int]:
        """What the steps counted since they began, by 'step.counter', and refused series."""
        found = {
            f"{stage.operator.name}.{name}": count
            for stage in self.stages
            for name, count in stage.runner.counters().items()
        }
        tables = {id(t): t for t in (self.selection.table, self.table)}
        found["series_refused"] = sum(t.refused for t in tables.values())
        return found

    # --- inside --------------------------------------------------------------------------

    def _note_cause(self, row: int, event: str) -> None:
        """Remember that an upstream event reached the last row that `row` leads to."""
        for stage in self.stages:
            row = stage.group(row) if row != FULL else FULL
        if row != FULL:
            self._causes.setdefault(row, deque(maxlen=CAUSES_MAX)).append(event)

    def _led_to(self, row: int, onset_ns: int) -> tuple[str, ...]:
        kind, name = self.upstream
        labels = self.table.labels(row)
        if kind == "alerts":
            return tuple(self._causes.get(row, ()))
        if kind == "source":
            return (sample_name(name, labels, onset_ns),)
        of = WINDOW if kind == "windows" else SAMPLE
        return (event_id(self.gateway, name, labels, of, onset_ns),)

    def _as_samples(self, out: Batch, told: list[Event]) -> Flow:
        changes = out.fields[:, KIND] != UPDATED
        kept = take(out, changes)
        value = np.where(kept.fields[:, KIND] == CLEARED, 0.0, 1.0)
        batch = kept._replace(
            value=value,
            start_ns=kept.t_ns,
            quality=np.full(kept.size, GOOD, np.uint8),
            fields=np.zeros((kept.size, 0), np.float64),
        )
        ids = tuple(e.id for e, changed in zip(told, changes.tolist(), strict=True) if changed)
        return Flow(batch, self.table, ids)

    def _published(self, batch: Batch) -> list[Event]:
        names = self.stages[-1].runner.fields if self.stages else ()
        window = bool(self.stages) and self.stages[-1].operator.emits == "window"
        kind = WINDOW if window else SAMPLE
        events = []
        columns = (batch.series, batch.t_ns, batch.start_ns, batch.value, batch.quality)
        fields = batch.fields.tolist()
        listed = zip(*(c.tolist() for c in columns), fields, strict=True)
        for row, end, start, value, quality, extra in listed:
            labels = self.table.labels(row)
            data: dict[str, object] = {"pipeline": self.name, "labels": dict(labels)}
            if window:
                data |= {"start": rfc3339(start), "end": rfc3339(end)}
            if not names or not window:
                data["value"] = value if value == value else None  # noqa: PLR0124 - NaN
            data |= {n: x if x == x else None for n, x in zip(names, extra, strict=True)}  # noqa: PLR0124
            data["quality"] = ("good", "uncertain", "bad")[quality]
            events.append(
                Event(
                    id=event_id(self.gateway, self.name, labels, kind, end),
                    type=kind,
                    pipeline=self.name,
                    labels=labels,
                    time_ns=end,
                    data=data,
                    causes=() if window else self._led_to(row, end),
                )
            )
        return events


_NOTHING: Final = new_batch(0)
