"""MQTT against a real broker that stops, dies and refuses, and against brokers that misbehave."""

import socket
import ssl
import subprocess
import sys
import threading
import time

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from config.model import Tls
from daemon.ledger import Count
from daemon.messages import Message
from daemon.transport import backoff as backoffs
from daemon.transport import make_transport
from daemon.transport.address import Address, tls_context
from daemon.transport.backoff import Backoff
from daemon.transport.egress import is_topic, packet_bytes
from tests.mosquitto import Mosquitto, free_port
from tests.wires import TOPIC, alert, until, wiring


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Reconnect at once: what is tested here is that it happens, not how long it waits."""
    monkeypatch.setattr(Backoff, "next_s", lambda self, **_: 0.05)


@pytest.fixture
def opened():
    """Makes transports and stops them at the end."""
    made = []

    def make(w, filters=()):
        transport = make_transport(w)
        made.append(transport)
        transport.subscribe(dict(filters))
        transport.start()
        return transport

    yield make
    for transport in made:
        transport.stop(0)
        assert not transport.alive


class Peer:
    """Another client on the broker, by paho's own loop: an independent witness."""

    def __init__(self, port, *filters, client_id=None, clean=True):
        self.got = []
        self.client = Client(CallbackAPIVersion.VERSION2, client_id=client_id, clean_session=clean)
        self.client.on_message = lambda _c, _u, m: self.got.append(m)
        subscribed = threading.Event()
        self.client.on_subscribe = lambda *_: subscribed.set()
        self.client.on_connect = lambda *_: [self.client.subscribe(f, 1) for f in filters]
        self.client.max_queued_messages_set(0)
        self.client.reconnect_delay_set(1, 1)
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        if filters:
            assert subscribed.wait(10)

    def publish(self, topic, payload=b"x", qos=1, retain=False):
        return self.client.publish(topic, payload, qos, retain)

    @property
    def payloads(self):
        return [m.payload for m in self.got]

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def peers():
    made = []

    def make(*args, **more):
        made.append(Peer(*args, **more))
        return made[-1]

    yield make
    for peer in made:
        peer.close()


# --- round trips -----------------------------------------------------------------------------


@pytest.mark.broker
@pytest.mark.parametrize("protocol", ["auto", "5", "3.1.1"])
def test_messages_go_both_ways(mosquitto, opened, peers, protocol):
    name = f"ways{protocol}"
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
    process.wait(10)


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


# --- brokers that stop and die ---------------------------------------------------------------


@pytest.mark.broker
def test_a_broker_restarted_under_load_loses_nothing_of_qos_1(own_mosquitto, opened, peers):
    own_mosquitto.start()
    w = wiring(own_mosquitto.url, "restart", keepalive="5s")
    transport = opened(w, {"load/#": 1})
    until(lambda: transport.connected)
    witness = peers(own_mosquitto.port, "out/#", client_id="witness", clean=False)
    n, seen = 3000, set()
    device = peers(own_mosquitto.port)
    done = threading.Event()

    def publish():
        for i in range(n):
            device.publish("load/x", str(i).encode())
            w.outbox.put([alert("out/x", str(i).encode())])
            if i % 10 == 0:
                time.sleep(0.002)
        done.set()

    def take():
        messages = w.inbox.drain(1000, 0.005)
        transport.acknowledge(messages)
        seen.update(int(m.payload) for m in messages)
        return len(seen) == n

    sender = threading.Thread(target=publish)
    sender.start()
    for _ in range(4):
        until(lambda: take() or transport.connected)
        time.sleep(0.1)
        own_mosquitto.stop()
        own_mosquitto.start()
        assert transport.alive
    until(take, 60, "every message")
    sender.join()
    until(lambda: len(w.outbox) == 0, 30)
    until(lambda: len({*map(int, witness.payloads)}) == n, 60, "every output")
    assert w.ledger.total(Count.SESSIONS_LOST) == 0
    assert w.ledger.total(Count.OUTPUTS_DISCARDED) == 0
    assert w.ledger.total(Count.OUTPUTS_PUBLISHED) == n
    assert w.ledger.total(Count.CALLBACK_ERRORS) == 0


@pytest.mark.broker
def test_a_killed_broker_that_forgets_us_is_noticed(own_mosquitto, opened):
    own_mosquitto.start()
    w = wiring(own_mosquitto.url, "killed")
    transport = opened(w, {"k/#": 1})
    until(lambda: transport.connected)
    own_mosquitto.kill()
    until(lambda: not transport.connected)
    own_mosquitto.start()
    until(lambda: transport.connected)
    assert w.ledger.total(Count.SESSIONS_LOST) == 1
    w.outbox.put([alert("k/1")])
    until(lambda: len(w.inbox) == 1, what="a message of the new subscription")


