"""Wrong clocks, late samples and replays, from payload to published event."""

import json

import pytest
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from daemon.ledger import Count
from pipelines.events import rfc3339
from pipelines.order import CALM_NS
from tests.wired import T0, S, Wired

DAY = 86_400
HOT = {"from": "boilers", "alert": {"when": {"above": 90, "on_delay": "2s"}}}
PIPELINES = {
    "hot": HOT,
    "silent": {"from": "boilers", "steps": [{"missing": {"timeout": "8s"}}], "alert": {}},
    "means": {
        "from": "boilers",
        "steps": [{"aggregate": {"size": "10s"}}],
        "publish": {"topic": "agg/{device}"},
    },
    "many": {
        "from": {"alerts": "hot"},
        "group_by": ["site"],
        "steps": [{"quorum": {"of": "device", "at_least": 2, "within": "60s"}}],
        "alert": {},
    },
}
TIMED = {
    "topic": "plant/{site}/{device}",
    "time": {"field": "ts"},
    "seq": "n",
    "channels": ["temperature", "pressure"],
    "lateness": "2s",
}
UNTIMED = {"topic": "plant/{site}/{device}", "channels": ["temperature", "pressure"]}


def second(made):
    """Seconds since the start."""
    return (made.clock.now_ns() - T0) / S


def ts(at):
    """Milliseconds as devices write them, of a second since the start."""
    return T0 // 1_000_000 + round(at * 1000)


def told(made, kind=None):
    """[(topic, event)] of all that was published, of one type if given."""
    outs = [out for out in made.transport.published if out.payload and out.kind != "status"]
    found = [(out.topic, json.loads(out.payload)) for out in outs]
    return [(t, e) for t, e in found if kind is None or e["type"] == kind]


CLOCKS = {  # what each device's clock shows at a second since the start
    "in 1970": lambda at: at - T0 / S,
    "in 2038": lambda at: at + 2_145_916_800 - T0 / S,
    "a day ahead": lambda at: at + DAY,
    "a day behind": lambda at: at - DAY,
    "to and fro": lambda at: at + (3600 if int(at) % 2 else 0),
    "at random": lambda at: (at * 7919) % 1_000_000,
}


def plant(source, rogues):
    """What two minutes of five devices and some with wrong clocks lead to, by who it is about."""
    made = Wired(PIPELINES, {"boilers": source})
    for at in range(120):
        for i in range(5):
            value = 99 if i in (1, 3) and 20 < at < 60 + 10 * i else 20
            if not (i == 4 and 40 < at < 70):
                say(made, f"b{i}", at, at, value)
        for rogue in rogues:
            say(made, rogue, at, CLOCKS[rogue](at), 20)
        made.clock.advance(S)
        made.turn()
    made.wait(30)
    ledger = made.close()
    return made, ledger


def say(made, device, n, at, value):
    payload = {"ts": ts(at), "n": n, "temperature": value, "pressure": 3}
    made.send(f"plant/north/{device}", payload)


def healthy(made):
    return [(t, e) for t, e in told(made) if e["data"]["labels"].get("device") not in CLOCKS]


@pytest.mark.parametrize("source", [TIMED, UNTIMED], ids=["timed", "untimed"])
def test_a_wrong_clock_affects_its_own_device_alone(source):
    alone, _ = plant(source, [])
    mixed, ledger = plant(source, list(CLOCKS))
    assert healthy(mixed) == told(alone)
    assert {e["type"] for _, e in told(alone)} >= {"sensorweir.alert.active", "sensorweir.window"}
    assert any(e["source"] == "/sensorweir/gw/many" for _, e in told(alone))
    timed = source is TIMED
    ahead = {e["data"]["labels"]["device"] for _, e in told(mixed, "sensorweir.source.future")}
    wrong = [device for device, clock in CLOCKS.items() for at in range(120) if clock(at) > at + 60]
    assert ahead == (set(wrong) if timed else set())
    assert ledger.total(Count.SAMPLES_FUTURE) == (2 * len(wrong) if timed else 0)


def test_a_clock_that_runs_ahead_is_told_of_when_it_begins_and_when_it_ends():
    made = Wired({"hot": HOT}, {"boilers": TIMED})
    ahead = [0, 0, 3600, 7200, 61, 0, 0]
    for at, more in enumerate(ahead):
        made.clock.advance(S)
        say(made, "b1", at, second(made) + more, 20)
    made.turn()
    [(topic, event)] = told(made, "sensorweir.source.future")
    assert topic == "quarantine/boilers/b1/north"
    assert JSONFormat().read(CloudEvent, json.dumps(event).encode()).get_id() == event["id"]
    assert event["source"] == "/sensorweir/gw/sources/boilers"
    assert event["data"] == {
        "source": "boilers",
        "labels": {"device": "b1", "site": "north"},
        "state": "began",
        "ahead_s": 3600.0,
        "samples": 1,
        "since": rfc3339(T0 + 3 * S),
        "causes": [],
    }
    made.clock.advance(CALM_NS)
    say(made, "b1", 99, second(made), 20)
    made.turn()
    [_, (_, ended)] = told(made, "sensorweir.source.future")
    assert ended["data"] | {"state": "ended", "ahead_s": 7200.0, "samples": 6} == ended["data"]
    assert ended["data"]["since"] == event["data"]["since"]
    assert ended["id"] != event["id"]
    assert made.close().total(Count.SAMPLES_FUTURE) == 6  # two channels each


