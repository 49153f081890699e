"""Scenario to messages: same seed, same bytes; faults are where the truth says, and nowhere else."""

import hashlib
import json
import math

import orjson
import pytest

from device_sim.items import Cut, Note, Outgoing
from device_sim.scenario import BUNDLED, Scenario, load
from device_sim.stream import messages
from device_sim.transport_faults import RUBBISH, malformed, oversized

SECOND = 1_000_000_000
START = 1_767_225_600 * SECOND
FLEET = {
    "count": 4,
    "id": "b{n}",
    "topic": "plant/{site}/{id}",
    "labels": {"site": ["north", "south"]},
    "every": "100ms",
    "channels": {
        "temperature": [{"constant": 20}, {"ar1": {"std": 1, "memory": "3s"}}],
        "pressure": [{"constant": 3}, {"noise": 0.1}],
    },
}
KINDS = {
    "spike": {"magnitude": 9},
    "step": {"magnitude": 9},
    "drift": {"magnitude": 9},
    "stuck": {},
    "dropout": {},
    "noise_burst": {"magnitude": 9},
    "scale": {"magnitude": 2},
    "unit_swap": {"units": "celsius_to_fahrenheit"},
}


def scenario(**more):
    return Scenario.model_validate(
        {"seed": 5, "duration": "20s", "fleets": {"boilers": FLEET}, **more}
    )


def digest(items):
    whole = hashlib.sha256()
    for item in items:
        whole.update(type(item).__name__.encode())
        for part in item:
            whole.update(part if isinstance(part, bytes) else orjson.dumps(part))
    return whole.hexdigest()


def samples(made, channel="temperature"):
    return {
        (m.device, m.due_ns): m.payload[channel]
        for m in made
        if isinstance(m, Outgoing) and channel in m.payload
    }


def test_demo_is_the_same_on_every_machine():
    made = digest(messages(load("demo"), "demo", START))
    assert made == "cc9b28bb3422382a33604297b4eb3460308ba4f3ffc1d6db60ae65ea9aeac2c9"


@pytest.mark.parametrize("name", ["demo", "hostile"])
@pytest.mark.parametrize("ticks", [1, 7])
def test_items_do_not_depend_on_the_size_of_blocks(name, ticks):
    given = load(name)
    whole = digest(messages(given, name, START))
    assert digest(messages(given, name, START, block_ticks=ticks)) == whole


def test_another_seed_gives_other_numbers():
    one, two = scenario(), scenario(seed=6)
    assert digest(messages(one, "s", START)) != digest(messages(two, "s", START))


@pytest.mark.parametrize("name", ["demo", "hostile"])
def test_items_come_in_order_of_time(name):
    due = [item.due_ns for item in messages(load(name), name, START)]
    assert due == sorted(due)


