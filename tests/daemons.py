"""The true daemon as a process of its own, and an ordinary subscriber that notes what it hears."""

import json
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from prometheus_client.parser import text_string_to_metric_families

from daemon.ledger import EQUATIONS
from daemon.metrics import PREFIX
from daemon.transport.listener import Listener
from tests.wires import until

ROOT = Path(__file__).parent.parent
CACHE = ROOT / ".cache" / "tests" / "sensorweir"  # the name that a daemon gives it
READY_S = 180
"""Kernels may have to be compiled first."""
STOP_S = 30
QUICK = "from daemon.transport import backoff as b; b.FIRST_S, b.LONGEST_S = 0.05, 0.1; "
"""Run before the daemon: it connects again at once, because how long it waits is tested elsewhere."""

LOADED = "A kernel is not there ahead of time, numba is loaded for it"


class DaemonProcess:
    """`python -m daemon run`; configuration and log lie in `folder`."""

    def __init__(self, folder: Path, config, before=""):
        """`config`: a mapping, or the text of a file; `before`: statements run first."""
        self.path = folder / "gateway.yaml"
        self.log = folder / "daemon.log"
        self.write(config)
        main = (
            ["-c", f"{before}import daemon.cli; daemon.cli.main()"] if before else ["-m", "daemon"]
        )
        self.command = [sys.executable, *main, "run", str(self.path), "--kernel-cache", str(CACHE)]
        self.process = None
        self.stopped_in_s = None
        self._log_from = 0

    def write(self, config):
        """Put another configuration in its place; `reload` makes it known."""
        self.path.write_text(config if isinstance(config, str) else json.dumps(config, indent=1))

    def start(self, ready=True):
        """Start it; by default wait until /readyz says yes."""
        self._log_from = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log, cwd=ROOT)
        until(lambda: self.said("Metrics and health are served") or self.ended, READY_S)
        assert not self.ended, self.log.read_text()
        until(lambda: self.said("Started") or self.ended, READY_S, "start")
        if ready:
            until(lambda: self.ready, READY_S, "readiness")
        return self

    @property
    def ended(self):
        return self.process is None or self.process.poll() is not None

    @property
    def without_numba(self):
        """Whether every kernel that it has called so far was compiled ahead of time."""
        return "numba/_dispatcher" not in Path(f"/proc/{self.process.pid}/maps").read_text()

    @property
    def address(self):
        return self.said("Metrics and health are served")[-1]["address"]

    def get(self, path):
        """(status, body) of an HTTP request."""
        try:
            with urllib.request.urlopen(f"http://{self.address}{path}", timeout=30) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    @property
    def ready(self):
        return self.get("/readyz")[0] == 200

    def metrics(self):
        """{name: sum over labels} and {'name{label=value}': number}; 0 for what never happened."""
        found = Counter()
        for family in text_string_to_metric_families(self.get("/metrics")[1].decode()):
            name = family.name.removeprefix(PREFIX)
            for sample in family.samples:
                found[name] += sample.value
                given = ",".join(f"{k}={v}" for k, v in sorted(sample.labels.items()) if v)
                if given:
                    found[f"{name}{{{given}}}"] = sample.value
        return found

    def quiet(self, timeout_s=60):
        """Wait until nothing is under way, assert that the ledger balances; the metrics."""

        def still():
            found = self.metrics()
            under_way = ("inbox_messages", "log_waiting_bytes", "outbox_messages")
            return None if any(found[name] for name in under_way) else found

        found = until(still, timeout_s, "an empty inbox and outbox")
        # Counters of one scrape are read one after the other: look again while messages come.
        until(lambda: not broken(self.metrics()), timeout_s, f"balance: {broken(found)}")
        return self.metrics()

    def log_lines(self):
        """Lines of this start: facts and message of those that are JSON, else {'text': line}."""
        if not self.log.exists():
            return []
        text = self.log.read_bytes()[self._log_from :].decode()
        return [
            json.loads(line) if line.startswith("{") else {"text": line}
            for line in text.split("\n")[:-1]  # the last may be written only partly
        ]

    def said(self, message, level=None):
        """Log lines with this message."""
        return [
            line
            for line in self.log_lines()
            if line.get("message") == message and level in (None, line["level"])
        ]

    def complaints(self):
        """Log lines that are no news: warnings, errors and what is no log line at all."""
        return [
            line
            for line in self.log_lines()
            if line.get("level") in ("warning", "error")
            or ("text" in line and not line["text"].startswith("kernels "))
        ]

    def reload(self, config=None):
        """SIGHUP, and wait for the answer; True when the configuration was taken."""
        if config is not None:
            self.write(config)
        answers = ("Reloaded", "Reload refused, the old configuration goes on")
        before = sum(len(self.said(text)) for text in answers)
        self.process.send_signal(signal.SIGHUP)
        until(lambda: sum(len(self.said(text)) for text in answers) > before, READY_S, "reload")
        last = [line for line in self.log_lines() if line.get("message") in answers][-1]
        return last["message"] == "Reloaded"

    def stop(self, number=signal.SIGTERM):
        """Ask it to end; its exit status. Fails when it takes too long."""
        assert self.without_numba, self.said(LOADED)
        began = time.monotonic()
        self.process.send_signal(number)
        status = self.process.wait(STOP_S)
        self.stopped_in_s = time.monotonic() - began
        return status

    def kill(self):
        """End it as a power cut would."""
        self.process.kill()
        self.process.wait()

    def close(self):
        """Stop it and assert that nothing was lost silently, by its own account."""
        if self.ended:
            return
        try:
            status = self.stop()
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        assert not self.said("The ledger does not balance"), self.log_lines()[-3:]
        assert status == 0, self.log_lines()[-3:]


