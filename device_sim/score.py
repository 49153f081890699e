"""Scores alerts against the ground truth: what was found, how soon, and what was made up.

An alert belongs to a fault of its device, and of its channel where both name one, when it became
active within [start, end + tolerance].  Where several faults fit, it belongs to all that were under
way at that moment, or else to the one that ended last.
"""

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from device_sim.times import iso_ns
from device_sim.truth import FAULT, RUN

ACTIVE: Final = "sensorweir.alert.active"
DAY_NS: Final = 86_400_000_000_000


class _Fault(NamedTuple):
    id: str
    device: str
    channel: str | None
    kind: str
    start_ns: int
    end_ns: int
    expected: bool


class _Alert(NamedTuple):
    id: str
    device: str
    channel: str | None
    t_ns: int


@dataclass(frozen=True, slots=True)
class Part:
    """The score of some faults; delays in seconds, None where nothing was found."""

    faults: int
    detected: int
    recall: float
    delay_p50_s: float | None
    delay_p95_s: float | None


@dataclass(frozen=True, slots=True)
class Score:
    """How alerts compare with the truth."""

    faults: int
    """Faults that should be found."""
    detected: int
    missed: tuple[str, ...]
    """Ids of the faults that were not found."""
    alerts: int
    false_alerts: int
    repeated_alerts: int
    """Alerts of a fault that had one already: neither found nor false."""
    precision: float
    """detected / (detected + false alerts); 1 when there is neither."""
    recall: float
    """detected / faults; 1 when there are none."""
    f1: float
    delay_p50_s: float | None
    delay_p95_s: float | None
    false_per_sensor_day: float | None
    """None unless the truth tells how many series ran for how long."""
    unassigned: int
    """Alerts that name no device, such as those of a whole site: not judged."""
    rejected: int
    """Events that could not be read."""
    by_kind: dict[str, Part]


@dataclass
class Scorer:
    """Takes alerts and truth in any order as they come; `result` may be asked at any time."""

    tolerance_ns: int
    _faults: dict[str, _Fault] = field(default_factory=dict)
    _alerts: dict[str, _Alert] = field(default_factory=dict)
    _runs: dict[tuple[str, int], tuple[int, int]] = field(default_factory=dict)
    _unassigned: int = 0
    _rejected: int = 0

    def alert(self, event: dict[str, Any]) -> None:
        """Take an event as the daemon publishes it; only those of `alert.active` are judged."""
        try:
            if event["type"] != ACTIVE:
                return
            labels = event["data"].get("labels") or {}
            device, channel = labels.get("device"), labels.get("channel")
            found = _Alert(
                str(event["id"]),
                str(device),
                None if channel is None else str(channel),
                iso_ns(event["time"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
            self._rejected += 1
            return
        if device is None:
            self._unassigned += 1
        else:
            self._alerts[found.id] = found  # a redelivered event has its id

    def fault(self, event: dict[str, Any]) -> None:
        """Take an event of the ground truth."""
        try:
            data = event["data"]
            if event["type"] == FAULT:
                channel = data["channel"]
                fault = _Fault(
                    str(event["id"]),
                    str(data["device"]),
                    None if channel is None else str(channel),
                    str(data["kind"]),
                    int(data["start_ns"]),
                    int(data["end_ns"]),
                    bool(data.get("expected", True)),
                )
                self._faults[fault.id] = fault
            elif event["type"] == RUN and data["end_ns"] is not None:
                key = (str(event["source"]), int(data["start_ns"]))
                self._runs[key] = (int(data["series"]), int(data["end_ns"]))
        except (KeyError, TypeError, ValueError, OverflowError):
            self._rejected += 1

    def result(self) -> Score:
        """Compare what has come so far."""
        first_ns: dict[str, int] = {}
        false_alerts = repeated = 0
        of_device: dict[str, list[_Fault]] = defaultdict(list)
        for fault in self._faults.values():
            of_device[fault.device].append(fault)
        for alert in sorted(self._alerts.values(), key=lambda a: (a.t_ns, a.id)):
            owners = _owners(alert, of_device[alert.device], self.tolerance_ns)
            if not owners:
                false_alerts += 1
            wanted = [fault for fault in owners if fault.expected]
            new = [fault for fault in wanted if fault.id not in first_ns]
            if wanted and not new:
                repeated += 1
            for fault in new:
                first_ns[fault.id] = alert.t_ns
        return self._score(first_ns, false_alerts, repeated)

    def _score(self, first_ns: dict[str, int], false_alerts: int, repeated: int) -> Score:
        expected = [fault for fault in self._faults.values() if fault.expected]
        expected.sort(key=lambda fault: (fault.start_ns, fault.id))
        whole = _part(expected, first_ns)
        found = whole.detected + false_alerts
        precision = whole.detected / found if found else 1.0
        both = precision + whole.recall
        watched_ns = sum(series * (end - key[1]) for key, (series, end) in self._runs.items())
        kinds = sorted({fault.kind for fault in expected})
        return Score(
            faults=whole.faults,
            detected=whole.detected,
            missed=tuple(fault.id for fault in expected if fault.id not in first_ns),
            alerts=len(self._alerts),
            false_alerts=false_alerts,
            repeated_alerts=repeated,
            precision=precision,
            recall=whole.recall,
            f1=2 * precision * whole.recall / both if both else 0.0,
            delay_p50_s=whole.delay_p50_s,
            delay_p95_s=whole.delay_p95_s,
            false_per_sensor_day=false_alerts * DAY_NS / watched_ns if watched_ns > 0 else None,
            unassigned=self._unassigned,
            rejected=self._rejected,
            by_kind={
                kind: _part([fault for fault in expected if fault.kind == kind], first_ns)
                for kind in kinds
            },
        )


def score(
    alerts: Iterable[dict[str, Any]], truth: Iterable[dict[str, Any]], tolerance_ns: int
) -> Score:
    """Compare alerts with the truth; `tolerance_ns` is how long after a fault's end counts."""
    scorer = Scorer(tolerance_ns)
    for event in truth:
        scorer.fault(event)
    for event in alerts:
        scorer.alert(event)
    return scorer.result()


def _owners(alert: _Alert, faults: list[_Fault], tolerance_ns: int) -> list[_Fault]:
    fitting = [
        fault
        for fault in faults
        if (alert.channel is None or fault.channel is None or alert.channel == fault.channel)
        and fault.start_ns <= alert.t_ns <= fault.end_ns + tolerance_ns
    ]
    under_way = [fault for fault in fitting if alert.t_ns <= fault.end_ns]
    return under_way or sorted(fitting, key=lambda fault: (fault.end_ns, fault.id))[-1:]


def _part(faults: list[_Fault], first_ns: dict[str, int]) -> Part:
    delays = sorted((first_ns[f.id] - f.start_ns) / 1e9 for f in faults if f.id in first_ns)
    return Part(
        faults=len(faults),
        detected=len(delays),
        recall=len(delays) / len(faults) if faults else 1.0,
        delay_p50_s=_percentile(delays, 0.50),
        delay_p95_s=_percentile(delays, 0.95),
    )


def _percentile(ordered: list[float], share: float) -> float | None:
    """Nearest rank: a delay that truly occurred."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None
