"""What the service manager hears: each word on a real socket of its kind."""

import os
import re
import secrets
import signal
import socket

import pytest

from daemon.clock import SECOND, ManualClock
from daemon.notify import BEAT_AGE_MAX_NS, LOOK_NS, Notifier, Watchdog
from daemon.transport.backoff import Backoff
from daemon.transport.mqtt import MqttTransport
from tests.daemons import READY_S, gateway
from tests.mosquitto import free_port
from tests.wires import until, wiring

PERIOD_NS = 30 * SECOND


class Manager:
    """The other end: one socket, by path or in the abstract name space."""

    def __init__(self, address):
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(f"\0{address[1:]}" if address.startswith("@") else address)
        self.socket.setblocking(False)
        self.heard = []

    def words(self):
        """Everything that was said so far, a list of lines for each datagram."""
        while True:
            try:
                self.heard.append(self.socket.recv(4096).decode().split("\n"))
            except BlockingIOError:
                return self.heard

    def said(self, word):
        return [i for i, lines in enumerate(self.words()) if word in lines]


@pytest.fixture(params=["path", "abstract"])
def manager(request, tmp_path):
    name = f"@sensorweir-{secrets.token_hex(8)}"
    made = Manager(str(tmp_path / "notify") if request.param == "path" else name)
    yield made
    made.socket.close()


@pytest.fixture
def watchdog(manager):
    """(watchdog, its clock, beats that a test may change)."""
    clock, beats = ManualClock(), {"ingest": 0, "egress": 0}
    env = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": str(PERIOD_NS // 1000)}
    looked_at = {name: lambda name=name: beats[name] for name in beats}
    return Watchdog(clock, looked_at, env), clock, beats


def test_words_arrive_on_both_kinds_of_socket(manager):
    notifier = Notifier(manager.address)
    assert notifier.send("READY=1", "STATUS=all is well")
    assert manager.words() == [["READY=1", "STATUS=all is well"]]


def test_without_a_manager_nothing_happens(caplog):
    assert not Notifier("").send("READY=1")
    dog = Watchdog(ManualClock(), {}, {})
    dog.ready("fine")
    dog.look(lambda: pytest.fail("nobody asked"))
    with dog.reloading():
        pass
    dog.stopping()
    assert not caplog.records


def test_a_manager_that_is_gone_costs_a_line_in_the_log(tmp_path, caplog):
    notifier = Notifier(str(tmp_path / "gone"))
    assert not notifier.send("READY=1")
    assert not notifier.send("WATCHDOG=1")
    assert [r.message for r in caplog.records] == ["The service manager cannot be told how we are"]


