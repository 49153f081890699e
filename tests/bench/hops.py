"""Hops inside the process: decode, engine, encode, and a whole turn of the daemon."""

import time
from collections import Counter
from types import SimpleNamespace

import numpy as np
import orjson

from daemon import warmup
from daemon.bulk import Bulk, Origin
from daemon.decode.reader import SourceReader
from daemon.decode.route import Router
from daemon.encode import Encoder
from daemon.ledger import Count, Ledger
from daemon.messages import COLUMNS, Message
from daemon.topics import Topics
from daemon.transport import frames
from daemon.transport.intake import Intake
from pipelines.order import USED, Arrivals
from pipelines.quota import Quota
from pipelines.series import SeriesTable, make_labels
from tests.bench.peer import frame
from tests.graphs import T0, S, gateway, graph
from tests.wired import Wired

SERIES = 10_000
ENGINE_NS_MAX = 1000
WAYS = ("bulk", "plain", "loads")
CHANNELS = ("temperature", "pressure")
MINUTE = 60
HOT = 100
"""Series that go up in each round of the engine, while those of the round before come back."""
SOURCE = {"boilers": {"topic": "plant/{site}/{device}", "time": {"field": "ts", "unit": "ns"}}}
PIPELINE = {
    "from": "boilers",
    "steps": [
        {"validate": {"min": -40, "max": 200}},
        {"rolling": {"stat": "mean", "window": "60s"}},
        {"ewma": {"halflife": "5s"}},
    ],
    "alert": {"when": {"above": 90, "deadband": 5}},
}


def batches(n, size):
    return ((first, min(first + size, n)) for first in range(0, n, size))


