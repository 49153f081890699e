"""Rows that are combined come in order of time, and nobody waits long for who is silent or wrong."""

import numpy as np
import pytest

from pipelines.graph import TICK_NS
from tests.graphs import T0, Feed, S, b, graph
from tests.restarts import again

LATENESS = 2
SOURCES = {"boilers": {"topic": "plant/{site}/{device}", "lateness": "2s", "time": {"field": "ts"}}}
POWER = {"expr": {"channel": "power", "value": "voltage * current"}}
HIGH = {"quorum": {"of": "device", "at_least": 1, "within": "0s"}}
PIPELINES = {
    "power": {"from": "boilers", "steps": [POWER], "publish": {"topic": "t/{device}"}},
    "high": {
        "from": "boilers",
        "where": {"channel": "level"},
        "group_by": ["site"],
        "steps": [HIGH],
        "publish": {"topic": "t/{site}"},
    },
}
CHAIN = {
    "hot": {
        "from": "boilers",
        "where": {"channel": "level"},
        "alert": {"when": {"above": 0.5}},
    },
    "many": {
        "from": {"alerts": "hot"},
        "group_by": ["site"],
        "steps": [HIGH],
        "publish": {"topic": "t/{site}"},
    },
}


class Heard:
    """Plays samples in order of arrival, with all ticks, and notes when each event was told."""

    def __init__(self, pipelines=PIPELINES, sources=SOURCES, **more):
        self.feed = Feed(graph(pipelines, sources=sources, **more))
        self.told, self.values = {}, []

    def play(self, rows, until, restarts=0):
        rng = np.random.default_rng(2)
        for row in sorted(rows, key=lambda row: (*row, row[0])[3]):
            self.until((*row, row[0])[3])
            self.note(self.feed.send([row]))
            if restarts and rng.random() < restarts:
                self.feed.graph = again(self.feed.graph)
        self.until(until)
        return self

    def until(self, second):
        while self.feed.ticked + TICK_NS <= T0 + second * S:
            self.feed.ticked += TICK_NS
            self.note(self.feed.graph.tick(self.feed.ticked))

    def note(self, events):
        for e in events:
            at, t = (self.feed.ticked - T0) / S, (e.time_ns - T0) / S
            self.told[e.pipeline, t] = (at, e.data.get("value"))
            self.values.append((e.pipeline, t, e.data.get("value")))

    def of(self, name):
        """{second: (second when it was told, value)}"""
        return {t: told for (pipeline, t), told in self.told.items() if pipeline == name}


def level(device, up, first=0.0, step=1.0, n=60, late=0.0):
    """Samples (of 1 and 0 by turns, from `up` on) that come `late` seconds after their time."""
    at = first + step * np.arange(n)
    return [(t, b(device, "level"), float(i % 2 == up), t + late) for i, t in enumerate(at)]


def delays(found):
    return [at - t for t, (at, _) in found.items()]


def test_a_channel_that_is_always_behind_is_combined_with_its_own_time():
    rows = [(t, b("m", "voltage"), t, t) for t in range(60)]
    rows += [(t, b("m", "current"), 1, t + 1.5) for t in range(60)]
    found = Heard().play(rows, 80).of("power")
    assert {t: x for t, (_, x) in found.items()} == {t: t for t in range(60)}
    assert max(delays(found)) <= LATENESS + 1.5 + 0.2


def test_without_lateness_nothing_waits():
    sources = {"boilers": {"topic": "plant/{site}/{device}", "time": {"field": "ts"}}}
    heard = Heard(sources=sources)
    rows = [(t, b("m", c), t, t) for t in range(20) for c in ("voltage", "current")]
    found = heard.play(rows, 30).of("power")
    assert len(found) == 20
    assert max(delays(found)) <= 0
    assert {p.aligner for p in heard.feed.graph.pipelines.values()} == {None}


@pytest.fixture(scope="module")
def alone():
    return Heard().play(level("b0", 0), 90).of("high")


@pytest.mark.parametrize(
    ("other", "more"),
    [
        ([], 0),
        (level("b1", 2, n=1), 0.2),  # silent after one sample
        (level("b1", 2, step=7, n=9), 0.2),  # slow
        (level("b1", 2, first=-86_400, late=86_400), 0.2),  # a day behind
        (level("b1", 2, first=30, late=-30), 0.2),  # half a minute ahead
        (level("b1", 2, late=1.5), 1.7),  # late within the lateness
        (level("b1", 2, first=-3, late=3), 3.2),  # a little more behind than it may
    ],
)
def test_a_member_that_is_silent_or_wrong_delays_the_others_by_little(other, more, alone):
    found = Heard().play(level("b0", 0) + other, 90).of("high")
    late = [found[t][0] - at for t, (at, _) in alone.items()]
    assert {t: found[t][1] for t in alone} == {t: x for t, (_, x) in alone.items()}
    assert max(late) <= more + 1e-6


def test_nobody_waits_longer_than_three_times_the_lateness():
    rows = level("b0", 0) + level("b1", 2, first=-3.9, late=3.9)
    found = Heard().play(rows, 90).of("high")
    assert max(delays(found)) <= 3 * LATENESS + 0.2


@pytest.mark.parametrize("slow", [level("b1", 2, step=200, n=2), level("b1", 2, step=7, n=9)])
def test_alerts_of_slow_devices_hold_the_others_no_longer(slow):
    found = Heard(CHAIN).play(level("b0", 0) + slow, 90).of("many")
    assert len(found) == 60
    assert max(delays(found)) <= 3 * LATENESS + 0.2


def test_an_alert_of_a_slow_device_that_comes_late_is_taken_at_its_time():
    def many(late):
        rows = level("b0", 0) + level("b1", 0, first=0.5, step=17, n=4, late=late)
        return {t: x for t, (_, x) in Heard(CHAIN).play(rows, 90).of("many").items()}

    assert many(1.9) == many(0)


@pytest.mark.parametrize("pipelines", [PIPELINES, CHAIN])
def test_of_equal_times_it_makes_no_difference_who_comes_first(pipelines):
    def values(first, second):
        return Heard(pipelines).play(level("b0", 0, late=first) + level("b1", 1, late=second), 90)

    names = ("high", "many")
    one, other = values(0, 0.3).values, values(0.3, 0).values
    assert [x for x in one if x[0] in names] == [x for x in other if x[0] in names]


def test_a_graph_that_stops_goes_on_with_the_rows_that_wait():
    rng = np.random.default_rng(1)
    rows = [
        (t, b("m", c), t, t + rng.random() * 1.9) for t in range(60) for c in ("voltage", "current")
    ]
    rows += level("b0", 0) + level("b1", 0, first=0.5, late=1)
    assert Heard().play(rows, 80, restarts=0.2).told == Heard().play(rows, 80).told


def test_who_has_no_room_to_wait_goes_on_early_and_is_counted():
    heard = Heard(limits={"reorder_samples_max": 1000})
    rows = [(0.001 * i, b("m", "voltage"), 1, 0.001 * i) for i in range(4000)]
    rows += [(0.001 * i, b("m", "current"), 1, 0.001 * i + 1.5) for i in range(4000)]
    made = heard.feed.graph
    heard.feed.send(sorted(rows, key=lambda row: row[3]))
    pipeline = made.pipelines["power"]
    assert pipeline.counters()["hurried"] > 0
    heard.until(20)
    assert len(heard.of("power")) > 0
