"""The simulator against a real Mosquitto: everything that was sent arrives, and is counted."""

import base64
import csv
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import orjson
import paho.mqtt.client as mqtt
import pytest
from typer.testing import CliRunner

from device_sim.cli import app
from device_sim.link import Address, Link, Unreachable
from device_sim.run import connector, simulate
from device_sim.scenario import Scenario, load
from device_sim.sender import Sender
from tests.mosquitto import Mosquitto

pytestmark = pytest.mark.broker
SECOND = 1_000_000_000


class Listener:
    """Collects what is published on a topic filter."""

    def __init__(self, port, topic):
        self.messages = []
        ready = threading.Event()
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        self.client.on_connect = lambda c, *_: c.subscribe(topic, qos=1)
        self.client.on_subscribe = lambda *_: ready.set()
        self.client.on_message = lambda _c, _u, m: self.messages.append((m.topic, m.payload))
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        assert ready.wait(60)

    def wait_for(self, n, seconds=30):
        until = time.monotonic() + seconds
        while len(self.messages) < n and time.monotonic() < until:
            time.sleep(0.02)
        return self.messages

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def listen(mosquitto):
    listeners = []

    def start(topic, port=None):
        listeners.append(Listener(port or mosquitto.port, topic))
        return listeners[-1]

    yield start
    for listener in listeners:
        listener.close()


def fleet(topic, **more):
    return Scenario.model_validate(
        {
            "seed": 2,
            "duration": "20s",
            "fleets": {
                "f": {
                    "count": 20,
                    "id": "s{n}",
                    "topic": topic + "/{id}",
                    "every": "100ms",
                    "channels": {"x": [{"constant": 5}, {"noise": 1}]},
                    **more,
                }
            },
        }
    )


def test_bulk_frames_arrive_whole_and_in_order(mosquitto, listen):
    listener = listen("simbulk/#")
    sender = Sender(connector(Address(mosquitto.url), "bulk"), speed=None)
    summary = simulate(fleet("simbulk"), "bulk", sender, start_ns=0)
    got = listener.wait_for(4000)
    assert summary.sent == len(got) == 4000
    counters = {}
    for topic, payload in got:
        counters.setdefault(topic, []).append(json.loads(payload)["seq"])
    assert counters == {f"simbulk/s{n}": list(range(200)) for n in range(1, 21)}


def test_large_payloads_and_all_qualities_share_a_connection(mosquitto, listen):
    listener = listen("simmixed/#")
    acked, sent = [], 0
    link = Link(Address(mosquitto.url), "sim-mixed", acked.append, 5.0)
    payloads = [bytes([65 + i % 26]) * (1 << (i % 18)) for i in range(90)]
    for i, payload in enumerate(payloads):
        if i % 3:
            assert link.publish("simmixed/a", payload, i % 3)
            sent += 1
            while sent - len(acked) >= 20 and link.alive:  # what lies above Mosquitto may drop
                link.service(0.1)
        else:
            link.write("simmixed/a", payload)
    link.flush()
    until = time.monotonic() + 10
    while len(acked) < 60 and time.monotonic() < until:
        link.service(0.1)
    link.close()
    assert len(set(acked)) == 60
    assert sorted(p for _, p in listener.wait_for(90)) == sorted(payloads)


def test_a_demo_run_by_command(mosquitto, listen, tmp_path):
    listener, truths = listen("plant/#"), listen("sim/truth/#")
    file = tmp_path / "truth.jsonl"
    arguments = ["run", "demo", "--broker", mosquitto.url, "--speed", "max", "--format", "json"]
    result = CliRunner().invoke(app, [*arguments, "--truth", str(file)])
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert summary["sent"] == summary["acked"] == len(listener.wait_for(summary["sent"]))
    events = [orjson.loads(line) for line in file.read_bytes().splitlines()]
    assert [e["type"] for e in events].count("sensorweir.sim.fault") == 8
    published = [orjson.loads(payload) for _, payload in truths.wait_for(9)]
    assert published == events[:9]  # the last one tells when the run ended
    newest = max(json.loads(payload)["ts"] for _, payload in listener.messages)
    assert newest <= time.time_ns() // 1_000_000


