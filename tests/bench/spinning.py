"""Publish → alert while a Python thread in the daemon's process never rests (`tests.bench.spun`)."""

import tempfile
from pathlib import Path

from tests.bench.latency import listening, running, window
from tests.bench.targets import middle, row
from tests.mosquitto import Mosquitto

RATES = (1_000, 5_000)
P99_MS_AT_MOST = 3.0
SECONDS, SETTLE_S = 9, 4
WAYS = {"a spinning thread": "tests.bench.spun", "without": "daemon"}


def one(module):
    """{rate: figures} of one start."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        broker = Mosquitto(folder).start()
        try:
            with (
                listening(broker) as heard,
                running(broker, 0, folder, heard, module=module) as daemon,
            ):
                return {
                    rate: window(broker, daemon, heard, rate, 0, SECONDS, SETTLE_S)
                    for rate in RATES
                }
        finally:
            broker.stop()


def rows(quick, say):
    """(Rows, rounds left out)."""
    found = {way: [] for way in WAYS}
    for i in range(1 if quick else 2):
        for way, module in WAYS.items():
            say(f"spinning thread: {way}, round {i + 1}")
            found[way].append(one(module))
    spun, calm = found.values()
    made = []
    for rate in RATES:
        missing = [run[rate] for run in spun if run[rate]["missing"]]
        made.append(
            row(
                f"p99 publish → alert, {rate:,} msg/s, with a spinning Python thread in the process",
                [run[rate]["p99_ms"] for run in spun],
                " ms",
                at_most=P99_MS_AT_MOST,
                beside=f"p50 {middle([run[rate]['p50_ms'] for run in spun])} ms; without the thread "
                f"{middle([run[rate]['p50_ms'] for run in calm])} and "
                f"{middle([run[rate]['p99_ms'] for run in calm])} ms",
                broken=missing[0]["valid"] if missing else "",
            )
        )
    return made, 0
