"""What should have been told, from the sent messages alone."""

import math
from datetime import UTC, datetime
from typing import NamedTuple

from tests.kills import probes
from tests.kills.operators import (
    Aggregate,
    Alert,
    CounterRate,
    CountWindow,
    Cusum,
    Ewma,
    Mad,
    Missing,
    Product,
    Quorum,
    Rolling,
    Row,
    Session,
    Total,
)
from tests.kills.workload import LATENESS_MS

MINUTE_MS = 60_000
SEVERITY = {
    "warm": "major",
    "warm_site": "critical",
    "swings": "warning",
    "odd": "minor",
    "odd_site": "critical",
    "drift": "minor",
    "silent": "minor",
    "hot": "warning",
}


class Key(NamedTuple):
    """What an event is about: no two events of a run have the same."""

    pipeline: str
    subject: str
    type: str
    time: str


class Expected(NamedTuple):
    """One event: `content` as it stands in `data`."""

    key: Key
    content: dict


def time_text(t_ms):
    """Milliseconds since 1970 as events write them: as many digits as needed."""
    seconds, ms = divmod(t_ms, 1_000)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{ms:03d}".rstrip("0").rstrip(".") + "Z"


def expected(sent):
    """Every event of these messages, in order within each series of a pipeline."""
    book = _Book()
    seen, lines, probed, others = set(), [], [], {"loose": {}, "heat": {}}
    for message in sent:
        if message.seq in seen:
            continue
        seen.add(message.seq)
        if message.source == "line":
            lines.append(message)
        elif message.source == "probe":
            probed.append(message)
        else:
            others[message.source].setdefault((message.site, message.device), []).append(message)
    _lines(book, lines)
    for device, messages in others["loose"].items():
        _loose(book, device, messages)
    for device, messages in others["heat"].items():
        _heat(book, device, messages)
    probes.told(probed, book.probe)
    return book.events


