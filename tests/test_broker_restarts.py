"""The broker stops, hangs and forgets under load: the daemon lives, and accounts for everything."""

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial

import pytest

from tests.daemons import QUICK, ROOT, Keeper, Publisher, gateway, hot, threads
from tests.wires import until

pytestmark = pytest.mark.broker

RESTARTS = 20
DEVICES = 8


class Load:
    """The simulator as a process: 400 messages a second of QoS 1, sent again when they must be."""

    def __init__(self, broker, name, folder):
        channels = {"pressure": [{"constant": 3}, {"noise": 1}]}
        fleet = {"count": DEVICES, "id": "b{n}", "every": "20ms", "qos": 1, "channels": channels}
        fleet["topic"] = f"{name}/plant/north/{{id}}/telemetry"
        scenario = folder / "load.yaml"
        scenario.write_text(json.dumps({"duration": "5m", "fleets": {"f": fleet}}))
        command = ["-m", "daemon", "sim", "run", str(scenario), "--broker", broker.url]
        self.process = subprocess.Popen(
            [sys.executable, *command, "--format", "json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=ROOT,
        )

    def end(self):
        """What it has sent: a summary in which every message is acknowledged by the broker."""
        self.process.send_signal(signal.SIGINT)
        summary = json.loads(self.process.communicate(timeout=60)[0])
        assert summary["lost"] == summary["unacked"] == 0
        return summary

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()


def sources(name):
    return {
        "boilers": {
            "topic": f"{name}/plant/{{site}}/{{device}}/telemetry",
            "time": {"field": "ts", "unit": "ms"},
            "seq": "seq",
            "idle_after": "500ms",
            "channels": ["temperature", "pressure"],
        }
    }


def silent():
    """Tells a device that has been heard and is not heard for a second: also in an outage."""
    return {
        "from": "boilers",
        "where": {"channel": "temperature"},
        "steps": [{"missing": {"timeout": "1s"}}],
        "alert": {},
    }


@pytest.fixture
def broker(own_mosquitto):
    return own_mosquitto.start()


def test_twenty_restarts_under_load(broker, daemons, closing, tmp_path):
    began = time.monotonic()
    alerts = closing(Keeper(broker.port, "keeper", "restarts/alerts/#"))
    config = gateway(broker.url, "restarts", {"silent": silent()}, sources("restarts"))
    daemon = daemons(config, before=QUICK)
    count = threads(daemon.process.pid)
    load = closing(Load(broker, "restarts", tmp_path))
    plant = closing(Publisher(broker.port, "plant"))
    told = []

    def grows(name, by, cause=lambda: None):
        """Wait until a number is larger by so much."""
        least = daemon.metrics()[name] + by
        cause()
        until(lambda: daemon.metrics()[name] >= least, what=f"{by} more {name}")

    for i in range(RESTARTS):
        grows("messages_received", 20)
        outage = i % 7 == 3
        if outage:
            body = {"ts": time.time_ns() // 1_000_000, "seq": 1, "temperature": 20}
            topic = f"restarts/plant/north/quiet{i}/telemetry"
            grows("series", 1, partial(plant.send, topic, body))
            told.append(f"restarts/alerts/quiet{i}/silent")
        broker.stop()
        until(lambda: not daemon.ready, what="the loss of the connection")
        if outage:  # nobody knows who is silent while nobody can be heard
            time.sleep(1)
            assert daemon.metrics()["time_held"]
            assert daemon.metrics()["outbox_messages"] == 0
            assert told[-1] not in [h.topic for h in alerts.heard]
        assert daemon.get("/healthz")[0] == 200
        broker.start()
        until(lambda: daemon.ready, what="reconnection")
    summary = load.end()
    sent = summary["sent"] + plant.sent
    until(lambda: daemon.metrics()["samples_used"] >= sent, what="all messages")
    metrics = daemon.quiet()
    until(lambda: {h.topic for h in alerts.heard if h.kind == "active"} >= set(told))
    # What came again was told apart by its counter or its time: each sample was used once.
    assert metrics["samples_used"] == sent
    again = metrics["messages_received"] - sent
    told_apart = ("samples_duplicate", "samples_late")
    assert sum(metrics[name] for name in told_apart) == again
    assert metrics["connections{connection=in}"] >= RESTARTS + 1
    assert metrics["sessions_lost"] == 0
    assert metrics["callback_errors"] == 0
    assert metrics["outputs_discarded"] == 0
    until(lambda: threads(daemon.process.pid) <= count, what="as many threads as before")
    print(
        f"{RESTARTS} restarts in {time.monotonic() - began:.1f} s, {sent} messages, "
        f"{summary['resent']} sent again, "
        f"{again:.0f} came twice, {len(alerts.heard)} alert events"
    )
    assert daemon.stop() == 0
    assert not daemon.said("The ledger does not balance")


def test_a_session_that_the_broker_forgot_is_counted_and_told(broker, daemons, closing):
    alerts = closing(Keeper(broker.port, "keeper", "lost/alerts/#"))
    daemon = daemons(gateway(broker.url, "lost", {"hot": hot()}, sources("lost")), before=QUICK)
    broker.stop()
    (broker.folder / "mosquitto.db").unlink()
    broker.start()
    until(lambda: daemon.ready, what="reconnection")
    assert daemon.metrics()["sessions_lost"] == 1
    assert daemon.said("The broker has forgotten our session, messages may be missing", "warning")
    broker.kill()
    broker.start()
    until(lambda: daemon.ready and alerts.connected, what="reconnection")
    plant = closing(Publisher(broker.port))
    now = time.time_ns() // 1_000_000
    plant.send("lost/plant/north/b1/telemetry", {"ts": now, "seq": 1, "temperature": 99})
    until(lambda: [h.topic for h in alerts.heard] == ["lost/alerts/b1/hot"])
    daemon.quiet()


@pytest.mark.parametrize("keepalive", ["5s", "60s"])
def test_a_broker_that_hangs_and_goes_on(broker, daemons, closing, tmp_path, keepalive):
    config = gateway(broker.url, "hangs", {"hot": hot()}, sources("hangs"))
    config["broker"]["keepalive"] = keepalive
    daemon = daemons(config, before=QUICK)
    alerts = closing(Keeper(broker.port, "keeper", "hangs/alerts/#"))
    plant = closing(Publisher(broker.port, "plant"))
    load = closing(Load(broker, "hangs", tmp_path))
    until(lambda: daemon.metrics()["messages_received"] > 50)
    os.kill(broker.process.pid, signal.SIGSTOP)
    try:
        if keepalive == "5s":
            until(lambda: not daemon.ready, what="the loss to be seen")
        else:
            time.sleep(3)  # nothing shall happen: what shall not come can only be waited for
        assert daemon.get("/healthz")[0] == 200
    finally:
        os.kill(broker.process.pid, signal.SIGCONT)
    until(lambda: daemon.ready, what="reconnection")
    now = time.time_ns() // 1_000_000
    plant.send("hangs/plant/north/b1/telemetry", {"ts": now, "seq": -1, "temperature": 99})
    until(lambda: [h.topic for h in alerts.heard] == ["hangs/alerts/b1/hot"])
    sent = load.end()["sent"] + plant.sent
    until(lambda: daemon.metrics()["samples_used"] >= sent, what="all messages")
    metrics = daemon.quiet()
    assert metrics["samples_used"] == sent
    assert (metrics["connections"] == 2) == (keepalive == "60s")  # either may notice it first