def test_hostile_traffic_passes_a_real_broker(mosquitto, listen):
    listener = listen("plant/+/meter/#")
    sender = Sender(connector(Address(mosquitto.url), "hostile"), speed=None)
    summary = simulate(load("hostile"), "hostile", sender, start_ns=0)
    assert summary.reconnects == 8
    assert summary.acked == summary.sent
    assert len(listener.wait_for(summary.sent)) >= summary.sent


def test_a_table_is_replayed_row_by_row(mosquitto, listen, tmp_path):
    listener = listen("plant/north/machine/m1")
    table = tmp_path / "machine.csv"
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["timestamp", "value"])
        writer.writerows(
            [f"2013-12-02 21:{i // 60:02}:{i % 60:02}", 70 + i / 8] for i in range(900)
        )
        writer.writerows([["noon", 1], ["2013-12-02 22:00:00", "nan"], ["2013-12-02 22:00:01"]])
    result = CliRunner().invoke(
        app,
        f"replay {table} --topic plant/{{site}}/machine/{{device}} --label site=north --device m1 "
        f"--channel temperature --broker {mosquitto.url} --format json".split(),
    )
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert (summary["sent"], summary["acked"], summary["skipped"]) == (900, 900, 3)
    assert f"{table}:902: " in result.stderr
    got = [json.loads(payload) for _, payload in listener.wait_for(900)]
    start_ms = 1_386_018_000_000
    assert got == [
        {"ts": start_ms + 1000 * i, "seq": i, "temperature": 70 + i / 8} for i in range(900)
    ]


def test_a_broker_that_restarts_loses_nothing_at_qos_1(own_mosquitto):
    broker = own_mosquitto.start()
    said = []
    scenario = fleet("simrestart", qos=1).lasting(4 * SECOND)
    sender = Sender(connector(Address(broker.url), "restart"), say=said.append)
    restart = threading.Timer(1.0, lambda: (broker.stop(), broker.start()))
    restart.start()
    summary = simulate(scenario, "restart", sender, start_ns=0)
    restart.join()
    assert summary.reconnects >= 1
    assert (summary.sent, summary.acked, summary.unacked, summary.lost) == (800, 800, 0, 0)


def test_unix_sockets_work(tmp_path):
    broker = Mosquitto(tmp_path, "listener 0 {folder}/m.sock").start()
    try:
        address = Address(f"unix:{tmp_path}/m.sock")
        summary = simulate(
            fleet("simunix"), "unix", Sender(connector(address, "unix"), speed=None), start_ns=0
        )
    finally:
        broker.stop()
    assert summary.sent == 4000


def test_a_login_is_needed_where_the_broker_wants_one(tmp_path):
    passwords = tmp_path / "passwords"
    passwords.write_text("gateway:" + _hashed("secret") + "\n")
    passwords.chmod(0o600)
    broker = Mosquitto(tmp_path, "password_file {folder}/passwords")
    text = broker.config.read_text().replace("allow_anonymous true", "allow_anonymous false")
    broker.config.write_text(text)
    broker.start()
    try:
        Link(Address(broker.url, "gateway", "secret"), "sim-login", print, 5.0).close()
        for wrong in (Address(broker.url), Address(broker.url, "gateway", "guess")):
            with pytest.raises(Unreachable, match="refuses"):
                Link(wrong, "sim-login", print, 5.0)
    finally:
        broker.stop()


def _hashed(password):
    """A line's worth of Mosquitto's own format 7: PBKDF2 with SHA-512."""
    salt = b"0123456789ab"
    key = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, 101)
    return f"$7$101${base64.b64encode(salt).decode()}${base64.b64encode(key).decode()}"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_run_cleanly(mosquitto, listen, number):
    listener = listen("plant/+/boiler/#")
    code = "from device_sim.cli import app; app()"
    arguments = ["run", "demo", "--broker", mosquitto.url, "--format", "json"]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=Path(__file__).parent.parent,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert listener.wait_for(20)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    summary = json.loads(out)
    assert summary["interrupted"]
    assert summary["sent"] == summary["acked"] >= 20