class _Book:
    """Takes down events, and holds the state of each series by name."""

    def __init__(self):
        self.events, self.held = [], {}

    def state(self, make, *name):
        if name not in self.held:
            self.held[name] = make()
        return self.held[name]

    def rows(self, pipeline, labels, kind, rows):
        for row in rows:
            content = {"quality": row.quality, **row.fields}
            if kind == "window":
                content |= {"start": time_text(row.start_ms), "end": time_text(row.t_ms)}
            else:
                content["value"] = row.value
            self._note(pipeline, labels, kind, row.t_ms, content)

    def probe(self, pipeline, labels, t_ns, start_ns, content):
        t_ms, rest = divmod(t_ns, 10**6)
        assert not rest, "options of probes are whole milliseconds"
        if start_ns is not None:
            content |= {"start": time_text(start_ns // 10**6), "end": time_text(t_ms)}
        kind = "sample" if start_ns is None else "window"
        self._note(pipeline, labels, kind, t_ms, content)

    def alert(self, pipeline, labels, rows, make):
        """Changes of the alert of a series with these rows of its last step."""
        changes = []
        alert = self.state(make, pipeline, "alert", *labels.values())
        for row in rows:
            changes += alert.feed(row.t_ms, row)
        for change in changes:
            content = {
                "state": "active" if change.active else "cleared",
                "severity": SEVERITY[pipeline],
                "since": time_text(change.since_ms),
                "value": change.value,
                "worst": change.worst,
                "detail": dict(change.fields),
            }
            if not change.active:
                content["duration_s"] = (change.t_ms - change.since_ms) / 1e3
            kind = "alert.active" if change.active else "alert.cleared"
            self._note(pipeline, labels, kind, change.t_ms, content)
        return changes

    def _note(self, pipeline, labels, kind, t_ms, content):
        subject = ",".join(f"{name}={labels[name]}" for name in sorted(labels))
        key = Key(pipeline, subject, kind, time_text(t_ms))
        self.events.append(Expected(key, content))


def _lines(book, messages):
    """Source `line`: samples come in order of time, so what combines series takes them as sent."""
    newest_ms = {}
    for m in messages:
        labels = {"site": m.site, "device": m.device}
        if "temperature" in m.values:
            _temperature(book, m, {**labels, "channel": "temperature"})
        if "pressure" in m.values:
            _pressure(book, m, {**labels, "channel": "pressure"})
            newest_ms[m.site] = m.t_ms
        if "bottles" in m.values:
            rate = book.state(lambda: CounterRate(MINUTE_MS), "speed", m.device)
            rows = rate.feed(m.t_ms, m.values["bottles"])
            book.rows("speed", {**labels, "channel": "bottles"}, "sample", rows)
        if "flow" in m.values:
            total = book.state(lambda: Total(30_000, MINUTE_MS), "site_flow", m.site)
            rows = total.feed(m.t_ms, m.values["flow"], m.device)
            book.rows("site_flow", {"site": m.site, "channel": "flow"}, "sample", rows)
    for site, t_ms in newest_ms.items():
        _members(book, "odd_site", site, _quorum(book, "odd_site", site).until(t_ms))


def _temperature(book, m, labels):
    x, device = m.values["temperature"], m.device
    minutes = book.state(
        lambda: Aggregate(("mean", "min", "max", "count", "std"), MINUTE_MS), "minutes", device
    )
    book.rows("minutes", labels, "window", minutes.feed(m.t_ms, x))
    bursts = book.state(lambda: Session(("count", "mean", "max"), 35_000), "bursts", device)
    book.rows("bursts", labels, "window", bursts.feed(m.t_ms, x))
    power = book.state(lambda: Product(("temperature", "flow"), 50_000), "power", device)
    parts = {n: m.values[n] for n in ("temperature", "flow") if n in m.values}
    book.rows("power", {**labels, "channel": "power"}, "sample", power.feed(m.t_ms, parts))
    smooth = book.state(lambda: Ewma(20_000), "warm", device).feed(m.t_ms, x)
    changes = book.alert(
        "warm", labels, smooth, lambda: Alert(90.0005, band=3, on_ms=25_500, off_ms=15_500)
    )
    for change in changes:
        rows = _quorum(book, "warm_site", m.site).feed(change.t_ms, change.active, device)
        _members(book, "warm_site", m.site, rows)
    silence = book.state(lambda: Missing(35_000), "silent", device).feed(m.t_ms, x)
    book.alert("silent", labels, silence, lambda: Alert(0.5))


def _pressure(book, m, labels):
    x, device = m.values["pressure"], m.device
    windows = book.state(
        lambda: Aggregate(("mean", "count"), 2 * MINUTE_MS, 40_000), "overlapping", device
    )
    book.rows("overlapping", labels, "window", windows.feed(m.t_ms, x))
    sevens = book.state(lambda: CountWindow(("sum", "last"), 7), "sevens", device)
    book.rows("sevens", labels, "window", sevens.feed(m.t_ms, x))
    spread = book.state(lambda: Rolling("range", 75_000, 3), "swings", device).feed(m.t_ms, x)
    book.alert("swings", labels, spread, lambda: Alert(2.0005, band=0.5))
    score = book.state(lambda: Mad(40, 20, 6), "odd", device).feed(m.t_ms, x)
    for change in book.alert("odd", labels, score, lambda: Alert(6.0, low=-6.0)):
        rows = _quorum(book, "odd_site", m.site).feed(change.t_ms, change.active, device)
        _members(book, "odd_site", m.site, rows)
    drift = book.state(lambda: Cusum(40), "drift", device).feed(m.t_ms, x)
    book.alert("drift", labels, drift, lambda: Alert(8.0, low=-8.0, band=4))


def _quorum(book, pipeline, site):
    within_ms = {"warm_site": 0, "odd_site": 45_000}[pipeline]
    return book.state(lambda: Quorum(within_ms), pipeline, site)


def _members(book, pipeline, site, rows):
    enough = {"warm_site": 3, "odd_site": 2}[pipeline]
    book.alert(pipeline, {"site": site}, rows, lambda: Alert(enough - 0.5))


def _loose(book, device, messages):
    """Source `loose`: out of order by less than the lateness, so in order in the end."""
    labels = {"site": device[0], "device": device[1], "channel": "level"}
    until_ms = max(m.t_ms for m in messages) - LATENESS_MS
    mean = Rolling("mean", 65_000)
    windows = Aggregate(("mean", "first", "last", "count"), MINUTE_MS)
    for m in sorted(messages, key=lambda m: (m.t_ms, m.seq)):
        if m.t_ms <= until_ms:
            x = m.values["level"]
            book.rows("levels", labels, "sample", mean.feed(m.t_ms, x))
            book.rows("level_minutes", labels, "window", windows.feed(m.t_ms, x))
    book.rows("level_minutes", labels, "window", windows.until(until_ms))


def _heat(book, device, messages):
    """Source `heat`: what was told is corrected, and is at last what sorted samples give."""
    labels = {"site": device[0], "device": device[1], "channel": "heat"}
    windows = Aggregate(("mean", "max", "count"), MINUTE_MS)
    for m in sorted(messages, key=lambda m: (m.t_ms, m.seq)):
        x = m.values["heat"]
        book.rows("heat_minutes", labels, "window", windows.feed(m.t_ms, x))
        row = Row(m.t_ms, x)
        book.alert("hot", labels, [row], lambda: Alert(90.0005, band=3, on_ms=15_500))


def same(a, b, tolerance=1e-9):
    """Whether two contents say the same; numbers to so many parts."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k], tolerance) for k in a)
    if isinstance(a, int | float) and isinstance(b, int | float):
        return math.isclose(a, b, rel_tol=tolerance, abs_tol=tolerance)
    return a == b
