"""Pipelines that take the alerts of several others: order, causes, clocks, memory, reload."""

import json

import pytest

from pipelines.alerting import Past
from pipelines.series import make_labels
from tests.graphs import T0, Feed, S, b, gateway, graph, short
from tests.wired import Wired


def above(limit, **when):
    return {"from": "boilers", "alert": {"when": {"above": limit, **when}}}


def quorum(names, **more):
    step = {"quorum": {"of": "alert", "at_least": 2, "within": "5s"} | more}
    return {"from": {"alerts": names}, "steps": [step], "alert": {}}


EACH = {"alert": {"when": {"above": 0.5}}}


def told_by(name, events):
    return [e for e in events if e.pipeline == name]


def rows(*values, device="b1", start=0):
    return [(start + t, b(device), x) for t, x in enumerate(values)]


def test_each_row_says_whose_alert_it_is():
    pipelines = {
        "hot": above(90),
        "warm": above(80),
        "any": {"from": {"alerts": ["warm", "hot"]}, **EACH},
    }
    told = told_by("any", Feed(graph(pipelines)).send(rows(85, 95, 85, 20)))
    assert [(dict(e.labels)["alert"], *short([e])[0][1:]) for e in told] == [
        ("warm", "active", "b1", 0),
        ("hot", "active", "b1", 1),
        ("hot", "cleared", "b1", 2),
        ("warm", "cleared", "b1", 3),
    ]


def test_a_list_of_one_has_the_label_and_a_bare_name_has_not():
    pipelines = {
        "hot": above(90),
        "listed": {"from": {"alerts": ["hot"]}, **EACH},
        "named": {"from": {"alerts": "hot"}, **EACH},
    }
    told = Feed(graph(pipelines)).send(rows(95))
    assert [dict(e.labels).get("alert") for e in told] == [None, "hot", None]


@pytest.mark.parametrize("listed", [["warm", "hot"], ["hot", "warm"]])
def test_rows_of_one_turn_come_in_order_of_time_then_of_the_list(listed):
    pipelines = {"hot": above(90), "warm": above(80), "two": quorum(listed)}
    events = Feed(graph(pipelines)).send(rows(20, 95, 20))  # one turn, both up at 1, down at 2
    names = {e.id: (e.pipeline, e.type.rsplit(".")[-1]) for e in events}
    [raised] = told_by("two", events)
    assert [names[cause] for cause in raised.causes] == [(name, "active") for name in listed]


def test_an_event_names_the_alerts_that_came_before_it_and_no_later_one():
    pipelines = {"two": quorum(["warm", "hot"]), "hot": above(90), "warm": above(80)}
    events = Feed(graph(pipelines)).send(rows(85, 95, 95, 85, 95))  # hot clears and comes again
    [raised] = told_by("two", events)
    warm, hot = (told_by(name, events)[0] for name in ("warm", "hot"))
    assert (raised.time_ns, raised.causes) == (T0 + S, (warm.id, hot.id))
    assert raised.data["value"] == 2


@pytest.mark.parametrize("cut", [1, 2, 5])
def test_the_same_events_however_the_stream_is_cut(cut):
    pipelines = {
        "hot": above(90),
        "warm": above(80, off_delay="2s"),
        "silent": {"from": "boilers", "steps": [{"missing": {"timeout": "4s"}}], "alert": {}},
        "two": quorum(["silent", "hot", "warm"]),
        "each": {
            "from": {"alerts": ["silent", "hot", "warm"]},
            "alert": {"when": {"above": 0.5, "on_delay": "3s"}},
        },
        "below": {"from": {"alerts": "each"}, **EACH},
    }
    values = [20, 85, 95, 95, 85, 20, 95, 95, 95, 95, 95, 20, 20]

    def told(size):
        feed, events = Feed(graph(pipelines)), []
        for first in range(0, 12, 4):
            some = [
                (t + d / 4, b(f"b{d}"), values[(t + 3 * d) % 13])
                for t in range(first, first + 4)
                for d in range(3)
            ]
            events += feed.send(some, size) + feed.until(first + 4)
        return events + feed.until(40)

    def by_pipeline(events):
        return {name: told_by(name, events) for name in pipelines}

    assert by_pipeline(told(cut)) == by_pipeline(told(None))
    assert min(map(len, by_pipeline(told(cut)).values())) >= 3


