"""The true daemon with state on bad disks and at bad brokers: what was sent counts once, always."""

import json
import os
import resource
import signal
import time
from pathlib import Path

import pytest

from tests.daemons import QUICK, Keeper, Publisher, gateway
from tests.mosquitto import Mosquitto
from tests.wire_proxy import Wire
from tests.wires import until

pytestmark = pytest.mark.broker

MIB = 1 << 20
DISK = """
import errno, os, time
from daemon.durable.disk import OsFile
whole = OsFile.sync
def sync(self):
    if os.path.exists({fail!r}):
        raise OSError(errno.EIO, "told to fail")
    if os.path.exists({slow!r}):
        time.sleep(1)
    whole(self)
OsFile.sync = sync
"""
IMPATIENT = "from daemon import canary as c; c.EVERY_NS, c.LOST_NS = 10**9, 2 * 10**9\n"


class Plant:
    """A daemon with state that counts samples in windows of a second of event time."""

    def __init__(self, name, broker, daemons, closing, folder, before="", more=None, **state):
        self.name, self.folder, self.sent = name, folder, 0
        config = gateway(
            broker.url,
            name,
            {
                "n": {
                    "from": "boilers",
                    "steps": [{"aggregate": {"size": "1s", "stats": ["count", "mean"]}}],
                    "publish": {"topic": f"{name}/n/{{device}}"},
                }
            },
            {
                "boilers": {
                    "topic": f"{name}/plant/{{device}}",
                    "time": {"field": "ts", "unit": "ms"},
                    "idle_after": "1h",
                }
            },
            state={"folder": str(folder / "state"), **state},
            **more or {},
        )
        self.heard = closing(Keeper(broker.port, f"{name}-keeper", f"{name}/n/#"))
        self.gaps = closing(Keeper(broker.port, f"{name}-gaps", f"sensorweir/{name}/gap"))
        self.daemon = daemons(config, before=QUICK + before)
        self.publisher = closing(Publisher(broker.port, f"{name}-plant"))

    def send(self, n):
        """A sample each tenth of a second of event time."""
        for _ in range(n):
            body = {"ts": 1_764_000_000_000 + self.sent * 100, "t": self.sent}
            self.publisher.send(f"{self.name}/plant/b1", body)
            self.sent += 1

    def taken(self):
        """Every sample is in exactly one window, and none is wrong."""
        self.publisher.settle()
        whole = (self.sent - 1) // 10  # the last one is open

        def complete():
            return len(self.windows()) >= whole

        until(complete, 30, f"{whole} windows")
        for i, (_, data) in enumerate(sorted(self.windows().items())):
            assert (data["count"], data["mean"]) == (10, i * 10 + 4.5)
        assert len(self.windows()) == whole

    def degraded(self):
        return json.loads(self.daemon.get("/readyz")[1])["degraded"]

    def windows(self):
        found = {}
        for h in [h for h in self.heard.heard if h.topic.endswith("/b1")]:
            event = json.loads(h.payload)
            assert found.setdefault(event["time"], event["data"]) == event["data"]
        return found


@pytest.fixture
def plant(daemons, closing, tmp_path):
    return lambda name, broker, **more: Plant(name, broker, daemons, closing, tmp_path, **more)


def test_a_full_disk_is_waited_for(mosquitto, plant):
    made = plant("full", mosquitto, size="64MiB")
    made.send(20)
    until(made.windows)
    pid = made.daemon.process.pid
    room = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    log = max((made.folder / "state" / "log").glob("*"), key=lambda p: p.stat().st_size)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (log.stat().st_size, room[1]))
    made.send(50)
    until(lambda: made.daemon.metrics()["log_stalled"])
    status, body = made.daemon.get("/readyz")
    assert (status, "no space for the log" in body.decode()) == (200, True)
    assert len(made.windows()) <= 2  # nothing is told that is not on disk
    resource.prlimit(pid, resource.RLIMIT_FSIZE, room)
    made.send(31)
    made.taken()
    assert made.daemon.said("There is space for the log again", "warning")
    made.daemon.close()


def test_a_disk_that_fails_ends_the_daemon_and_the_next_start_has_all(mosquitto, plant, tmp_path):
    fail, slow = tmp_path / "fail", tmp_path / "slow"
    disk = DISK.format(fail=str(fail), slow=str(slow))
    made = plant("broken", mosquitto, before=f"exec({disk!r})\n")
    made.send(25)
    until(made.windows)
    fail.touch()
    made.send(20)
    until(lambda: made.daemon.ended)
    assert made.daemon.process.returncode == 1
    [said] = made.daemon.said(
        "The log cannot be written, the daemon ends: nothing more is acknowledged"
    )
    assert "told to fail" in said["why"]
    fail.unlink()
    made.daemon.start()
    made.send(16)
    made.taken()
    made.daemon.close()


def test_a_slow_disk_delays_and_loses_nothing(mosquitto, plant, tmp_path):
    slow = tmp_path / "slow"
    disk = DISK.format(fail=str(tmp_path / "fail"), slow=str(slow))
    made = plant("slow", mosquitto, before=f"exec({disk!r})\n")
    slow.touch()
    made.send(41)
    time.sleep(0.5)
    made.daemon.kill()  # with acknowledgements outstanding
    slow.unlink()
    made.daemon.start()
    made.send(20)
    made.taken()
    made.daemon.close()


@pytest.fixture
def unlimited(tmp_path):
    """A broker that keeps any number of messages for a session."""
    broker = Mosquitto(tmp_path, "max_queued_messages 0").start()
    yield broker
    broker.stop()


