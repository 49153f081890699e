"""RIoTBench's STATS and ETL flows over made-up city sensors, against numpy."""

import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from config.load import load
from daemon.decode import DECODERS
from daemon.ledger import Count
from daemon.offline import Offline
from pipelines.events import rfc3339_ns
from pipelines.operator import load_all

EXAMPLE = Path(__file__).parent.parent / "config/examples/riotbench/gateway.yaml"
S = 1_000_000_000
START = 1_763_999_940  # a whole minute
UNITS = {"temperature": "Cel", "humidity": "%RH", "light": "lx", "dust": "", "airquality_raw": ""}
DISTRICT = {"s1": "north", "s2": "north", "s3": "south"}


class City:
    """Ten minutes of four sensors, one of them unknown, through the example."""

    def __init__(self):
        loaded = load(EXAMPLE, load_all(), {n: d.options for n, d in DECODERS.items()}, {})
        self.daemon = Offline(loaded.gateway, START * S)
        self.daemon.start()
        self.sent = defaultdict(list)  # (sensor, channel) → [(second, value)]
        rng = np.random.default_rng(8)
        due = sorted(
            (round(t + rng.uniform(0, 2), 3), sensor)
            for i, sensor in enumerate((*DISTRICT, "stranger"))
            for t in range(i, 600, 5)
        )
        for second, sensor in due:
            self.daemon.clock.advance(START * S + round(second * S) - self.daemon.clock.now_ns())
            self.daemon.transport.publish(f"city/{sensor}", self.pack(second, sensor, rng))
            self.daemon.turn()
        for _ in range(1200):
            self.daemon.clock.advance(S // 10)
            self.daemon.turn()

    def pack(self, second, sensor, rng):
        """One SenML pack: base name and time, a record for each channel; some are absurd."""
        values = {
            "temperature": 20 + second / 100 + rng.normal(0, 0.3),
            "humidity": 60 - second / 50 + rng.normal(),
            "light": rng.uniform(0, 900),
            "dust": float(rng.integers(0, 9)),
            "airquality_raw": rng.uniform(12, 50),
        }
        if rng.random() < 0.05:
            values["temperature"] = -999.0
        records = [{"n": n, "u": UNITS[n], "v": round(v, 4)} for n, v in values.items()]
        records[0] |= {"bn": f"{sensor}:", "bt": START + second}
        for record in records:
            if record["v"] > -40:
                self.sent[sensor, record["n"]].append((second, record["v"]))
        return json.dumps(records).encode()

    def told(self, prefix):
        """[(levels of the topic after the prefix, second, data)]"""
        found = []
        for kind in ("sample", "window"):
            for out in self.daemon.published(kind):
                if out.topic.startswith(prefix):
                    event = json.loads(out.payload)
                    second = (rfc3339_ns(event["time"]) - START * S) / S
                    found.append((out.topic.removeprefix(prefix), second, event["data"]))
        return found


@pytest.fixture(scope="module")
def city():
    return City()


def minutes(samples):
    """{end of the minute: values in it}"""
    found = defaultdict(list)
    for second, value in samples:
        found[(second // 60 + 1) * 60].append(value)
    return found


def test_second_moments_of_each_minute(city):
    told = {(topic, second): data for topic, second, data in city.told("stats/moments/")}
    compared = 0
    for sensor in DISTRICT:
        for channel in UNITS:
            for end, values in minutes(city.sent[sensor, channel]).items():
                data = told.pop((f"{sensor}/{channel}", end))
                assert data["count"] == len(values)
                assert data["mean"] == pytest.approx(np.mean(values), rel=1e-12)
                assert data["std"] == pytest.approx(np.std(values, ddof=1), rel=1e-9)
                compared += 1
    assert (compared, told) == (10 * 3 * 5 + len(told), told)
    assert not told


def test_distinct_values_of_each_minute(city):
    told = {
        (topic, second): data["distinct"] for topic, second, data in city.told("stats/distinct/")
    }
    wanted = {
        (sensor, end): len(set(values))
        for sensor in DISTRICT
        for end, values in minutes(city.sent[sensor, "dust"]).items()
    }
    assert told == wanted


def test_temperature_is_seen_to_rise(city):
    told = city.told("stats/trend/")
    assert {topic for topic, _, _ in told} == set(DISTRICT)
    for sensor in DISTRICT:
        last = [data for topic, second, data in told if topic == sensor][-1]
        assert last["slope"] == pytest.approx(0.01, rel=0.1)
        level = city.sent[sensor, "temperature"][-1][1]
        assert last["value"] == pytest.approx((50 - level) / 0.01, rel=0.15)


def test_etl_puts_both_channels_on_one_grid_and_says_where(city):
    told = defaultdict(list)
    for topic, second, data in city.told("etl/"):
        told[topic].append((second, data["left"], data["right"]))
        assert data["labels"]["maker"] in ("acme", "bolt")
    assert set(told) == {f"{district}/{sensor}" for sensor, district in DISTRICT.items()}
    for sensor, district in DISTRICT.items():
        rows = told[f"{district}/{sensor}"]
        second = np.array([row[0] for row in rows])
        assert np.array_equal(second, 10 * np.arange(second[0] / 10, second[0] / 10 + len(rows)))
        assert len(rows) >= 58
        for k, channel in ((1, "temperature"), (2, "humidity")):
            t, x = np.array(city.sent[sensor, channel]).T
            got = [row[k] for row in rows]
            np.testing.assert_allclose(got, np.interp(second, t, x), rtol=1e-7)


def test_nothing_is_lost_without_a_word(city):
    counted = city.daemon.engine.graph.pipelines["known"].counters()
    assert counted["enrich.dropped"] == 5 * sum(1 for _ in range(3, 600, 5))
    ledger = city.daemon.close()
    assert ledger.total(Count.MESSAGES_REJECTED) == 0
