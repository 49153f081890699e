"""Series that are gone for good give their rows back, and nothing but the numbers of rows changes."""

import random
from dataclasses import replace

import pytest

from pipelines.alerting import Past
from pipelines.lifecycle import Given
from pipelines.occurrence import Order
from pipelines.series import make_labels
from tests.graphs import T0, Feed, S, b, graph, short
from tests.restarts import again
from tests.wired import Wired

SMALL = {"series_max": 64, "series_idle_min": "60s", "series_per_device_max": 4}
ROOMY = {**SMALL, "series_max": 4000}


def above(limit, **when):
    return {"when": {"above": limit, **when}}


A = {"channel": "a"}
EVERY_KIND = {
    "plain": {"from": "boilers", "where": A, "alert": above(90)},
    "slow": {"from": "boilers", "where": A, "alert": above(80, on_delay="3s", off_delay="2s")},
    "mean": {
        "from": "boilers",
        "steps": [{"rolling": {"stat": "mean", "window": "5s"}}],
        "publish": {"topic": "mean/{device}"},
        "alert": {**above(85), "state_topic": "state/{device}/{channel}"},
    },
    "tens": {
        "from": "boilers",
        "steps": [{"aggregate": {"size": "10s", "stats": ["mean", "count"], "amend_for": "20s"}}],
        "publish": {"topic": "tens/{device}"},
    },
    "both": {
        "from": "boilers",
        "steps": [{"expr": {"channel": "both", "value": "a + b"}}],
        "publish": {"topic": "both/{device}"},
        "alert": above(170),
    },
    "odd": {
        "from": "boilers",
        "where": A,
        "group_by": ["site"],
        "steps": [{"peer": {"of": "device", "min_members": 3, "max_age": "10s", "min_mad": 1}}],
        "alert": {},
    },
    "sums": {
        "from": "boilers",
        "where": A,
        "group_by": ["site"],
        "steps": [
            {"group": {"stat": "sum", "every": "5s", "max_age": "10s", "forget": "15s"}},
            {"rolling": {"stat": "max", "window": "20s"}},
        ],
        "publish": {"topic": "sums/{site}"},
    },
    "many": {
        "from": {"alerts": "plain"},
        "group_by": ["site"],
        "steps": [{"quorum": {"of": "device", "at_least": 2, "within": "5s"}}],
        "alert": {},
    },
    "either": {"from": {"alerts": ["plain", "slow"]}, "alert": above(0.5)},
    "after": {
        "from": {"windows": "tens"},
        "steps": [{"ewma": {"halflife": "20s"}}],
        "publish": {"topic": "after/{device}"},
    },
}


SITES = {"odd", "sums", "many"}
"""Pipelines in which those who stay share a group with those who go, whose clocks count there."""


def stream(seed, delays, generations=12):
    """(second, [rows]) of devices that live for 20 s and then are gone for good, a few for longer."""
    dice = random.Random(seed)
    lives = []
    for g in range(generations):
        for i in range(5):
            begin = 22 * g + dice.randrange(8)
            site = dice.choice(["north", "south"])
            lives.append((f"d{g}-{i}", site, begin, begin + 20 + (40 if i == 4 else 0)))
    for second in range(22 * generations + 120):
        some = []
        for device, site, begin, end in lives:
            if begin <= second < end:
                for channel in ("a", "b"):
                    late = dice.choice(delays)
                    t = max(begin, second - late)
                    labels = {"site": site, "device": device, "channel": channel}
                    cools = second >= end - 8  # an alert that stands would keep the series
                    value = 60 + dice.random() if cools else dice.randrange(60, 100)
                    some.append((t, labels, value, second + 0.5))
        dice.shuffle(some)
        yield second, some


def told(limits, seed, *, lateness="0s", delays=(0,), without=frozenset(), restart=False):
    sources = {"boilers": {"topic": "x/{site}/{device}", "lateness": lateness, "late": "amend"}}
    pipelines = {name: spec for name, spec in EVERY_KIND.items() if name not in without}
    made = graph(pipelines, sources=sources, limits=limits)
    feed, found = Feed(made), []
    for second, some in stream(seed, delays):
        found += feed.send(some)
        found += made.tick(T0 + (second + 1) * S)
        if restart and second % 31 == 30:
            made = again(made)
            feed = Feed(made)
    return made, found


def of(name, events):
    """Events of a pipeline, series by series: of one time, those known for longer come first.

    What a group was told before all of its members were forgotten is no cause any more.
    """
    found = [replace(e, causes=()) if name in SITES else e for e in events if e.pipeline == name]
    return sorted(found, key=lambda e: e.labels)


@pytest.mark.parametrize(
    ("lateness", "delays", "without"),
    [("0s", (0,), set()), ("2s", (0, 0, 1), set()), ("2s", (0, 0, 0, 3), SITES)],
)
@pytest.mark.parametrize("seed", range(3))
def test_who_stays_does_not_notice_that_others_were_forgotten(seed, lateness, delays, without):
    how = {"lateness": lateness, "delays": delays, "without": without}
    roomy, expected = told(ROOMY, seed, **how)
    small, found = told(SMALL, seed, **how)
    table = small.sources["boilers"].table
    assert (roomy.sources["boilers"].table.forgotten, table.refused) == (0, 0)
    assert table.forgotten > 40
    assert all(p.counters()["series_refused"] == 0 for p in small.pipelines.values())
    assert {e.pipeline for e in expected} == EVERY_KIND.keys() - without
    for name in small.pipelines:
        assert of(name, found) == of(name, expected), name


