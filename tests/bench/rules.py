"""Many rules: 300 on every sample in process, and eKuiper's two published loads through the daemon.

eKuiper's README (2 cores, 4 GB): 300 rules that share a source of 500 msg/s, 90 % of the data filtered
out, a tenth of the rules publishing, take 50 % of the CPU; 8,000 rules of 800 msg/s in all take 25 %.
Ours publish the same number of messages as theirs, where an alert that becomes active and clears is
four.
"""

import tempfile
import time
from pathlib import Path

import numpy as np

from pipelines.order import Arrivals
from pipelines.series import make_labels
from tests.bench.latency import CONFIG, listening, running
from tests.bench.measure import control_ns, rounds
from tests.bench.paced import paced
from tests.bench.targets import middle, number, row
from tests.graphs import T0, S, graph
from tests.mosquitto import Mosquitto

RULES = 300
NS_AT_MOST = 100
DEVICES = 10
SIZE = 4096
SHARED = {"rules": 300, "rate": 500, "share": 0.5, "hot_every": 41, "seconds": 10, "settle": 4}
"""500 / 41 hot messages x 30 rules x 4 are 1,500 published a second, as 500 / 10 x 30 are."""
OWN = {"rules": 8000, "rate": 800, "share": 0.25, "hot_every": 41, "seconds": 18, "settle": 10.5}
"""Measured from when all devices have been met."""
OF_THEIRS = 10
"""Percent that ours may take of what theirs takes."""
CORES = 2
HEAD = CONFIG.split("pipelines:")[0]
PATIENCE_S = 30
KEPT_UP_S = 1.0
REACHED = 10
"""One rule of so many is reached by hot messages."""


class Many:
    """ns per sample of `Graph.run` with so many alerts on each."""

    def __init__(self, rules=RULES, size=SIZE):
        pipelines = {
            f"r{i}": {"from": "boilers", "alert": {"when": {"above": 90 + i / 10, "deadband": 5}}}
            for i in range(rules)
        }
        self.graph = graph(pipelines, limits={"series_max": 100})
        table = self.graph.sources["boilers"].table
        for i in range(DEVICES):
            table.intern(make_labels({"device": f"d{i}", "channel": "t", "site": "north"}))
        self.rules, self.size, self.now_s = rules, size, 0
        self.series = np.arange(size, dtype=np.int32) % DEVICES
        self()

    def __call__(self):
        """Nothing happens in what is measured; then all rules are seen to raise, and to clear."""
        return self._run(20.0, 0)

    def check(self):
        self._run(200.0, self.rules * DEVICES)
        self._run(20.0, self.rules * DEVICES)

    def _run(self, value, events):
        t_ns = T0 + self.now_s * S + np.arange(self.size) * 1_000_000
        self.now_s += self.size // 1000 + 2
        values, none = np.full(self.size, value), np.full(self.size, -1)
        arrivals = Arrivals(self.series, t_ns, values, t_ns + 1, none)
        began = time.thread_time_ns()
        told = self.graph.run({"boilers": arrivals})
        spent = time.thread_time_ns() - began
        assert len(told) == events, f"{len(told)} events, {events} were due"
        return spent / self.size


def measured(n, rules=RULES):
    """({case: ns of each round}, rounds left out): of a sample, and of one `orjson.loads`."""
    many = Many(rules)
    many.check()
    many()
    return rounds({"rules": many, "orjson.loads": control_ns}, n)


def shared_config():
    """300 pipelines on one source; hot messages reach a tenth of their limits."""
    lines = [
        f"  r{i}: {{{{from: plant, where: {{{{channel: temperature}}}}, "
        f"alert: {{{{when: {{{{above: {50 if i % REACHED == 0 else 150}}}}}}}}}}}}}"
        for i in range(SHARED["rules"])
    ]
    return HEAD + "pipelines:\n" + "\n".join(lines) + "\n"


def own_config():
    """8,000 pipelines, each for a device of its own; the last for the one that shows it is there."""
    limits = {f"d{i}": 50 if i % REACHED == 0 else 150 for i in range(OWN["rules"] - 1)}
    lines = [
        f"  {device}: {{{{from: plant, where: {{{{channel: temperature, device: {device}}}}}, "
        f"alert: {{{{when: {{{{above: {limit}}}}}}}}}}}}}"
        for device, limit in (limits | {"probe": 50}).items()
    ]
    return HEAD + "pipelines:\n" + "\n".join(lines) + "\n"


def through_daemon(load, text, devices):
    """Figures of one run of the daemon with this configuration."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        broker = Mosquitto(folder).start()
        try:
            with listening(broker) as heard, running(broker, 0, folder, heard, text=text) as daemon:
                heard.clear()
                found = paced(
                    broker,
                    daemon.process.pid,
                    load["rate"],
                    0,
                    load["seconds"],
                    load["settle"],
                    devices,
                    load["hot_every"],
                )
                due, ended = expected(load, devices, found["hot"]), time.monotonic()
                while (n := raised(heard)) != due and time.monotonic() - ended < PATIENCE_S:
                    time.sleep(0.2)
                assert n == due, f"{n} of {due} alerts came within {PATIENCE_S} s"
                return found | {"raised": due, "behind_s": time.monotonic() - ended}
        finally:
            broker.stop()


def raised(heard):
    return sum(b"alert.active" in body for _, _, body in list(heard))


def expected(load, devices, hot):
    """Alerts that so many hot messages raise."""
    if load is SHARED:
        return hot * load["rules"] // REACHED
    return sum(i * load["hot_every"] % devices % REACHED == 0 for i in range(hot))


def rows(quick, say):
    """(Rows, rounds left out)."""
    say("rules, in process")
    found, out = measured(3 if quick else 7)
    made = [
        row(
            f"{RULES} rules on each sample, in process",
            found["rules"],
            " ns",
            at_most=NS_AT_MOST,
            beside=f"`orjson.loads` {middle(found['orjson.loads'])} ns",
        )
    ]
    loads = (
        ("300 rules, a shared source of 500 msg/s", SHARED, shared_config(), 250),
        ("8,000 rules, 800 msg/s in all", OWN, own_config(), OWN["rules"]),
    )
    for what, load, text, devices in loads:
        runs = []
        for i in range(1 if quick else 2):
            say(f"{what}, round {i + 1}")
            runs.append(through_daemon(load, text, devices))
        percent = [100 * run["daemon_busy"] / CORES for run in runs]
        told = number(runs[0]["raised"] / load["seconds"])
        behind = max(run["behind_s"] for run in runs)
        late = f"did not keep up, {behind:.0f} s behind at the end" if behind > KEPT_UP_S else ""
        made.append(
            row(
                f"CPU of {CORES} cores, {what}",
                percent,
                " %",
                at_most=OF_THEIRS * load["share"],
                beside=f"eKuiper publishes {100 * load['share']:.0f} % of {CORES} cores of its own; "
                f"{told} alerts raised a second here",
                broken=late,
            )
        )
    return made, out
