"""Corrections: whoever keeps the highest revision of each id has what sorted data would have given."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.events import ACTIVE, RETRACTED
from tests.graphs import T0, Feed, S, b, graph

pytestmark = pytest.mark.usefixtures("all_is_told")

SOURCES = {"boilers": {"topic": "plant/{site}/{device}", "idle_after": "10s"}}
HOT = {
    "from": "boilers",
    "amend_for": "10m",
    "alert": {"when": {"above": 90, "deadband": 5, "on_delay": "2s", "off_delay": "3s"}},
}
MINUTES = {
    "from": "boilers",
    "steps": [
        {"aggregate": {"size": "10s", "stats": ["mean", "max", "count"], "amend_for": "10m"}}
    ],
    "publish": {"topic": "agg/{device}"},
}


def newest(events):
    """What a consumer has that keeps the highest revision of each id: {id: what it says}."""
    held = {}
    for event in events:
        assert event.id not in held or event.revision > held[event.id].revision
        held[event.id] = event
    gone = set(RETRACTED.values())
    return {i: (e.type, e.time_ns, e.data, e.causes) for i, e in held.items() if e.type not in gone}


class Played:
    """Samples as they arrive, then silence; time goes on in steps of two seconds."""

    def __init__(self, pipelines, rows, until=200, cut=1, sources=SOURCES, **more):
        self.graph = graph(pipelines, sources=sources, **more)
        self.feed, self.told = Feed(self.graph), []
        for first in range(0, len(rows), cut):
            some = rows[first : first + cut]
            self.until(some[-1][3])
            self.told += self.feed.send(some)
        self.until(until)

    def until(self, second):
        while self.feed.ticked + 2 * S <= T0 + second * S:
            self.feed.ticked += 2 * S
            self.told += self.graph.tick(self.feed.ticked)

    def counts(self, name):
        return {k: p.counters().get(name, 0) for k, p in self.graph.pipelines.items()}


def played(pipelines, rows, until=200, **more):
    return Played(pipelines, rows, until, **more).told


def test_a_window_that_was_told_is_told_again_with_the_late_sample():
    rows = [(t, b("b1"), t, t) for t in range(40) if t != 5]
    told = played({"m": MINUTES}, [*rows, (5, b("b1"), 100, 40)])
    first, again = (e for e in told if e.time_ns == T0 + 10 * S)
    assert (first.id, first.revision, first.data["count"]) == (again.id, 1, 9)
    assert (again.revision, again.correction) == (2, "updated")
    assert (again.data["count"], again.data["max"]) == (10, 100)


def test_an_alert_that_should_not_have_been_is_retracted():
    rows = [(t, b("b1"), 95 if t > 10 else 20, t) for t in range(14)]
    told = played({"hot": HOT}, [*rows, (12.5, b("b1"), 50, 13.5), (14, b("b1"), 50, 14)])
    active, retracted = told
    assert active.type == ACTIVE
    assert retracted.type == "sensorweir.alert.retracted"
    assert (retracted.id, retracted.revision) == (active.id, 2)
    assert retracted.standing.event is None
    assert newest(told) == {}


CHAIN = {
    "hot": HOT,
    "minutes": MINUTES,
    "many": {
        "from": {"alerts": "hot"},
        "group_by": ["site"],
        "steps": [{"quorum": {"of": "device", "at_least": 2, "within": "0s"}}],
        "alert": {},
    },
    "high": {"from": {"windows": "minutes"}, "alert": {"when": {"above": 88}}},
    "odd": {
        "from": "boilers",
        "amend_for": "10m",
        "steps": [{"zscore": {"window": 20, "min_samples": 5}}],
        "alert": {},
    },
    "silent": {
        "from": "boilers",
        "amend_for": "10m",
        "steps": [{"missing": {"timeout": "7s"}}],
        "alert": {},
    },
    "smooth": {
        "from": "boilers",
        "amend_for": "10m",
        "steps": [{"rolling": {"stat": "mean", "window": "5s"}}, {"deadband": {"band": 5}}],
        "publish": {"topic": "smooth/{device}"},
    },
}

GROUPS = {
    "hotter": {
        "from": "boilers",
        "amend_for": "10m",
        "group_by": ["site"],
        "steps": [{"join": {"of": "device", "left": "b0", "right": "b1", "tolerance": "20s"}}],
        "publish": {"topic": "hotter/{site}"},
    },
    "top": {
        "from": "boilers",
        "amend_for": "10m",
        "group_by": ["site"],
        "steps": [{"topk": {"k": 2, "of": "device", "size": "20s"}}],
        "publish": {"topic": "top/{device}"},
    },
    "peers": {
        "from": "boilers",
        "amend_for": "10m",
        "group_by": ["site"],
        "steps": [{"peer": {"of": "device", "min_members": 3, "k": 2}}],
        "alert": {},
        "publish": {"topic": "peer/{device}"},
    },
    "near": {"from": {"alerts": "peers"}, "alert": {"when": {"above": 0.5, "on_delay": "5s"}}},
}


def noisy(seed, n):
    """Samples of three devices in order of event time, and for each how late it comes."""
    rng = np.random.default_rng(seed)
    t = np.sort(rng.choice(100, n, replace=False) + rng.random(n))
    level = np.where(rng.random(n) < 0.5, 95.0, 50.0)
    hot = np.repeat(level[: n // 4 + 1], 4)[:n] + rng.normal(0, 3, n)
    delay = np.where(rng.random(n) < 0.3, rng.random(n) * 60, 0.0)
    devices = rng.integers(0, 3, n)
    return [
        (float(t[i]), b(f"b{devices[i]}"), float(hot[i]), float(t[i] + delay[i])) for i in range(n)
    ]


@st.composite
def arrivals(draw):
    return noisy(draw(st.integers(0, 2**32)), draw(st.integers(5, 60)))


def converges(pipelines, rows, sources=SOURCES):
    ordered = [(t, labels, x, t) for t, labels, x, _ in sorted(rows, key=lambda r: r[0])]
    want = newest(played(pipelines, ordered, 220, sources=sources))
    late = Played(pipelines, sorted(rows, key=lambda r: r[3]), 220, sources=sources)
    assert newest(late.told) == want
    assert set(late.counts("amend_differs").values()) == {0}
    assert set(late.counts("amend_too_late").values()) == {0}


@settings(max_examples=25, deadline=None)
@given(rows=arrivals())
def test_corrected_in_the_end_is_what_sorted_data_gives(rows):
    converges(CHAIN, rows)


@settings(max_examples=20, deadline=None)
@given(rows=arrivals())
def test_the_same_for_steps_over_groups(rows):
    converges(GROUPS, rows)


@settings(max_examples=20, deadline=None)
@given(rows=arrivals())
def test_the_same_when_members_have_waited_for_each_other(rows):
    converges(GROUPS, rows, {"boilers": SOURCES["boilers"] | {"lateness": "5s"}})


@settings(max_examples=12, deadline=None)
@given(rows=arrivals())
def test_what_is_settled_while_it_goes_on_was_told_so(rows):
    converges(json.loads(json.dumps(CHAIN | GROUPS).replace("10m", "70s")), rows)


@pytest.mark.nightly
@settings(max_examples=2_000, deadline=None)
@given(rows=arrivals())
def test_corrected_in_the_end_many_times(rows):
    converges(json.loads(json.dumps(CHAIN | GROUPS).replace("10m", "70s")), rows)


def test_too_late_is_left_out_and_counted():
    rows = [(t, b("b1"), t, t) for t in range(0, 300, 2)]
    pipelines = {"m": json.loads(json.dumps(MINUTES).replace("10m", "60s"))}
    far = Played(pipelines, [*rows, (5, b("b1"), 100, 300)], 320)
    assert far.counts("amend_too_late") == {"m": 1}
    assert all(e.revision == 1 for e in far.told)


def test_a_sample_that_is_known_already_changes_nothing():
    rows = [(t, b("b1"), t, t) for t in range(60)]
    again = Played({"m": MINUTES}, [*rows, (5, b("b1"), 5, 60)], 80)
    assert again.counts("amend_duplicate") == {"m": 1}
    assert all(e.revision == 1 for e in again.told)


def test_an_alert_that_was_taken_back_comes_back_with_a_higher_revision():
    rows = [(t, b("b1"), 95 if t > 10 else 20, t) for t in range(14)]
    rows += [(12.5, b("b1"), 50, 13.5), (14, b("b1"), 95, 16), (15, b("b1"), 95, 17)]
    told = played({"hot": HOT}, rows, 60)
    assert [(e.type.rsplit(".")[-1], e.revision) for e in told] == [
        ("active", 1),
        ("retracted", 2),
        ("active", 1),
    ]
    assert len(newest(told)) == 1


@pytest.mark.parametrize("cut", [2, 7, 50])
def test_the_same_corrections_however_the_stream_is_cut(cut):
    pipelines = CHAIN | GROUPS
    # Whole seconds: all that arrives between two ticks may come in one batch.
    rows = [(t, labels, x, np.floor(a / 2) * 2 + 1) for t, labels, x, a in noisy(3, 60)]
    rows = sorted(rows, key=lambda r: r[3])
    groups = {}
    for row in rows:
        groups.setdefault(row[3], []).append(row)

    def told(size):
        made = Played(pipelines, [], 0)
        for second, some in groups.items():
            made.until(second)
            for first in range(0, len(some), size):
                made.told += made.feed.send(some[first : first + size])
        made.until(300)
        return sorted(map(repr, made.told))

    assert told(cut) == told(1)
