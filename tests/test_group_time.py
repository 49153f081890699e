"""How far the time of a group has come: as far as the slowest of its members."""

import numpy as np
import pytest

from pipelines.events import Event
from tests.graphs import T0, Feed, S, b, graph, short

POWER = {"expr": {"channel": "power", "value": "voltage * current"}}
PUBLISH = {"topic": "t/{device}"}
SOURCES = {"boilers": {"topic": "plant/{site}/{device}", "lateness": "2s"}}


def powers(told):
    return [(second, e.data["value"]) for (*_, second), e in zip(short(told), told, strict=True)]


@pytest.mark.parametrize("ticked", [False, True])
def test_a_tick_between_two_channels_makes_no_glitch(ticked):
    """Channels come in messages of their own, the second a moment after the first."""
    made = graph({"p": {"from": "boilers", "steps": [POWER], "publish": PUBLISH}}, sources=SOURCES)
    feed, told = Feed(made), []
    at = np.arange(60) * 0.8  # each message lets one sample go, and time is then in between
    for t in at.tolist():
        told += feed.send([(t, b("m", "voltage"), 2 * t, t)])
        if ticked:
            told += feed.until(t + 0.15)
        told += feed.send([(t, b("m", "current"), 3 * t, t + 0.2)])
    told += feed.until(at[-1] + 60)
    assert [t for t, _ in powers(told)] == pytest.approx(at)
    assert [x for _, x in powers(told)] == pytest.approx(6 * at**2)


def test_time_behind_a_join_is_as_far_as_its_rows_may_come():
    """An alert below a step that holds rows back must not run ahead of them."""
    join = {"join": {"left": "a", "right": "b", "strategy": "nearest", "tolerance": "5s"}}
    alert = {"when": {"above": 1, "on_delay": "3s"}, "topic": "a/{device}"}
    made = graph({"p": {"from": "boilers", "steps": [join], "alert": alert}})
    feed, told = Feed(made), []
    for t in range(30):
        value = 10 if 10 <= t < 12 else 0  # over the limit for 2 s, which is less than on_delay
        told += feed.send([(t, b("m", "b"), 0), (t, b("m", "a"), value)])
        told += feed.until(t + 0.9)
    assert told == []
    table = made.pipelines["p"].table
    assert (int(table.clock_ns[0]) - T0) / S == pytest.approx(29 - 5)


def test_one_member_that_is_silent_holds_the_others_until_it_is_taken_as_idle():
    sources = {"boilers": {"topic": "plant/{site}/{device}", "idle_after": "10s"}}
    made = graph({"p": {"from": "boilers", "steps": [POWER], "publish": PUBLISH}}, sources=sources)
    feed = Feed(made)
    told: list[Event] = feed.send([(0, b("m", "voltage"), 2), (0, b("m", "current"), 3)])
    told += feed.send([(5, b("m", "voltage"), 4)])
    assert powers(told + feed.until(9.5)) == [(0, 6)]
    assert powers(feed.until(16)) == [(5, 12)]
