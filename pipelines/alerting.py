"""Alerting: the alert of one pipeline, from rows of its last step to events."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from config.model import Alert, Value
from config.model import Limits as Bounds
from pipelines import events
from pipelines.alerts import (
    CLEARED,
    FLAPPING,
    KIND,
    LEVEL,
    LEVELLED,
    NORMAL,
    OWN_FIELDS,
    RAISED,
    STEADY,
    WORSENED,
    WORST,
)
from pipelines.announcer import Announcer
from pipelines.batch import Batch, Mask
from pipelines.events import Event, Standing, event_id, rfc3339
from pipelines.lifecycle import Given
from pipelines.message import message
from pipelines.occurrence import Order, Refused, values_of
from pipelines.series import FULL, Labels, SeriesTable
from pipelines.stage import Stage
from pipelines.throttle import Throttle
from pipelines.watch import LimitSets, Watch

_TYPES: Final = {RAISED: events.ACTIVE, CLEARED: events.CLEARED}
_REASONS: Final = {WORSENED: "worse", LEVELLED: "level", FLAPPING: "flapping", STEADY: "steady"}


class Past(NamedTuple):
    """What a retained state says of an alert."""

    active: bool
    since_ns: int
    told_ns: int
    value: float
    worst: float
    level: str | None = None
    data: Mapping[str, Any] = MappingProxyType({})
    """With what its life cycle added, see `Occurrence.added`."""


class Alerting:
    """What one pipeline tells about its alert."""

    STATE = ("watch", "announcer", "throttle")
    REMADE = ("gateway", "pipeline", "alert", "fields", "span")

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
        self.announcer = Announcer(alert, self.watch.table, self._made)
        self.throttle = Throttle(*identity, bounds)

    @property
    def table(self) -> SeriesTable:
        """The series whose alert this is."""
        return self.watch.table

    def connect(self, table: SeriesTable) -> None:
        """Watch these series."""
        self.watch.connect(table)
        self.announcer.table = table

    def present(self, alert: Alert, values: Mapping[str, Value]) -> None:
        """Take other texts, severities and per-device values; states stay as they are."""
        self.alert = self.announcer.alert = alert
        self.watch.revalue(alert, values)

    def active(self) -> list[int]:
        """Rows of the series whose alert is active."""
        return self.watch.active()

    def tell(self, out: Batch, causes: Callable[[int, int, int], tuple[str, ...]]) -> list[Event]:
        """The events of these transitions; `causes(row, onset, time)` names what led to one."""
        return [
            self._event(
                row=int(out.series[i]),
                kind=int(out.fields[i, KIND]),
                level=int(out.fields[i, LEVEL]),
                times=(int(out.start_ns[i]), int(out.t_ns[i])),
                numbers=(float(out.value[i]), float(out.fields[i, WORST])),
                extra=out.fields[i, OWN_FIELDS:].tolist(),
                causes=causes(int(out.series[i]), int(out.start_ns[i]), int(out.t_ns[i])),
            )
            for i in range(out.size)
        ]

    def announce(self, changes: Batch, told: Sequence[Event], *, ticking: bool) -> list[Event]:
        """What goes out of `told`, the events of these transitions; `ticking`: of a tick."""
        rows = changes.series.tolist()
        return self.throttle.passed(
            [
                event
                for row, change in zip(rows, told, strict=True)
                for event in self.announcer.hear(row, change, ticking=ticking)
            ]
        )

    def tick(self) -> list[Event]:
        """What goes out because time went on; after the transitions of the same tick."""
        return self.throttle.passed(self.announcer.tick()) + self.throttle.summary()

    def active_values(self, names: tuple[str, ...]) -> set[tuple[str | None, ...]]:
        """Values that the active alerts have for these labels."""
        return {values_of(self.table.labels(row), names) for row in self.active()}

    def corrected(self, told: Sequence[Event]) -> list[Event]:
        """What goes out of corrections, each with what the alert of its series is now."""
        rows = [self.table.intern(event.labels) for event in told]
        out = [
            (row, event)
            for row, event in zip(rows, told, strict=True)
            if self.announcer.goes_out(row, event)
        ]
        raised = {event.data["alert"]: event for event in told if event.type == events.ACTIVE}
        for row in dict.fromkeys(rows):
            now = self._present(row)
            self.announcer.correct(row, now, raised.get(now.data["alert"]) if now else None)
        return self.throttle.passed(
            [replace(event, standing=Standing(self._stands(row))) for row, event in out]
        )

    def retire(self, reason: str) -> list[Event]:
        """Clear every active alert, because the pipeline is going away or starts afresh."""
        told = self.announcer.retire()
        for row in self.active():
            told += self.announcer.end(row, self._ended(row, reason))
        return self.throttle.passed(told, asked=True) + self.throttle.summary(last=True)

    def recall(self, labels: Labels, past: Past) -> bool:
        """Go on with an alert that was active before a restart; False when it is known here."""
        row = self.table.intern(labels)
        if row == FULL or self.announcer.find(row) is not None:
            return False
        if past.active and not self.watch.recall(
            row, past.since_ns, past.value, past.worst, past.level
        ):
            return False
        stands = self._present(row) or self._shelved(row, past)
        self.announcer.resume(row, stands, past.data, past.told_ns)
        return past.active

    def busy(self) -> Mask:
        """(rows,) the series whose alert is not at rest, or that somebody has shelved."""
        n = len(self.table)
        self.watch.sync()
        self.watch.runner.ensure(n)
        state = self.watch.state
        busy: Mask = (
            (state.phase[:n] != NORMAL) | (state.waiting[:n] != 0) | (state.flapping[:n] != 0)
        )
        busy[self.announcer.known()] = True
        return busy

    def obey(self, alert: str, order: Order) -> list[Event]:
        """What somebody has asked for; the alert is one that `announcer.knows`. Raises Refused.

        Of a reset alert the condition may still hold: the next sample raises it again, anew.
        """
        if order.given is not Given.RESET:
            return self.throttle.passed(self.announcer.obey(alert, order), asked=True)
        row = self.announcer.row(alert)
        if not self.watch.is_active(row) or alert != self._id(row):
            raise Refused("cannot reset an alert that is not active")
        ended = self._ended(row, "reset")
        self.watch.reset(row)
        ended = replace(ended, data={**ended.data, **order.note()})
        return self.throttle.passed(self.announcer.end(row, ended), asked=True)

    def alert_id(self, labels: Labels, since_ns: int) -> str:
        """What all events of one alert, from its onset to its end, have in common."""
        return event_id(self.gateway, self.pipeline, labels, "alert", since_ns)

    # --- inside --------------------------------------------------------------------------

    def _id(self, row: int) -> str:
        return self.alert_id(self.table.labels(row), int(self.watch.state.since_ns[row]))

    def _present(self, row: int) -> Event | None:
        """The alert of a series as its condition now is, None when it is not active."""
        if not self.watch.is_active(row):
            return None
        state = self.watch.state
        onset = int(state.since_ns[row])
        numbers = (float(state.last[row]), float(state.worst[row]))
        level = max(int(state.level[row]), 1) - 1
        return self._event(row, RAISED, level, (onset, onset), numbers, [], ())

    def _stands(self, row: int) -> Event | None:
        """The same with what its life cycle adds."""
        event, known = self._present(row), self.announcer.find(row)
        if event is None or known is None:
            return event
        data = {**event.data, **self.announcer.added(known)}
        return replace(event, data={**data, "message": message(self.alert.message, data)})

    def _shelved(self, row: int, past: Past) -> Event:
        """What is known of a series that was shelved, and not active."""
        times = (past.since_ns, past.told_ns)
        return self._event(row, CLEARED, 0, times, (past.value, past.worst), [], ())

    def _made(self, event: Event, kind: str, time_ns: int, data: Mapping[str, Any]) -> Event:
        """An event like `event` with other data; of another kind, an update of its own."""
        data = {**data, "message": message(self.alert.message, data)}
        if not kind:
            return replace(event, time_ns=time_ns, data=data)
        made = event_id(self.gateway, self.pipeline, event.labels, kind, time_ns)
        return replace(event, id=made, type=events.UPDATED, time_ns=time_ns, data=data, causes=())

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
        data["message"] = message(self.alert.message, data)
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
