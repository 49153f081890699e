"""Commands about alerts over MQTT: one answer each, states that outlive restarts and reloads."""

import json

import pytest

from daemon.ledger import Count
from tests.test_control import HOT, SOURCE, hot, states
from tests.wired import Wired

CMD = "sensorweir/gw/command"
WHEN = {"levels": {"high": {"above": 90}, "high_high": {"above": 100, "severity": "critical"}}}
LEVELS = {**HOT, "alert": {**HOT["alert"], "when": WHEN}}


def wired_with(alert=None, retained=(), **more):
    pipelines = {"hot": {**HOT, "alert": {**HOT["alert"], **(alert or {})}}, **more}
    return Wired(pipelines, SOURCE, retained, command_topic="sensorweir/{gateway}/command")


def ask(wired, command, asked=("", b"")):
    """The answer to a command, and the alert events that came of it."""
    body = command if isinstance(command, bytes) else json.dumps(command).encode()
    before = len(wired.published("answer")), len(wired.published("alert"))
    wired.transport.publish(CMD, body, asked=asked)
    wired.turn()
    [answer] = wired.published("answer")[before[0] :]
    told = [json.loads(o.payload) for o in wired.published("alert")[before[1] :]]
    return answer, told


def said(wired):
    """(type or reason, data) of every alert event."""
    found = []
    for out in wired.published("alert"):
        event = json.loads(out.payload)
        kind = event["type"].rsplit(".", 1)[1]
        found.append((event["data"].get("reason", kind), event["data"]))
    return found


def reasons(wired):
    return [reason for reason, _ in said(wired)]


def alert_of(wired):
    return said(wired)[-1][1]["alert"]


def state_of(wired):
    [(_, payload)] = states(wired)
    return json.loads(payload)["data"]


def test_acknowledge_is_told_kept_and_answered():
    wired = wired_with()
    hot(wired, "b1", 99)
    alert = alert_of(wired)
    answer, [event] = ask(wired, {"acknowledge": alert, "by": "ann", "comment": "on my way"})
    assert answer.topic == f"{CMD}/response"
    assert not answer.retain
    assert json.loads(answer.payload) == {"done": True, "command": "acknowledge", "alert": alert}
    assert event["type"] == "sensorweir.alert.updated"
    acknowledged = event["data"]["acknowledged"]
    assert acknowledged == {"by": "ann", "comment": "on my way", "at": event["time"]}
    assert state_of(wired)["acknowledged"] == acknowledged
    answer, told = ask(wired, {"acknowledge": alert})
    assert json.loads(answer.payload)["error"] == "cannot acknowledge an alert that is acknowledged"
    assert told == []
    hot(wired, "b1", 20)
    assert reasons(wired) == ["active", "acknowledged", "cleared"]
    assert states(wired) == []
    wired.close()


def test_the_answer_goes_where_the_one_who_asks_wants_it():
    wired = wired_with()
    answer, _ = ask(wired, {"acknowledge": "0" * 32}, asked=("clients/ann/in", b"\x00\x07"))
    assert (answer.topic, answer.correlation) == ("clients/ann/in", b"\x00\x07")
    told = json.loads(answer.payload)
    assert told["done"] is False
    assert told["error"] == "no alert with this id is active or shelved"
    wired.close()


@pytest.mark.parametrize(
    "topic", ["plant/north/b9/telemetry", CMD, "state/alerts/b1/hot", "$SYS/x"]
)
def test_an_answer_is_never_published_where_the_daemon_itself_listens(topic):
    wired = wired_with()
    hot(wired, "b1", 99)
    answer, told = ask(wired, {"acknowledge": alert_of(wired)}, asked=(topic, b""))
    assert answer.topic == f"{CMD}/response"
    assert "listens" in json.loads(answer.payload)["error"]
    assert told == []
    wired.close()


ALERT = "0123456789abcdef" * 2