def test_messages_have_their_fields_in_order_and_count_without_gaps():
    seen = {}
    for item in messages(scenario(), "s", START):
        assert list(item.payload) == ["ts", "seq", "sent_ns", "temperature", "pressure"]
        assert item.payload["seq"] == seen.get(item.device, -1) + 1
        assert item.payload["ts"] == (START + item.due_ns) // 1_000_000
        seen[item.device] = item.payload["seq"]
    assert seen == {f"b{n}": 199 for n in range(1, 5)}
    topics = {item.topic for item in messages(scenario(), "s", START)}
    assert topics == {"plant/north/b1", "plant/south/b2", "plant/north/b3", "plant/south/b4"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ticks", [1, 9, 200])
def test_a_fault_changes_its_interval_and_nothing_else(kind, ticks):
    place = {"device": "b2", "channel": "temperature", "start": "5050ms", "duration": "3s"}
    clean = samples(messages(scenario(), "s", START))
    items = list(
        messages(scenario(faults=[{kind: {**place, **KINDS[kind]}}]), "s", START, block_ticks=ticks)
    )
    faulty = samples(items)
    [note] = [item for item in items if isinstance(item, Note)]
    data = note.event["data"]
    assert (data["device"], data["channel"], data["kind"]) == ("b2", "temperature", kind)
    assert (data["start_ns"], data["end_ns"]) == (START + 5_050_000_000, START + 8_050_000_000)
    inside = {
        (device, due)
        for device, due in clean
        if device == "b2" and data["start_ns"] <= START + due < data["end_ns"]
    }
    changed = {key for key in clean if faulty.get(key, math.nan) != clean[key]}
    assert len(inside) == 30
    assert changed == inside
    pressure = samples(messages(scenario(), "s", START), "pressure")
    assert samples(items, "pressure") == pressure


def test_stuck_repeats_the_last_value_before_it():
    fault = {"stuck": {"device": "b1", "channel": "pressure", "start": "4s", "duration": "2s"}}
    made = samples(messages(scenario(faults=[fault]), "s", START, block_ticks=1), "pressure")
    clean = samples(messages(scenario(), "s", START), "pressure")
    before = max(due for device, due in clean if device == "b1" and due < 4 * SECOND)
    held = {
        v for (device, due), v in made.items() if device == "b1" and 4 * SECOND <= due < 6 * SECOND
    }
    assert held == {clean["b1", before]}


def test_a_device_without_any_value_sends_nothing_and_its_counter_waits():
    fault = {"dropout": {"device": "b1", "start": "4s", "duration": "2s"}}
    made = [
        m
        for m in messages(scenario(faults=[fault]), "s", START)
        if isinstance(m, Outgoing) and m.device == "b1"
    ]
    assert [m.payload["seq"] for m in made] == list(range(180))
    assert not any(4 * SECOND <= m.due_ns < 6 * SECOND for m in made)


def test_random_placement_puts_one_fault_into_each_stretch():
    fault = {"step": {"device": "b*", "every": "5s", "duration": "1s", "magnitude": 3}}
    notes = [i for i in messages(scenario(faults=[fault]), "s", START) if isinstance(i, Note)]
    stretches = sorted((n.device, n.due_ns // (5 * SECOND)) for n in notes)
    assert stretches == [(f"b{d}", k) for d in range(1, 5) for k in range(4)]
    assert len({n.due_ns % (5 * SECOND) for n in notes}) > 8


def test_another_duration_moves_faults_with_it():
    short = load("demo").lasting(30 * SECOND)
    notes = [i for i in messages(short, "demo", START) if isinstance(i, Note)]
    assert [n.due_ns / SECOND for n in notes] == [6, 7.5, 9, 11, 13.5, 14, 18, 20]


def test_a_rate_is_reached_without_changing_the_fleet():
    fast = load("load").at_rate(50_000)
    assert fast.rate == pytest.approx(50_000)
    assert fast.series == 10_000


def outgoing(**transport):
    [(kind, options)] = transport.items()
    given = scenario(transport=[{kind: options}])
    return [i for i in messages(given, "s", START) if isinstance(i, Outgoing)]


PLAIN = [(m.device, m.payload["seq"]) for m in messages(scenario(), "s", START)]


def test_a_skewed_clock_stamps_samples_and_truth_alike():
    skew = {"clock_skew": {"device": "b1", "offset": "-90s", "drift_ppm": 1000}}
    fault = {"step": {"device": "b*", "start": "10s", "duration": "2s", "magnitude": 1}}
    items = list(messages(scenario(transport=[skew], faults=[fault]), "s", START))
    starts = {i.device: i.event["data"]["start_ns"] for i in items if isinstance(i, Note)}
    assert starts["b1"] == START + 10 * SECOND - 90 * SECOND + SECOND // 100
    assert starts["b2"] == START + 10 * SECOND
    for m in items:
        if isinstance(m, Outgoing) and m.device == "b1":
            ahead_ms = m.payload["ts"] - (START + m.due_ns) / 1e6
            assert ahead_ms == pytest.approx(-90_000 + m.due_ns / 1e9, abs=1.001)


def test_jitter_stays_within_its_limit():
    off = [
        m.payload["ts"] - (START + m.due_ns) / 1e6
        for m in outgoing(timestamp_jitter={"max": "30ms"})
    ]
    assert -31 <= min(off) < -25
    assert 25 < max(off) <= 30


def test_out_of_order_messages_are_all_there_and_not_too_late():
    made = outgoing(out_of_order={"probability": 0.3, "delay_max": "1s"})
    keys = [(m.device, m.payload["seq"]) for m in made]
    assert sorted(keys) == sorted(PLAIN)
    assert keys != PLAIN
    late_ms = [(START + m.due_ns) // 1_000_000 - m.payload["ts"] for m in made]
    assert min(late_ms) == 0
    assert 500 < max(late_ms) <= 1001
    assert 0.25 < sum(late > 0 for late in late_ms) / len(made) < 0.35


def test_duplicates_come_again_with_their_counter():
    made = outgoing(duplicate={"device": "b3", "probability": 0.5, "delay_max": "1s"})
    keys = [(m.device, m.payload["seq"]) for m in made]
    twice = {key for key in keys if keys.count(key) == 2}
    assert set(keys) == set(PLAIN)
    assert len(keys) == len(PLAIN) + len(twice)
    assert 70 < len(twice) < 130
    assert {device for device, _ in twice} == {"b3"}


def test_after_an_outage_all_comes_at_once_in_order():
    made = outgoing(late_burst={"device": "b2", "start": "5s", "duration": "4s"})
    mine = [m for m in made if m.device == "b2"]
    assert [m.payload["seq"] for m in mine] == list(range(200))
    assert sum(m.due_ns == 9 * SECOND for m in mine) >= 40
    assert not any(5 * SECOND <= m.due_ns < 9 * SECOND for m in mine)


def test_a_storm_cuts_the_connection_as_often_as_it_says():
    storm = {"disconnect_storm": {"start": "5s", "duration": "5s", "times": 5}}
    items = list(messages(scenario(transport=[storm]), "s", START))
    assert [i.due_ns / SECOND for i in items if isinstance(i, Cut)] == [5, 6, 7, 8, 9]
    assert sum(isinstance(i, Outgoing) for i in items) == len(PLAIN)


def test_rubbish_follows_good_messages_and_replaces_none():
    made = outgoing(malformed={"probability": 0.5})
    good = [(m.device, m.payload["seq"]) for m in made if isinstance(m.payload, dict)]
    assert good == PLAIN
    assert 300 < len(made) - len(good) < 500


@pytest.mark.parametrize("kind", RUBBISH)
def test_no_rubbish_is_a_readable_sample(kind):
    payload = malformed(kind, {"ts": 1, "seq": 2, "sent_ns": 3, "temperature": 4.5})
    try:
        fields = orjson.loads(payload)
    except orjson.JSONDecodeError:
        return
    assert kind in {"wrong_types", "huge_numbers"}
    value = fields["temperature"]
    assert not isinstance(value, int | float) or value >= 2**64


def test_oversized_payloads_have_their_size():
    payload = oversized(300 * 1024)
    assert len(payload) == 300 * 1024
    assert list(json.loads(payload)) == ["padding"]


def test_bundled_scenarios_load():
    assert {path.stem for path in BUNDLED.glob("*.yaml")} == {"demo", "hostile", "load"}
    for path in BUNDLED.glob("*.yaml"):
        assert load(path.stem).description


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"fleets": {"f": {**FLEET, "id": "same"}}}, "several devices one id"),
        (
            {"fleets": {"f": {**FLEET, "topic": "a/{place}"}}},
            r"topic knows \{id\}, \{n\}, \{site\}",
        ),
        ({"fleets": {"f": {**FLEET, "topic": "a/+/{id}"}}}, "cannot publish to topic"),
        ({"fleets": {"f": FLEET, "g": FLEET}}, "both have 'b1'"),
        ({"fleets": {"f": {**FLEET, "channels": {"ts": [{"constant": 1}]}}}}, "called ts"),
        ({"faults": [{"stuck": {"device": "x", "start": "1s", "duration": "1s"}}]}, "no device"),
        ({"faults": [{"stuck": {"channel": "x", "start": "1s", "duration": "1s"}}]}, "no channel"),
        ({"faults": [{"stuck": {"start": "1s", "duration": "50ms"}}]}, "between two samples"),
        ({"faults": [{"stuck": {"start": "20s", "duration": "1s"}}]}, "end of the run"),
        ({"faults": [{"stuck": {"duration": "1s"}}]}, "one of start, every"),
        ({"faults": [{"step": {"start": "1s", "duration": "1s", "magnitude": 0}}]}, "nothing"),
        ({"transport": [{"duplicate": {"probability": 2, "delay_max": "1s"}}]}, "less than or"),
        ({"transport": [{"late_burst": {"device": "zz", "duration": "1s"}}]}, "no device"),
    ],
)
def test_nonsense_is_refused_with_what_is_wrong(change, text):
    with pytest.raises(ValueError, match=text):
        scenario(**change)