def test_a_restart_between_changes_nothing():
    _, expected = told(SMALL, 5, lateness="2s", delays=(0, 0, 3))
    _, found = told(SMALL, 5, lateness="2s", delays=(0, 0, 3), restart=True)
    assert found == expected


TIGHT = {"series_max": 4, "series_idle_min": "60s"}
HOT = {"hot": {"from": "boilers", "alert": {"when": {"above": 90}}}}


def after_silence(pipelines, values, order=None, **more):
    """Four series, each sent one value; a minute of silence; which of them are still known."""
    made = graph(pipelines, limits=TIGHT, **more)
    feed = Feed(made)
    told = feed.send([(0, b(f"b{i}"), value) for i, value in enumerate(values)])
    if order is not None:
        made.obey(told[0].data["alert"], order)
    feed.until(70)
    table = made.sources["boilers"].table
    return made, {dict(labels)["device"] for labels in table}


def test_a_series_whose_alert_stands_stays():
    made, known = after_silence(HOT, [95, 20, 95, 20])
    assert known == {"b0", "b2"}
    told = Feed(made).send([(80, b("new"), 99), (81, b("b2"), 20)])
    assert short(told) == [("hot", "active", "new", 80), ("hot", "cleared", "b2", 81)]


def test_so_does_one_that_somebody_has_shelved():
    order = Order(Given.SHELVE, T0, for_ns=3600 * S)
    _, known = after_silence(HOT, [95, 20, 20, 20], order)
    assert known == {"b0"}


def test_a_silent_device_that_is_missed_stays_until_somebody_ends_that():
    silent = {
        "silent": {"from": "boilers", "steps": [{"missing": {"timeout": "10s"}}], "alert": {}}
    }
    made, known = after_silence(silent, [20, 20, 20, 20])
    assert known == {"b0", "b1", "b2", "b3"}
    labels = make_labels(b("b1"))
    row = made.pipelines["silent"].table.find(labels)
    alert = made.pipelines["silent"].alerting.announcer.find(row).alert
    made.obey(alert, Order(Given.RESET, T0 + 70 * S))
    made.tick(T0 + 71 * S)
    assert {dict(x)["device"] for x in made.sources["boilers"].table} == {"b0", "b2", "b3"}


def test_and_one_below_whose_alert_a_chain_still_has():
    chain = HOT | {
        "held": {"from": {"alerts": "hot"}, "alert": {"when": {"above": 0.5, "latch": True}}}
    }
    made = graph(chain, limits=TIGHT)
    feed = Feed(made)
    feed.send(
        [(t, b(f"b{i}"), x) for i in range(4) for t, x in ((0, 95 if i == 1 else 20), (1, 20))]
    )
    assert (made.pipelines["hot"].active, made.pipelines["held"].active) == (0, 1)
    feed.until(70)
    assert {dict(x)["device"] for x in made.sources["boilers"].table} == {"b1"}


def test_a_recalled_alert_of_a_series_that_sends_nothing_stays():
    made = graph(HOT, limits=TIGHT)
    made.recall("hot", make_labels(b("lost")), Past(True, T0, T0, 95.0, 95.0))
    feed = Feed(made)
    feed.send([(0, b(f"b{i}"), 20) for i in range(4)])
    feed.until(70)
    assert len(made.sources["boilers"].table) == 0
    assert [dict(x)["device"] for x in made.pipelines["hot"].table] == ["lost"]
    told = feed.send([(80, b("lost"), 20), (80, b("b0"), 95)])
    assert short(told) == [("hot", "cleared", "lost", 80), ("hot", "active", "b0", 80)]


def test_nobody_is_forgotten_while_there_is_room():
    made = graph(HOT, limits={"series_max": 100, "series_idle_min": "60s"})
    feed = Feed(made)
    feed.send([(0, b(f"b{i}"), 20) for i in range(90)])
    feed.until(3600)
    assert len(made.sources["boilers"].table) == 90
    feed.send([(3600, b(f"c{i}"), 20) for i in range(4)])  # one of sixteen is to be free
    feed.until(3601)
    assert len(made.sources["boilers"].table) == 4


def test_what_is_decoded_afterwards_goes_to_the_right_series():
    """The decoder remembers rows: by device, by topic, and in the arrays of its kernel."""
    limits = {"series_max": 40, "series_idle_min": "60s", "series_per_device_max": 1}
    daemon = Wired(HOT, limits=limits)
    names = [f"d{i}" for i in range(40)]
    for _ in range(3):
        for name in names:
            daemon.send(f"plant/north/{name}", {"a": 20})
        daemon.wait(0.2)
    for _ in range(31):  # all but the last ten fall silent
        for name in names[30:]:
            daemon.send(f"plant/north/{name}", {"a": 20})
        daemon.wait(3)
    table = daemon.engine.graph.sources["boilers"].table
    assert {dict(x)["device"] for x in table} == set(names[30:])
    for name in names[::-1]:
        daemon.send(f"plant/north/{name}", {"a": 95 if name in {"d3", "d33"} else 20})
    daemon.wait(1)
    assert {topic for topic, _ in daemon.events()} == {
        "alerts/hot/a/d3/north",
        "alerts/hot/a/d33/north",
    }
    assert len(table) == 40
    assert daemon.ledger.balance() == []
