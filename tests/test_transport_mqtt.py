"""MQTT as it should go: both ways, over every carrier, with TLS, birth and will."""

import socket
import ssl
import subprocess
import sys

import pytest

from config.model import Tls
from daemon.ledger import Count, Gauge
from daemon.transport import backoff as backoffs
from daemon.transport import egress, ingest
from daemon.transport.address import Address, tls_context
from daemon.transport.backoff import Backoff
from daemon.transport.egress import is_topic, packet_bytes
from daemon.transport.mqtt import MqttTransport
from tests.mosquitto import Mosquitto, free_port
from tests.mqtt_rig import opened, peers, quick
from tests.wires import TOPIC, alert, until, wiring

__all__ = ["opened", "peers", "quick"]  # fixtures
pytestmark = pytest.mark.usefixtures("quick")


# --- round trips -----------------------------------------------------------------------------


@pytest.mark.broker
@pytest.mark.parametrize("in_bulk", [True, False])
@pytest.mark.parametrize("protocol", ["auto", "5", "3.1.1"])
def test_messages_go_both_ways(mosquitto, opened, peers, monkeypatch, protocol, in_bulk):
    for module in (egress, ingest):
        monkeypatch.setattr(module, "lane_works", lambda: in_bulk)
    name = f"ways{protocol}{in_bulk}"
    w = wiring(mosquitto.url, name, protocol=protocol)
    transport = opened(w, {f"{name}/in/+": 1})
    until(lambda: transport.connected)
    peer = peers(mosquitto.port, f"{name}/out/#")
    for i in range(500):
        peer.publish(f"{name}/in/x", str(i).encode(), i % 2)
    got = []

    def all_in():
        part = w.inbox.drain(1000, 0.01)
        transport.acknowledge(part)
        got.extend(part)
        return len(got) == 500

    until(all_in)
    assert sorted(int(m.payload) for m in got) == list(range(500))
    w.outbox.put([alert(f"{name}/out/{i}", str(i).encode(), qos=i % 3) for i in range(600)])
    until(lambda: len(peer.got) >= 600 and len(w.outbox) == 0)
    assert sorted(map(int, peer.payloads)) == list(range(600))
    for qos in (0, 1):
        ordered = [int(m.payload) for m in peer.got if int(m.payload) % 3 == qos]
        assert ordered == sorted(ordered)
    assert w.ledger.total(Count.OUTPUTS_PUBLISHED) == 600
    assert w.ledger.total(Gauge.PACKETS_IN_BULK) == 2 * in_bulk
    assert transport.status()["protocol"] == ("3.1.1" if protocol == "3.1.1" else "5")


@pytest.mark.broker
def test_birth_on_connect_and_the_will_when_the_process_vanishes(
    mosquitto, opened, peers, monkeypatch
):
    def vanish(_client):
        monkeypatch.undo()
        raise OSError("cut without a good-bye")

    w = wiring(mosquitto.url, "lastwill")
    transport = opened(w)
    peer = peers(mosquitto.port, TOPIC)
    until(lambda: b"online" in peer.payloads)
    monkeypatch.setattr(transport._egress, "work", vanish)
    transport._egress.wake()
    until(lambda: b"offline" in peer.payloads)
    until(lambda: peer.payloads[-1] == b"online", what="birth after the reconnect")
    transport.stop(1)
    until(lambda: peer.payloads[-1] == b"offline", what="good-bye")


@pytest.mark.broker
def test_what_comes_while_states_are_recalled_is_subscribed_to_and_counts_as_later(
    mosquitto, opened, peers, monkeypatch
):
    monkeypatch.setattr(egress, "RECALL_QUIET_NS", 2_000_000_000)  # so that a slow machine sees it
    peer = peers(mosquitto.port)
    for i in range(20):
        peer.publish(f"recall/state/{i}", b"stored", retain=True).wait_for_publish(5)
    w = wiring(mosquitto.url, "recall")
    w.inbox.states_only = True
    transport = opened(w, {"recall/in": 1}, recalled=("recall/state/#",))
    until(lambda: transport.connected)
    assert not transport.recalled  # the broker has been silent for less than a moment
    peer.publish("recall/in").wait_for_publish(5)
    until(lambda: len(w.inbox) == 21)
    states = w.inbox.drain(99)
    assert {(m.topic, m.retain) for m in states} == {(f"recall/state/{i}", True) for i in range(20)}
    assert w.inbox.drain(99) == []
    until(lambda: transport.recalled)
    transport.end_recall()
    w.inbox.states_only = False
    [later] = w.inbox.drain(99)
    assert later.topic == "recall/in"
    assert max(m.arrival_ns for m in states) < later.arrival_ns


