"""Publish → alert over three processes: paced publisher, Mosquitto, daemon; we subscribe."""

import contextlib
import json
import subprocess
import sys
import time
from collections import Counter
from datetime import datetime

from daemon.transport.listener import Listener
from tests.bench.measure import environment
from tests.bench.paced import SETTLE_S, latency_of, paced
from tests.bench.peer import Peer, frame
from tests.bench.publisher import devices_of, hot_every
from tests.bench.targets import ROOT

CACHE = ROOT / ".cache" / "bench"
START_S = 120
CONFIG = """
gateway: bench
broker: {{url: "{url}"}}
http: {http}
limits: {{series_max: 100000}}
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

    def __init__(
        self,
        broker,
        qos,
        folder,
        state="null",
        http="{enabled: false}",
        module="daemon",
        text=CONFIG,
    ):
        """`module`: what is run in its place; `text`: its configuration."""
        path = folder / f"gateway-{qos}.yaml"
        path.write_text(text.format(url=broker.url, qos=qos, state=state, http=http))
        self.log = (folder / f"daemon-{qos}.log").open("w+b")
        command = [sys.executable, "-m", module, "run", str(path), "--kernel-cache", str(CACHE)]
        self.process = subprocess.Popen(
            command, stdout=self.log, stderr=self.log, cwd=ROOT, env=environment()
        )

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


@contextlib.contextmanager
def listening(broker, topic="alerts/#"):
    """What comes on a topic, as [(arrival in ns, topic, payload)] that grows."""
    heard = []

    def on_message(name, payload, retained):
        if not retained:
            heard.append((time.time_ns(), name, payload))

    listener = Listener(broker.url, [topic], on_message)
    listener.start()
    try:
        yield heard
    finally:
        listener.stop()


@contextlib.contextmanager
def running(broker, qos, folder, heard, **more):
    """A daemon that answers; it stops at the end."""
    daemon = Daemon(broker, qos, folder, **more)
    try:
        daemon.wait(broker, heard)
        yield daemon
    finally:
        daemon.stop()


def run(broker, rate, qos, seconds, folder, state="null"):
    """Latency and costs of one run, as one row of the table."""
    with listening(broker) as heard, running(broker, qos, folder, heard, state=state) as daemon:
        return window(broker, daemon, heard, rate, qos, seconds)

    found = window(broker, daemon, heard, rate, qos, seconds)
    if found["missing"]:
        raise RuntimeError(
            f"{found['raised']} alerts for {found['hot']} hot messages; not from "
            f"{found['missing']}; the daemon said:\n{daemon.said}"
        )
    return found


def window(broker, daemon, heard, rate, qos, seconds, settle_s=SETTLE_S):
    """The same of a daemon that runs already; `missing`: devices whose alerts have not come."""
    heard.clear()
    found = paced(broker, daemon.process.pid, rate, qos, seconds, settle_s)
    _wait_for(heard, found["hot"])
    raised = _raised(list(heard))
    took = [(now - _ns(event["time"])) / 1e6 for now, event in raised]
    late = len(raised) != found["hot"]
    found |= latency_of(zip([now for now, _ in raised], took, strict=True), found)
    return found | {"missing": (_silent(raised, rate) or ["some"]) if late else []}


def _raised(heard):
    """[(arrival, event)] of every alert that became active, but for the probe's."""
    events = [(now, json.loads(load)) for now, topic, load in heard if not topic.endswith("probe")]
    return [(now, event) for now, event in events if event["type"].endswith("active")]


def _silent(raised, rate):
    """Devices that were hot, as the publisher chooses them, and told of less often than that."""
    told = Counter(event["data"]["labels"]["device"] for _, event in raised)
    every, devices = hot_every(rate), devices_of(rate)
    hot = Counter(f"d{i * every % devices}" for i in range(sum(told.values()) + 1))
    return sorted(hot - told)


def _wait_for(heard, n, patience_s=5):
    until = time.monotonic() + patience_s
    while len(_raised(list(heard))) < n and time.monotonic() < until:
        time.sleep(0.1)


def _ns(text):
    whole, _, part = text.rstrip("Z").partition(".")
    seconds = int(datetime.fromisoformat(whole + "+00:00").timestamp())
    return seconds * 1_000_000_000 + int(part.ljust(9, "0"))
