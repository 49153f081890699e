"""Late samples and the life cycle of alerts: corrections keep what people did, and their silence."""

from pipelines.lifecycle import Given
from pipelines.occurrence import Order
from tests.graphs import T0, S, b
from tests.test_amend import HOT, Played, newest


def rows(*hot, until=14):
    """A sample a second, 95 in the given intervals, else 20."""
    return [
        (t, b("b1"), 95 if any(first <= t < last for first, last in hot) else 20, t)
        for t in range(until)
    ]


def obeyed(played, given, second, alert=None, **more):
    alert = alert or played.told[0].data["alert"]
    played.told += played.graph.obey(alert, Order(given, T0 + int(second * S), "ann", **more))


def later(played, *some):
    played.until(some[-1][3])
    played.told += played.feed.send(list(some))
    played.until(some[-1][3] + 4)


def short(events):
    return [e.data.get("reason", e.type.rsplit(".", 1)[1]) for e in events]


def test_a_correction_keeps_the_acknowledgement_in_the_state():
    played = Played({"hot": HOT}, rows((5, 14)), until=14)
    obeyed(played, Given.ACKNOWLEDGE, 14)
    later(played, (13, b("b1"), 99, 15), (15, b("b1"), 95, 15))
    before = len(played.told)
    later(played, (6.5, b("b1"), 99, 17))
    [changed] = played.told[before:]
    assert changed.correction == "updated"
    assert changed.data["worst"] == 99
    assert changed.standing.event.data["acknowledged"]["by"] == "ann"


def test_what_was_held_back_is_not_retracted_either():
    played = Played({"hot": HOT}, rows((2, 8), until=20), until=20)
    assert short(played.told) == ["active", "cleared"]
    played = Played({"hot": HOT}, rows((2, 6), until=6), until=6)
    obeyed(played, Given.SHELVE, 6, for_ns=100 * S)
    later(played, *[(t, b("b1"), 20, t) for t in range(6, 12)])
    assert short(played.told) == ["active", "shelved", "cleared"]
    later(played, *[(t, b("b1"), 95, t) for t in range(12, 20)])
    later(played, (13, b("b1"), 20, 20), (14.5, b("b1"), 20, 20), (16.5, b("b1"), 20, 20))
    later(played, (18, b("b1"), 20, 21), (18.5, b("b1"), 20, 21), (21, b("b1"), 20, 21))
    assert short(played.told) == ["active", "shelved", "cleared"]
    played.until(200)
    assert short(played.told) == ["active", "shelved", "cleared", "unshelved"]


def test_whom_an_alert_that_never_was_reminded_is_not_told_again():
    """What people were reminded of is history; what the alert was is corrected."""
    escalate = {"after": "4s", "severity": "critical"}
    more = {"remind": "3s", "escalate": escalate, "message": "{severity}"}
    nagging = {**HOT, "alert": {**HOT["alert"], **more}}
    played = Played({"hot": nagging}, rows((5, 13), until=14), until=14)
    later(played, (6.5, b("b1"), 99, 14))
    later(played, *[(t + 0.4, b("b1"), 20, 18) for t in range(6, 13)])
    corrected = [e for e in played.told if e.correction]
    assert [e.correction for e in corrected] == ["updated", "retracted"]
    state = corrected[0].standing.event.data
    assert (state["severity"], state["message"]) == ("critical", "critical")
    assert short(played.told)[:3] == ["active", "reminder", "escalated"]
    assert short(played.told)[-1] == "retracted"
    reminded = {e.id for e in played.told if e.data.get("reason") in ("reminder", "escalated")}
    assert set(newest(played.told)) == reminded
    before = len(played.told)
    played.until(60)
    assert len(played.told) == before


def test_what_late_samples_raise_while_shelved_is_told_when_that_is_over():
    played = Played({"hot": HOT}, rows((2, 6), until=6), until=6)
    obeyed(played, Given.SHELVE, 6, for_ns=40 * S)
    later(played, *[(t, b("b1"), 20, t) for t in range(6, 13)])
    later(played, (19, b("b1"), 95, 19), (21, b("b1"), 95, 21))
    later(played, *[(t, b("b1"), 95, 21) for t in (13, 14, 15, 16, 17, 18, 20)])
    later(played, *[(t, b("b1"), 95, t) for t in range(22, 30)])
    assert short(played.told) == ["active", "shelved", "cleared"]
    played.until(200)
    told = played.told[3:]
    assert short(told) == ["unshelved", "active"]
    sorted_anyway = Played({"hot": HOT}, rows((2, 6), (13, 30), until=30), until=200)
    raised = newest(sorted_anyway.told)
    assert raised[told[1].id][2]["alert"] == told[1].data["alert"]
    assert told[1].time_ns == told[0].time_ns, "it is news since then"


def test_a_late_sample_does_not_bring_back_what_somebody_has_reset():
    latched = {**HOT, "alert": {"when": {"above": 90, "latch": True}}}
    played = Played({"hot": latched}, rows((5, 10)), until=14)
    obeyed(played, Given.RESET, 14)
    later(played, (12.5, b("b1"), 20, 15), (15, b("b1"), 20, 15))
    played.until(60)
    assert short(played.told) == ["active", "reset"]
    assert played.graph.pipelines["hot"].active == 0
