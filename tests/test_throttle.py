"""Too many alerts: few are told at once, every state is, and what was heard last becomes true."""

import json
from collections import Counter

import numpy as np
import pytest

from config.limits import Limits
from pipelines.events import ACTIVE, Event
from pipelines.throttle import Throttle
from tests.graphs import T0, S, b
from tests.restarts import again
from tests.test_amend import HOT, Played
from tests.wired import MS, Wired

PER_S, BURST = 20, 30
LIMITS = {"pipeline_alerts_per_s_max": PER_S, "pipeline_alerts_burst_max": BURST}
WIDE = {"pipeline_alerts_per_s_max": 1_000_000, "pipeline_alerts_burst_max": 1_000_000}
LEVELS = {"high": {"above": 80}, "high_high": {"above": 90, "severity": "critical"}}
PIPELINES = {"hot": {"from": "boilers", "alert": {"when": {"levels": LEVELS}}}}
COMMANDS = "sensorweir/gw/command"


class Consumer:
    """What somebody knows who listens to events only, and somebody who looks at states only."""

    def __init__(self, outputs):
        self.heard, self.states, self.summaries, self.needing_room = {}, {}, [], []
        self.written = []
        for out in outputs:
            if out.kind not in ("alert", "state"):
                continue
            told = json.loads(out.payload) if out.payload else None
            if out.kind == "state":
                self.states[out.topic.removeprefix("state/")] = told
                self.written.append((out.topic, out.payload))
            elif told["type"].endswith("withheld"):
                assert out.topic == "alerts/hot/withheld"
                self.summaries.append(told)
            else:
                self._hear(out.topic, told)
        self.states = {topic: told for topic, told in self.states.items() if told}

    def _hear(self, topic, told):
        word, alert = told["type"].rpartition(".")[2], told["data"]["alert"]
        known = self.heard.get(topic)
        if word == "active":
            assert known is None, "nothing begins twice"
            self.heard[topic] = told
        else:
            assert known is not None, "nothing goes on that never began"
            assert known["data"]["alert"] == alert
            self.heard[topic] = told
            if word == "cleared":
                del self.heard[topic]
                return
        self.needing_room.append(topic)

    @property
    def agrees(self):
        """Whether what was heard last of each alert is what its state says."""

        def said(known):
            return {t: (e["data"]["alert"], e["data"]["level"]) for t, e in known.items()}

        return said(self.heard) == said(self.states)


def wired(**limits):
    made = Wired(PIPELINES, limits={"device_messages_burst_max": 10_000, **limits})
    made.turn()
    return made


def storm(made, seed=3, seconds=6, devices=60, turns=0.0, restart=0.0):
    """Devices whose values jump; then all is quiet until everything could have been told."""
    rng, cuts = np.random.default_rng(seed), np.random.default_rng(9)
    for _ in range(seconds * 20):
        for device in rng.choice(devices, rng.integers(0, 12), replace=False):
            value = int(rng.choice([20, 85, 95]))
            made.send(f"plant/north/b{device}", {"temperature": value})
        made.clock.advance(50 * MS)
        if cuts.random() < turns:
            made.turn()
        if cuts.random() < restart:
            made.engine._adopt(again(made.engine.graph))
    made.turn()
    made.wait(2 * devices / PER_S + 20)
    return made.transport.published


def occurred(i, time_ns):
    """An alert of its own of one series."""
    labels = (("device", "b1"),)
    data = {"alert": f"{i}", "severity": "warning"}
    return Event(f"{i}", ACTIVE, "hot", labels, time_ns, data)


def told_of(outputs):
    return [(o.topic, o.payload) for o in outputs if o.kind in ("alert", "state")]


@pytest.mark.parametrize("seed", range(4))
def test_a_storm_is_told_in_part_and_becomes_true(seed):
    free = Consumer(storm(wired(**WIDE), seed))
    assert free.summaries == []
    some = wired(**LIMITS)
    tight = Consumer(storm(some, seed))
    assert tight.agrees
    assert free.states.keys() == tight.states.keys()
    counted = sum(told["data"]["count"] for told in tight.summaries)
    assert 100 < counted == some.engine.graph.pipelines["hot"].counters()["withheld"]
    assert len(tight.needing_room) < len(free.needing_room)
    # States are written as if there were no limit; those that are told late once more.
    left = Counter(tight.written)
    left.subtract(Counter(free.written))
    assert min(left.values()) >= 0


