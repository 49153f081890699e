"""What 100,000 series take: the names of what sends them, and the state of five operators.

    python -m tests.bench.memory SERIES         in a process of its own: figures as JSON

Registry: what a source's reader, its table of series and the connection keep of 50,000 topics with two
channels.  State: `ewma`, `rolling` of 60, `mad` of 31 and `aggregate` with the tables of two alerts, after
70 samples of each series.  Both are resident memory: what the process has more of than before.
"""

import ctypes
import gc
import json
import os
import subprocess
import sys

import numpy as np

from daemon import warmup
from pipelines.jit import use_cache
from pipelines.order import Arrivals
from pipelines.series import make_labels
from tests.bench.engine import STATS
from tests.bench.latency import CACHE
from tests.bench.parsing import Path, check
from tests.bench.starting import memory_mb
from tests.bench.targets import ROOT, row
from tests.bench.traffic import CHANNELS, traffic
from tests.graphs import T0, S, graph

SERIES = 100_000
SAMPLES = 70
BATCH = 4096
REGISTRY_MB_AT_MOST, BYTES_AT_MOST = 20, 1200
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
    """MB of this process beyond what it had when this was made.

    What lies free in its heap is given back first: else it counts what turns needed for a while,
    or hides what is taken from it.
    """

    def __init__(self):
        self.before = self._used_mb()

    def mb(self):
        return self._used_mb() - self.before

    def _used_mb(self):
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        return memory_mb(os.getpid())


def registry(series):
    """MB that names take."""
    topics = series // len(CHANNELS)
    made, few = traffic(topics, devices=topics), traffic(100)
    warm = Path()
    for _ in range(2):  # kernels are loaded
        warm.run(few)
    taken, path = Taken(), Path(topics)
    found = path.run(made)
    check(found, made)
    del found
    return taken.mb()


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
    series = SERIES // 10 if quick else SERIES
    say(f"memory of {series:,} series")
    command = [sys.executable, "-m", "tests.bench.memory", str(series)]
    told = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    found = json.loads(told)
    return [
        row(
            f"names of {series:,} series from {series // 2:,} topics",
            [found["registry_mb"]],
            " MB",
            at_most=REGISTRY_MB_AT_MOST,
        ),
        row(
            f"state of five operators, for each of {series:,} series",
            [found["bytes"]],
            " bytes",
            at_most=BYTES_AT_MOST,
            beside=f"{found['arrays']:,.0f} bytes of it arrays of operators",
        ),
    ], 0


if __name__ == "__main__":
    os.environ.pop("NUMBA_CACHE_DIR", None)
    use_cache(CACHE)
    size = int(sys.argv[1])
    mb = registry(size)
    used, arrays = state(size)
    print(json.dumps({"registry_mb": mb, "bytes": used, "arrays": arrays}))
