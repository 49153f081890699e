"""How costs are taken on a machine that others use too: CPU time, alternating rounds, medians.

CPU time of processes and threads comes from the scheduler in nanoseconds (`schedstat`); the
ticks of `/proc/<pid>/stat` are too coarse for runs of a second.
"""

import os
import platform
import statistics
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import orjson

OFF_MAX = 0.2
"""A round whose control is further from the median of all rounds was disturbed: left out."""
CONTROL = orjson.dumps({"ts": 1_764_000_000_000, "temperature": 21.53})


class Cost(NamedTuple):
    """Costs of one case over the rounds that count."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values):
        return cls(statistics.median(values), min(values), max(values))


def rounds(cases, n):
    """Runs every case in turn, `n` times over; {name: [result of each undisturbed round]}.

    `cases`: {name: function without arguments}. A control runs before and after each round.
    """
    found, controls = [], []
    for _ in range(n):
        before = control_ns()
        found.append({name: case() for name, case in cases.items()})
        controls.append((before + control_ns()) / 2)
    usual = statistics.median(controls)
    good = [f for f, c in zip(found, controls, strict=True) if abs(c / usual - 1) <= OFF_MAX]
    kept = good if len(good) * 2 > n else found
    return {name: [f[name] for f in kept] for name in cases}, n - len(kept)


def control_ns(n=20_000):
    """CPU ns of one `orjson.loads` of a small payload: how fast the machine is just now."""
    began = time.process_time_ns()
    for _ in range(n):
        orjson.loads(CONTROL)
    return (time.process_time_ns() - began) / n


def null_waker_us(seconds=1.0):
    """CPU µs of waking up after 1 ms and doing nothing: the floor of any process at that rate."""
    wakes, began, until = 0, time.process_time_ns(), time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(0.001)
        wakes += 1
    return (time.process_time_ns() - began) / 1e3 / wakes


def threads_ns(pid):
    """CPU ns of each thread of a process so far, oldest thread first."""
    tasks = sorted(Path(f"/proc/{pid}/task").iterdir(), key=lambda path: int(path.name))
    return [int((task / "schedstat").read_text().split()[0]) for task in tasks]


def environment():
    """Of a daemon that is measured: what was compiled to bytecode is used and kept, as installed."""
    left_out = ("PYTHONDONTWRITEBYTECODE", "NUMBA_CACHE_DIR")
    return {k: v for k, v in os.environ.items() if k not in left_out}


def thread_ns(thread):
    """CPU ns of a thread of this process so far."""
    return int(Path(f"/proc/self/task/{thread.native_id}/schedstat").read_text().split()[0])


def machine():
    """What the figures were taken on."""
    cpu = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith(("model name", "Model"))
        ),
        platform.machine(),
    )
    return {
        "cpu": cpu,
        "cores": len(Path("/proc/cpuinfo").read_text().split("\nprocessor")),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "control_ns": round(control_ns()),
        "null_waker_us": round(null_waker_us(), 1),
    }
