"""The doctor at a real broker: what deploy/ sets up is found good, what is taken away is named."""

import json
import socket
import threading

import pytest

from config.model import Gateway
from daemon.canary import canary_topic
from daemon.clock import SystemClock
from daemon.doctor.broker import check_broker, filters
from daemon.transport import probe as probing
from daemon.transport.probe import probe
from tests.daemons import gateway, hot
from tests.deployed import DEPLOY, GATEWAY, Visitor, deployed, make_tls
from tests.test_doctor import run
from tests.wires import until

pytestmark = pytest.mark.broker
ACL = (DEPLOY / "mosquitto.acl").read_text()
CANARY = f"sensorweir/{GATEWAY}/canary"
SYS = "topic read $SYS/broker/version\n"


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    """The broker of deploy/, whose access control a test may change: `rules(text)`."""
    folder = tmp_path_factory.mktemp("doctor")
    acl = folder / "acl"
    acl.write_text(ACL)
    made = deployed(
        folder, change=lambda text: text.replace(str(DEPLOY / "mosquitto.acl"), str(acl))
    )

    def rules(text):
        made.stop()
        acl.write_text(text)
        made.start()

    made.rules = rules
    made.start()
    yield made
    made.stop()


def configuration(broker, **more):
    tls = broker.folder / "tls"
    ear, mouth = (
        {"cert": f"{tls}/{GATEWAY}-{end}.crt", "key": f"{tls}/{GATEWAY}-{end}.key"}
        for end in ("in", "out")
    )
    return {
        "gateway": GATEWAY,
        "broker": {
            "url": f"mqtts://localhost:{broker.port}",
            "tls": {"ca": f"{tls}/ca.crt", **ear},
            "publish_as": mouth,
            **more,
        },
        "http": {"enabled": False},
        "sources": {"boilers": {"topic": "plant/{site}/boiler/{device}/telemetry"}},
    }


def examined(broker, **more):
    """{check: finding} of this broker, as it is now."""
    made = Gateway.model_validate(configuration(broker, **more))
    report = probe(made.broker, made.client_id, canary_topic(made), filters(made), SystemClock())
    return {f.check.removeprefix("broker."): f for f in check_broker(made, report, 50_000_000)}


def test_what_deploy_sets_up_is_good(broker):
    findings = examined(broker)
    bad = {name for name, f in findings.items() if f.level != "ok"}
    version = findings["version"].seen
    assert version.startswith("mosquitto version 2.")
    assert bad == {"version"}, "distributions have a version with known faults"
    assert CANARY in findings["canary"].seen


def test_in_3_1_1_the_window_is_small(broker):
    findings = examined(broker, protocol="3.1.1")
    assert findings["protocol"].level == "warn"
    assert "at most 400 messages/s" in findings["window"].means
    assert findings["canary"].level == "ok"


@pytest.mark.parametrize(
    ("taken", "protocol", "check", "words"),
    [
        (f"topic write {CANARY}\n", "5", "canary", "0x87"),
        (f"topic read {CANARY}\n", "5", "canary", "topic read"),
        (f"topic write {CANARY}\n", "3.1.1", "canary", "does not say which"),
        (SYS, "5", "version", "tells nothing"),
    ],
    ids=["write", "read", "3.1.1", "version"],
)
def test_a_right_that_is_missing_is_named(broker, taken, protocol, check, words, monkeypatch):
    monkeypatch.setattr(probing, "PATIENCE_S", 0.5)
    assert taken in ACL
    broker.rules(ACL.replace(taken, ""))
    try:
        finding = examined(broker, protocol=protocol)[check]
    finally:
        broker.rules(ACL)
    assert finding.level == ("warn" if check == "version" else "fail")
    assert words in f"{finding.seen} {finding.means} {finding.way_out}"


# paho leaves the socket of a handshake that failed to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_certificates_are_looked_at_on_both_sides(broker, tmp_path):
    make_tls(tmp_path, "ca")
    assert make_tls(tmp_path, "client", "other").returncode == 0
    ours = {"ca": f"{broker.folder}/tls/ca.crt"}
    stranger = examined(broker, tls={"ca": f"{tmp_path}/ca.crt"})["reach"]
    assert "broker.tls.ca" in stranger.way_out
    without = examined(broker, tls=ours)["reach"]
    assert (without.level, "certificate" in without.way_out) == ("fail", True)
    wrong = {"cert": f"{tmp_path}/other.crt", "key": f"{tmp_path}/other.key"}
    mouth = examined(broker, publish_as=wrong)["canary"]
    assert "broker.publish_as" in mouth.way_out
    plain = examined(broker, url=f"mqtt://localhost:{broker.port}")["reach"]
    assert plain.level == "fail"
    missing = examined(broker, tls={"ca": "/nowhere/ca.crt"})["reach"]
    assert missing.level == "fail"


def test_a_broker_that_never_answers_is_given_up(monkeypatch):
    monkeypatch.setattr(probing, "FIRST_ANSWER_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        kept = []
        taking = threading.Thread(target=lambda: [kept.append(listener.accept()) for _ in "ab"])
        taking.start()
        url = f"mqtt://127.0.0.1:{listener.getsockname()[1]}"
        made = Gateway.model_validate({"broker": {"url": url}})
        report = probe(made.broker, "x", "canary", [], SystemClock())
        taking.join()
        for wire, _ in kept:
            wire.close()
    assert report.error == "no answer within 0.2 s"


def test_the_daemon_works_with_what_deploy_gives_it(broker, daemons, closing, tmp_path):
    """Two certificates, the roles of the list, state on disk: from a device to a person."""
    config = configuration(broker) | {
        "http": {"listen": "127.0.0.1:0"},
        "log": {"format": "json"},
        "state": {"folder": str(tmp_path / "state"), "size": "64MiB"},
        "pipelines": {
            "hot": hot() | {"alert": {"when": {"above": 90}, "topic": "alerts/{device}"}}
        },
    }
    daemon = daemons(config)
    operator = closing(Visitor(broker, "operator", filters=["alerts/#", "state/#"]))
    b7 = closing(Visitor(broker, "b7"))
    assert b7.publish("plant/north/boiler/b7/telemetry", b'{"temperature": 95}') == 0
    until(lambda: len(operator.got) == 2)
    assert {topic for topic, _ in operator.got} == {"alerts/b7", "state/alerts/b7"}
    until(lambda: json.loads(daemon.get("/readyz")[1])["status"] == "ready")
    assert daemon.metrics()["outputs_discarded"] == 0
    assert daemon.metrics()["time_held"] == 0, "the canary came back"


def test_a_daemon_that_runs_is_not_disturbed(mosquitto, daemons, tmp_path):
    config = gateway(mosquitto.url, "doctored", {"hot": hot()})
    daemon = daemons(config)
    before = daemon.metrics()
    done = run(daemon.path, "--format", "json")
    said = {f["check"]: f for f in json.loads(done.stdout)["findings"]}
    assert said["broker.canary"]["level"] == "ok"
    assert done.returncode == 0, done.stdout
    after = until(daemon.metrics)
    for name in ("connections", "messages_received", "connection_failures"):
        assert after[name] == before[name], name
    assert daemon.ready
