"""Corrections at their edges: reloads, limits of memory, the end of a run, a restart."""

import json

import numpy as np

from tests.graphs import T0, Feed, S, b, graph
from tests.test_amend import HOT, MINUTES, SOURCES, Played, newest, noisy
from tests.test_amend_told import HOT as TOLD_HOT
from tests.test_amend_told import SOURCE, kept, send
from tests.wired import Wired


def test_a_new_limit_does_not_judge_the_past():
    limited = {
        **HOT,
        "alert": {"when": {"above": "{limit}", "on_delay": "2s"}},
        "values": {"limit": 90},
    }
    first = Played({"hot": limited}, [(t, b("b1"), 80, t) for t in range(20)], 20)
    assert first.told == []
    lower = graph({"hot": {**limited, "values": {"limit": 70}}}, first.graph, sources=SOURCES)
    feed = Feed(lower)
    feed.ticked = first.feed.ticked
    told = feed.send([(10.5, b("b1"), 80, 20), (20, b("b1"), 80, 20), (24, b("b1"), 80, 24)])
    told += feed.until(26)
    [active] = told
    assert active.data["since"].endswith("16:00:20Z")  # not at 0, as late samples would have it
    assert lower.pipelines["hot"].counters()["amend_too_late"] == 1


def test_when_too_much_is_kept_the_oldest_is_settled_early_and_nothing_else_changes():
    rows = [(t, labels, x, t) for t, labels, x, _ in noisy(4, 90)]
    rows = [(k * 100 + t, labels, x, k * 100 + t) for k in range(30) for t, labels, x, _ in rows]
    pipelines = {"hot": HOT, "m": MINUTES}
    roomy = Played(pipelines, rows, 3100)
    tight = Played(pipelines, rows, 3100, limits={"amend_rows_max": 1000})
    assert newest(tight.told) == newest(roomy.told)
    assert set(tight.counts("amend_differs").values()) == {0}
    amender = tight.graph.pipelines["m"].amender
    assert amender._history.size <= 1000 < len(rows)
    late = tight.feed.send([(1500, b("b1"), 95, 3100)])
    assert late == []
    assert tight.counts("amend_too_late") == {"hot": 1, "m": 1}


def test_at_the_end_nothing_waits_for_a_tick():
    made = Played({"m": MINUTES}, [(t, b("b1"), t, t) for t in range(0, 40, 2)], 40)
    told = made.feed.send([(5, b("b1"), 100, 40)])
    assert told == []
    [again] = made.graph.flush()
    assert (again.revision, again.data["count"]) == (2, 6)


def test_an_alert_of_before_a_restart_is_not_taken_back_by_what_comes_after():
    first = Wired({"hot": TOLD_HOT}, SOURCE)
    for second in range(5):
        send(first, second, 95)
        first.wait(1)
    state = kept(first, "state/alerts/north/b7/hot")
    again = Wired(
        {"hot": TOLD_HOT},
        SOURCE,
        retained=[("state/alerts/north/b7/hot", json.dumps(state).encode())],
    )
    again.clock.advance(10 * S)
    again.turn()
    for second in (10, 11, 12, 10.5):
        send(again, second, 95)
        again.wait(1)
    assert again.events() == []
    for second in (13, 12.5, 14):
        send(again, second, 20)
        again.wait(1)
    # The end moved from 13 s to 12.5 s; that it was active was told before the restart.
    assert [kind for _, kind in again.events()] == ["cleared", "retracted", "cleared"]
    assert kept(again, "state/alerts/north/b7/hot") is None
    first.close()
    again.close()


def test_ids_are_told_apart_also_for_rows_of_one_moment():
    rows = [(t, b("b1"), x, t) for t in range(5) for x in (1, 2)]
    pipe = {"from": "boilers", "publish": {"topic": "x/{device}"}}
    told = Played({"p": pipe}, rows, 20).told
    assert len(told) == 10 == len({e.id for e in told})
    assert min(e.time_ns for e in told) >= T0
    assert np.all(np.diff([e.time_ns for e in told]) >= 0)
