"""Graphs of pipelines: selection, values by device, chains, ids, reload, and any cut."""

from collections import defaultdict

import numpy as np
import pytest

from pipelines.alerting import Past
from pipelines.events import event_id, rfc3339
from pipelines.series import NEVER, make_labels
from tests.graphs import T0, Feed, S, b, gateway, graph, short

HOT = {
    "from": "boilers",
    "where": {"channel": "temperature", "site": ["nor*", "south"]},
    "steps": [{"validate": {"min": -40, "max": 200}}],
    "alert": {"when": {"above": "{limit}", "deadband": 5, "on_delay": "3s"}, "severity": "major"},
    "values": {"limit": {"default": 90, "by": {"device": {"b7": 95}, "site": {"south": 85}}}},
}


def test_only_what_where_names_is_taken():
    feed = Feed(graph({"hot": {**HOT, "alert": {"when": {"above": 90}}}}))
    rows = [
        (0, b("b1"), 99),
        (0, b("b2", channel="pressure"), 99),
        (0, b("b3", site="west"), 99),
        (0, b("b4", site="nora"), 99),
    ]
    assert short(feed.send(rows)) == [("hot", "active", "b1", 0), ("hot", "active", "b4", 0)]


def test_each_device_has_its_own_limit_and_the_event_says_where_it_came_from():
    feed = Feed(graph({"hot": HOT}))
    devices = [b("b1"), b("b7"), b("b7", site="south"), b("b2", site="south")]
    rows = [
        (t, d, v)
        for v, ts in ((88, range(5)), (93, range(5, 10)), (96, range(10, 15)))
        for t in ts
        for d in devices
    ]
    told = feed.send(rows)
    assert [(dict(e.labels)["site"], *short([e])[0][2:]) for e in told] == [
        ("south", "b2", 3.0),
        ("north", "b1", 8.0),
        ("north", "b7", 13.0),
        ("south", "b7", 13.0),
    ]
    assert [e.data["limit"]["from"] for e in told] == [
        "values.limit.by.site.south",
        "values.limit.default",
        "values.limit.by.device.b7",
        "values.limit.by.device.b7",
    ]
    assert [e.data["limit"]["above"] for e in told] == [85, 90, 95, 95]


def test_a_series_without_a_value_has_no_limit():
    hot = {**HOT, "values": {"limit": {"by": {"device": {"b7": 95}}}}}
    feed = Feed(graph({"hot": hot}))
    assert short(feed.send([(t, b(d), 199) for t in range(9) for d in ("b1", "b7")])) == [
        ("hot", "active", "b7", 3.0)
    ]


def test_chain_of_alerts_runs_in_the_same_turn_and_names_its_cause():
    chain = {"from": {"alerts": "hot"}, "alert": {"when": {"above": 0.5}, "severity": "critical"}}
    feed = Feed(graph({"worse": chain, "hot": HOT}))  # written before what it takes from
    told = feed.send([(t, b("b1"), 99 if t < 9 else 50) for t in range(12)])
    assert short(told) == [
        ("hot", "active", "b1", 3.0),
        ("hot", "cleared", "b1", 9.0),
        ("worse", "active", "b1", 3.0),
        ("worse", "cleared", "b1", 9.0),
    ]
    hot, hot_cleared, worse, worse_cleared = told
    assert worse.causes == (hot.id,)
    assert worse_cleared.causes == (hot.id, hot_cleared.id)
    assert hot.causes == (f"boilers/channel=temperature,device=b1,site=north@{rfc3339(T0)}",)


def test_chain_of_samples_takes_what_the_steps_let_through():
    clean = {
        "from": "boilers",
        "steps": [{"validate": {"max": 100, "action": "drop"}}],
        "publish": {"topic": "clean/{device}"},
    }
    high = {"from": {"samples": "clean"}, "alert": {"when": {"above": 90}}}
    feed = Feed(graph({"clean": clean, "high": high}))
    told = feed.send([(0, b("b1"), 5000), (1, b("b1"), 95), (2, b("b1"), None)])
    sample, alert = told
    assert short([sample, alert]) == [("clean", "sample", "b1", 1.0), ("high", "active", "b1", 1.0)]
    assert sample.id == event_id("gw", "clean", sample.labels, "sensorweir.sample", T0 + S)
    assert alert.causes == (sample.id,)


def test_unknown_samples_are_published_as_null_and_raise_nothing():
    raw = {
        "from": "boilers",
        "publish": {"topic": "raw/{device}"},
        "alert": {"when": {"below": 10}},
    }
    [event] = Feed(graph({"raw": raw})).send([(0, b("b1"), None)])
    assert event.data["value"] is None
    assert event.data["quality"] == "bad"


def some_traffic(n=400, seed=1):
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        t = i * 0.25 + rng.uniform(-1, 1)
        v = None if rng.random() < 0.05 else float(90 + 10 * np.sin(i / 9) + rng.normal())
        rows.append((max(t, 0), b(f"b{rng.integers(1, 8)}"), v, i * 0.25 + 1))
    return rows


MANY = {
    "hot": HOT,
    "chain": {"from": {"alerts": "hot"}, "alert": {"when": {"above": 0.5, "off_delay": "2s"}}},
    "clean": {"from": "boilers", "steps": ["validate"], "publish": {"topic": "c/{device}"}},
}


