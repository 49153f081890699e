"""Groups of groups through the broker (Theodolite UC4): sums agree with the leaves at all times."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from config.errors import ConfigError
from config.load import load
from config.params import Options
from daemon.decode import DECODERS
from daemon.ledger import Count
from daemon.offline import Offline
from pipelines.events import rfc3339, rfc3339_ns
from pipelines.operator import load_all
from tests.daemons import Publisher, Recorder
from tests.wires import until

EXAMPLE = Path(__file__).parent.parent / "config/examples/uc4/gateway.yaml"
S = 1_000_000_000
MS = 1_000_000
START = 1_764_000_000 * S
LEAVES = [f"s{i}" for i in range(8)]
GROUPS = {"hall1": "plant", "hall2": "plant", "plant": "company"}


class Plant:
    """The example in memory, and everything that was said to it."""

    def __init__(self):
        loaded = load(EXAMPLE, load_all(), {n: d.options for n, d in DECODERS.items()}, {})
        self.daemon = Offline(loaded.gateway, START)
        self.daemon.start()
        self.said = []  # (time, leaf, value)
        self.moves = []  # (time from which it holds, member, parent), in order of being told

    def move(self, member, parent, since_ns=None):
        row = {"parent": parent} | ({"from": rfc3339(since_ns)} if since_ns else {})
        self.moves.append((since_ns or 0, member, parent))
        self.publish(f"hierarchy/{member}", row, retain=True)

    def say(self, leaf, value):
        self.said.append((self.daemon.clock.now_ns(), leaf, value))
        for topic in (f"power/{leaf}", f"sensors/{leaf}"):
            self.publish(topic, {"power": value})

    def publish(self, topic, body, retain=False):
        self.daemon.transport.publish(topic, json.dumps(body).encode(), retain=retain)
        self.daemon.turn()

    def wait(self, ms):
        for _ in range(ms // 50):
            self.daemon.clock.advance(50 * MS)
            self.daemon.turn()

    def sums(self, prefix):
        """{(second, group): value} of what was published."""
        found = {}
        for out in self.daemon.published("sample"):
            if out.topic.startswith(prefix):
                event = json.loads(out.payload)
                second = (rfc3339_ns(event["time"]) - START) // S
                found[second, out.topic.removeprefix(prefix)] = event["data"]["value"]
        return found

    def leaves(self, second):
        """Latest value of each leaf at a second."""
        return {leaf: x for t, leaf, x in self.said if t <= START + second * S}

    def above(self, second):
        """{member: parent} at a second."""
        held = [move for move in self.moves if move[0] <= START + second * S]
        return {member: parent for _, member, parent in held}


def total(above, values, group):
    """The sum of a group from its leaves."""
    return math.fsum(x if above.get(m) == group else 0.0 for m, x in values.items()) + math.fsum(
        total(above, values, g) for g in GROUPS if above.get(g) == group
    )


def half_a_minute():
    """Eight sensors of which some move, one to another hall for a while."""
    plant, rng = Plant(), np.random.default_rng(4)
    for member, parent in GROUPS.items():
        plant.move(member, parent)
    for i, leaf in enumerate(LEAVES):
        plant.move(leaf, f"hall{1 + i % 2}")
    plant.move("s0", "hall2", START + 10 * S)
    plant.move("s1", "hall1", START + 15 * S)
    plant.move("s0", "hall1", START + 20 * S)
    for leaf in LEAVES:
        plant.say(leaf, 1.0)
    for _ in range(180):
        plant.wait(int(rng.integers(1, 6)) * 50)
        plant.say(LEAVES[rng.integers(len(LEAVES))], round(float(rng.normal(100, 20)), 3))
    plant.wait(3000)
    return plant


@pytest.fixture(scope="module")
def plant():
    """For tests that only look at it, in any order."""
    return half_a_minute()


def test_every_level_of_a_second_is_the_sum_of_its_leaves(plant):
    sums = plant.sums("sums/")
    seconds = {second for second, _ in sums}
    assert {9, 10, 14, 15, 19, 20, 21} <= seconds  # sensors move at 10, 15 and 20
    assert {group for _, group in sums} == {*GROUPS, "company"}
    for second in seconds:
        above, leaves = plant.above(second), plant.leaves(second)
        for group in ("hall1", "hall2", "plant", "company"):
            assert sums[second, group] == pytest.approx(total(above, leaves, group), rel=1e-12)
        assert sums[second, "plant"] == pytest.approx(
            sums[second, "hall1"] + sums[second, "hall2"], rel=1e-12
        )


def test_what_comes_back_through_the_broker_climbs_one_level_a_second(plant):
    climbing = plant.sums("power/")
    seconds = sorted({second for second, _ in climbing})
    compared = 0
    for second in seconds[2:]:
        above, leaves = plant.above(second), plant.leaves(second)
        for hall in ("hall1", "hall2"):
            wanted = math.fsum(x for m, x in leaves.items() if above[m] == hall)
            assert climbing[second, hall] == pytest.approx(wanted, rel=1e-12)
        if {(second - 1, hall) for hall in ("hall1", "hall2")} <= set(climbing):
            halls = climbing[second - 1, "hall1"] + climbing[second - 1, "hall2"]
            assert climbing[second, "plant"] == pytest.approx(halls, rel=1e-12)
            assert climbing[second, "company"] == climbing.get((second - 1, "plant"))
            compared += 1
    assert compared >= 15


def test_it_falls_silent_some_time_after_its_sensors():
    plant = half_a_minute()
    plant.wait(120_000)
    before = len(plant.daemon.transport.published)
    plant.wait(60_000)
    assert len(plant.daemon.transport.published) == before
    ledger = plant.daemon.close()
    assert ledger.total(Count.MESSAGES_REJECTED) == 0


CHAIN = """
tables: {plant: {key: member, rows: [{member: a, parent: b}]}}
sources:
  one: {topic: "one/{member}"}
  two: {topic: "two/{member}", feedback: true}