@pytest.mark.parametrize(
    ("command", "error"),
    [
        (b"{", "unexpected end"),
        ([1], 'expected {"acknowledge"'),
        ({}, 'expected {"acknowledge"'),
        ({"acknowledge": 5}, "acknowledge: "),
        ({"acknowledge": "../x"}, "acknowledge: "),
        ({"acknowledge": ALERT, "reset": ALERT}, 'expected {"acknowledge"'),
        ({"alert": ALERT}, 'expected {"acknowledge"'),
        ({"explode": ALERT}, "explode: "),
        ({"shelve": ALERT, "for": "soon"}, "for: "),
        ({"shelve": ALERT, "for": "0s"}, "for: "),
        ({"reset": ALERT, "for": "1h"}, "for: only goes with shelve, found reset"),
        ({"acknowledge": ALERT, "comment": "x" * 1001}, "comment: "),
    ],
)
def test_what_is_not_understood_is_answered_counted_and_does_nothing(command, error):
    wired = wired_with()
    answer, told = ask(wired, command)
    assert error in json.loads(answer.payload)["error"]
    assert told == []
    assert wired.ledger.total(Count.MESSAGES_REJECTED) == 1
    wired.close()


def test_a_retained_command_is_refused():
    wired = wired_with()
    hot(wired, "b1", 99)
    alert = alert_of(wired)
    message = json.dumps({"acknowledge": alert}).encode()
    wired.transport.publish("other", message)
    wired.transport.publish(CMD, message, retain=True)  # one of our own session, as it comes live
    wired.turn()
    assert reasons(wired) == ["active", "acknowledged"]
    wired.transport.subscribe({})
    wired.transport.subscribe(wired.engine.filters())
    wired.turn()
    assert "must not be retained" in json.loads(wired.published("answer")[-1].payload)["error"]
    assert reasons(wired) == ["active", "acknowledged"]
    wired.close()


def test_shelved_for_a_time_nothing_is_told_until_then():
    wired = wired_with()
    hot(wired, "b1", 99)
    first = alert_of(wired)
    _, [event] = ask(wired, {"shelve": first, "for": "1m", "by": "ann", "comment": "repair"})
    assert event["data"]["shelved"]["by"] == "ann"
    hot(wired, "b1", 20)
    assert reasons(wired) == ["active", "shelved", "cleared"]
    shelved = state_of(wired)
    assert shelved["state"] == "cleared"
    assert shelved["shelved"]["until"]
    hot(wired, "b1", 99)
    hot(wired, "b1", 20)
    hot(wired, "b1", 99)
    assert len(reasons(wired)) == 3
    hot(wired, "b1", 98, after_ms=60_000)
    wired.wait(1)
    assert reasons(wired)[3:] == ["unshelved", "active"]
    assert alert_of(wired) != first
    assert "shelved" not in state_of(wired)
    wired.close()


def test_shelved_until_it_ends():
    wired = wired_with()
    hot(wired, "b1", 99)
    ask(wired, {"shelve": alert_of(wired)})
    for value in (20, 99, 20):
        hot(wired, "b1", value)
    assert reasons(wired) == ["active", "shelved", "cleared", "active", "cleared"]
    assert states(wired) == []
    wired.close()


def test_shelving_has_a_longest_time():
    wired = wired_with({"shelve_max": "10m"})
    hot(wired, "b1", 99)
    answer, told = ask(wired, {"shelve": alert_of(wired), "for": "11m"})
    assert json.loads(answer.payload)["error"] == "an alert may be shelved for 600 s at most"
    assert told == []
    wired.close()


