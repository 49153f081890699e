"""Turns of the engine over the in-process bus: from payload to published alert, and the ledger."""

import json

import pytest

from daemon.ledger import Count, Gauge
from tests.wired import T0, S, Wired

HOT = {
    "from": "boilers",
    "where": {"channel": "temperature"},
    "alert": {"when": {"above": 90, "on_delay": "2s"}, "topic": "alerts/{site}/{device}/hot"},
}
SOURCE = {"boilers": {"topic": "plant/{site}/{device}/telemetry"}}


@pytest.fixture
def wired():
    made = Wired({"hot": HOT}, SOURCE)
    yield made
    made.close()


def test_a_payload_becomes_an_alert_and_its_end(wired):
    for _ in range(4):
        wired.send("plant/north/b7/telemetry", {"temperature": 99, "pressure": 3}, after_ms=1000)
        wired.turn()
    assert wired.events() == [("alerts/north/b7/hot", "active")]
    wired.send("plant/north/b7/telemetry", {"temperature": 20}, after_ms=1000)
    wired.turn()
    assert wired.events()[1:] == [("alerts/north/b7/hot", "cleared")]
    assert [o.payload != b"" for o in wired.published("state")] == [True, False]
    assert len(wired.transport.acknowledged) == 5


def test_the_delay_of_a_silent_device_runs_out_by_itself(wired):
    for _ in range(2):
        wired.send("plant/north/b7/telemetry", {"temperature": 99}, after_ms=500)
    wired.turn()
    assert wired.events() == []
    wired.wait(5)
    [out] = wired.published("alert")
    told = json.loads(out.payload)
    assert told["time"] == "2025-11-24T16:00:02.5Z"  # at its due time, not when it was noticed


def outputs(batch, every):
    """What 1,500 messages lead to, with turns of `batch` messages after each `every` of them."""
    made = Wired({"hot": HOT}, SOURCE, limits={"batch_messages_max": batch})
    for i in range(1500):
        value = 99 if i // 80 % 2 else 50
        made.send(f"plant/north/b{i % 3}/telemetry", {"temperature": value}, after_ms=37)
        if i % every == every - 1:
            while made.turn():
                pass
    made.close()
    return [(o.topic, o.payload) for o in made.transport.published]


@pytest.mark.parametrize(("batch", "every"), [(1, 50), (7, 50), (1, 1), (1024, 333)])
def test_the_same_outputs_however_turns_cut_the_messages(batch, every):
    whole = outputs(4096, 1500)
    assert len(whole) > 50
    assert outputs(batch, every) == whole


def test_rubbish_is_counted_and_harms_nobody(wired):
    rubbish = [b"", b"{", b"[]", b"\xff\xfe", b"null", b'{"temperature": "hot"}', b"9" * 300_000]
    for payload in rubbish:
        wired.send("plant/north/b7/telemetry", payload)
    wired.send("plant/north/b7", {"temperature": 1})  # nobody asked for this topic
    for _ in range(4):
        wired.send("plant/north/b8/telemetry", {"temperature": 99}, after_ms=1000)
    wired.turn()
    assert wired.events() == [("alerts/north/b8/hot", "active")]
    assert wired.ledger.total(Count.MESSAGES_REJECTED) == len(rubbish)
    assert wired.ledger.total(Count.MESSAGES_RECEIVED) == len(rubbish) + 4


def test_every_sample_is_accounted_for():
    source = {
        "boilers": {
            "topic": "plant/{site}/{device}/telemetry",
            "time": {"field": "ts", "unit": "s"},
            "lateness": "5s",
        }
    }
    made = Wired({"hot": HOT}, source)
    now = made.clock.now_ns() // 1_000_000_000
    times = [0, 3, 2, 2, 9, 8, 1, 500, 10, 11]  # in order, early, twice, late, far in the future
    for t in times:
        made.send("plant/north/b7/telemetry", {"ts": now + t, "temperature": 20})
    made.turn()
    count = made.ledger.total
    assert count(Count.SAMPLES_DECODED) == 10
    assert count(Count.SAMPLES_DUPLICATE) == 1
    assert count(Count.SAMPLES_LATE) == 1
    assert count(Count.SAMPLES_FUTURE) == 1
    assert count(Gauge.SAMPLES_BUFFERED) == 4
    assert count(Count.SAMPLES_USED) == 3
    assert made.ledger.balance() == []
    made.close()
    assert count(Count.SAMPLES_USED) == 7


def test_reload_that_removes_a_source_accounts_for_what_waited():
    source = {"boilers": {"topic": "plant/{site}/{device}/telemetry", "lateness": "60s"}}
    made = Wired({"hot": HOT}, source)
    made.send("plant/north/b7/telemetry", {"temperature": 99})
    made.turn()
    other = {"boilers": {"topic": "plant/{site}/{device}/other"}}
    made.reload({"hot": HOT}, other)
    made.close()
    assert made.ledger.total(Count.SAMPLES_DROPPED) == 1


def test_connection_lost_and_found_loses_no_message(wired):
    for i in range(10):
        if i == 3:
            wired.transport.cut()
        if i == 7:
            wired.transport.restore()
        wired.send("plant/north/b7/telemetry", {"temperature": 99}, after_ms=1000)
        wired.turn()
    assert wired.events() == [("alerts/north/b7/hot", "active")]
    assert wired.ledger.total(Count.MESSAGES_ACCEPTED) == 10


@pytest.mark.parametrize(("time", "used"), [(None, 0), ({"field": "ts", "unit": "s"}, 1)])
def test_a_retained_message_is_no_news_unless_it_says_when_it_was(time, used):
    source = {"boilers": {"topic": "plant/{site}/{device}/telemetry", "time": time}}
    now = T0 // S - 3600
    old = json.dumps({"ts": now, "temperature": 99}).encode()
    made = Wired({"hot": HOT}, source, retained=[("plant/north/b1/telemetry", old)])
    made.turn()
    assert made.ledger.total(Count.SAMPLES_USED) == used
    assert made.ledger.total(Count.MESSAGES_REJECTED) == 1 - used
    made.close()