pipelines:
  first: {from: one, steps: [rolling: {stat: mean, window: 5}], publish: {topic: "two/{member}"}}
  second: {from: two, steps: [STEP], publish: {topic: "OUT/{member}"}}
"""


@pytest.mark.parametrize(
    ("step", "out", "what"),
    [
        ("group: {of: member, hierarchy: plant, levels: 1}", "two", ""),
        ("group: {of: member, hierarchy: plant}", "two", "must get further up"),
        ("group: {of: member, levels: 1}", "two", "must get further up"),
        ("rolling: {stat: mean, window: 5}", "two", "must get further up"),
        ("rolling: {stat: mean, window: 5}", "three", ""),
        ("rolling: {stat: mean, window: 5}", "one", "leads back to source 'two'"),
        ("group: {of: member, hierarchy: plant, levels: 1}", "one", "leads back to source 'two'"),
    ],
)
def test_a_loop_through_the_broker_must_end(tmp_path, step, out, what):
    path = tmp_path / "gateway.yaml"
    path.write_text(CHAIN.replace("STEP", step).replace("OUT", out))
    if not what:
        load(path, load_all(), {"json": Options}, {})
    else:
        with pytest.raises(ConfigError, match=what):
            load(path, load_all(), {"json": Options}, {})


@pytest.mark.broker
def test_on_a_real_broker(mosquitto, daemons, closing):
    text = EXAMPLE.read_text().replace(
        "gateway: uc4", f"gateway: uc4\nbroker: {{url: {mosquitto.url}}}"
    )
    for topic in ("hierarchy", "power", "sensors", "sums"):
        text = text.replace(f"{topic}/{{member}}", f"uc4/{topic}/{{member}}")
    heard = closing(Recorder(mosquitto.url, "uc4/power/#", "uc4/sums/#"))
    daemons(text)
    plant = closing(Publisher(mosquitto.port))

    def move(member, parent):
        plant.send(f"uc4/hierarchy/{member}", {"parent": parent}, retain=True)

    def say():
        for i, leaf in enumerate(LEAVES):
            for topic in ("power", "sensors"):
                plant.send(f"uc4/{topic}/{leaf}", {"power": 2.0**i})

    def latest(prefix):
        told = [h.event for h in heard.on(prefix) if b"specversion" in h.payload]
        return {e["data"]["labels"]["member"]: e["data"]["value"] for e in told}

    def settled(wanted):
        def same():
            say()
            return latest("uc4/sums/") == latest("uc4/power/") == wanted

        until(same, 60, f"sums {wanted}")

    for member, parent in GROUPS.items():
        move(member, parent)
    for i, leaf in enumerate(LEAVES):
        move(leaf, f"hall{1 + i % 2}")
    whole = 2.0 ** len(LEAVES) - 1
    odd = sum(2.0**i for i in range(0, len(LEAVES), 2))
    settled({"hall1": odd, "hall2": whole - odd, "plant": whole, "company": whole})
    move("s0", "hall2")
    settled({"hall1": odd - 1, "hall2": whole - odd + 1, "plant": whole, "company": whole})
    by_second = {}
    for h in heard.on("uc4/sums/"):
        event = h.event
        by_second.setdefault(event["time"], {})[event["data"]["labels"]["member"]] = event["data"]
    for sums in by_second.values():
        known = [sums[g]["value"] for g in ("hall1", "hall2", "plant", "company") if g in sums]
        if len(known) == 4 and None not in known:
            assert known[0] + known[1] == known[2] == known[3]
