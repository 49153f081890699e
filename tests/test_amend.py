"""Corrections: whoever keeps the highest revision of each id has what sorted data would have given."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.events import ACTIVE, RETRACTED
from tests.graphs import T0, Feed, S, b, graph

HOT = {
    "from": "boilers",
    "amend_for": "10m",
    "alert": {"when": {"above": 90, "deadband": 5, "on_delay": "2s", "off_delay": "3s"}},
}
MINUTES = {
    "from": "boilers",
    "steps": [{"aggregate": {"size": "10s", "stats": ["mean", "max", "count"], "amend_for": "10m"}}],
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


def late(feed, rows, until):
    """Rows in the order of arrival, then time goes on; everything told."""
    told = []
    for row in rows:
        told += feed.until(row[3])
        told += feed.send([row])
    return told + feed.until(until)


def played(pipelines, rows, until=200, **more):
    return late(Feed(graph(pipelines, **more)), rows, until)


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


@settings(max_examples=200, deadline=None)
@given(rows=arrivals())
def test_corrected_in_the_end_is_what_sorted_data_gives(rows):
    pipelines = CHAIN
    ordered = [(t, labels, x, t) for t, labels, x, _ in sorted(rows, key=lambda r: r[0])]
    want = newest(played(pipelines, ordered, 300))
    got = newest(played(pipelines, sorted(rows, key=lambda r: r[3]), 300))
    assert got == want
