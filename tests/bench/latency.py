"""Publish → alert over three processes: paced publisher, Mosquitto, daemon; we subscribe."""

import json
import subprocess
import sys
import time
from collections import Counter
from datetime import datetime
from pathlib import Path

import numpy as np

from daemon.transport.listener import Listener
from tests.bench.measure import threads_ns
from tests.bench.peer import Peer, frame
from tests.bench.publisher import HOT_PER_SECOND

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".cache" / "bench"
SETTLE_S = 3
"""Left out at the beginning, when every series is new."""
BROKER_BUSY_MAX = 0.8
LATE_MAX = 0.01
SLEEPER_MS_MAX = 5
START_S = 120
CONFIG = """
gateway: bench
broker: {{url: "{url}"}}
http: {http}
limits: {{series_max: 20000}}
log: {{format: json, level: warning}}
state: {state}
sources:
  plant:
    topic: plant/{{site}}/{{device}}
    time: {{field: ts, unit: ns}}
    channels: [temperature, pressure]
    qos: {qos}
pipelines:
  hot:
    from: plant
    where: {{channel: temperature}}
    steps: [validate: {{min: -40, max: 200}}]
    alert: {{when: {{above: 90, deadband: 5}}, topic: "alerts/hot/{{site}}/{{device}}"}}
  trend:
    from: plant
    where: {{channel: pressure}}
    steps:
      - validate: {{min: 0, max: 100}}
      - rolling: {{stat: mean, window: 60s}}
      - ewma: {{halflife: 30s}}
    alert: {{when: {{above: 50}}, topic: "alerts/trend/{{site}}/{{device}}"}}
"""


class Daemon:
    """The daemon as a process, known to work when a hot sample has led to an alert."""

    def __init__(self, broker, qos, folder, state="null", http="{enabled: false}"):
        path = folder / f"gateway-{qos}.yaml"
        path.write_text(CONFIG.format(url=broker.url, qos=qos, state=state, http=http))
        self.log = (folder / f"daemon-{qos}.log").open("w+b")
        command = [sys.executable, "-m", "daemon", "run", str(path), "--kernel-cache", str(CACHE)]
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, cwd=ROOT)

    def wait(self, broker, heard):
        peer, until = Peer(broker.port, "bench-probe"), time.monotonic() + START_S
        i = 0
        while not heard:
            if self.process.poll() is not None or time.monotonic() > until:
                self.process.kill()
                raise RuntimeError(f"the daemon is not there: {self._text()[-2000:]}")
            body = b'{"ts":%d,"temperature":%d,"pressure":3}' % (time.time_ns(), 120 - i % 2 * 90)
            peer.send(frame("plant/north/probe", body))
            time.sleep(0.2)
            i += 1
        peer.close()
        time.sleep(0.5)

    def stop(self):
        self.process.terminate()
        status = self.process.wait(20)
        self.said = self._text()
        self.log.close()
        if status != 0:
            raise RuntimeError(f"the daemon ended with {status}: {self.said[-2000:]}")

    def _text(self):
        self.log.seek(0)
        return self.log.read().decode()


def run(broker, rate, qos, seconds, folder, state="null"):
    """Latency and costs of one run, as one row of the table."""
    heard = []

    def on_message(topic, payload, retained):
        if not retained:
            heard.append((time.time_ns(), topic, payload))

    listener = Listener(broker.url, ["alerts/#"], on_message)
    listener.start()
    daemon = Daemon(broker, qos, folder, state)
    try:
        daemon.wait(broker, heard)
        heard.clear()
        found = _paced(broker, daemon.process.pid, rate, qos, seconds)
        _wait_for(heard, found["hot"])
    finally:
        daemon.stop()
        listener.stop()
    found |= _latency(heard, found.pop("from_ns"))
    if found["raised"] != found["hot"]:
        raise RuntimeError(
            f"{found['raised']} alerts for {found['hot']} hot messages; not from "
            f"{_silent(heard, rate)}; the daemon said:\n{daemon.said}"
        )
    found["valid"] = _valid(found, rate)
    return {"rate": rate, "qos": qos} | found


