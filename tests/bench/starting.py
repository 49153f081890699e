"""From exec to subscribed, and what it then takes of memory; Node-RED beside it.

When the broker's log says that somebody subscribed to our filter, it has.  Kernels are in the cache.
"""

import tempfile
import time
from pathlib import Path

from tests.bench.latency import Daemon
from tests.bench.node_red import NodeRed, NodeRedMissingError, installed
from tests.bench.targets import absent, middle, row
from tests.mosquitto import Mosquitto

SECONDS_AT_MOST, MB_AT_MOST = 0.25, 60
LOG = ("log_type subscribe", "log_type error")
RESTS_S = 2.0
LIMIT_S = 120


def memory_mb(pid):
    """Resident memory of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().split("\n")
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


def one(start):
    """(seconds, MB) of a start; `start(broker, folder)` begins it and returns what has `stop`."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        broker = Mosquitto(folder, *LOG).start()
        try:
            began = time.monotonic()
            made = start(broker, folder)
            try:
                while b"plant/+/+" not in broker.log.read_bytes():
                    assert made.process.poll() is None, "it has ended"
                    assert time.monotonic() - began < LIMIT_S, "it does not subscribe"
                    time.sleep(0.003)
                took = time.monotonic() - began
                time.sleep(RESTS_S)
                return took, memory_mb(made.process.pid)
            finally:
                made.stop()
        finally:
            broker.stop()


def rows(quick, say):
    """(Rows, rounds left out)."""
    starts, why = {"ours": lambda b, f: Daemon(b, 0, f), "Node-RED": NodeRed}, ""
    try:
        installed()
    except NodeRedMissingError as error:
        why = str(error)
        del starts["Node-RED"]
    one(starts["ours"])  # kernels are compiled
    found = {who: [] for who in starts}
    for i in range(2 if quick else 4):
        say(f"start, round {i + 1}")
        for who, start in starts.items():
            found[who].append(one(start))
    figures = {who: list(zip(*pairs, strict=True)) for who, pairs in found.items()}
    seconds, memory = figures["ours"]
    theirs = figures.get("Node-RED")
    beside = [
        f"Node-RED {middle(v)} {unit}" for v, unit in zip(theirs or (), ("s", "MB"), strict=False)
    ]
    beside = beside or ["", ""]
    made = [
        row(
            "start to subscribed, kernels in the cache",
            seconds,
            " s",
            SECONDS_AT_MOST,
            None,
            beside[0],
        ),
        row("resident memory after that", memory, " MB", MB_AT_MOST, None, beside[1]),
    ]
    return made + ([absent("Node-RED's start", why)] if why else []), 0
