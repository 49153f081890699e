"""Loops across daemons end: events carry how often they were derived, and too many are rejected."""

import json

import pytest

from daemon.decode.hops import hops_of
from daemon.ledger import Count
from pipelines.hops import HELD_NS, HOPS_MAX
from pipelines.series import make_labels
from tests.daemons import Publisher, Recorder, gateway
from tests.restarts import again
from tests.wired import Wired
from tests.wires import until

READ = {"decode": "json", "channels": {"v": "data.value"}, "idle_after": "1s"}


def looped(steps=(), **more):
    """A daemon that reads what it publishes; others between would only add to the hops."""
    sources = {"loop": {"topic": "loop/{site}/{device}", **READ}}
    spec = {"from": "loop", "steps": list(steps), "publish": {"topic": "loop/{site}/{device}"}}
    return Wired({"round": spec | more}, sources)


def hops(made, kind="sample"):
    return [json.loads(out.payload).get("hops", 0) for out in made.published(kind)]


def raw(made, device="d1", value=1.0):
    made.send(f"loop/north/{device}", {"data": {"value": value}})


def rejected(made):
    return made.ledger.value(Count.MESSAGES_REJECTED, reason="too_many_hops", source="loop")


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ({"temperature": 1}, 0),
        ({"specversion": "1.0", "type": "sensorweir.sample"}, 1),
        ({"specversion": "1.0", "type": "sensorweir.sample", "hops": 7}, 8),
        ({"data": 1, "hops": 7, "type": "sensorweir.sample", "specversion": "1.0"}, 8),
        ({"specversion": "1.0", "type": "sensorweir.sample", "hops": -3}, 1),
        ({"specversion": "1.0", "type": "sensorweir.sample", "hops": "7"}, 1),
        ({"specversion": "1.0", "type": "sensorweir.sample", "hops": True}, 1),
        ({"specversion": "1.0", "type": "com.example.sample", "hops": 7}, 0),
        ({"specversion": "1.0", "type": 5, "hops": 7}, 0),
        ({"a": {"specversion": "1.0"}, "type": "sensorweir.sample", "hops": 7}, 0),
        (["specversion"], 0),
    ],
)
def test_hops_of_payloads(payload, expected):
    assert hops_of(json.dumps(payload).encode()) == expected


def test_what_is_no_json_has_none():
    assert hops_of(b'{"specversion": ') == 0


def test_a_loop_of_samples_ends_by_itself_and_is_counted():
    made = looped()
    raw(made)
    made.wait(5)
    assert hops(made) == list(range(HOPS_MAX + 1))
    assert rejected(made) == 1
    made.close()


def test_a_loop_that_is_fed_ends_each_time():
    """What is fed is never rejected, and causes no more than one event then."""
    made = looped()
    for _ in range(30):
        raw(made)
        made.wait(2)
    told = hops(made)
    assert told[:17] == list(range(17))
    assert len(told) == 17 + 29
    assert set(told[17:]) == {HOPS_MAX}
    assert rejected(made) == 30


@pytest.mark.parametrize("before", [0, 4])
def test_a_loop_that_is_wanted_goes_on_and_keeps_the_hops_of_others(before):
    sources = {"loop": {"topic": "loop/{site}/{device}", **READ, "feedback": True}}
    spec = {"from": "loop", "publish": {"topic": "loop/{site}/{device}"}}
    made = Wired({"round": spec}, sources)
    event = {"specversion": "1.0", "type": "sensorweir.sample", "data": {"value": 1}}
    made.send("loop/north/d1", event | {"hops": before})
    made.wait(5)
    assert hops(made) == [before] * 50


def test_a_loop_of_windows_ends():
    steps = [{"aggregate": {"size": "1s", "stats": ["mean"]}}]
    sources = {"loop": {"topic": "loop/{site}/{device}", **READ, "channels": {"v": "data.mean"}}}
    spec = {"from": "loop", "steps": steps, "publish": {"topic": "loop/{site}/{device}"}}
    made = Wired({"round": spec}, sources)
    made.send("loop/north/d1", {"data": {"mean": 1}})
    made.wait(120)
    assert hops(made, "window") == list(range(HOPS_MAX + 1))
    assert rejected(made) == 1


