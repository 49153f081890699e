"""Alerting: the alert of one pipeline, from rows of its last step to events."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from config.errors import printable
from config.model import Alert, Value
from config.model import Limits as Bounds
from pipelines import events
from pipelines.alerts import (
    CLEARED,
    FLAPPING,
    KIND,
    LEVEL,
    LEVELLED,
    OWN_FIELDS,
    RAISED,
    STEADY,
    WORSENED,
    WORST,
)
from pipelines.batch import Batch
from pipelines.events import Event, Standing, event_id, rfc3339
from pipelines.series import FULL, Labels, SeriesTable
from pipelines.stage import Stage
from pipelines.watch import LimitSets, Watch

_TYPES: Final = {RAISED: events.ACTIVE, CLEARED: events.CLEARED}
_REASONS: Final = {WORSENED: "worse", LEVELLED: "level", FLAPPING: "flapping", STEADY: "steady"}


class Alerting:
    """What one pipeline tells about its alert."""

    def __init__(
        self,
        identity: tuple[str, str],
        alert: Alert,
        values: Mapping[str, Value],
        last: Stage | None,
        bounds: Bounds,
    ) -> None:
        """`identity`: names of gateway and pipeline; `last`: the step whose output is watched."""
        self.gateway, self.pipeline = identity
        self.alert = alert
        self.fields: tuple[str, ...] = last.runner.fields if last else ()
        self.span = _span(last)
        self.watch = Watch(LimitSets(alert, values, last), bounds)

    @property
    def table(self) -> SeriesTable:
        """The series whose alert this is."""
        return self.watch.table

    def connect(self, table: SeriesTable) -> None:
        """Watch these series."""
        self.watch.connect(table)

    def present(self, alert: Alert, values: Mapping[str, Value]) -> None:
        """Take other texts, severities and per-device values; states stay as they are."""
        self.alert = alert
        self.watch.revalue(alert, values)

    def active(self) -> list[int]:
        """Rows of the series whose alert is active."""
        return self.watch.active()

    def tell(self, out: Batch, causes: Callable[[int, int], tuple[str, ...]]) -> list[Event]:
        """The events of these transitions; `causes(row, onset)` names what led to one."""
        return [
            self._event(
                row=int(out.series[i]),
                kind=int(out.fields[i, KIND]),
                level=int(out.fields[i, LEVEL]),
                times=(int(out.start_ns[i]), int(out.t_ns[i])),
                numbers=(float(out.value[i]), float(out.fields[i, WORST])),
                extra=out.fields[i, OWN_FIELDS:].tolist(),
                causes=causes(int(out.series[i]), int(out.start_ns[i])),
            )
            for i in range(out.size)
        ]

    def standing(self, event: Event) -> Event:
        """The event of a correction, with what the alert of its series is now."""
        row = self.table.find(event.labels)
        state = self.watch.state
        if row is None or not self.watch.is_active(row):
            return replace(event, standing=Standing(None))
        onset = int(state.since_ns[row])
        numbers = (float(state.last[row]), float(state.worst[row]))
        level = max(int(state.level[row]), 1) - 1
        stands = self._event(row, RAISED, level, (onset, onset), numbers, [], ())
        return replace(event, standing=Standing(stands))

    def retire(self, reason: str) -> list[Event]:
        """Clear every active alert, because the pipeline is going away or starts afresh."""
        return [self._ended(row, reason) for row in self.active()]

    def recall(self, labels: Labels, since_ns: int, value: float, worst: float) -> bool:
        """Go on with an alert that was active before a restart; False when it is known here."""
        row = self.table.intern(labels)
        return row != FULL and self.watch.recall(row, since_ns, value, worst)

    def alert_id(self, labels: Labels, since_ns: int) -> str:
        """What all events of one alert, from its onset to its end, have in common."""
        return event_id(self.gateway, self.pipeline, labels, "alert", since_ns)

    def reset(self, alert: str) -> list[Event]:
        """Clear the alert with this id, whatever holds it; nothing when it is not active here.

        A condition that still holds raises it again with the next sample, as a new alert.
        """
        for row in self.active():
            onset = int(self.watch.state.since_ns[row])
            if self.alert_id(self.table.labels(row), onset) == alert:
                told = self._ended(row, "reset")
                self.watch.reset(row)
                return [told]
        return []

    # --- inside --------------------------------------------------------------------------

    def _ended(self, row: int, reason: str) -> Event:
        """The end of an active alert for another reason than its value."""
        state = self.watch.state
        onset, clock = int(state.since_ns[row]), int(self.table.clock_ns[row])
        event = self._event(
            row=row,
            kind=CLEARED,
            level=max(int(state.level[row]), 1) - 1,
            times=(onset, max(clock, onset)),
            numbers=(float(state.last[row]), float(state.worst[row])),
            extra=[],
            causes=(),
        )
        return replace(event, data={**event.data, "reason": reason})

    def _event(
        self,
        row: int,
        kind: int,
        level: int,
        times: tuple[int, int],
        numbers: tuple[float, float],
        extra: list[float],
        causes: tuple[str, ...],
    ) -> Event:
        labels, (onset, when) = self.table.labels(row), times
        limits, origins = self.watch.chosen(row)
        at = limits.levels[level]
        type_, reason = _TYPES.get(kind, events.UPDATED), _REASONS.get(kind)
        limit = {
            name: value
            for name, value in (
                ("above", at.high),
                ("below", at.low),
                ("deadband", at.deadband or None),
                ("from", origins[level]),
            )
            if value is not None
        }
        data: dict[str, Any] = {
            "alert": self.alert_id(labels, onset),
            "state": "cleared" if kind == CLEARED else "active",
            "pipeline": self.pipeline,
            "labels": dict(labels),
            "severity": at.severity,
            "value": _finite(numbers[0]),
            "worst": _finite(numbers[1]),
            "limit": limit,
            "since": rfc3339(onset),
        }
        data |= {"level": at.name} if at.name else {}
        data |= {"reason": reason} if reason else {}
        if self.span:
            data["window"] = self.span
        if kind == CLEARED:
            data["duration_s"] = (when - onset) / 1e9
        known = {n: _finite(x) for n, x in zip(self.fields, extra, strict=False)}
        if known:
            data["detail"] = known
        data["message"] = self._message(data)
        return Event(
            id=event_id(
                self.gateway, self.pipeline, labels, " ".join(filter(None, (type_, reason))), when
            ),
            type=type_,
            pipeline=self.pipeline,
            labels=labels,
            time_ns=when,
            data=data,
            causes=causes,
        )

    def _message(self, data: Mapping[str, Any]) -> str:
        limit = data["limit"]
        sides = " / ".join(
            f"{side} {limit[side]:g}" for side in ("above", "below") if side in limit
        )
        words = {
            "pipeline": self.pipeline,
            "severity": data["severity"],
            "state": data["state"],
            "level": data.get("level", ""),
            "value": "unknown" if data["value"] is None else f"{data['value']:.6g}",
            "worst": "unknown" if data["worst"] is None else f"{data['worst']:.6g}",
            "limit": sides,
            "labels": ", ".join(f"{k}={printable(v)}" for k, v in data["labels"].items()),
            **{name: printable(label) for name, label in data["labels"].items()},
        }
        text = self.alert.message or "{pipeline} {state}: {value} ({limit}), {labels}"
        return re.sub(r"\{(\w+)\}", lambda m: words.get(m[1], m[0]), text)


def _finite(number: float) -> float | None:
    """JSON knows no NaN: what is not known is null."""
    return number if math.isfinite(number) else None


def _span(last: Stage | None) -> str | int | None:
    """The window that the watched value was computed over, as it was written."""
    if last is None:
        return None
    dumped = last.sets.sets[0].model_dump()
    found = dumped.get("window") or dumped.get("size") or dumped.get("timeout")
    return found if isinstance(found, str | int) else None