@pytest.mark.broker
def test_subscriptions_are_replaced_and_retained_messages_flagged(mosquitto, opened, peers):
    peer = peers(mosquitto.port)
    peer.publish("subs/kept", b"stored", retain=True).wait_for_publish(5)
    w = wiring(mosquitto.url, "subs")
    transport = opened(w, {"subs/old": 1})
    until(lambda: transport.connected)
    transport.subscribe({"subs/new": 1, "subs/kept": 0})
    until(lambda: transport.status()["subscriptions"] == {"subs/new": 1, "subs/kept": 0})
    until(lambda: len(w.inbox) == 1)
    peer.publish("subs/old").wait_for_publish(5)
    peer.publish("subs/new").wait_for_publish(5)
    until(lambda: len(w.inbox) == 2)
    assert [(m.topic, m.retain) for m in w.inbox.drain(9)] == [
        ("subs/kept", True),
        ("subs/new", False),
    ]


@pytest.mark.broker
def test_a_unix_socket(tmp_path, opened):
    path = tmp_path / "broker.sock"
    broker = Mosquitto(tmp_path, listener=["listener {port} 127.0.0.1", f"listener 0 {path}"])
    broker.start()
    try:
        w = wiring(f"unix:{path}", "unix")
        transport = opened(w, {"u/#": 1})
        until(lambda: transport.connected)
        w.outbox.put([alert("u/1")])
        until(lambda: len(w.inbox) == 1)
    finally:
        broker.stop()


@pytest.fixture
def amqtt_ports(tmp_path):
    """Ports (tcp, websockets) of another broker, written in Python, that knows 3.1.1 only."""
    tcp, web = free_port(), free_port()
    (tmp_path / "amqtt.yaml").write_text(
        f"""
listeners:
  default: {{type: tcp, bind: "127.0.0.1:{tcp}"}}
  web: {{type: ws, bind: "127.0.0.1:{web}"}}
plugins:
  amqtt.plugins.authentication.AnonymousAuthPlugin: {{allow_anonymous: true}}
"""
    )
    process = subprocess.Popen(
        [f"{sys.prefix}/bin/amqtt", "-c", str(tmp_path / "amqtt.yaml")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def answers():
        assert process.poll() is None, "amqtt has ended"
        try:
            socket.create_connection(("127.0.0.1", web), 0.2).close()
        except OSError:
            return False
        return True

    until(answers, 30, "amqtt")
    yield tcp, web
    process.terminate()
    process.wait(60)


@pytest.mark.parametrize("carrier", ["mqtt", "ws"])
def test_a_3_1_1_broker_over_tcp_and_over_websockets(amqtt_ports, opened, carrier):
    port = amqtt_ports[carrier == "ws"]
    w = wiring(f"{carrier}://127.0.0.1:{port}", f"amqtt-{carrier}")
    transport = opened(w, {"w/#": 1})
    until(lambda: transport.connected)
    assert transport.status()["protocol"] == "3.1.1"
    for _ in range(2):
        w.outbox.put([alert(f"w/{i}", b"x" * i) for i in range(300)])
        until(lambda: len(w.inbox) == 300)
        messages = w.inbox.drain(300)
        assert [m.topic for m in messages] == [f"w/{i}" for i in range(300)]
        assert [len(m.payload) for m in messages] == list(range(300))
        transport.acknowledge(messages)
    until(lambda: len(w.outbox) == 0)


# --- TLS -------------------------------------------------------------------------------------


def _certificates(folder):
    """A CA, and a server and a client certificate of it, made by openssl."""

    def openssl(*args):
        subprocess.run(["openssl", *args], cwd=folder, check=True, capture_output=True)

    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", "ca.key",
            "-out", "ca.crt", "-subj", "/CN=test CA")  # fmt: skip
    (folder / "san").write_text("subjectAltName=DNS:localhost")
    for name in ("server", "client"):
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-out",
                f"{name}.csr", "-subj", f"/CN={name}")  # fmt: skip
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key",
                "-CAcreateserial", "-days", "2", "-out", f"{name}.crt", "-extfile", "san")  # fmt: skip