def test_a_start_behind_a_long_queue_makes_no_more_than_can_go_out(unlimited, plant):
    made = plant(
        "behind",
        unlimited,
        more={"limits": {"outbox_messages_max": 32, "batch_messages_max": 64}},
    )
    made.send(20)
    until(made.windows)
    made.daemon.kill()
    made.send(4_001)  # more windows than the outbox takes, by far
    made.publisher.settle()
    made.daemon.start()
    made.taken()
    assert made.daemon.metrics()["outputs_discarded"] == 0
    made.daemon.close()


@pytest.fixture
def forgetful(tmp_path):
    """A broker that keeps nothing over a restart, with access rules that may change."""
    rules = tmp_path / "acl"
    rules.write_text("topic read #\ntopic write #\n")
    broker = Mosquitto(tmp_path, f"acl_file {rules}").start()
    yield broker, rules
    broker.stop()


def test_a_session_that_the_broker_forgets_is_told_of(forgetful, plant):
    broker, _ = forgetful
    made = plant("forgets", broker)
    made.send(20)
    made.taken()
    broker.stop()
    until(lambda: made.daemon.metrics()["time_held"])
    broker.start()
    until(lambda: made.daemon.ready)
    until(lambda: made.daemon.metrics()["sessions_lost"] == 1)
    until(lambda: made.heard.connected and made.gaps.connected)
    time.sleep(0.5)  # their subscriptions were forgotten, too
    made.send(21)  # packet ids begin again
    made.taken()
    until(lambda: made.gaps.heard)
    gap = json.loads(made.gaps.heard[-1].payload)
    assert gap["type"] == "sensorweir.gap"
    assert (gap["data"]["what"], gap["data"]["reason"]) == ("messages", "session_lost")
    made.daemon.close()


def test_a_broker_that_restarts_with_its_sessions_loses_nothing(own_mosquitto, plant):
    broker = own_mosquitto.start()
    made = plant("keeps", broker)
    for _ in range(4):
        made.send(13)
        broker.stop()
        broker.start()
    until(lambda: made.daemon.ready)
    made.send(9)
    made.taken()
    assert made.daemon.metrics()["sessions_lost"] == 0
    made.daemon.close()


def test_a_subscription_that_is_granted_and_blocked_is_told_of(forgetful, plant):
    broker, rules = forgetful
    made = plant("blocked", broker, before=f"exec({IMPATIENT!r})\n")
    assert made.degraded() == []
    rules.write_text("topic read #\ntopic deny sensorweir/blocked/canary\ntopic write #\n")
    broker.process.send_signal(1)  # reads its rules again
    until(lambda: "canary" in str(made.degraded()), 60)
    rules.write_text("topic read #\ntopic write #\n")
    broker.process.send_signal(1)
    until(lambda: made.degraded() == [], 60)
    made.daemon.close()


def test_a_folder_that_cannot_be_used_is_refused_with_a_way_out(mosquitto, daemons, tmp_path):
    (tmp_path / "file").write_text("in the way")
    config = gateway(mosquitto.url, "nowhere", {}, state={"folder": f"{tmp_path}/file/state"})
    daemon = daemons(config, start=False)
    with pytest.raises(AssertionError, match="the state cannot be kept"):
        daemon.start()
    assert daemon.process.returncode == 1
    assert "state.folder" in Path(daemon.log).read_text()


@pytest.fixture
def wire(mosquitto):
    made = Wire(mosquitto.port)
    yield made
    made.close()


def test_a_wire_that_is_cut_again_and_again_loses_nothing(wire, plant):
    made = plant("cut", wire.broker)
    while wire.cuts < 12:
        made.send(37)
        until(lambda: made.daemon.metrics()["connected"] > 0, what="a connection")
        time.sleep(0.02 * (wire.cuts % 5))  # in the midst of another part of the exchange each time
        wire.cut()
    made.send(57)
    made.taken()
    assert made.daemon.metrics()["sessions_lost"] == 0
    made.daemon.close()


def test_a_wire_that_damages_what_it_carries_ends_neither_the_daemon_nor_the_rest(wire, plant):
    made = plant("flips", wire.broker)
    made.send(20)
    until(made.windows)
    wire.flip_share = 0.3
    deadline = time.monotonic() + 8
    while wire.flips < 60 and time.monotonic() < deadline:
        made.publisher.send("flips/plant/other", {"ts": 1_700_000_000_000, "t": 1})
        time.sleep(0.002)
    assert wire.flips >= 20
    wire.flip_share = 0.0
    wire.cut()
    made.send(31)
    made.taken()
    assert made.daemon.process.poll() is None
    assert made.daemon.quiet()["nondeterminism"] == 0
    made.daemon.kill()
    made.daemon.start()
    made.send(20)
    made.taken()
    assert made.daemon.metrics()["nondeterminism"] == 0
    made.daemon.close()


def test_a_daemon_that_stands_still_goes_on_where_it_was(mosquitto, plant):
    config = {"broker": {"url": mosquitto.url, "keepalive": "5s"}}
    made = plant("stands", mosquitto, more=config)
    made.send(25)
    until(made.windows)
    os.kill(made.daemon.process.pid, signal.SIGSTOP)
    made.send(40)
    time.sleep(10)  # the broker gives it up after one and a half times the keepalive
    os.kill(made.daemon.process.pid, signal.SIGCONT)
    made.send(16)
    made.taken()
    assert made.daemon.metrics()["sessions_lost"] == 0
    made.daemon.close()
