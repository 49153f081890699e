"""Corrections as subscribers see them: revisions, retractions, kept messages, what undoes an action."""

import json

import numpy as np
import pytest

from tests.wired import T0, S, Wired

SOURCE = {
    "boilers": {
        "topic": "plant/{site}/{device}/telemetry",
        "time": {"field": "ts"},
        "idle_after": "10s",
    }
}
HOT = {
    "from": "boilers",
    "amend_for": "10m",
    "alert": {
        "when": {"above": 90, "on_delay": "2s"},
        "topic": "alerts/{site}/{device}/hot",
        "on_retract": {
            "publish": "commands/{site}/{device}",
            "payload": {"start": True, "why": "{alert} of {device} never was", "n": 3},
        },
    },
}
MEAN = {
    "from": "boilers",
    "steps": [{"aggregate": {"size": "10s", "stats": ["mean", "count"], "amend_for": "10m"}}],
    "publish": {"topic": "agg/{site}/{device}", "retain": True},
}


def send(wired, second, value):
    payload = {"ts": (T0 + round(second * S)) // 1_000_000, "temperature": value}
    wired.send("plant/north/b7/telemetry", payload)
    wired.turn()


def kept(wired, topic):
    """The retained message of a topic, as a subscriber that comes now would get it."""
    payload = b""
    for out in wired.transport.published:
        if out.topic == topic and out.retain:
            payload = out.payload
    return json.loads(payload) if payload else None


@pytest.fixture
def wired():
    made = Wired({"hot": HOT, "mean": MEAN}, SOURCE)
    yield made
    made.close()


def test_a_retracted_alert_clears_its_state_and_undoes_what_was_done(wired):
    for second in range(5):
        send(wired, second, 95)
        wired.wait(1)
    assert kept(wired, "state/alerts/north/b7/hot")["type"] == "sensorweir.alert.active"
    for second in (0.5, 1.5, 2.5, 3.5):
        send(wired, second, 20)
    wired.wait(0.2)
    assert [o.topic for o in wired.published("alert")] == [
        "alerts/north/b7/hot",
        "alerts/north/b7/hot",
        "commands/north/b7",
    ]
    active, retracted = (json.loads(o.payload) for o in wired.published("alert")[:2])
    assert (retracted["id"], retracted["revision"]) == (active["id"], 2)
    assert retracted["correction"] == "retracted"
    assert retracted["data"]["retracts"] == "sensorweir.alert.active"
    assert ("revision", "2") in wired.published("alert")[1].properties
    assert kept(wired, "state/alerts/north/b7/hot") is None
    undone = json.loads(wired.published("alert")[2].payload)
    assert undone == {
        "start": True,
        "why": f"{active['data']['alert']} of b7 never was",
        "n": 3,
    }


def test_an_end_that_is_taken_back_brings_the_state_back():
    slow = {"above": 90, "on_delay": "2s", "off_delay": "5s"}
    wired = Wired({"hot": {**HOT, "alert": {**HOT["alert"], "when": slow}}}, SOURCE)
    for second in range(13):
        send(wired, second, 95 if second < 6 else 20)
        wired.wait(1)
    assert [kind for _, kind in wired.events()] == ["active", "cleared"]
    active = json.loads(wired.published("alert")[0].payload)
    assert kept(wired, "state/alerts/north/b7/hot") is None
    send(wired, 8.5, 95)
    wired.wait(0.2)
    assert [kind for _, kind in wired.events()[2:]] == ["retracted"]
    state = kept(wired, "state/alerts/north/b7/hot")
    assert (state["type"], state["data"]["alert"]) == (
        "sensorweir.alert.active",
        active["data"]["alert"],
    )
    for second in (14, 15):
        send(wired, second, 20)
        wired.wait(1)
    assert [kind for _, kind in wired.events()[3:]] == ["cleared"]
    assert kept(wired, "state/alerts/north/b7/hot") is None
    wired.close()


def test_of_a_kept_topic_the_newest_window_stays_when_an_older_one_is_corrected(wired):
    for second in range(0, 45, 5):
        send(wired, second, second)
        wired.wait(5)
    newest = kept(wired, "agg/north/b7")
    assert newest["data"]["start"].endswith("16:00:30Z")
    send(wired, 12, 100)
    wired.wait(0.2)
    told = [json.loads(o.payload) for o in wired.published("window")]
    [again] = [e for e in told if e.get("correction") == "updated"]
    assert again["data"]["start"].endswith("16:00:10Z")
    assert (again["revision"], again["data"]["count"]) == (2, 3)
    assert kept(wired, "agg/north/b7") == newest


def outputs(batch, every):
    """What 900 messages lead to, one in five of them late, with turns after `every` of them."""
    rng = np.random.default_rng(5)
    made = Wired({"hot": HOT, "mean": MEAN}, SOURCE, limits={"batch_messages_max": batch})
    for i in range(900):
        second = i * 0.137 - (rng.random() * 40 if rng.random() < 0.2 else 0)
        value = float(rng.normal(99 if i // 80 % 2 else 50, 8))
        payload = {"ts": (T0 + round(second * S)) // 1_000_000, "temperature": value}
        made.send(f"plant/north/b{i % 3}/telemetry", payload, after_ms=137)
        if i % every == every - 1:
            while made.turn():
                pass
    made.close()
    return [(o.topic, o.payload) for o in made.transport.published]


@pytest.mark.parametrize(("batch", "every"), [(1, 50), (7, 50), (1, 1), (1024, 333)])
def test_the_same_corrections_however_turns_cut_the_messages(batch, every):
    whole = outputs(4096, 900)
    assert sum(b'"correction":"updated"' in payload for _, payload in whole) > 20
    assert sum(b'"correction":"retracted"' in payload for _, payload in whole) > 5
    assert outputs(batch, every) == whole


def test_what_somebody_has_reset_stands_as_it_was_told():
    latched = {**HOT, "amend_for": "10m", "alert": {"when": {"above": 90, "latch": True}}}
    wired = Wired({"hot": latched}, SOURCE, command_topic="command")
    for second in range(6):
        send(wired, second, 95 if second == 2 else 20)
        wired.wait(1)
    [active] = [json.loads(o.payload) for o in wired.published("alert")]
    wired.send("command", {"reset": active["data"]["alert"]})
    wired.wait(1)
    assert [kind for _, kind in wired.events()[:2]] == ["active", "cleared"]
    for second in (3.5, 1.5):  # nobody wants to hear of it again
        send(wired, second, 99)
        wired.wait(0.2)
    assert len(wired.published("alert")) == 2
    assert wired.engine.graph.pipelines["hot"].active == 0
    assert wired.engine.graph.pipelines["hot"].counters()["amend_too_late"] == 2
    send(wired, 7, 95)
    assert [kind for _, kind in wired.events()[2:]] == ["active"]
    wired.close()