def test_timers_run_by_the_clock_of_the_upstream_that_a_row_comes_from():
    """One source stands still; what its alert waits for does not come due by the other's time."""
    sources = {
        "boilers": {"topic": "plant/{site}/{device}", "idle_after": "1h"},
        "pumps": {"topic": "pumps/{site}/{device}", "idle_after": "1h"},
    }
    pipelines = {
        "hot": above(90),
        "loud": {**above(90), "from": "pumps"},
        "long": {
            "from": {"alerts": ["hot", "loud"]},
            "alert": {"when": {"above": 0.5, "on_delay": "3s"}},
        },
    }
    made = graph(pipelines, sources=sources)
    boilers, pumps = Feed(made), Feed(made, "pumps")
    told = boilers.send(rows(95)) + pumps.send(rows(95)) + boilers.until(1)
    told += pumps.send(rows(95, 95, 95, 95, 95, start=1)) + boilers.until(6)
    assert [dict(e.labels)["alert"] for e in told_by("long", told)] == ["loud"]
    told = boilers.send(rows(95, start=7)) + boilers.until(7)
    assert [(dict(e.labels)["alert"], e.time_ns) for e in told_by("long", told)] == [
        ("hot", T0 + 3 * S)
    ]


def test_one_after_the_other():
    step = {
        "sequence": {"of": "alert", "steps": [{"is": "silent"}, {"is": "hot"}], "within": "10s"}
    }
    pipelines = {
        "silent": {"from": "boilers", "steps": [{"missing": {"timeout": "3s"}}], "alert": {}},
        "hot": above(90),
        "then": {"from": {"alerts": ["hot", "silent"]}, "steps": [step], "alert": {}},
    }
    source = {"boilers": {"topic": "plant/{site}/{device}", "idle_after": "1s"}}
    feed = Feed(graph(pipelines, sources=source))
    told = feed.send([*rows(20), *rows(20, device="b2"), *rows(95, device="b3")]) + feed.until(6)
    told += feed.send([*rows(95, start=6), *rows(20, device="b2", start=6)]) + feed.until(7)
    told = [e for e in told if e.type.endswith("active")]
    silent = [e for e in told_by("silent", told) if ("device", "b1") in e.labels]
    [then] = told_by("then", told)
    hot = [e for e in told_by("hot", told) if ("device", "b1") in e.labels]
    assert (dict(then.labels), then.time_ns) == ({"device": "b1", "site": "north"}, T0 + 6 * S)
    assert set(then.causes) >= {silent[0].id, hot[0].id}


def test_where_picks_some_of_the_alerts_and_some_of_their_series():
    pipelines = {
        "hot": above(90),
        "warm": above(80),
        "some": {
            "from": {"alerts": ["warm", "hot"]},
            "where": {"alert": "h*", "device": "b1"},
            **EACH,
        },
    }
    told = Feed(graph(pipelines)).send([*rows(95), *rows(95, device="b2")])
    assert [dict(e.labels) for e in told_by("some", told)] == [{**b("b1"), "alert": "hot"}]


def test_groups_of_all_their_devices():
    pipelines = {"hot": above(90), "warm": above(80), "site": quorum(["hot", "warm"], of="device")}
    pipelines["site"]["group_by"] = ["site"]
    told = Feed(graph(pipelines)).send([(0, b("b1"), 95), (1, b("b2"), 85), (2, b("b3"), 20)])
    [raised] = told_by("site", told)
    assert (dict(raised.labels), raised.time_ns) == ({"site": "north"}, T0 + S)
    assert len(raised.causes) == 3