@pytest.mark.broker
def test_unacknowledged_messages_come_again_and_old_acknowledgements_are_not_sent(
    own_mosquitto, opened
):
    own_mosquitto.start()
    w = wiring(own_mosquitto.url, "again")
    transport = opened(w, {"g/#": 1})
    until(lambda: transport.connected)
    w.outbox.put([alert("g/1", str(i).encode()) for i in range(10)])
    until(lambda: len(w.inbox) == 10)
    first = w.inbox.drain(10)
    transport.acknowledge(first[:4])
    until(lambda: not transport._ingest._acks and not transport._ingest.raw_pending())
    time.sleep(0.1)
    own_mosquitto.stop()
    own_mosquitto.start()
    until(lambda: len(w.inbox) == 6)
    transport.acknowledge(first[4:])
    assert w.ledger.total(Count.ACKNOWLEDGEMENTS_STALE) == 6
    again = w.inbox.drain(10)
    assert [m.payload for m in again] == [b"4", b"5", b"6", b"7", b"8", b"9"]
    assert {m.epoch for m in again} == {2}


@pytest.mark.broker
def test_a_full_inbox_stops_the_reading_but_not_the_pings(mosquitto, opened, peers):
    w = wiring(mosquitto.url, "pause", inbox_max=50, keepalive="5s")
    transport = opened(w, {"pause/#": 0})
    until(lambda: transport.connected)
    peer = peers(mosquitto.port)
    for i in range(20_000):
        peer.publish("pause/x", str(i).encode() * 20, qos=0)
    until(lambda: not w.inbox.has_room())
    time.sleep(9)  # beyond 1.5 times the keep-alive, after which the broker would hang up
    assert len(w.inbox) == 50
    got = []
    until(lambda: got.extend(w.inbox.drain(50, 0.01)) or len(got) > 1000, 30)
    assert transport.status()["in"]["connections"] == 1
    assert w.ledger.total(Count.MESSAGES_REJECTED) == 0


# --- outputs that cannot be published --------------------------------------------------------


@pytest.mark.broker
@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_no_bad_output_keeps_the_others_from_leaving(tmp_path, opened, peers, protocol):
    broker = Mosquitto(tmp_path, "max_packet_size 20000").start()
    try:
        w = wiring(broker.url, "poison", protocol=protocol)
        opened(w)
        witness = peers(broker.port, "good/#")
        bad = [
            alert("bad/\0nul"),
            alert("bad/\nline"),
            alert("bad/+/plus"),
            alert(""),
            alert("bad/" + "x" * 70_000),
            alert("bad/\ud800"),
            alert("bad/big", b"x" * 30_000),
        ]
        good = [alert(f"good/{i}", str(i).encode()) for i in range(60)]
        mixed = [x for i, one in enumerate(bad) for x in (*good[i * 8 : i * 8 + 8], one)]
        w.outbox.put([*mixed, *good[56:]])
        until(lambda: len(w.outbox) == 0, 30, "an empty outbox")
        until(lambda: len({*map(int, witness.payloads)}) == 60)
        big = "too_big" if protocol == "5" else "poison"
        assert w.ledger.value(Count.OUTPUTS_DISCARDED, kind="alert", reason=big) == 1
        assert w.ledger.value(Count.OUTPUTS_DISCARDED, kind="alert", reason="bad_topic") == 6
        assert w.ledger.total(Count.OUTPUTS_PUBLISHED) == 60
        assert w.ledger.balance() == []
    finally:
        broker.stop()


@pytest.mark.broker
def test_what_the_brokers_rules_forbid_is_set_aside_and_a_refused_subscription_shows(
    tmp_path, opened, caplog
):
    rules = tmp_path / "acl"
    rules.write_text(f"topic readwrite {TOPIC}\ntopic readwrite free/#\n")
    broker = Mosquitto(tmp_path, f"acl_file {rules}").start()
    try:
        w = wiring(broker.url, "rules")
        transport = opened(w, {"free/#": 1})
        until(lambda: transport.connected)
        w.outbox.put([alert("secret/1"), alert("free/1")])
        until(lambda: len(w.outbox) == 0)
        assert w.ledger.value(Count.OUTPUTS_DISCARDED, kind="alert", reason="refused") == 1
        until(lambda: len(w.inbox) == 1)
    finally:
        broker.stop()


# --- brokers that misbehave ------------------------------------------------------------------


class FakeBroker:
    """Answers each connection with what `script(number, protocol level)` says, then as told."""

    def __init__(self, script):
        self.script, self.levels = script, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.kept = []
        self.thread = threading.Thread(target=self._accept, daemon=True)
        self.thread.start()

    def _accept(self):
        while True:
            try:
                wire, _ = self.listener.accept()
            except OSError:
                return
            first = wire.recv(4096)
            if not first:
                wire.close()
                continue
            self.levels.append(first[first.index(b"MQTT") + 4])
            answer = self.script(len(self.levels), self.levels[-1])
            if answer is None:
                wire.close()
                continue
            wire.sendall(answer)
            self.kept.append(wire)

    def close(self):
        self.listener.close()
        for wire in self.kept:
            wire.close()


