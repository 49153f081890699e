"""Throttle: which alert events are told at once when there are too many, and what becomes of others.

An event that there is no room for is withheld.  The retained state is told in its place, a summary
once a second says what was withheld, and as soon as there is room the newest withheld event of each
alert that goes on is told.  So what was heard last of an alert becomes true again, and a clear is
withheld only together with what it would end.

Room is measured by ticks and not by a clock, so a replay withholds the same events.  A bucket is one
number as in `pipelines.quota`: the time by which its last event was due.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from config.limits import Limits
from config.terms import SECOND
from pipelines.events import ACTIVE, CLEARED, WITHHELD, Event, event_id, rfc3339
from pipelines.occurrence import SEVERITIES
from pipelines.series import Labels

SERIES_EACH_NS: Final = SECOND
SERIES_SLACK_NS: Final = 9 * SERIES_EACH_NS
"""A series that flutters shall not take the room of the others: one a second, after ten at once.

A second by its own time or by ours: what it did over hours may come within one of ours, after an
outage, and its clock may stand or be put back.
"""
NAMED_MAX: Final = 16
"""Series that a summary names."""
REMEMBERED_MAX: Final = 100_000


_Bucket = tuple[int, int, int]
"""Time that has to pass until all room of a series is back; its time, and ours, that have counted."""


class Throttle:
    """Room for the events of one pipeline's alert."""

    STATE = (
        "withheld",
        "_now_ns",
        "_due_ns",
        "_series",
        "_waiting",
        "_unheard",
        "_ids",
        "_counts",
        "_named",
        "_span_ns",
        "_severity",
        "_began_ns",
    )
    REMADE = ("_gateway", "_pipeline", "_each_ns", "_slack_ns")

    def __init__(self, gateway: str, pipeline: str, limits: Limits) -> None:
        self._gateway, self._pipeline = gateway, pipeline
        self._each_ns = SECOND // limits.pipeline_alerts_per_s_max
        self._slack_ns = self._each_ns * (limits.pipeline_alerts_burst_max - 1)
        self.withheld = 0
        """Events since the start of which only the state was told at its time."""
        self._now_ns = 0
        self._due_ns = 0
        self._series: dict[Labels, _Bucket] = {}
        """Of series whose bucket is not full."""
        self._waiting: dict[str, tuple[Event | None, Event]] = {}
        """By alert, longest first: the event that raised it, None where that was told; the newest."""
        self._unheard: dict[str, None] = {}
        """Alerts of which nothing has been told: neither is their end."""
        self._ids: dict[str, None] = {}
        """Events that were withheld: so are corrections of them."""
        self._counts: dict[str, int] = {}
        """What was withheld since the last summary, by the last word of its type."""
        self._named: dict[Labels, None] = {}
        self._span_ns = (0, 0)
        self._severity = 0
        self._began_ns = 0
        """The last tick before the first of them."""

    @property
    def idle(self) -> bool:
        """Whether nothing is withheld of which anything is still to be told."""
        return not self._waiting and not self._counts

    def quiet(self, now_ns: int) -> None:
        """Be where ticks up to this one lead when nothing is withheld: they need not be told one by one."""
        if self.idle and now_ns > self._now_ns:
            self.at(now_ns)
            self.summary()

    def at(self, now_ns: int) -> list[Event]:
        """What there is room for now that processing time has come to this tick."""
        if not self._now_ns:  # until now nothing was known of time: no room has come back
            self._began_ns = now_ns
            self._due_ns += now_ns
        self._now_ns = now_ns
        told: dict[str, Event] = {}
        for alert, (raised, newest) in self._waiting.items():
            if not self._free:
                break
            if self._room(newest.labels, newest.time_ns):
                told[alert] = newest if raised is None else _begun(raised, newest)
        for alert, event in told.items():
            del self._waiting[alert]
            self._unheard.pop(alert, None)
            self._ids.pop(event.id, None)
        return list(told.values())

    def passed(self, told: Sequence[Event], *, asked: bool = False) -> list[Event]:
        """The same, with those marked that are withheld; `asked`: somebody waits for them."""
        return [out for event in told for out in self._judged(event, asked=asked)]

    def summary(self, *, last: bool = False) -> list[Event]:
        """What was withheld in the second that is over; `last`: or so far, as no more will come."""
        now_ns = self._now_ns
        if now_ns // SECOND == self._began_ns // SECOND and not last:
            return []
        taken = self._series
        self._series = {s: b for s, b in taken.items() if _later(b, b[1], now_ns)[0]}
        if not self._counts:
            return []
        count = sum(self._counts.values())
        data: dict[str, Any] = {
            "pipeline": self._pipeline,
            "labels": {},
            "severity": SEVERITIES[self._severity],
            "count": count,
            "withheld": self._counts,
            "waiting": len(self._waiting),
            "from": rfc3339(self._span_ns[0]),
            "to": rfc3339(self._span_ns[1]),
            "series": [dict(labels) for labels in self._named],
            "message": f"{self._pipeline}: {count} alert events withheld, states are kept",
        }
        self._counts, self._named, self._severity = {}, {}, 0
        made = event_id(self._gateway, self._pipeline, (), WITHHELD, now_ns)
        return [Event(made, WITHHELD, self._pipeline, (), now_ns, data)]

    # --- inside --------------------------------------------------------------------------

    def _judged(self, event: Event, *, asked: bool) -> list[Event]:
        if event.standing is not None:
            return [self._corrected(event, event.standing.event)]
        alert = event.data["alert"]
        waiting = self._waiting.pop(alert, None)
        raised = waiting[0] if waiting else None
        if event.type == CLEARED:
            return [self._withhold(event) if alert in self._unheard else event]
        if asked and raised is not None:
            del self._unheard[alert]
            return [_begun(raised, event), event]
        if asked or (waiting is None and self._room(event.labels, event.time_ns)):
            self._unheard.pop(alert, None)
            return [event]
        if event.type == ACTIVE:
            raised = event
            _remember(self._unheard, alert)
        self._wait(alert, raised, event)
        return [self._withhold(event)]

    def _corrected(self, event: Event, now: Event | None) -> Event:
        """One of a correction, after which the alert of its series is `now`."""
        alert, gone = event.data["alert"], event.correction == "retracted"
        raised, newest = self._waiting.pop(alert, (None, None))
        goes_on = now is not None and now.data["alert"] == alert
        if newest is not None and newest.id == event.id:
            newest = raised if gone else event
        if raised is not None and raised.id == event.id:
            raised, newest = (None, None) if gone else (event, newest)
        if event.id in self._ids:
            if newest is None and alert in self._unheard:  # that it had ended was withheld
                raised = newest = now
            told = False
        elif event.type == CLEARED:
            told = alert not in self._unheard
        else:
            told = bool(event.correction) or self._room(event.labels, event.time_ns)
            if not told:
                raised, newest = (event if event.type == ACTIVE else raised), event
                if event.type == ACTIVE:
                    _remember(self._unheard, alert)
        if goes_on and newest is not None:
            self._wait(alert, raised, newest)
        return event if told else self._withhold(event)

    def _wait(self, alert: str, raised: Event | None, newest: Event) -> None:
        if len(self._waiting) >= REMEMBERED_MAX:
            del self._waiting[next(iter(self._waiting))]
        self._waiting[alert] = (raised, newest)

    @property
    def _free(self) -> bool:
        return self._due_ns - self._now_ns <= self._slack_ns

    def _room(self, labels: Labels, time_ns: int) -> bool:
        """Whether one more event of this series may be told now; it is then taken from both."""
        taken = self._series.get(labels, (0, time_ns, self._now_ns))
        debt_ns, by_time_ns, by_now_ns = _later(taken, time_ns, self._now_ns)
        if not self._free or debt_ns > SERIES_SLACK_NS:
            return False
        self._due_ns = max(self._due_ns, self._now_ns) + self._each_ns
        self._series[labels] = (debt_ns + SERIES_EACH_NS, by_time_ns, by_now_ns)
        return True

    def _withhold(self, event: Event) -> Event:
        if not self._counts:
            self._began_ns = self._now_ns
            self._span_ns = (event.time_ns, event.time_ns)
        word = event.type.rpartition(".")[2]
        self._counts[word] = self._counts.get(word, 0) + 1
        self.withheld += 1
        first_ns, last_ns = self._span_ns
        self._span_ns = (min(first_ns, event.time_ns), max(last_ns, event.time_ns))
        self._severity = max(self._severity, SEVERITIES.index(event.data["severity"]))
        if len(self._named) < NAMED_MAX:
            self._named[event.labels] = None
        _remember(self._ids, event.id)
        return replace(event, withheld=True)


def _later(bucket: _Bucket, time_ns: int, now_ns: int) -> _Bucket:
    """What is left of it then: no second counts by both clocks, and none stops the other."""
    debt_ns, by_time_ns, by_now_ns = bucket
    passed_ns = max(time_ns - by_time_ns, now_ns - by_now_ns, 0)
    return (
        max(debt_ns - passed_ns, 0),
        min(by_time_ns + passed_ns, time_ns + SERIES_SLACK_NS),
        min(by_now_ns + passed_ns, now_ns + SERIES_SLACK_NS),
    )


def _begun(raised: Event, newest: Event) -> Event:
    """An alert that is told late: the event that raised it, with what is known of it by now."""
    data = {name: value for name, value in newest.data.items() if name != "reason"}
    return replace(raised, time_ns=max(raised.time_ns, newest.time_ns), data=data, standing=None)


def _remember(known: dict[str, None], key: str) -> None:
    """Add it; of more than can be kept the oldest goes."""
    if len(known) >= REMEMBERED_MAX:
        del known[next(iter(known))]
    known[key] = None