def _paced(broker, pid, rate, qos, seconds):
    devices = rate // 2  # each twice a second
    publisher = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.publisher", str(broker.port)]
        + [str(n) for n in (rate, seconds, qos, devices)],
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    time.sleep(SETTLE_S)
    from_ns, began = time.time_ns(), time.monotonic()
    daemon, server = threads_ns(pid), sum(threads_ns(broker.process.pid))
    overslept = _sleeper(seconds - SETTLE_S - 0.5)
    took = time.monotonic() - began
    spent = [after - before for after, before in zip(threads_ns(pid), daemon, strict=True)]
    served = sum(threads_ns(broker.process.pid)) - server
    told, _ = publisher.communicate(timeout=seconds + 30)
    said = json.loads(told)
    messages = said["rate"] * took * 1e3
    receive, publish = sorted(spent[1:], reverse=True)[:2]  # 50 outputs a second, all else is input
    return {
        "from_ns": from_ns,
        "sleeper_p99_ms": overslept,
        "sent": said["sent"],
        "hot": said["hot"],
        "kept_rate": said["rate"],
        "late": said["late"],
        "bursts": seconds * 1000,
        "late_max_ms": said["late_max_ms"],
        "daemon_us": sum(spent) / messages,
        "engine_us": spent[0] / messages,
        "receive_us": receive / messages,
        "publish_us": publish / messages,
        "broker_us": served / messages,
        "broker_busy": served / 1e9 / took,
    }


def _sleeper(seconds):
    """p99 of how many ms a process that does nothing wakes up late: what the machine adds."""
    late, until = [], time.monotonic() + seconds
    while (now := time.monotonic()) < until:
        time.sleep(0.002)
        late.append((time.monotonic() - now) * 1e3 - 2)
    return float(np.percentile(late, 99))


def _raised(heard):
    """[(arrival, event)] of every alert that became active, but for the probe's."""
    events = [(now, json.loads(load)) for now, topic, load in heard if not topic.endswith("probe")]
    return [(now, event) for now, event in events if event["type"].endswith("active")]


def _silent(heard, rate):
    """Devices that were hot, as the publisher chooses them, and told of less often than that."""
    told = Counter(event["data"]["labels"]["device"] for _, event in _raised(heard))
    every, devices = rate // HOT_PER_SECOND + 1, rate // 2
    hot = Counter(f"d{i * every % devices}" for i in range(sum(told.values()) + 1))
    return sorted(hot - told)


def _wait_for(heard, n, patience_s=5):
    until = time.monotonic() + patience_s
    while len(_raised(list(heard))) < n and time.monotonic() < until:
        time.sleep(0.1)


def _latency(heard, from_ns):
    """Milliseconds from the stamp of the message that raised to the alert's arrival."""
    raised = _raised(heard)
    took = [(now - _ns(event["time"])) / 1e6 for now, event in raised if now >= from_ns]
    p50, p99 = np.percentile(took, [50, 99])
    return {"raised": len(raised), "p50_ms": float(p50), "p99_ms": float(p99)}


def _ns(text):
    whole, _, part = text.rstrip("Z").partition(".")
    seconds = int(datetime.fromisoformat(whole + "+00:00").timestamp())
    return seconds * 1_000_000_000 + int(part.ljust(9, "0"))


def _valid(found, rate):
    """'yes', or why the latency says more about the machine than about the daemon."""
    if abs(found["kept_rate"] / rate - 1) > LATE_MAX:
        return "rate not kept"
    if found["broker_busy"] > BROKER_BUSY_MAX:
        return "broker saturated"
    if found["sleeper_p99_ms"] > SLEEPER_MS_MAX:
        return f"machine busy, a bare sleeper is {found['sleeper_p99_ms']:.0f} ms late"
    if found["late"] > LATE_MAX * found["bursts"]:
        return "publisher late"
    return "yes"
