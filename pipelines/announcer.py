"""Announcer: which of the things that happen to an alert are told, when, and with what added.

Takes the events of the condition (`Alerting.tell`) and gives those that go out.  All times are
event time of the series; what is due is told by ticks, which are recorded, or before the next
change of the same series, so a replay repeats it.  Pipelines below take the condition itself.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from config.model import Alert
from pipelines import events
from pipelines.batch import I4, I8
from pipelines.events import Event, rfc3339, rfc3339_ns
from pipelines.lifecycle import Alarm, Given, Place, Said, Shelf, move
from pipelines.occurrence import (
    COMMENTS_MAX,
    SEVERITIES,
    Occurrence,
    Order,
    Refused,
    values_of,
)
from pipelines.series import FULL, NEVER, SeriesTable, moved_up

NOT_DUE: Final = np.iinfo(np.int64).max
PASSED_OVER_MAX: Final = 100_000

Active = Callable[[tuple[str, ...]], set[tuple[str | None, ...]]]
"""Label names → values that the active alerts of another pipeline have for them."""


class Announcer:
    """Life cycles of all alerts of one pipeline."""

    STATE = ("_open", "_rows", "_due_ns", "_held", "_passed_over", "_first", "_ticks")
    REMADE = ("alert", "table", "_make", "inhibitor")

    def __init__(
        self,
        alert: Alert,
        table: SeriesTable,
        make: Callable[[Event, str, int, Mapping[str, Any]], Event],
    ) -> None:
        """`make(event, kind, time, data)`: an event like `event` with another type, time, data."""
        self.alert, self.table, self._make = alert, table, make
        self.inhibitor: Active | None = None
        self._open: dict[int, Occurrence] = {}
        self._rows: dict[str, int] = {}
        """Row by id of the alert."""
        self._due_ns: I8 = np.full(64, NOT_DUE, np.int64)
        self._held: dict[int, None] = {}
        """Rows that wait until it is known whether they are inhibited."""
        self._passed_over: dict[str, None] = {}
        """Ids of events that were not told: corrections of them are no news either."""
        self._first: dict[tuple[str | None, ...], int] = {}
        """Active alerts by values of the `first_out` labels."""
        self._ticks = 0

    def find(self, row: int) -> Occurrence | None:
        """The alert of a series that is not normal, or shelved."""
        return self._open.get(row)

    @property
    def open(self) -> bool:
        """Whether any alert is not normal, or its series shelved."""
        return bool(self._open)

    @property
    def waits(self) -> bool:
        """Whether time alone may bring anything: `tick` need not be called when it cannot."""
        return bool(self._held) or (bool(self._open) and bool(self._due_ns.min() != NOT_DUE))

    def knows(self, alert: str) -> bool:
        """Whether this is the id of an alert that is not normal, or whose series is shelved."""
        return alert in self._rows

    def row(self, alert: str) -> int:
        """Row of the series whose alert it is."""
        return self._rows[alert]

    def known(self) -> list[int]:
        """Rows of the series whose alert is not normal, or shelved."""
        return list(self._open)

    def added(self, known: Occurrence) -> dict[str, Any]:
        """What the life cycle of an alert adds to what its condition says of it."""
        severity = {"severity": self._severity(known)} if known.escalated else {}
        return known.added() | severity

    def renumber(self, moved: I4) -> None:
        """Follow the table, some of whose series were forgotten; none whose alert is known here."""
        self._open = {int(moved[row]): known for row, known in self._open.items()}
        self._rows = {alert: int(moved[row]) for alert, row in self._rows.items()}
        self._held = {int(moved[row]): None for row in self._held}
        due_ns = self._due_ns[: moved.size]
        moved_up(due_ns, np.flatnonzero(moved[: due_ns.size] != FULL), due_ns.size, NOT_DUE)

    # --- what happens --------------------------------------------------------------------

    def hear(self, row: int, event: Event, *, ticking: bool) -> list[Event]:
        """What is told when the condition of a series has changed."""
        told = self._hear(row, event, ticking=ticking)
        if all(said.id != event.id for said in told):
            self._pass_over(event)
        return told

    def _hear(self, row: int, event: Event, *, ticking: bool) -> list[Event]:
        known = self._open.get(row)
        if event.type == events.ACTIVE:
            told = self._until(row, event.time_ns - 1)
            known = self._begin(row, event)
            if self.alert.inhibit_by is not None:
                known.decide_at = self._ticks + (2 if ticking else 1)
                self._held[row] = None
                known.due_ns[Given.RELEASE] = event.time_ns + self.alert.inhibit_by.wait
                told += self._move(row, Given.INHIBIT, event.time_ns)
            return told + self._move(row, Given.RAISE, event.time_ns)
        if known is None or known.place.alarm is Alarm.NORMAL:
            return [event]
        told = self._until(row, event.time_ns - 1)
        before, known.event = self._severity(known), event
        if event.type == events.CLEARED:
            return told + self._move(row, Given.END, event.time_ns)
        worse = SEVERITIES.index(self._severity(known)) > SEVERITIES.index(before)
        return told + self._move(row, Given.WORSEN if worse else Given.CHANGE, event.time_ns)

    def tick(self) -> list[Event]:
        """What is told because time went on."""
        self._ticks += 1
        clock_ns = self.table.clock_ns
        n = min(self._due_ns.size, len(self.table))
        told: list[Event] = []
        for row in np.flatnonzero(self._due_ns[:n] <= clock_ns[:n]).tolist():
            told += self._until(row, int(clock_ns[row]))
        if not self._held:
            return told
        active: set[tuple[str | None, ...]] = set()
        same = self.alert.inhibit_by.same if self.alert.inhibit_by else ()
        if self.inhibitor is not None and self.alert.inhibit_by is not None:
            active = self.inhibitor(same)
        for row in list(self._held):
            known, now_ns = self._open[row], int(clock_ns[row])
            waited = now_ns >= known.due_ns[Given.RELEASE]
            if not waited or self._ticks < known.decide_at:
                continue
            if self._key(row, same) in active:
                known.silenced = True
            else:
                del self._held[row]
                told += self._move(row, Given.RELEASE, now_ns)
        return told

    def obey(self, alert: str, order: Order) -> list[Event]:
        """What is told when somebody has done something about an alert. Raises Refused."""
        row = self._rows[alert]
        known, clock_ns = self._open[row], int(self.table.clock_ns[row])
        now_ns = max(clock_ns, known.event.time_ns) if clock_ns != NEVER else order.at_ns
        if move(known.place, order.given) is None:
            where = known.place.alarm if known.place.shelf is Shelf.FREE else "shelved"
            raise Refused(f"cannot {order.given} an alert that is {where}")
        if order.for_ns > self.alert.shelve_max:
            raise Refused(f"an alert may be shelved for {self.alert.shelve_max // 10**9} s at most")
        if order.given is Given.ACKNOWLEDGE:
            known.acknowledged = order.note()
        elif order.given is Given.COMMENT:
            known.comments = [*known.comments, order.note()][-COMMENTS_MAX:]
        elif order.given is Given.SHELVE:
            known.due_ns[Given.RUN_OUT] = now_ns + order.for_ns
            known.shelved = order.note() | {"until": rfc3339(now_ns + order.for_ns)}
        elif order.given is Given.SHELVE_ONCE:
            known.shelved = order.note() | {"until": "end"}
        return self._move(row, order.given, now_ns, order)

    def end(self, row: int, event: Event) -> list[Event]:
        """What is told when an alert ends for another reason than its condition."""
        known = self._open.get(row)
        if known is None:
            return [event]
        known.event = event
        return self._move(row, Given.END, event.time_ns)

    def retire(self) -> list[Event]:
        """Take back what is shelved, because the pipeline goes away."""
        told: list[Event] = []
        for row in list(self._open):
            if self._open[row].place.shelf is not Shelf.FREE:
                told += self._move(row, Given.UNSHELVE, self._open[row].event.time_ns)
        return told

    # --- after a restart, after corrections ----------------------------------------------

    def resume(self, row: int, event: Event, data: Mapping[str, Any], told_ns: int) -> None:
        """Go on with what a retained state says. Raises ValueError and the like for rubbish."""
        known = Occurrence(event.data["alert"], event, event)
        alarm = Alarm.NORMAL if event.type == events.CLEARED else Alarm.UNACKED
        if "acknowledged" in data:
            known.acknowledged, alarm = dict(data["acknowledged"]), Alarm.ACKED
        known.comments = [dict(c) for c in data.get("comments", [])][-COMMENTS_MAX:]
        known.escalated = bool(data.get("escalated", False))
        shelf = Shelf.FREE
        if "shelved" in data:
            known.shelved = dict(data["shelved"])
            until = known.shelved["until"]
            shelf = Shelf.ONCE if until == "end" else Shelf.TIMED
            if shelf is Shelf.TIMED:
                known.due_ns[Given.RUN_OUT] = rfc3339_ns(until)
        self._keep(row, known)
        known.place = Place(alarm, shelf, inhibited=False, told=alarm is not Alarm.NORMAL)
        if alarm is not Alarm.NORMAL:
            self._join(row, known, first=data.get("first_out"))
        self._retime(row, known, Place(), Given.RAISE, told_ns)

    def goes_out(self, row: int, event: Event) -> bool:
        """Whether a correction is news: not of what was never told, nor while all is quiet."""
        if event.id in self._passed_over:
            return False
        known = self._open.get(row)
        if event.correction or known is None or not known.place.quiet or known.place.told:
            return True
        self._pass_over(event)
        return False

    def correct(self, row: int, event: Event | None, raised: Event | None) -> None:
        """Agree with what a correction has told: the alert as it is now, None when it is not.

        `raised`: the event that says so, when it was among those corrected.
        """
        known = self._open.get(row)
        if known is not None and event is not None and known.alert == event.data["alert"]:
            known.event = event
            return
        if known is not None and known.place.alarm is not Alarm.NORMAL:
            self._move(row, Given.END, known.event.time_ns)
        if event is not None:
            self._begin(row, raised or event)
            self._move(row, Given.RAISE, event.time_ns)

    # --- inside --------------------------------------------------------------------------

    def _pass_over(self, event: Event) -> None:
        if len(self._passed_over) >= PASSED_OVER_MAX:
            del self._passed_over[next(iter(self._passed_over))]
        self._passed_over[event.id] = None

    def _begin(self, row: int, event: Event) -> Occurrence:
        fresh = Occurrence(event.data["alert"], event, event)
        before = self._open.get(row)
        if before is not None:  # the series is shelved
            fresh.place, fresh.shelved = before.place, before.shelved
            fresh.due_ns, fresh.ids = before.due_ns, before.ids
        self._keep(row, fresh)
        self._join(row, fresh)
        return fresh

    def _keep(self, row: int, known: Occurrence) -> None:
        self._open[row] = known
        self._rows[known.alert] = row
        known.ids.append(known.alert)

    def _join(self, row: int, known: Occurrence, *, first: bool | None = None) -> None:
        """Count an alert among those of its group; the first one of an empty group is first."""
        if self.alert.first_out is not None:
            key = self._key(row, self.alert.first_out)
            known.first_out = key not in self._first if first is None else first
            self._first[key] = self._first.get(key, 0) + 1

    def _leave(self, row: int) -> None:
        if self.alert.first_out is not None:
            key = self._key(row, self.alert.first_out)
            self._first[key] = self._first.get(key, 1) - 1
            if self._first[key] <= 0:
                del self._first[key]

    def _key(self, row: int, names: Sequence[str]) -> tuple[str | None, ...]:
        return values_of(self.table.labels(row), names)

    def _until(self, row: int, time_ns: int) -> list[Event]:
        """What is due at a series up to this time, in order."""
        told: list[Event] = []
        while row < self._due_ns.size and self._due_ns[row] <= time_ns:
            known, due_ns = self._open[row], int(self._due_ns[row])
            given = next(g for g in _TIMERS if known.due_ns.get(g) == due_ns)
            if given is Given.ESCALATE:
                known.escalated = True
            elif given is Given.REMIND and self.alert.remind is not None:
                missed = (time_ns - due_ns) // self.alert.remind
                if missed:  # time made a leap: the newest reminder is enough
                    known.due_ns[given] += missed * self.alert.remind
                    self._next(row, known)
                    continue
            told += self._move(row, given, due_ns)
        return told

    def _move(self, row: int, given: Given, at_ns: int, order: Order | None = None) -> list[Event]:
        known = self._open[row]
        before = known.place
        known.silenced |= given is Given.RAISE and before.shelf is not Shelf.FREE
        moved = move(before, given)
        assert moved is not None, f"{given} at {before}"
        known.place, said = moved
        if known.place.alarm is not Alarm.ACKED:
            known.acknowledged = None if given is Given.WORSEN else known.acknowledged
        if known.place.shelf is Shelf.FREE:
            known.shelved = None
        told = [self._say(known, what, at_ns, order) for what in said]
        self._retime(row, known, before, given, at_ns)
        if before.alarm is not Alarm.NORMAL and known.place.alarm is Alarm.NORMAL:
            self._leave(row)
            self._held.pop(row, None)
        over = known.place.alarm is Alarm.NORMAL and known.place.shelf is Shelf.FREE
        if over and given is not Given.INHIBIT:
            self._drop(row)
        return told

    def _drop(self, row: int) -> None:
        for alert in self._open.pop(row).ids:
            self._rows.pop(alert, None)

    def _retime(self, row: int, known: Occurrence, before: Place, given: Given, at_ns: int) -> None:
        """Set what is due next; reminders and escalation count while somebody should take note."""
        due = known.due_ns
        if known.place.waiting and (not before.waiting or given is Given.WORSEN):
            if self.alert.remind is not None:
                due[Given.REMIND] = at_ns + self.alert.remind
            if self.alert.escalate is not None and not known.escalated:
                due[Given.ESCALATE] = at_ns + self.alert.escalate.after
        elif not known.place.waiting:
            due.pop(Given.REMIND, None)
            due.pop(Given.ESCALATE, None)
        elif given is Given.REMIND:
            due[Given.REMIND] = at_ns + (self.alert.remind or NOT_DUE - at_ns)
        elif given is Given.ESCALATE:
            del due[Given.ESCALATE]
        if known.place.shelf is not Shelf.TIMED:
            due.pop(Given.RUN_OUT, None)
        self._next(row, known)

    def _next(self, row: int, known: Occurrence) -> None:
        if row >= self._due_ns.size:
            more = np.full(row + 1, NOT_DUE, np.int64)
            self._due_ns = np.concatenate((self._due_ns, more))
        due = (known.due_ns[g] for g in _TIMERS if g in known.due_ns)
        self._due_ns[row] = min(due, default=NOT_DUE)

    def _severity(self, known: Occurrence) -> str:
        severity = str(known.event.data["severity"])
        if known.escalated and self.alert.escalate is not None:
            return max(severity, self.alert.escalate.severity, key=SEVERITIES.index)
        return severity

    def _say(self, known: Occurrence, said: Said, at_ns: int, order: Order | None) -> Event:
        added, told_ns = self.added(known), at_ns if order is None else order.at_ns
        if not added and said in (Said.UPDATED, Said.CLEARED):
            return known.event
        if said is Said.ACTIVE:
            self._passed_over.pop(known.raised.id, None)
        plain = known.event is known.raised and not added and not known.silenced
        if said is Said.ACTIVE and plain:
            return known.raised
        if said in (Said.ACTIVE, Said.UPDATED, Said.CLEARED):
            like = known.raised if said is Said.ACTIVE else known.event
            data = {**known.event.data, **added}
            time_ns = like.time_ns
            if said is Said.ACTIVE:
                data.pop("reason", None)
                time_ns = max(time_ns, told_ns) if known.silenced else time_ns
            return self._make(like, "", time_ns, data)
        ended = known.place.alarm is Alarm.NORMAL
        data = {
            **known.event.data,
            **added,
            "state": "cleared" if ended else "active",
            "reason": str(said),
        }
        if order is not None:
            data |= order.note()
        who = "" if order is None else f" {order.by} {order.comment}"
        return self._make(known.event, f"{events.UPDATED} {said}{who}", told_ns, data)


_TIMERS: Final = (Given.RUN_OUT, Given.REMIND, Given.ESCALATE)
