"""Canaries: secrets that are known here are looked for in everything a daemon leaves behind."""

from pathlib import Path

import pytest

from daemon.durable.blocks import Unpacker
from daemon.durable.tape import Tape
from tests.daemons import Publisher, Recorder, gateway, hot
from tests.wires import until

pytestmark = pytest.mark.broker

FROM_FILE, FROM_ENV, MISTYPED, IN_ADDRESS = (f"canary-{i}-9f3b" for i in range(4))
CANARIES = (FROM_FILE, FROM_ENV, MISTYPED, IN_ADDRESS)


def config(mosquitto, folder, **broker):
    made = gateway(
        mosquitto.url,
        "secrets",
        {"hot": hot()},
        record={"folder": str(folder / "record"), "commit_delay": "50ms"},
        command_topic="secrets/command",
    )
    made["log"]["level"] = "debug"
    made["broker"] |= {"username": "gateway", "password": "${file:pw}"} | broker
    return made


def written(process):
    """Everything on the outside of a daemon: {where: bytes}."""
    pid = process.process.pid
    found = {path: process.get(path)[1] for path in ("/metrics", "/healthz", "/readyz", "/nothing")}
    return found | {"command line": Path(f"/proc/{pid}/cmdline").read_bytes()}


def test_no_secret_leaves_the_daemon(mosquitto, daemons, closing, tmp_path, monkeypatch):
    monkeypatch.setenv("MQTT_PASSWORD", FROM_ENV)
    heard = closing(Recorder(mosquitto.url, "secrets/#", "sensorweir/secrets/#"))
    daemon = daemons(config(mosquitto, tmp_path), start=False)
    (daemon.path.parent / "pw").write_text(FROM_FILE)
    daemon.start()
    plant = closing(Publisher(mosquitto.port))
    for payload in ({"temperature": 99}, b"{rubbish"):
        plant.send("secrets/plant/north/b7/telemetry", payload)
    plant.send("secrets/command", {"acknowledge": "0" * 32, "by": "ann"})
    until(lambda: heard.on("secrets/alerts/") and heard.on("secrets/command/response"))
    daemon.quiet()
    places = written(daemon)
    refused = config(mosquitto, tmp_path, url=f"mqtt://ann:{IN_ADDRESS}@localhost")
    refused["broker"]["pasword"] = MISTYPED
    assert not daemon.reload(refused)
    assert not daemon.reload(config(mosquitto, tmp_path, keepalive="${MQTT_PASSWORD}"))
    assert daemon.reload(config(mosquitto, tmp_path, password="${MQTT_PASSWORD}"))
    daemon.close()
    places["log"] = daemon.log.read_bytes()
    assert b"Reload refused" in places["log"]
    assert heard.on("sensorweir/secrets/status")
    places |= {f"heard {i}": h.payload for i, h in enumerate(heard.heard)}
    unpacker, record = Unpacker(), tmp_path / "record"
    for number, raw in Tape(record):
        places[f"record {number}"] = repr(unpacker.feed(raw)).encode()
    places |= {str(p): p.read_bytes() for p in record.rglob("*") if p.is_file()}
    assert any(b"b7" in data for data in places.values()), "what is looked at is what there was"
    for canary in CANARIES:
        assert [where for where, data in places.items() if canary.encode() in data] == []


def test_a_password_that_the_broker_refuses_is_not_told(daemons, own_mosquitto, tmp_path):
    own_mosquitto.config.write_text(
        own_mosquitto.config.read_text().replace("allow_anonymous true", "allow_anonymous false")
    )
    own_mosquitto.start()
    daemon = daemons(config(own_mosquitto, tmp_path, password=FROM_FILE), start=False)
    (daemon.path.parent / "pw").write_text(FROM_FILE)
    daemon.start(ready=False)
    until(lambda: daemon.metrics()["connection_failures"] >= 2)
    places = written(daemon)
    daemon.close()
    places["log"] = daemon.log.read_bytes()
    assert len(daemon.complaints()) >= 1
    assert [where for where, data in places.items() if FROM_FILE.encode() in data] == []