def packets(made):
    """(bytes, rows) of these packets, as a lane finds them."""
    data = np.frombuffer(bytearray(made + bytes(1)), np.uint8)
    out = np.zeros((len(made) // 4, COLUMNS), np.int32)
    found = frames.scan(data, 0, data.size - 1, len(out), out, v5=False)
    assert found.at == data.size - 1
    return data, out[: found.rows]


class DecodeBench:
    """µs per message of reading JSON of `channels` numbers from `SERIES` topics.

    way: "bulk", by the kernel; "plain", message by message; "loads", `orjson.loads` alone.
    routed: with the router. nested: the numbers stand where the kernel does not look.
    """

    def __init__(self, channels, size, messages, way="bulk", routed=True, nested=False):
        gw = gateway({}, _nested_source() if nested else SOURCE, limits={"series_max": 2 * SERIES})
        ledger = Ledger()
        self.table = SeriesTable(SERIES * channels)
        self.router = Router(gw.sources, ledger)
        source, quota = gw.sources["boilers"], Quota(gw.limits)
        self.reader = SourceReader("boilers", source, self.table, quota, gw.limits, ledger)
        if way == "plain":
            self.reader._read_many = self.reader._read_few
        self.size, self.channels, self.way, self.routed = size, channels, way, routed
        rng = np.random.default_rng(1)
        self.total, self.calls = 0.0, 0
        self.messages = []
        for i in range(messages):
            values = rng.normal(20, 1, channels).round(2).tolist()
            self.total += sum(values)
            fields = dict(zip(CHANNELS, values, strict=False))
            body = {"ts": T0 + i * 1000} | ({"data": fields} if nested else fields)
            topic = f"plant/north/d{i % SERIES}"
            self.messages.append(Message(topic, orjson.dumps(body), 0, 0, T0 + i * 1000))
        found = packets(b"".join(frame(m.topic, m.payload) for m in self.messages))
        arrival_ns = np.array([m.arrival_ns for m in self.messages])
        self.bulk = Bulk(*found, arrival_ns, Topics(), Origin())
        self.bulk.topics.number(*found)
        self()  # topics are learned once

    def __call__(self):
        samples, total, spent = 0, 0.0, 0
        self.calls += 1
        for first, last in batches(len(self.messages), self.size):
            later = self.calls * 10 * S  # a device may not send faster and faster
            part = self.bulk[first:last]
            part.arrival_ns = part.arrival_ns + later
            began = time.process_time_ns()
            if self.way == "loads":
                for message in self.messages[first:last]:
                    orjson.loads(message.payload)
            else:
                mine = self.router.split(part)[0][1] if self.routed else part
                found = self.reader.read(mine)
            spent += time.process_time_ns() - began
            if self.way != "loads":
                samples += found.series.size
                total += float(found.value.sum())
        if self.way != "loads":
            assert samples == len(self.messages) * self.channels
            assert abs(total - self.total) < 1e-6 * abs(self.total)
        return spent / 1e3 / len(self.messages)


def _nested_source():
    paths = {name: f"data.{name}" for name in CHANNELS}
    return {"boilers": SOURCE["boilers"] | {"channels": paths}}


def decode_cases(quick):
    """{(case, way): bench}: each case in the three ways."""
    n = 8192 if quick else 20_480
    cases = {
        "1 channel, by 4096": (1, 4096),
        "2 channels, by 4096": (2, 4096),
        "1 channel, by 50": (1, 50),
        "1 channel, by 16": (1, 16),
        "nested, by 4096": (1, 4096),
    }
    return {
        (case, way): DecodeBench(*args, n, way, routed=False, nested=case.startswith("nested"))
        for case, args in cases.items()
        for way in WAYS
    }


class EngineBench:
    """ns per sample of `Graph.run`: validate, rolling mean, ewma and an alert, 10,000 series.

    Each second brings one sample of each series, in an order without pattern.  A call is a
    minute; it raises `HOT` alerts and clears those of the call before.
    """

    def __init__(self, size):
        self.size = size
        self.graph = graph({"hot": PIPELINE}, limits={"series_max": SERIES})
        self.source = self.graph.sources["boilers"]
        for i in range(SERIES):
            labels = {"device": f"d{i}", "channel": "temperature", "site": "north"}
            self.source.table.intern(make_labels(labels))
        for _, compile_it in warmup.steps(self.graph):
            compile_it()
        self.rng = np.random.default_rng(1)
        self.order = self.rng.permutation(SERIES).astype(np.int32)
        self.now_s = self.calls = 0
        self(count=False)

    def __call__(self, count=True):
        hot = np.zeros(SERIES, bool)
        hot[self.calls * HOT : (self.calls + 1) * HOT] = count
        used, told, spent, n = int(self.source.reorder.fate[USED]), Counter(), 0, 0
        for _ in range(MINUTE):
            for part in self._arrivals(hot, self.size if count else 4096):
                began = time.process_time_ns()
                events = self.graph.run({"boilers": part})
                spent += time.process_time_ns() - began
                told.update(e.type.rsplit(".", 1)[1] for e in events)
                n += part.series.size
            self.now_s += 1
        assert int(self.source.reorder.fate[USED]) - used == n == MINUTE * SERIES
        if count:
            assert told == +Counter(active=HOT, cleared=HOT if self.calls else 0), told
            self.calls += 1
        return spent / n

    def _arrivals(self, hot, size):
        series = self.order
        value = self.rng.normal(20, 1, SERIES) + 130 * hot[series]
        t_ns = T0 + self.now_s * S + np.arange(SERIES) * (S // SERIES)
        for first, last in batches(SERIES, size):
            part = slice(first, last)
            none = np.full(series[part].size, -1)
            yield Arrivals(series[part], t_ns[part], value[part], t_ns[part] + 1_000_000, none)


def split_of(bench):
    """{part: ns per sample} of one call: where the time of `Graph.run` goes, by wall time."""
    spent = Counter()

    def timed(owner, name, part):
        inner = getattr(owner, name)

        def call(*args):
            began = time.perf_counter_ns()
            try:
                return inner(*args)
            finally:
                spent[part] += time.perf_counter_ns() - began

        setattr(owner, name, call)

    bench()  # an undisturbed minute after whatever ran in between
    pipeline = bench.graph.pipelines["hot"]
    banks = bench.graph._banks["boilers"]
    [bank] = banks.banks
    timed(bench.source.reorder, "run", "reorder")
    timed(banks._links, "deal", "deal")
    for step in (*bank._steps, bank._watch):
        timed(step, "run", step.operator.name)
    timed(pipeline.alerting, "tell", "events")
    total = bench()
    n = MINUTE * SERIES
    found = {part: ns / n for part, ns in spent.items()}
    return found | {"rest": max(0.0, total - sum(found.values()))}


class TickBench:
    """µs of one tick over 10,000 series of `pipelines` pipelines in which nothing happens."""

    def __init__(self, pipelines):
        names = [f"p{i}" for i in range(pipelines)]
        self.graph = graph(dict.fromkeys(names, PIPELINE), limits={"series_max": SERIES})
        table = self.graph.sources["boilers"].table
        for i in range(SERIES):
            table.intern(make_labels({"device": f"d{i}", "channel": "t", "site": "north"}))
        series, t_ns = np.arange(SERIES, dtype=np.int32), np.full(SERIES, T0)
        none = np.full(SERIES, -1)
        self.graph.run({"boilers": Arrivals(series, t_ns, np.full(SERIES, 20.0), t_ns, none)})
        self.now_ns = T0
        self.graph.tick(T0)

    def __call__(self):
        began = time.process_time_ns()
        for _ in range(20):
            self.now_ns += 100_000_000
            assert self.graph.tick(self.now_ns) == []
        return (time.process_time_ns() - began) / 1e3 / 20


class EncodeBench:
    """µs per alert event, which becomes two messages: the event and its retained state."""

    def __init__(self):
        limits = {"series_max": SERIES, "pipeline_alerts_burst_max": 2000}
        made = graph({"hot": PIPELINE | {"steps": []}}, limits=limits)
        table = made.sources["boilers"].table
        for i in range(2000):
            labels = {"device": f"d{i}", "channel": "temperature", "site": "north"}
            table.intern(make_labels(labels))
        series, t_ns = np.arange(2000, dtype=np.int32), np.full(2000, T0)
        value = np.full(2000, 95.5)
        self.events = made.run(
            {"boilers": Arrivals(series, t_ns, value, t_ns, np.full(series.size, -1))}
        )
        assert len(self.events) == 2000
        self.encoder = Encoder(made.gateway)

    def __call__(self):
        began = time.process_time_ns()
        made = [out for event in self.events for out in self.encoder.encode(event)]
        spent = time.process_time_ns() - began
        assert len(made) == 2 * len(self.events)
        assert orjson.loads(made[0].payload)["data"]["value"] == 95.5
        return spent / 1e3 / len(self.events)


class TurnBench:
    """µs per message of everything between the two sockets, `size` messages a turn."""

    def __init__(self, size, messages):
        self.size, self.messages, self.sent = size, messages, 0
        self.wired = Wired({"hot": PIPELINE}, SOURCE, limits={"series_max": SERIES})
        self.wired.transport.acknowledge = lambda _: None  # one that looks at every message
        self.intake = Intake(SimpleNamespace(canary_topic="", **vars(self.wired)))
        self.wired.turn()
        self()

    def __call__(self):
        wired = self.wired
        before = wired.ledger.total(Count.SAMPLES_USED)
        spent = 0
        for first, last in batches(self.messages, self.size):
            part = []
            for i in range(first, last):
                wired.clock.advance(100_000)  # 10,000 messages a second, with their ticks
                now = wired.clock.now_ns()
                body = b'{"ts":%d,"temperature":21.53}' % now
                part.append(frame(f"plant/north/d{i % SERIES}", body))
            part = b"".join(part)
            began = time.process_time_ns()
            self.intake.put(*packets(part), Origin())
            wired.turn()
            spent += time.process_time_ns() - began
        assert wired.ledger.total(Count.SAMPLES_USED) - before == self.messages
        return spent / 1e3 / self.messages