def test_the_watchdog_is_fed_in_time_and_not_at_every_turn(manager, watchdog):
    dog, clock, beats = watchdog
    for _ in range(600):  # a minute of turns
        beats.update(ingest=clock.monotonic_ns(), egress=clock.monotonic_ns())
        dog.look(lambda: "fine")
        clock.advance(SECOND // 10)
    assert len(manager.said("WATCHDOG=1")) == 6
    assert len(manager.said("STATUS=fine")) == 1


@pytest.mark.parametrize("hung", ["ingest", "egress"])
def test_one_loop_that_hangs_starves_it(manager, watchdog, hung, caplog):
    dog, clock, beats = watchdog
    clock.advance(BEAT_AGE_MAX_NS)
    beats[{"ingest": "egress", "egress": "ingest"}[hung]] = clock.monotonic_ns()
    dog.look(lambda: "fine")
    assert len(manager.said("WATCHDOG=1")) == 1, "as old as it may be"
    for _ in range(3):
        clock.advance(PERIOD_NS)
        beats[{"ingest": "egress", "egress": "ingest"}[hung]] = clock.monotonic_ns()
        dog.look(lambda: "fine")
    assert len(manager.said("WATCHDOG=1")) == 1
    assert len(manager.said(f"STATUS=hangs: {hung}")) == 1
    assert [r.facts for r in caplog.records] == [{"loops": [hung]}]
    beats[hung] = clock.monotonic_ns()  # it was only slow
    clock.advance(PERIOD_NS // 3)
    dog.look(lambda: "fine")
    assert len(manager.said("WATCHDOG=1")) == 2


def test_the_watchdog_of_another_process_is_not_ours(manager):
    clock = ManualClock()
    env = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "30000000"}
    for pid, fed in ((str(os.getpid()), 1), ("1", 1)):
        Watchdog(clock, {}, env | {"WATCHDOG_PID": pid}).look(lambda: "fine")
        assert len(manager.said("WATCHDOG=1")) == fed


def test_the_state_is_told_without_a_watchdog_too(manager):
    clock = ManualClock()
    dog = Watchdog(clock, {}, {"NOTIFY_SOCKET": manager.address})
    for text in ("one", "two", "two"):
        dog.look(lambda text=text: text)
        clock.advance(LOOK_NS)
    assert manager.words() == [["STATUS=one"], ["STATUS=two"]]


def test_a_reload_is_framed_with_its_time(manager, watchdog):
    dog, clock, _ = watchdog
    clock.advance(5 * SECOND)
    with dog.reloading():
        assert manager.words() == [["RELOADING=1", "MONOTONIC_USEC=5000000"]]
    assert manager.words()[1:] == [["READY=1"]]


def test_threads_beat_while_the_broker_is_away(monkeypatch):
    """Back-off may last a minute: it must not look like a thread that hangs."""
    monkeypatch.setattr(Backoff, "next_s", lambda self, **_: 60)
    w = wiring(f"mqtt://127.0.0.1:{free_port()}", "away")
    transport = MqttTransport(w)
    beats = transport.beats
    assert all(beat() >= w.clock.monotonic_ns() - SECOND for beat in beats.values()), "not begun"
    transport.subscribe({"a/#": 1})
    transport.start()
    try:
        until(lambda: transport.status()["in"]["last_error"])
        until(lambda: all(beat() <= w.clock.monotonic_ns() for beat in beats.values()), 5)
        first = {name: beat() for name, beat in beats.items()}
        until(lambda: all(0 < beats[n]() != first[n] for n in beats), 10)
        now_ns = w.clock.monotonic_ns()
        assert all(now_ns - beat() < 2 * SECOND for beat in beats.values())
    finally:
        transport.stop(0)
    before = {name: beat() for name, beat in beats.items()}
    assert {name: beat() for name, beat in beats.items()} == before, "ended, so it beats no more"


def test_the_daemon_says_ready_reloads_and_good_bye(daemons, manager, monkeypatch):
    """With a broker that is away: ready is what we are, not what the broker is."""
    monkeypatch.setenv("NOTIFY_SOCKET", manager.address)
    monkeypatch.setenv("WATCHDOG_USEC", "300000")
    hot = {"from": "boilers", "alert": {"when": {"above": 90}}}
    made = gateway(f"mqtt://127.0.0.1:{free_port()}", "notify", {"hot": hot})
    daemon = daemons(made, start=False).start(ready=False)
    until(lambda: manager.said("READY=1"), READY_S)
    fed = manager.said("WATCHDOG=1")
    assert not fed or fed[0] > manager.said("READY=1")[0], "the timer runs from READY=1 on"
    first = manager.words()[0][0]
    assert re.match("STATUS=(compiling|loading) kernels, 1 of ", first)
    until(lambda: len(manager.said("WATCHDOG=1")) > 3)
    assert manager.said("STATUS=1 pipelines; no connection to the broker")
    daemon.process.send_signal(signal.SIGHUP)
    until(lambda: manager.said("RELOADING=1") and len(manager.said("READY=1")) == 2)
    assert manager.said("RELOADING=1")[0] < manager.said("READY=1")[1]
    daemon.process.send_signal(signal.SIGTERM)
    until(lambda: manager.said("STOPPING=1"))
    assert daemon.process.wait(30) == 0  # a second signal would end it before it has an end