def test_never_more_than_there_is_room_for():
    made, told = wired(**LIMITS), []
    for second in range(4):
        for device in range(200):
            made.send(f"plant/north/b{device}", {"temperature": 95 if second % 2 == 0 else 20})
        made.wait(1)
        told.append(len(Consumer(made.transport.published).needing_room))
    # In odd seconds what was heard ends, and that needs no room.
    assert [told[0], told[1] - told[0]] == [BURST + PER_S - 2, 0]
    assert told[2] - told[1] <= 2 * PER_S
    assert told[2] - told[1] >= 2 * PER_S - 4


def test_what_was_heard_ends_at_once_and_what_was_not_never_does():
    made = wired(**LIMITS)
    for device in range(100):
        made.send(f"plant/north/b{device}", {"temperature": 95})
    made.turn()
    assert len(Consumer(made.transport.published).heard) == BURST
    assert len(Consumer(made.transport.published).states) == 100
    for device in range(100):
        made.send(f"plant/north/b{device}", {"temperature": 20})
    made.turn()
    after = Consumer(made.transport.published)
    assert (after.heard, after.states) == ({}, {})
    made.wait(20)
    ended = Consumer(made.transport.published)
    assert len(ended.needing_room) == BURST
    [summary] = ended.summaries
    data = summary["data"]
    assert data["withheld"] == {"active": 70, "cleared": 70}
    assert (data["count"], data["waiting"], data["severity"]) == (140, 0, "critical")
    assert data["from"] == data["to"] == "2025-11-24T16:00:00Z"
    assert data["series"][0] == {"channel": "temperature", "device": "b30", "site": "north"}
    assert len(data["series"]) == 16
    assert summary["severitytext"] == "critical"


def test_what_goes_on_is_told_when_there_is_room_oldest_first_as_it_then_is():
    made = wired(**LIMITS)
    for device in range(BURST + 3):
        made.send(f"plant/north/b{device}", {"temperature": 85})
    made.send(f"plant/north/b{BURST + 1}", {"temperature": 95}, after_ms=10)
    made.turn()
    before = len(made.published("alert"))
    made.wait(1)
    late = [json.loads(out.payload) for out in made.published("alert")[before:]]
    late = [told for told in late if told["type"].endswith("active")]
    assert [told["data"]["labels"]["device"] for told in late] == ["b30", "b32", "b31"]
    assert [told["data"]["level"] for told in late] == ["high", "high", "high_high"]
    assert "reason" not in late[2]["data"]
    assert late[2]["data"]["since"] == "2025-11-24T16:00:00Z"
    assert late[2]["time"] == "2025-11-24T16:00:00.01Z"


def test_a_series_that_flutters_leaves_room_for_others():
    made = wired(pipeline_alerts_per_s_max=100, pipeline_alerts_burst_max=100)
    for i in range(300):  # 15 times a second
        made.send("plant/north/flutter", {"temperature": 95 if i % 2 == 0 else 20}, after_ms=33)
        made.turn()
    began = [
        topic for topic in Consumer(made.transport.published).needing_room if "flutter" in topic
    ]
    assert 10 + 8 <= len(began) <= 10 + 11
    made.send("plant/north/calm", {"temperature": 95})
    made.send("plant/north/flutter", {"temperature": 95})
    made.turn()
    assert any("calm" in topic for topic in Consumer(made.transport.published).heard)
    made.wait(2)
    assert Consumer(made.transport.published).agrees


@pytest.mark.parametrize("ahead_s", [-7200, 7200])
def test_a_clock_that_is_put_right_keeps_no_series_quiet(ahead_s):
    bucket, told = Throttle("gw", "hot", Limits()), []
    clock_ns = T0 + 86_400 * S
    for second in range(240):
        clock_ns += S
        bucket.at(clock_ns)
        shown_ns = clock_ns + (ahead_s * S if second < 120 else 0)
        told += [e.withheld for e in bucket.passed([occurred(second, shown_ns)])]
    assert told == [False] * 240


