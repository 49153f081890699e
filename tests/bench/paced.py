"""A window of paced load: publisher, broker and whoever answers, with the CPU time of each."""

import json
import subprocess
import sys
import time

import numpy as np

from tests.bench.measure import threads_ns
from tests.bench.publisher import devices_of
from tests.bench.targets import ROOT

SETTLE_S = 3
"""Left out at the beginning, when every series is new."""
BROKER_BUSY_MAX = 0.8
LATE_MAX = 0.01
SLEEPER_MS_MAX = 5
PATIENCE_S = 150
"""A broker that cannot keep up holds its publisher up, and the run is left out."""
US = 1e3
"""ns"""


def paced(broker, pid, rate, qos, seconds, settle_s=SETTLE_S, devices=None, hot_every=None):
    """Costs and how well the pace was kept: publisher for `seconds`, of which the end is measured.

    `pid`: of the process that answers.
    """
    words = [broker.port, rate, seconds, qos, devices or devices_of(rate)]
    words += [hot_every] if hot_every else []
    publisher = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.publisher", *map(str, words)],
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    time.sleep(settle_s)
    from_ns, began = time.time_ns(), time.monotonic()
    before, server = threads_ns(pid), sum(threads_ns(broker.process.pid))
    overslept = sleeper(seconds - settle_s - 0.5)
    took = time.monotonic() - began
    after = threads_ns(pid)
    served = sum(threads_ns(broker.process.pid)) - server
    told, _ = publisher.communicate(timeout=seconds + PATIENCE_S)
    said = json.loads(told)
    messages = said["rate"] * took * US
    spent = [now - then for now, then in zip(after, before, strict=False)]
    receive, publish = sorted([*spent[1:], 0, 0], reverse=True)[
        :2
    ]  # few outputs, all else is input
    found = {
        "from_ns": from_ns,
        "sleeper_p99_ms": overslept,
        "sent": said["sent"],
        "hot": said["hot"],
        "kept_rate": said["rate"],
        "late": said["late"],
        "late_max_ms": said["late_max_ms"],
        "daemon_us": sum(spent) / messages,
        "daemon_busy": sum(spent) / 1e9 / took,
        "engine_us": spent[0] / messages,
        "receive_us": receive / messages,
        "publish_us": publish / messages,
        "broker_us": served / messages,
        "broker_busy": served / 1e9 / took,
        "rate": rate,
        "qos": qos,
    }
    return found | {"valid": valid(found, seconds)}


def sleeper(seconds):
    """p99 of how many ms a process that does nothing wakes up late: what the machine adds."""
    late, until = [], time.monotonic() + seconds
    while (now := time.monotonic()) < until:
        time.sleep(0.002)
        late.append((time.monotonic() - now) * 1e3 - 2)
    return float(np.percentile(late, 99))


def valid(found, seconds):
    """'yes', or why the latency says more about the machine than about the daemon."""
    if abs(found["kept_rate"] / found["rate"] - 1) > LATE_MAX:
        return "rate not kept"
    if found["broker_busy"] > BROKER_BUSY_MAX:
        return "broker saturated"
    if found["sleeper_p99_ms"] > SLEEPER_MS_MAX:
        return f"machine busy, a bare sleeper is {found['sleeper_p99_ms']:.0f} ms late"
    if found["late"] > LATE_MAX * seconds * 1000:
        return "publisher late"
    return "yes"


def latency_of(answers, found):
    """p50 and p99 of answers as (arrival in ns, ms since they were due), and whether all came."""
    answers = list(answers)
    took = [ms for now, ms in answers if now >= found["from_ns"]] or [float("nan")]
    p50, p99 = np.percentile(took, [50, 99])
    made = {"raised": len(answers), "p50_ms": float(p50), "p99_ms": float(p99)}
    if len(answers) != found["hot"]:
        made["valid"] = f"{len(answers)} of {found['hot']} answers came in time"
    return made