def test_a_restart_forgets_nothing_of_the_life_of_an_alert():
    wired = Wired({"hot": LEVELS}, SOURCE, command_topic=CMD)
    hot(wired, "b1", 95)
    hot(wired, "b1", 105)
    ask(wired, {"acknowledge": alert_of(wired), "by": "ann"})
    ask(wired, {"alert": alert_of(wired), "comment": "waiting for parts", "by": "bob"})
    wired.close()
    kept, before = states(wired), state_of(wired)
    assert before["level"] == "high_high"

    wired = Wired({"hot": LEVELS}, SOURCE, kept, command_topic=CMD)
    wired.turn()
    answer, _ = ask(wired, {"acknowledge": before["alert"]})
    assert "is acknowledged" in json.loads(answer.payload)["error"]
    hot(wired, "b1", 95)
    [(reason, data)] = said(wired)
    assert (reason, data["level"], data["severity"]) == ("level", "high", "warning")
    for name in ("alert", "acknowledged", "comments", "since"):
        assert data[name] == before[name]
    hot(wired, "b1", 20)
    assert reasons(wired) == ["level", "cleared"]
    wired.close()


@pytest.mark.parametrize("last", [20, 99])
def test_a_restart_forgets_no_shelf(last):
    wired = wired_with()
    hot(wired, "b1", 99)
    ask(wired, {"shelve": alert_of(wired), "for": "1m"})
    hot(wired, "b1", last)
    wired.close()
    kept = states(wired)
    shelved = wired_with(retained=kept)
    shelved.turn()
    for value in (20, 99, 20, 99):
        hot(shelved, "b1", value)
    assert reasons(shelved) == (["cleared"] if last == 99 else [])
    hot(shelved, "b1", 99, after_ms=120_000)
    shelved.wait(1)
    assert reasons(shelved)[-2:] == ["unshelved", "active"]
    shelved.close()


def test_a_reload_of_texts_keeps_the_life_of_alerts():
    wired = wired_with()
    hot(wired, "b1", 99)
    ask(wired, {"acknowledge": alert_of(wired), "by": "ann"})
    changed = {**HOT, "alert": {**HOT["alert"], "message": "{device} hot", "remind": "5s"}}
    wired.reload({"hot": changed}, SOURCE, command_topic=CMD)
    answer, _ = ask(wired, {"acknowledge": alert_of(wired)})
    assert "is acknowledged" in json.loads(answer.payload)["error"]
    wired.close()


def test_a_pipeline_that_goes_away_takes_its_shelves_with_it():
    wired = wired_with()
    hot(wired, "b1", 99)
    ask(wired, {"shelve": alert_of(wired), "for": "1h"})
    hot(wired, "b1", 20)
    other = {"cold": {"from": "boilers", "alert": {"when": {"below": 0}}}}
    wired.reload(
        {**other, "hot": {**HOT, "alert": {**HOT["alert"], "when": {"above": 80}}}}, SOURCE
    )
    assert states(wired) == []
    wired.close()


def test_a_reset_reaches_the_pipelines_below():
    latched = {**HOT["alert"], "when": {"above": 90, "latch": True}}
    below = {
        "from": {"alerts": "hot"},
        "alert": {"when": {"above": 0.5}, "topic": "alerts/{device}/below"},
    }
    wired = wired_with(latched, below=below)
    hot(wired, "b1", 99)
    hot(wired, "b1", 20)
    alert = said(wired)[0][1]["alert"]
    ask(wired, {"reset": alert, "by": "ann"})
    assert wired.events()[-2:] == [("alerts/b1/hot", "cleared"), ("alerts/b1/below", "cleared")]
    assert said(wired)[-2][1]["by"] == "ann"
    wired.close()


GATE = {
    "from": "boilers",
    "where": {"device": "gate"},
    "alert": {"when": {"above": 0.5}, "topic": "alerts/{site}/{device}/down"},
}


def inhibited(wait="0s"):
    by = {"alerts": "down", "same": ["site"], "wait": wait}
    return wired_with({"inhibit_by": by}, down=GATE)