# paho leaves the socket of a failed handshake to the garbage collector, which says so.
@pytest.mark.filterwarnings(
    "ignore:unclosed <ssl", "ignore::pytest.PytestUnraisableExceptionWarning"
)
@pytest.mark.broker
def test_tls_both_ways_and_refusal_of_strangers(tmp_path, opened):
    _certificates(tmp_path)
    port = free_port()
    broker = Mosquitto(
        tmp_path,
        listener=[
            "listener {port} 127.0.0.1",
            f"listener {port} 127.0.0.1",
            "cafile {folder}/ca.crt",
            "certfile {folder}/server.crt",
            "keyfile {folder}/server.key",
            "require_certificate true",
        ],
    )
    broker.start()
    try:
        mine = {"cert": f"{tmp_path}/client.crt", "key": f"{tmp_path}/client.key"}
        url = f"mqtts://localhost:{port}"
        w = wiring(url, "tls", tls={"ca": f"{tmp_path}/ca.crt", **mine})
        transport = opened(w, {"t/#": 1})
        until(lambda: transport.connected)
        w.outbox.put([alert(f"t/{i}", b"x" * 1000) for i in range(2000)])
        until(lambda: len(w.inbox) == 2000)
        transport.acknowledge(w.inbox.drain(2000))

        stranger = opened(wiring(url, "tls2", tls=mine))
        until(lambda: "CERTIFICATE_VERIFY_FAILED" in stranger.status()["out"]["last_error"])
        trusting = opened(wiring(url, "tls3", tls={"insecure": True, **mine}))
        until(lambda: trusting.connected)
        nobody = opened(wiring(url, "tls4", tls={"ca": f"{tmp_path}/ca.crt"}))
        until(lambda: nobody.status()["out"]["last_error"])
        missing = opened(wiring(url, "tls5", tls={"ca": "/nowhere/ca.crt"}))
        until(lambda: "FileNotFoundError" in missing.status()["out"]["last_error"])
        assert not stranger.connected
        assert not nobody.connected
        assert not missing.connected
        assert missing.alive
    finally:
        broker.stop()


# --- small parts -----------------------------------------------------------------------------


def test_back_off_grows_spreads_and_starts_afresh(monkeypatch):
    monkeypatch.undo()
    waits = [Backoff(seed).next_s(up_for_s=0) for seed in range(200)]
    assert all(backoffs.FIRST_S <= w <= 3 * backoffs.FIRST_S for w in waits)
    assert len(set(waits)) == 200
    one = Backoff(1)
    long = [one.next_s(up_for_s=1) for _ in range(100)]
    assert max(long) <= backoffs.LONGEST_S
    assert max(long) > 20
    assert one.next_s(up_for_s=31) <= 3 * backoffs.FIRST_S
    assert one.next_s(up_for_s=0, taken_over=True) >= backoffs.TAKEN_OVER_S


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("mqtt://broker", Address("broker", 1883, "tcp", tls=False, path="/mqtt")),
        ("mqtts://broker:99", Address("broker", 99, "tcp", tls=True, path="/mqtt")),
        ("wss://broker/x/y", Address("broker", 443, "websockets", tls=True, path="/x/y")),
        ("unix:/run/m.sock", Address("/run/m.sock", 1, "unix", tls=False, path="")),
    ],
)
def test_addresses(url, expected):
    assert Address.of(url) == expected


def test_topics_and_sizes():
    assert is_topic("a/ü/$x")
    for bad in ("", "a\0", "a\x9f", "a+", "#", "\ud800", "x" * 65_536, "é" * 40_000):
        assert not is_topic(bad)
    big = alert("t" * 100, b"x" * 1000, properties=(("k", "v" * 50),), content_type="a/b")
    assert 1000 + 100 + 50 < packet_bytes(big) < 1000 + 100 + 50 + 60


def test_tls_is_1_2_or_newer_and_checks_the_broker():
    context = tls_context(Tls())
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname


def test_an_answer_that_comes_at_once_opens_the_other_connection_once(monkeypatch):
    transport, opened_ = MqttTransport(wiring("mqtt://127.0.0.1:1", "once")), []
    monkeypatch.setattr(transport._ingest, "start", lambda: opened_.append(1))
    monkeypatch.setattr(transport._egress, "start", transport._egress.on_answer)
    transport.recall(("state/#",))
    transport.start()
    assert opened_ == [1]
    for link in (transport._ingest, transport._egress):
        link._waiting.close()