@pytest.fixture
def fake():
    made = []

    def make(script):
        made.append(FakeBroker(script))
        return made[-1]

    yield make
    for broker in made:
        broker.close()


OK_V5, OK_V311 = b"\x20\x03\x00\x00\x00", b"\x20\x02\x00\x00"


@pytest.mark.parametrize(
    "refusal",
    [b"\x20\x02\x00\x01", b"\x20\x03\x00\x84\x00", None],
    ids=["3.1.1 answer", "5 answer", "hangs up"],
)
def test_a_broker_without_mqtt_5_is_spoken_to_in_3_1_1_and_it_is_said_once(
    fake, opened, caplog, refusal
):
    broker = fake(lambda _, level: refusal if level == 5 else OK_V311)
    w = wiring(f"mqtt://127.0.0.1:{broker.port}", "old")
    transport = opened(w)
    until(lambda: transport.status()["in"]["up"] and transport.status()["out"]["up"])
    assert transport.status()["protocol"] == "3.1.1"
    said = [r for r in caplog.records if "3.1.1" in r.getMessage()]
    assert len(said) == 1


def test_a_fixed_protocol_does_not_fall_back(fake, opened):
    broker = fake(lambda _, level: b"\x20\x03\x00\x84\x00" if level == 5 else OK_V311)
    w = wiring(f"mqtt://127.0.0.1:{broker.port}", "fixed", protocol="5")
    opened(w)
    until(lambda: len(broker.levels) > 6)
    assert set(broker.levels) == {5}


def test_a_broker_that_is_away_changes_no_protocol_and_kills_no_thread(opened):
    port = free_port()
    w = wiring(f"mqtt://127.0.0.1:{port}", "away")
    transport = opened(w)
    until(lambda: w.ledger.total(Count.CONNECTION_FAILURES) > 10)
    assert transport.alive
    assert not transport.connected
    assert "ConnectionRefusedError" in transport.status()["in"]["last_error"]
    assert transport.status()["protocol"] == "5"


def test_a_connection_that_goes_silent_is_given_up(fake, opened):
    broker = fake(lambda *_: OK_V5)
    w = wiring(f"mqtt://127.0.0.1:{broker.port}", "silent", keepalive="5s")
    transport = opened(w)
    until(lambda: transport.status()["out"]["up"])
    until(lambda: transport.status()["out"]["connections"] >= 2, 20, "a second connection")
    assert w.ledger.total(Count.OUTPUTS_DISCARDED) == 0


def test_refused_logins_and_garbage_only_cost_the_connection(fake, opened):
    answers = [
        b"\x20\x03\x00\x86\x00",  # bad user name or password
        b"\x20\x02\x00\x05",
        b"\xff\xff\xff\xff\xff\xff",
        b"\x20\x00",
        b"\x00\x00",
        OK_V5 + b"\x30\x02\xff\xff",  # a PUBLISH whose topic is longer than the packet
        OK_V5 + b"\xe0\x02\x8e\x00",  # session taken over
        OK_V5 + b"\x90\x01\x00",
        OK_V5 + b"\x40\x01\x00",
    ]
    broker = fake(lambda number, _: answers[number % len(answers)])
    w = wiring(f"mqtt://127.0.0.1:{broker.port}", "garbage", protocol="5")
    transport = opened(w, {"a": 1})
    until(lambda: len(broker.levels) > 6 * len(answers), 30)
    assert transport.alive


def test_a_topic_that_is_no_utf_8_reaches_the_engine_as_no_topic(fake, opened):
    broken = b"\x30\x05\x00\x02\xff\xfe\x00"
    broker = fake(lambda *_: OK_V5 + broken)
    w = wiring(f"mqtt://127.0.0.1:{broker.port}", "utf8")
    opened(w)
    until(lambda: len(w.inbox) >= 1)
    assert w.inbox.drain(1)[0].topic == ""
    assert w.ledger.total(Count.CALLBACK_ERRORS) == 0


def test_a_fault_in_a_callback_is_counted_and_costs_one_connection(fake, opened, monkeypatch):
    broker = fake(lambda *_: OK_V5 + b"\x30\x04\x00\x01a\x00")
    w = wiring(f"mqtt://127.0.0.1:{broker.port}", "fault")
    put, faults = w.inbox.put, iter([RuntimeError("planted"), None])

    def planted(message: Message):
        fault = next(faults, None)
        if fault:
            raise fault
        return put(message)

    monkeypatch.setattr(w.inbox, "put", planted)
    transport = opened(w)
    until(lambda: len(w.inbox) >= 1)
    assert w.ledger.value(Count.CALLBACK_ERRORS, connection="in") == 1
    assert transport.alive


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
