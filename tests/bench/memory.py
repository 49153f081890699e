"""What 100,000 series take: the names of what sends them, and the state of five operators.

    python -m tests.bench.memory SERIES         in a process of its own: figures as JSON

Registry: what a source's reader, its table of series and the connection keep of 50,000 topics with two
channels.  State: `ewma`, `rolling` of 60, `mad` of 31 and `aggregate` with the tables of two alerts, after
70 samples of each series.  Both are resident memory: what the process has more of than before.
"""

import gc
import json
import os
import subprocess
import sys

import numpy as np

from daemon import warmup
from daemon.messages import Message
from daemon.transport.intake import Intake
from pipelines.jit import use_cache
from pipelines.order import Arrivals
from pipelines.series import make_labels
from tests.bench.engine import STATS
from tests.bench.latency import CACHE
from tests.bench.parsing import Reading
from tests.bench.starting import memory_mb
from tests.bench.targets import ROOT, row
from tests.bench.traffic import CHANNELS
from tests.graphs import T0, S, graph
from tests.wires import wiring

SERIES = 100_000
SAMPLES = 70
BATCH = 4096
REGISTRY_MB_AT_MOST, BYTES_AT_MOST = 20, 1100
FAR = {"when": {"above": 1e12}}
PIPELINES = {
    "scores": {
        "from": "boilers",
        "steps": [
            {"ewma": {"halflife": "30s"}},
            {"rolling": {"stat": "std", "window": 60}},
            {"mad": {"window": 31}},
        ],
        "alert": FAR,
    },
    "windows": {
        "from": "boilers",
        "steps": [{"aggregate": {"size": "10s", "stats": STATS}}],
        "alert": FAR,
    },
}


class Taken:
    """MB of this process beyond what it had when this was made."""

    def __init__(self):
        gc.collect()
        self.before = memory_mb(os.getpid())

    def mb(self):
        gc.collect()
        return memory_mb(os.getpid()) - self.before


def registry(series):
    """MB that names take."""
    topics = series // len(CHANNELS)
    intake, warm = Intake(wiring("mqtt://127.0.0.1:1", "bench")), Reading(100)
    for _ in range(2):  # kernels are loaded
        learn(intake, warm, 100)
    taken, reading = Taken(), Reading(topics)
    learn(intake, reading, topics)
    return taken.mb()


def learn(intake, reading, topics):
    """Have these know all topics."""
    for first in range(0, topics, BATCH):
        names = [f"site/a/dev{i:05d}/env" for i in range(first, min(first + BATCH, topics))]
        known = [intake._topic(name.encode()) for name in names]
        found = reading.read([_message(name, i) for i, name in enumerate(known, first)])
        assert sum(part.series.size for part in found) == len(CHANNELS) * len(names)


def _message(topic, i):
    body = b'{"ts":%d,"temperature":21.5,"humidity":40.1}' % (T0 // 1_000_000 + i)
    return Message(topic, body, 0, 0, T0 + i * 1_000_000)


def state(series):
    """(resident bytes, bytes of the arrays of operators) for each series."""
    made = graph(PIPELINES, limits={"series_max": series, "state_bytes_max": "4GiB"})
    table = made.sources["boilers"].table
    for _, compile_it in warmup.steps(made):
        compile_it()
    for i in range(series):
        labels = {"device": f"d{i}", "channel": "temperature", "site": "north"}
        assert table.intern(make_labels(labels)) == i
    rng, taken = np.random.default_rng(1), Taken()
    order = np.arange(series, dtype=np.int32)
    for second in range(SAMPLES):
        value = rng.normal(20, 1, series)
        t_ns = np.full(series, T0 + second * S)
        for first in range(0, series, BATCH):
            part = slice(first, first + BATCH)
            none = np.full(order[part].size, -1)
            arrivals = Arrivals(order[part], t_ns[part], value[part], t_ns[part] + 1, none)
            assert not made.run({"boilers": arrivals})
    used = taken.mb() * 1024 * 1024 / series
    runners = [stage.runner for p in made.pipelines.values() for stage in p.stages]
    assert all(r.capacity >= series for r in runners)
    arrays = sum(r.state_bytes() / r.capacity for r in runners)
    return used, arrays


def rows(quick, say):
    """(Rows, rounds left out)."""
    found = []
    series = SERIES // 10 if quick else SERIES
    for i in range(1 if quick else 2):
        say(f"memory of {series:,} series, round {i + 1}")
        command = [sys.executable, "-m", "tests.bench.memory", str(series)]
        told = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
        found.append(json.loads(told))
    arrays = found[0]["arrays"]
    return [
        row(
            f"names of {series:,} series from {series // 2:,} topics",
            [f["registry_mb"] for f in found],
            " MB",
            at_most=REGISTRY_MB_AT_MOST,
        ),
        row(
            f"state of five operators, for each of {series:,} series",
            [f["bytes"] for f in found],
            " bytes",
            at_most=BYTES_AT_MOST,
            beside=f"{arrays:.0f} bytes of it arrays of operators",
        ),
    ], 0


if __name__ == "__main__":
    os.environ.pop("NUMBA_CACHE_DIR", None)
    use_cache(CACHE)
    size = int(sys.argv[1])
    mb = registry(size)
    used, arrays = state(size)
    print(json.dumps({"registry_mb": mb, "bytes": used, "arrays": arrays}))