def test_an_inhibited_alert_is_told_when_the_other_one_ends():
    wired = inhibited()
    hot(wired, "gate", 1)
    hot(wired, "b1", 99)
    hot(wired, "b2", 99)
    hot(wired, "b2", 20)
    wired.wait(2)
    assert wired.events() == [("alerts/north/gate/down", "active")]
    hot(wired, "gate", 0)
    wired.wait(1)
    assert wired.events()[1:] == [
        ("alerts/north/gate/down", "cleared"),
        ("alerts/b1/hot", "active"),
    ]
    wired.close()


def test_an_alert_that_may_be_inhibited_waits_for_the_other_one():
    wired = inhibited(wait="5s")
    hot(wired, "b1", 99)
    hot(wired, "gate", 1)
    wired.wait(20)
    assert wired.events() == [("alerts/north/gate/down", "active")]
    quick = inhibited(wait="5s")
    hot(quick, "b1", 99)
    hot(quick, "b1", 99, after_ms=4_000)
    quick.wait(0.5)
    assert quick.events() == []
    hot(quick, "b1", 99, after_ms=1_000)
    quick.wait(0.2)
    assert quick.events() == [("alerts/b1/hot", "active")]
    wired.close()
    quick.close()


def test_another_site_inhibits_nothing():
    wired = inhibited()
    wired.send("plant/south/gate/telemetry", {"temperature": 1})
    hot(wired, "b1", 99)
    wired.wait(0.2)
    assert ("alerts/b1/hot", "active") in wired.events()
    wired.close()


def test_first_out_is_the_first_of_its_group_until_all_are_over():
    wired = wired_with({"first_out": ["site"]})
    for device, value in [("b1", 99), ("b2", 99), ("b1", 20), ("b3", 99), ("b2", 20), ("b3", 20)]:
        hot(wired, device, value)
    hot(wired, "b2", 99)
    raised = [(d["labels"]["device"], d["first_out"]) for r, d in said(wired) if r == "active"]
    assert raised == [("b1", True), ("b2", False), ("b3", False), ("b2", True)]
    wired.close()


def test_reminders_and_escalation_stop_once_somebody_has_acknowledged():
    escalate = {"after": "15s", "severity": "critical"}
    wired = wired_with({"remind": "10s", "escalate": escalate})
    for _ in range(21):
        hot(wired, "b1", 99)
    wired.wait(0.2)
    assert reasons(wired) == ["active", "reminder", "escalated", "reminder"]
    assert [d["severity"] for _, d in said(wired)] == ["warning", "warning", "critical", "critical"]
    ask(wired, {"acknowledge": alert_of(wired)})
    for _ in range(40):
        hot(wired, "b1", 99)
    wired.wait(0.2)
    assert reasons(wired)[4:] == ["acknowledged"]
    wired.close()


def told_in_turns_of(size):
    """Events and answers of values and commands in turn, `size` messages in a turn."""
    wired = wired_with({"remind": "2s"})
    hot(wired, "b1", 99)
    alert = alert_of(wired)
    steps = [("v", 99), ("c", "acknowledge"), ("v", 20), ("v", 99), ("c", "acknowledge"), ("v", 99)]
    for i, (kind, what) in enumerate(steps * 3):
        wired.clock.advance(700_000_000)
        if kind == "v":
            payload = json.dumps({"temperature": what}).encode()
            wired.transport.publish("plant/north/b1/telemetry", payload)
        else:
            wired.transport.publish(CMD, json.dumps({what: alert}).encode())
        if i % size == size - 1:
            wired.turn()
    wired.turn()
    told = [[o.payload for o in wired.published(kind)] for kind in ("alert", "answer", "state")]
    wired.close()
    return told


def test_commands_take_effect_in_the_order_of_arrival_however_turns_cut_it():
    whole = told_in_turns_of(100)
    assert len(whole[0]) > 6
    assert len(whole[1]) == 6
    assert told_in_turns_of(1) == whole
    assert told_in_turns_of(3) == whole
