"""MQTT when brokers stop, die, refuse and misbehave, and when an output cannot be published."""

import socket
import threading
import time

import pytest

from daemon.ledger import Count
from tests.mosquitto import Mosquitto, free_port
from tests.mqtt_rig import opened, peers, quick
from tests.wires import TOPIC, alert, until, wiring

__all__ = ["opened", "peers", "quick"]  # fixtures
pytestmark = pytest.mark.usefixtures("quick")


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
    until(lambda: len(w.outbox) == 0, 60)
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
    until(lambda: not transport._ingest._acks and not transport._ingest.raw)
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
    until(lambda: got.extend(w.inbox.drain(50, 0.01)) or len(got) > 1000, 60)
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
            if self._serve(wire):
                self.kept.append(wire)
            else:
                wire.close()

    def _serve(self, wire):
        """Whether the connection is kept."""
        try:
            first = wire.recv(4096)
            if not first:
                return False
            self.levels.append(first[first.index(b"MQTT") + 4])
            answer = self.script(len(self.levels), self.levels[-1])
            if answer is None:
                return False
            wire.sendall(answer)
        except OSError:  # the other side has given up
            return False
        return True

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.thread.join(5)
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
    until(lambda: len(broker.levels) > 6 * len(answers), 60)
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
    put, faults = w.inbox.put_all, iter([RuntimeError("planted"), None])

    def planted(messages):
        fault = next(faults, None)
        if fault:
            raise fault
        return put(messages)

    monkeypatch.setattr(w.inbox, "put_all", planted)
    transport = opened(w)
    until(lambda: len(w.inbox) >= 1)
    assert w.ledger.value(Count.CALLBACK_ERRORS, connection="in") == 1
    assert transport.alive