def broken(metrics):
    """Equations of the ledger that do not hold in these metrics."""
    found = []
    for equation in EQUATIONS:
        came = sum(metrics[str(count)] for count in equation.sources)
        fates = sum(metrics[str(fate)] for fate in equation.fates)
        if came != fates:
            found.append(f"{equation.name}: {came:.0f} != {fates:.0f}")
    return found


def threads(pid):
    """Number of threads of a process."""
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


class Heard(NamedTuple):
    """One message as a subscriber got it."""

    topic: str
    payload: bytes
    retained: bool
    time: float

    @property
    def event(self):
        return json.loads(self.payload)

    @property
    def kind(self):
        return self.event["type"].rsplit(".", 1)[1]


class Recorder:
    """Subscribes through `Listener` and keeps everything."""

    def __init__(self, url, *filters):
        self.heard = []
        self._listener = Listener(url, filters, self._note)
        self._listener.start()

    def _note(self, topic, payload, retained):
        self.heard.append(Heard(topic, payload, retained, time.monotonic()))

    def on(self, prefix):
        """What was heard on topics that start with this."""
        return [h for h in list(self.heard) if h.topic.startswith(prefix)]

    def changes(self, prefix="alerts/"):
        """[(topic, 'active' or 'cleared' or ...)] in order."""
        return [(h.topic, h.kind) for h in self.on(prefix)]

    def close(self):
        self._listener.stop()


class Publisher:
    """A QoS 1 publisher that retries until the broker has taken everything."""

    def __init__(self, port, client_id=None):
        self.client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            clean_session=client_id is None,
            protocol=MQTTProtocolVersion.MQTTv311,
        )
        self.client.max_queued_messages_set(0)
        self.client.reconnect_delay_set(0.1, 0.2)
        self.sent = self.acknowledged = 0
        self._connected = threading.Event()
        self.client.on_connect = lambda *_: self._connected.set()
        self.client.on_publish = self._taken
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        assert self._connected.wait(60)

    def _taken(self, *_):
        self.acknowledged += 1

    def send(self, topic, payload, retain=False):
        """Queue one message: JSON, or bytes as they are."""
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        self.sent += 1
        return self.client.publish(topic, body, 1, retain)

    def settle(self, timeout_s=90):
        """Wait until the broker has acknowledged all."""
        until(lambda: self.acknowledged >= self.sent, timeout_s, "acknowledgement by the broker")

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


class Keeper:
    """A subscriber with a persistent session: what it misses during an outage comes later."""

    def __init__(self, port, client_id, *filters):
        self.heard = []
        self.client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            clean_session=False,
            protocol=MQTTProtocolVersion.MQTTv311,
        )
        self.client.reconnect_delay_set(0.1, 0.2)
        ready = threading.Event()
        self.client.on_message = lambda _c, _u, m: self.heard.append(
            Heard(m.topic, m.payload, m.retain, time.monotonic())
        )
        self.client.on_connect = lambda *_: self.client.subscribe([(f, 1) for f in filters])
        self.client.on_subscribe = lambda *_: ready.set()
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        assert ready.wait(60)

    @property
    def connected(self):
        return self.client.is_connected()

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


def gateway(url, name, pipelines, sources=None, **more):
    """A configuration whose topics all start with its name, because tests share a broker."""
    sources = sources or {"boilers": {"topic": f"{name}/plant/{{site}}/{{device}}/telemetry"}}
    named = {}
    for pipeline, spec in pipelines.items():
        alert = spec.get("alert")
        topic = f"{name}/alerts/{{device}}/{pipeline}"
        named[pipeline] = spec if alert is None else {**spec, "alert": {"topic": topic, **alert}}
    return {
        "gateway": name,
        "broker": {"url": url},
        "http": {"listen": "127.0.0.1:0"},
        "log": {"format": "json", "level": "info"},
        "sources": sources,
        "pipelines": named,
        **more,
    }


def hot(**when):
    """A pipeline that tells each temperature above 90."""
    return {
        "from": "boilers",
        "where": {"channel": "temperature"},
        "alert": {"when": {"above": 90, **when}},
    }