def test_no_second_gives_room_by_both_clocks():
    bucket, told, clock_ns = Throttle("gw", "hot", Limits()), [], T0 + 86_400 * S
    for i in range(3_000):  # 30 a second
        if i % 3 == 0:
            clock_ns += S // 10
            told += [e.withheld for e in bucket.at(clock_ns)]
        told += [e.withheld for e in bucket.passed([occurred(i, clock_ns + i % 3 * S // 30)])]
    assert 10 + 99 <= told.count(False) <= 10 + 101


def test_what_comes_late_is_told_though_it_is_older_than_what_was_told():
    bucket = Throttle("gw", "hot", Limits())
    bucket.at(T0 + 600 * S)
    told = [occurred(i, T0 + (100 - 20 * i) * S) for i in range(5)]
    assert not any(e.withheld for e in bucket.passed(told))


def test_the_same_is_withheld_however_turns_cut_the_messages_and_after_a_restart():
    whole = told_of(storm(wired(**LIMITS)))
    assert told_of(storm(wired(**LIMITS), turns=1)) == whole
    assert told_of(storm(wired(**LIMITS), turns=0.3)) == whole
    assert told_of(storm(wired(**LIMITS), turns=1, restart=0.3)) == whole


def test_who_asks_is_answered_and_hears_what_it_is_about_first():
    made = Wired(PIPELINES, command_topic=COMMANDS, limits=LIMITS)
    for device in range(BURST + 1):
        made.send(f"plant/north/b{device}", {"temperature": 95})
    made.turn()
    state = Consumer(made.transport.published).states[f"alerts/hot/temperature/b{BURST}/north"]
    made.send(COMMANDS, {"acknowledge": state["data"]["alert"]})
    before = len(made.published("alert"))
    made.turn()
    told = [json.loads(out.payload) for out in made.published("alert")[before:]]
    assert [e["type"].rpartition(".")[2] for e in told] == ["active", "updated"]
    assert told[0]["id"] == state["id"]
    made.wait(3)
    assert Consumer(made.transport.published).agrees


def test_a_reload_ends_silently_what_was_not_heard():
    made = wired(**LIMITS)
    for device in range(BURST + 5):
        made.send(f"plant/north/b{device}", {"temperature": 95})
    made.turn()
    made.reload({"hot": {**PIPELINES["hot"], "steps": [{"validate": {"max": 99}}]}}, limits=LIMITS)
    after = Consumer(made.transport.published)
    assert (after.heard, after.states) == ({}, {})
    assert [told["data"]["count"] for told in after.summaries] == [10]


ONE = {"pipeline_alerts_per_s_max": 1, "pipeline_alerts_burst_max": 1}


DEVICES = [f"b{i}" for i in range(1, 10)]


def played(*late, until=60):
    """Boilers become hot at once, more than can be told; then late samples say what they say.

    The events of the last boiler that were heard, and those that were withheld.
    """
    rows = [(t, b(d), 95 if 5 <= t < 8 else 20, t) for t in range(12) for d in DEVICES]
    made = Played({"hot": HOT}, rows, until=14, limits=ONE)
    if late:
        made.told += made.feed.send(list(late))
    made.until(until)
    ours = [e for e in made.told if dict(e.labels).get("device") == "b9"]
    return [e for e in ours if not e.withheld], [e for e in ours if e.withheld]


def test_a_correction_of_what_was_withheld_is_withheld_and_its_state_is_kept_true():
    heard, withheld = played()
    assert (heard, len(withheld)) == ([], 2)
    heard, withheld = played(*[(t + 0.5, b("b9"), 20, 14) for t in (5, 6, 7)])
    assert heard == []
    assert [e.correction for e in withheld][2:] == ["retracted", "retracted"]
    assert all(e.standing.event is None for e in withheld[2:])


def test_an_end_that_was_withheld_and_is_taken_back_leaves_something_to_tell():
    [late], _ = played(*[(t + 0.5, b("b9"), 95, 14) for t in range(7, 12)])
    assert late.type.endswith("active")
    assert late.time_ns >= T0 + 5 * S