def test_a_device_that_goes_to_and_fro_floods_nobody():
    made = Wired({"hot": HOT}, {"boilers": TIMED})
    for at in range(2000):
        made.clock.advance(S // 10)
        say(made, "b1", at, second(made) + (3600 if at % 2 else 0), 20)
        made.turn()
    assert len(told(made, "sensorweir.source.future")) == 1
    made.close()


def late(mode, **more):
    """Ten samples in order, one of them far too late, twice; then a window has long been told."""
    source = {**TIMED, "lateness": "0s", "late": mode, **more}
    pipelines = {
        "means": {
            "from": "boilers",
            "where": {"channel": "temperature"},
            "steps": [{"aggregate": {"size": "10s", "stats": ["count"]}}],
            "publish": {"topic": "agg/{device}"},
        }
    }
    pipelines["means"]["amend_for"] = "10m"
    made = Wired(pipelines, {"boilers": source})
    for at in range(30):
        made.clock.advance(S)
        if at != 4:
            say(made, "b1", at, at, 20)
    for _ in range(2):
        say(made, "b1", 4, 4, 55)
    made.wait(20)
    ledger = made.close()
    assert ledger.total(Count.SAMPLES_LATE) == 2
    assert ledger.total(Count.SAMPLES_DUPLICATE) == 2
    assert ledger.total(Count.SAMPLES_DECODED) == 2 * 31
    windows = [e for _, e in told(made, "sensorweir.window")]
    return made, [(e["revision"], e["data"]["count"]) for e in windows]


def test_late_samples_are_dropped_and_counted():
    made, windows = late("drop")
    assert windows == [(1, 9), (1, 10), (1, 10)]
    assert told(made, "sensorweir.sample.late") == []


def test_late_samples_are_published_for_inspection():
    made, windows = late("side")
    assert windows == [(1, 9), (1, 10), (1, 10)]
    (topic, event), (other, _) = told(made, "sensorweir.sample.late")
    assert (topic, other) == ("late/boilers/temperature/b1/north", "late/boilers/pressure/b1/north")
    assert JSONFormat().read(CloudEvent, json.dumps(event).encode()).get_id() == event["id"]
    data = event["data"]
    assert (data["value"], data["seq"], data["delay_s"]) == (55.0, 4, 26.0)
    assert data["labels"] == {"channel": "temperature", "device": "b1", "site": "north"}
    made, _ = late("side", late_topic="too-late/{source}/{device}/{channel}")
    topics = [topic for topic, _ in told(made, "sensorweir.sample.late")]
    assert topics == ["too-late/boilers/b1/temperature", "too-late/boilers/b1/pressure"]


def test_late_samples_amend_what_was_told():
    made, windows = late("amend")
    assert (1, 9) in windows
    assert (2, 10) in windows
    assert told(made, "sensorweir.sample.late") == []


@pytest.mark.parametrize("mode", ["drop", "side", "amend"])
def test_a_replay_of_a_recording_repeats_every_byte(mode):
    """The recording is (time of arrival, topic, payload); turns and batches fall otherwise."""
    source = {"boilers": {**TIMED, "late": mode, "idle_after": "3s"}}
    pipelines = {**PIPELINES, "means": {**PIPELINES["means"], "amend_for": "5m"}}
    recording = []
    for at in range(900):  # tenths of a second
        for i in range(3):
            if at % (5 + i) or (i == 2 and 200 < at < 600):
                continue  # silent
            value = 99 if at // 150 % 2 else 20
            late_by = 6 if at % 11 == 0 else at % 3 / 2  # some too late, most out of order
            ahead = DAY if i == 1 and 300 < at < 400 else 0
            payload = {"ts": ts(at / 10 - late_by + ahead), "n": at, "temperature": value}
            recording.append((at * S // 10 + i, f"plant/north/b{i}", payload))

    def played(turn_every, batch):
        made = Wired(pipelines, source, limits={"batch_messages_max": batch})
        for k, (arrival, topic, payload) in enumerate(recording):
            made.clock.advance(T0 + arrival - made.clock.now_ns())
            made.send(topic, payload)
            if k % turn_every == 0:
                while made.turn():
                    pass
        while made.turn():
            pass
        made.wait(60)
        made.close()
        return [(o.topic, o.payload) for o in made.transport.published if o.kind != "status"]

    whole = played(10**9, 4096)
    kinds = {json.loads(payload)["type"] for _, payload in whole if payload}
    assert "sensorweir.source.future" in kinds
    assert ("sensorweir.sample.late" in kinds) == (mode == "side")
    assert played(1, 4096) == whole
    assert played(7, 5) == whole