def test_a_loop_of_a_group_ends():
    steps = [{"group": {"of": "device", "every": "1s", "channel": "sum"}}]
    made = looped(steps, publish={"topic": "loop/{site}/all"})
    raw(made)
    made.wait(5)
    told = hops(made)
    assert max(told) >= 1
    assert sorted(told) == told


def test_hops_are_those_of_the_device_and_hold_for_an_hour():
    made = looped(publish={"topic": "out/{device}"})
    event = {"specversion": "1.0", "type": "sensorweir.sample", "hops": 4, "data": {"value": 1}}
    made.send("loop/north/d1", event)
    made.turn()
    raw(made, "d1", 2)
    raw(made, "d2")
    made.wait(1)
    assert hops(made) == [5, 5, 0]
    made.engine._adopt(again(made.engine.graph))  # it is part of the state
    raw(made, "d1", 3)
    made.wait(1)
    made.clock.advance(HELD_NS)
    made.wait(1)
    raw(made, "d1", 4)
    made.wait(1)
    assert hops(made)[3:] == [5, 0]


def test_the_state_of_an_alert_and_chains_carry_them_too():
    sources = {"loop": {"topic": "loop/{site}/{device}", **READ}}
    hot = {"from": "loop", "alert": {"when": {"above": 0}}}
    more = {"from": {"alerts": "hot"}, "alert": {"when": {"above": 0.5}}}
    quorum = {"quorum": {"of": "device", "at_least": 1, "within": "1m"}}
    site = {"from": {"alerts": "hot"}, "group_by": ["site"], "steps": [quorum], "alert": {}}
    made = Wired({"hot": hot, "more": more, "site": site}, sources)
    event = {"specversion": "1.0", "type": "sensorweir.sample", "hops": 4, "data": {"value": 1}}
    made.send("loop/north/d1", event)
    made.wait(1)
    assert hops(made, "alert") == hops(made, "state") == [5, 5, 5]
    properties = dict(made.published("alert")[0].properties)
    assert properties["hops"] == "5"


@pytest.mark.parametrize("read", [READ, {"decode": "json"}])
def test_events_that_come_many_at_a_time_are_seen_too(read):
    """The kernel that reads many messages at once leaves them to the other decoder."""
    sources = {"loop": {"topic": "loop/{site}/{device}", **read}}
    made = Wired({"round": {"from": "loop", "publish": {"topic": "out/{device}"}}}, sources)
    told = {"specversion": "1.0", "type": "sensorweir.sample", "revision": 1, "data": {"value": 1}}
    for turn in range(3):
        for i in range(200):
            told["revision"] = turn + i / 1000
            made.send(f"loop/north/d{i % 20}", told | {"hops": i % 20})
        made.wait(0.2)
    assert rejected(made) == 3 * 40
    assert sorted(set(hops(made))) == list(range(1, HOPS_MAX + 1))
    table = made.engine.graph.sources["loop"].quota.hops
    assert table.of(make_labels({"site": "north", "device": "d3"}), made.clock.now_ns()) == 4


@pytest.mark.broker
def test_two_daemons_that_feed_each_other_come_to_rest(mosquitto, daemons, closing):
    def one(name, reads, writes):
        sources = {"loop": {"topic": f"hops/{reads}/{{device}}", **READ}}
        spec = {"from": "loop", "publish": {"topic": f"hops/{writes}/{{device}}"}}
        return daemons(gateway(mosquitto.url, f"hops-{name}", {"round": spec}, sources), name)

    heard = closing(Recorder(mosquitto.url, "hops/+/d1"))
    both = one("a", "a", "b"), one("b", "b", "a")
    publisher = closing(Publisher(mosquitto.port))
    publisher.send("hops/a/d1", {"data": {"value": 1}})
    publisher.settle()

    def ended():
        return sum(d.metrics()["messages_rejected{reason=too_many_hops,source=loop}"] for d in both)

    until(ended, 60)
    for daemon in both:
        daemon.quiet()
    assert ended() == 1
    events = [json.loads(message.payload) for message in heard.heard]
    assert [e.get("hops", 0) for e in events if "specversion" in e] == list(range(HOPS_MAX + 1))