@pytest.mark.parametrize("cut", [1, 7, 50])
@pytest.mark.parametrize("lateness", ["0s", "2s"])
def test_the_same_events_however_messages_are_cut(cut, lateness):
    source = {"boilers": {"topic": "plant/{site}/{device}", "lateness": lateness}}
    whole, parts = Feed(graph(MANY, sources=source)), Feed(graph(MANY, sources=source))
    one = whole.send(some_traffic()) + whole.until(200)
    many = parts.send(some_traffic(), cut) + parts.until(200)
    assert by_pipeline(one) == by_pipeline(many)
    assert len(one) > 100
    assert len({e.id for e in one}) == len(one)


def by_pipeline(events):
    """Pipelines take turns differently in other cuts; each one's events are the same."""
    found = defaultdict(list)
    for event in events:
        found[event.pipeline].append(event)
    return found


def test_a_replay_repeats_every_byte():
    runs = []
    for _ in range(2):
        feed = Feed(graph(MANY))
        runs.append([e for r in some_traffic() for e in feed.send([r]) + feed.until(r[3])])
    assert runs[0] == runs[1]


def test_reload_keeps_what_did_not_change_and_restarts_the_rest_alone():
    other = {**HOT, "alert": {"when": {"above": 80}}}
    old = graph({"hot": HOT, "other": other})
    feed = Feed(old)
    assert len(feed.send([(t, b("b1"), 99) for t in range(3)])) == 1  # hot is pending, other active
    changed = {**other, "alert": {"when": {"above": 81}}}
    new = graph(
        {"hot": {**HOT, "alert": {**HOT["alert"], "severity": "critical"}}, "other": changed},
        keep=old,
    )
    assert new.pipelines["hot"] is old.pipelines["hot"]
    assert new.sources["boilers"] is old.sources["boilers"]
    [ended] = old.retired(new)
    assert (ended.pipeline, ended.data["reason"]) == ("other", "pipeline changed")
    told = Feed(new).send([(t, b("b1"), 99) for t in range(3, 6)])
    assert sorted(short(told)) == [("hot", "active", "b1", 3.0), ("other", "active", "b1", 3.0)]
    assert next(e for e in told if e.pipeline == "hot").data["severity"] == "critical"


def test_reload_of_values_moves_limits_and_keeps_state():
    old = graph({"hot": HOT})
    feed = Feed(old)
    feed.send([(t, b("b1"), 99) for t in range(4)])
    higher = {**HOT, "values": {"limit": 120}}
    new = graph({"hot": higher}, keep=old)
    assert old.retired(new) == []
    assert short(Feed(new).send([(4, b("b1"), 99)])) == [("hot", "cleared", "b1", 4.0)]


def test_reload_that_removes_a_pipeline_ends_its_alerts():
    old = graph({"hot": HOT})
    Feed(old).send([(t, b("b1"), 99) for t in range(4)])
    [ended] = old.retired(graph({}, keep=old))
    assert (ended.type, ended.data["reason"]) == ("sensorweir.alert.cleared", "pipeline removed")


def test_a_changed_upstream_restarts_its_chain():
    chain = {"from": {"alerts": "hot"}, "alert": {"when": {"above": 0.5}}}
    old = graph({"hot": HOT, "chain": chain})
    changed = {**HOT, "steps": []}
    new = graph({"hot": changed, "chain": chain}, keep=old)
    assert new.pipelines["chain"] is not old.pipelines["chain"]


def test_more_series_than_the_limit_are_refused_and_counted():
    made = graph({"hot": HOT}, limits={"series_max": 3})
    table = made.sources["boilers"].table
    rows = [table.intern((("device", f"b{i}"),)) for i in range(5)]
    assert rows == [0, 1, 2, -1, -1]
    assert table.refused == 2


def test_messages_for_people():
    hot = {**HOT, "alert": {**HOT["alert"], "message": "{device} at {site}: {value} over {limit}"}}
    [event] = Feed(graph({"hot": hot})).send([(t, b("b1"), 99.5) for t in range(4)])
    assert event.data["message"] == "b1 at north: 99.5 over above 90"
    assert gateway({"hot": hot}).pipelines["hot"].alert.message


def test_alerts_recalled_before_any_sample_take_rows_of_no_upstream_series():
    made = graph({"hot": {"from": "boilers", "alert": {"when": {"above": 90}}}})
    feed = Feed(made)
    for i in range(100):
        made.recall("hot", make_labels(b(f"old{i}")), Past(True, T0 - S, T0 - S, 95.0, 95.0))
    feed.send([(0, b(f"new{i}"), 20) for i in range(100)])
    feed.until(1)
    made.settle()
    table = made.pipelines["hot"].table
    assert table.clock_ns[table.find(make_labels(b("old0")))] == NEVER
    assert table.clock_ns[table.find(make_labels(b("new99")))] == T0
    assert short(feed.send([(2, b("old7"), 20)])) == [("hot", "cleared", "old7", 2)]


def test_a_detector_that_says_yes_or_no_tells_what_it_saw():
    frozen = {
        "from": "boilers",
        "steps": [{"flatline": {"window": "10s", "min_samples": 5}}],
        "alert": {},
    }
    told = Feed(graph({"frozen": frozen})).send([(t, b("b1"), 21.5) for t in range(12)])
    [active] = told
    assert active.data["message"].startswith("frozen active: range 0")
    assert "above" not in active.data["message"]
