"""What a start costs, from exec until the broker has our subscription.

    python -m tests.bench.start [--rounds 5] [--cold]

*ahead*: kernels compiled ahead of time, no numba.  *numba*: the same from numba's own cache, as on a
machine where the first way does not work.  *python*: what the interpreter and the libraries cost that
are imported in any case.  *cold*: nothing is compiled yet.  CPU is what counts: the wall clock also
shows what else the machine does.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pipelines.ahead.store import machine
from pipelines.jit import use_cache
from tests.bench.measure import environment, threads_ns
from tests.mosquitto import Mosquitto

CPU_MS_MAX, RSS_MB_MAX = 250, 60
CONFIG = """
gateway: start
broker: {{url: "{url}"}}
http: {{enabled: false}}
sources:
  boilers: {{topic: "plant/{{site}}/boiler/{{device}}/telemetry", time: {{field: ts, unit: ms}}}}
pipelines:
  overheat:
    from: boilers
    steps: [validate: {{min: -40, max: 200}}, rolling: {{stat: mean, window: 60s}}]
    alert: {{when: {{above: 90, deadband: 5}}}}
"""
LIBRARIES = "import numpy, orjson, yaml, pydantic, pydantic.main, pydantic.fields, paho.mqtt.client"
LIMIT_S = 600


def memory_mb(pid):
    """Resident memory of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


def children_s(pid):
    """CPU of its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")


def one(cache):
    """(wall ms, CPU ms, of children ms, MB) of one start."""
    with tempfile.TemporaryDirectory() as name:
        return _one(Path(name), cache)


def _one(folder, cache):
    broker = Mosquitto(folder, "log_type subscribe", "log_type error").start()
    config = folder / "gateway.yaml"
    config.write_text(CONFIG.format(url=broker.url))
    command = [sys.executable, "-m", "daemon", "run", str(config), "--kernel-cache", str(cache)]
    began = time.monotonic()
    with (folder / "daemon.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment())
    try:
        while b"plant/+/boiler" not in broker.log.read_bytes():
            assert process.poll() is None, (folder / "daemon.log").read_text()
            assert time.monotonic() - began < LIMIT_S
            time.sleep(0.002)
        spent_ms = sum(threads_ns(process.pid)) / 1e6
        wall_ms = (time.monotonic() - began) * 1e3
        return wall_ms, spent_ms, children_s(process.pid) * 1e3, memory_mb(process.pid)
    finally:
        process.terminate()
        process.wait()
        broker.stop()


def libraries():
    """(wall ms, CPU ms, 0, MB) of the imports alone."""
    code = f"{LIBRARIES}\nimport time; print(time.process_time())\nprint(open('/proc/self/status').read())"
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment()
    )
    spent, *status = done.stdout.splitlines()
    rss = int(next(line for line in status if line.startswith("VmRSS")).split()[1]) / 1024
    return (time.monotonic() - began) * 1e3, float(spent) * 1e3, 0, rss


def without_ahead(cache):
    """numba's kernels alone: nothing can be put where ours would be."""
    folder = use_cache(cache)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"ahead-{machine()}").touch()


def say(name, rows):
    wall, spent, others, rss = (statistics.median(column) for column in zip(*rows, strict=True))
    least = min(row[1] for row in rows)
    more = f" and {others / 1e3:.1f} s in processes that compile" if others > 100 else ""
    print(
        f"{name:8} {spent:6.0f} ms of CPU (least {least:.0f}){more}, {rss:.0f} MB, {wall:.0f} ms wall",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cold", action="store_true", help="also a start that has to compile")
    given = parser.parse_args()
    kept = Path(__file__).parents[2] / ".cache" / "bench"
    rows = {name: [] for name in ("python", "numba", "ahead")}
    with tempfile.TemporaryDirectory() as name:
        if given.cold:
            say("cold", [one(Path(name))])
    one(kept)  # kernels are compiled
    without_ahead(kept.with_name("bench-numba"))
    one(kept.with_name("bench-numba"))
    for _ in range(given.rounds):
        rows["python"].append(libraries())
        rows["numba"].append(one(kept.with_name("bench-numba")))
        rows["ahead"].append(one(kept))
    for name, found in rows.items():
        say(name, found)
    spent = min(row[1] for row in rows["ahead"])
    rss = statistics.median(row[3] for row in rows["ahead"])
    print(f"wanted   {CPU_MS_MAX} ms and {RSS_MB_MAX} MB: {spent:.0f} ms, {rss:.0f} MB", flush=True)


if __name__ == "__main__":
    main()
