"""Alerts that outlive a restart through their retained state, and commands."""

import json

import pytest

from daemon.ledger import Count
from pipelines.events import rfc3339, rfc3339_ns
from tests.wired import T0, S, Wired

SOURCE = {"boilers": {"topic": "plant/{site}/{device}/telemetry"}}
HOT = {"from": "boilers", "alert": {"when": {"above": 90}, "topic": "alerts/{device}/hot"}}
MANY = {
    "from": {"alerts": "hot"},
    "group_by": ["site"],
    "steps": [{"quorum": {"of": "device", "at_least": 2, "within": "20s"}}],
    "alert": {"topic": "alerts/{site}/many"},
}


def hot(wired, device, value, after_ms=1000):
    wired.send(f"plant/north/{device}/telemetry", {"temperature": value}, after_ms=after_ms)
    wired.turn()


def states(wired):
    last = {o.topic: o.payload for o in wired.published("state")}
    return [(topic, payload) for topic, payload in last.items() if payload]


@pytest.fixture
def stopped():
    """Retained states of a daemon that was stopped while two alerts and their chain were active."""
    wired = Wired({"hot": HOT, "many": MANY}, SOURCE)
    for device in ("b1", "b2"):
        hot(wired, device, 99)
    wired.close()
    found = states(wired)
    assert sorted(t for t, _ in found) == [
        "state/alerts/b1/hot",
        "state/alerts/b2/hot",
        "state/alerts/north/many",
    ]
    return found


def test_alerts_go_on_after_a_restart_and_are_cleared_by_the_next_samples(stopped):
    wired = Wired({"hot": HOT, "many": MANY}, SOURCE, retained=stopped)
    wired.turn()
    raised = {json.loads(payload)["data"]["alert"] for _, payload in stopped}
    for device in ("b1", "b2"):
        hot(wired, device, 20)
    wired.wait(30)  # a member counts for `within` since it was raised
    told = [json.loads(o.payload) for o in wired.published("alert")]
    cleared = [t for t in told if t["type"].endswith("cleared")]
    assert {t["data"]["alert"] for t in cleared} == raised
    assert states(wired) == []
    wired.close()


def test_an_alert_that_still_holds_is_not_raised_again(stopped):
    wired = Wired({"hot": HOT}, SOURCE, retained=stopped[:2])
    wired.turn()
    hot(wired, "b1", 99)
    assert wired.events() == []
    wired.close()


@pytest.mark.parametrize(
    "payload", [b"{", b"[]", b"{}", b'{"source": "/sensorweir/gw/hot", "data": {}}', b"\xff"]
)
def test_a_retained_state_that_is_rubbish_is_counted_and_harms_nothing(payload):
    wired = Wired({"hot": HOT}, SOURCE, retained=[("state/alerts/b1/hot", payload)])
    wired.turn()
    assert wired.ledger.total(Count.MESSAGES_REJECTED) == 1
    hot(wired, "b1", 99)
    assert wired.events() == [("alerts/b1/hot", "active")]
    wired.close()


def test_the_state_of_another_gateway_is_left_alone(stopped):
    foreign = stopped[0][1].replace(b"/sensorweir/gw/", b"/sensorweir/other/")
    wired = Wired({"hot": HOT}, SOURCE, retained=[(stopped[0][0], foreign)])
    wired.turn()
    hot(wired, "b1", 20)
    assert wired.events() == []
    wired.close()


LATCHED = {**HOT, "alert": {**HOT["alert"], "when": {"above": 90, "latch": True}}}


def test_a_latched_alert_stays_until_it_is_reset():
    wired = Wired({"hot": LATCHED}, SOURCE, command_topic="sensorweir/{gateway}/command")
    hot(wired, "b1", 99)
    hot(wired, "b1", 20)
    [event] = [json.loads(o.payload) for o in wired.published("alert")]
    wired.send("sensorweir/gw/command", {"reset": event["data"]["alert"]})
    wired.turn()
    assert wired.events() == [("alerts/b1/hot", "active"), ("alerts/b1/hot", "cleared")]
    assert json.loads(wired.published("alert")[1].payload)["data"]["reason"] == "reset"
    hot(wired, "b1", 99)
    assert len(wired.events()) == 3
    wired.close()


@pytest.mark.parametrize("payload", [b"{", b"{}", b'{"reset": 5}', b'{"explode": "x"}', b"[1]"])
def test_commands_that_are_not_understood_are_counted(payload):
    wired = Wired({"hot": LATCHED}, SOURCE, command_topic="cmd")
    hot(wired, "b1", 99)
    wired.send("cmd", payload)
    wired.turn()
    assert wired.ledger.total(Count.MESSAGES_REJECTED) == 1
    assert len(wired.events()) == 1
    wired.close()


def test_times_read_back_to_the_nanosecond():
    for ns in (T0, T0 + 1, T0 + S // 2, T0 + 999_999_999, 0):
        assert rfc3339_ns(rfc3339(ns)) == ns