def test_alerts_from_before_a_restart_still_count():
    pipelines = {"hot": above(90), "warm": above(80), "two": quorum(["hot", "warm"], within="1h")}
    made = graph(pipelines)
    told = made.recall("warm", make_labels(b("b1")), Past(True, T0 - S, T0 - S, 85.0, 85.0))
    assert told == []
    told = Feed(made).send(rows(95))
    [raised] = told_by("two", told)
    warm = made.pipelines["warm"].alerting.alert_id(make_labels(b("b1")), T0 - S)
    assert raised.causes == (warm, told_by("hot", told)[0].id)


def test_what_somebody_resets_is_taken_back_below():
    latched = {"from": "boilers", "alert": {"when": {"above": 80, "latch": True}}}
    wired = Wired(
        {"hot": above(90), "warm": latched, "two": quorum(["hot", "warm"], within="0s")},
        command_topic="command",
    )
    wired.send("plant/north/b1", {"t": 95})
    wired.turn()
    wired.wait(1)
    wired.send("plant/north/b1", {"t": 20})
    wired.wait(1)
    ids = {e["pipeline"]: e["alert"] for e in map(data, wired.published("alert"))}
    assert [kind for _, kind in wired.events()] == ["active"] * 3 + ["cleared"] * 2
    wired.send("command", {"reset": ids["warm"]})
    wired.wait(1)
    table = wired.engine.graph.pipelines["two"].selection.table
    assert len(table) == 2
    wired.send("plant/north/b1", {"t": 95})  # both come anew, so both turns were heard below
    wired.wait(1)
    assert [kind for _, kind in wired.events()][-3:] == ["active"] * 3
    wired.close()


def data(out):
    return json.loads(out.payload)["data"]


RELOADED = {"hot": above(90), "warm": above(80), "two": quorum(["hot", "warm"])}


def test_a_reload_keeps_what_is_known_when_all_upstreams_stay():
    old = graph(RELOADED)
    Feed(old).send(rows(85))
    more = {**RELOADED, "more": above(70), "warm": {**RELOADED["warm"], "description": "words"}}
    new = graph(more, keep=old)
    assert new.pipelines["two"] is old.pipelines["two"]
    assert len(told_by("two", Feed(new).send(rows(95, start=1)))) == 1


@pytest.mark.parametrize("changed", ["hot", "warm"])
def test_a_reload_that_changes_any_upstream_starts_anew(changed):
    old = graph(RELOADED)
    new = graph({**RELOADED, changed: above(85)}, keep=old)
    assert new.pipelines["two"] is not old.pipelines["two"]


def test_a_reload_of_the_list_starts_anew():
    old = graph(RELOADED)
    new = graph({**RELOADED, "two": quorum(["warm", "hot"])}, keep=old)
    assert new.pipelines["two"] is not old.pipelines["two"]
    assert new.pipelines["hot"] is old.pipelines["hot"]


def test_what_can_be_corrected_for_longest_holds_for_all():
    pipelines = {
        "hot": {**above(90), "amend_for": "10m"},
        "warm": {**above(80), "amend_for": "5m"},
        "two": quorum(["warm", "hot"]),
    }
    assert graph(pipelines).pipelines["two"].amend_for_ns == 600 * S


def test_there_is_room_for_every_series_of_all_of_them():
    each = {"from": {"alerts": ["hot", "warm"]}, **EACH}
    pipelines = {**RELOADED, "each": each, "below": {"from": {"alerts": "each"}, **EACH}}
    made = graph(pipelines, limits={"series_max": 3})
    told = Feed(made).send([row for d in ("b1", "b2", "b3") for row in rows(95, device=d)])
    assert [len(told_by(name, told)) for name in pipelines] == [3, 3, 3, 6, 6]
    assert {p.counters()["series_refused"] for p in made.pipelines.values()} == {0}


def test_they_run_after_all_that_they_take_from():
    pipelines = {"two": quorum(["three", "warm"]), "three": quorum(["hot", "warm"]), **RELOADED}
    pipelines |= {"two": {**quorum(["three", "warm"]), "group_by": ["site"]}}
    names = list(graph(pipelines).pipelines)
    assert names.index("two") > names.index("three") > max(names.index("hot"), names.index("warm"))
    assert gateway(pipelines).pipelines["two"].from_.pipelines == ("three", "warm")
