"""What `sensorweir doctor` makes of what it sees: each finding, its meaning and its way out."""

import dataclasses
import errno
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from config.model import Broker, Gateway
from daemon.clock import EARLIEST_NS, ManualClock
from daemon.doctor import disk, machine
from daemon.doctor.broker import check_broker
from daemon.doctor.disk import Place, check_disk
from daemon.doctor.finding import Level
from daemon.durable.disk import OsDisk
from daemon.transport.probe import Report
from tests.daemons import ROOT
from tests.mosquitto import free_port

MS, MIB = 1_000_000, 1 << 20
GOOD = Report(
    protocol="5", version="mosquitto version 2.1.2", confirmed=0, heard_ms=1.5, connect_ms=2
)


def plant(url="mqtts://broker.local", **more):
    sources = {"boilers": {"topic": "plant/{site}/{device}/telemetry"}}
    return Gateway.model_validate({"broker": {"url": url, **more}, "sources": sources})


def found(report, delay_ns=None, **more):
    """{check: finding}"""
    return {f.check: f for f in check_broker(plant(**more), report, delay_ns)}


def with_report(**more):
    return dataclasses.replace(GOOD, **more)


# --- broker ----------------------------------------------------------------------------------


def test_a_good_broker_has_nothing_to_know_of():
    assert {f.level for f in found(GOOD).values()} == {Level.ok}


@pytest.mark.parametrize(
    ("report", "check", "level", "words"),
    [
        ({"version": "mosquitto version 2.0.11"}, "version", "warn", "6,578"),
        ({"version": "mosquitto version 2.0.13"}, "version", "warn", "30 minutes"),
        ({"version": ""}, "version", "warn", "$SYS/broker/version"),
        ({"version": "EMQX 5.9"}, "version", "ok", "EMQX"),
        ({"protocol": "3.1.1"}, "protocol", "warn", "MQTT 5 was refused"),
        ({"limits": {"MaximumQoS": 0}}, "limits", "fail", "QoS 0 alone"),
        ({"limits": {"MaximumQoS": 1}}, "limits", "ok", ""),
        ({"limits": {"RetainAvailable": 0}}, "limits", "warn", "retained"),
        ({"limits": {"WildcardSubscriptionAvailable": 0}}, "limits", "fail", "plant/+/+/telemetry"),
        ({"limits": {"MaximumPacketSize": 1000}}, "limits", "warn", "1,000"),
        ({"refused": {"plant/+": "Not authorized"}}, "subscriptions", "fail", "plant/+"),
        ({"unanswered": True}, "subscriptions", "fail", "does not answer"),
        ({"heard_ms": None, "confirmed": 0x87}, "canary", "fail", "topic write sensorweir/gateway"),
        ({"heard_ms": None, "confirmed": 0}, "canary", "fail", "topic read sensorweir/gateway"),
        ({"heard_ms": None, "confirmed": 0x10}, "canary", "fail", "nobody listens"),
        ({"heard_ms": None, "confirmed": None}, "canary", "fail", "not confirmed"),
        ({"heard_ms": None, "protocol": "3.1.1"}, "canary", "fail", "does not say which"),
        ({"publisher_error": "refused: no"}, "canary", "fail", "broker.publish_as"),
    ],
)
def test_what_a_broker_does_is_named_with_a_way_out(report, check, level, words):
    finding = found(with_report(**report))[f"broker.{check}"]
    assert finding.level == level
    assert words in f"{finding.seen} {finding.means} {finding.way_out}"
    assert bool(finding.way_out) is (level != "ok")


def test_the_window_over_the_commit_delay_is_the_most_that_can_come():
    five = found(GOOD, 50 * MS)["broker.window"]
    assert (five.level, "1,310,700 messages/s" in five.means) == ("ok", True)
    old = found(with_report(protocol="3.1.1"), 100 * MS)["broker.window"]
    assert (old.level, "at most 200 messages/s" in old.means) == ("warn", True)
    assert "no limit" in found(GOOD)["broker.window"].means
    assert "no limit" in found(GOOD, 0)["broker.window"].means


@pytest.mark.parametrize(
    ("error", "way_out"),
    [
        ("ConnectionRefusedError: [Errno 111] Connection refused", "start the broker"),
        ("gaierror: [Errno -2] Name or service not known", "name server"),
        ("TimeoutError: timed out", "IPAddressAllow="),
        ("SSLCertVerificationError: certificate verify failed", "broker.tls.ca"),
        ("refused: Not authorized", "broker.username"),
        ("closed: Unspecified error", "certificate"),
    ],
)
def test_who_cannot_be_reached_is_one_finding(error, way_out):
    findings = found(Report(error=error))
    assert set(findings) == {"broker.privacy", "broker.reach"}
    assert findings["broker.reach"].level == "fail"
    assert way_out in findings["broker.reach"].way_out


@pytest.mark.parametrize(
    ("more", "level"),
    [
        ({"url": "mqtt://broker.local"}, "warn"),
        ({"url": "mqtt://192.0.2.7:1883"}, "warn"),
        ({"url": "mqtt://localhost"}, "ok"),
        ({"url": "mqtt://127.0.0.9"}, "ok"),
        ({"url": "unix:/run/mosquitto.sock"}, "ok"),
        ({"url": "wss://broker.local"}, "ok"),
        ({"url": "mqtts://broker.local", "tls": {"insecure": True}}, "warn"),
    ],
)
def test_who_can_read_along(more, level):
    assert found(GOOD, **more)["broker.privacy"].level == level


def test_who_publishes_is_somebody_else_where_asked_for():
    same = Broker(username="in")
    assert same.publisher is same
    made = Broker.model_validate(
        {
            "tls": {"ca": "ca.crt", "cert": "in.crt", "key": "in.key"},
            "username": "in",
            "password": "secret",
            "publish_as": {"username": "out", "cert": "out.crt", "key": "out.key"},
        }
    ).publisher
    assert (made.username, made.password) == ("out", None)
    assert (made.tls.ca, made.tls.cert, made.tls.key) == ("ca.crt", "out.crt", "out.key")


# --- disk ------------------------------------------------------------------------------------


class SlowDisk(OsDisk):
    """Each sync takes as long as the next entry says."""

    def __init__(self, clock, times_ms, free=1 << 40):
        self.clock, self.times_ms, self.free = clock, iter(times_ms), free

    def create(self, path):
        file = super().create(path)
        file.sync = lambda: self.clock.advance(next(self.times_ms) * MS)
        return file

    def free_bytes(self, folder):
        return self.free


def place(folder, delay_ms=50, size=16 * MIB):
    return Place("state", folder, size, delay_ms * MS)


def on_disk(folder, times_ms, **more):
    clock = ManualClock()
    findings = check_disk(place(folder), clock, SlowDisk(clock, times_ms, **more))
    return {f.check.removeprefix("state."): f for f in findings}


def test_sync_times_are_told_as_they_are(tmp_path):
    usual = [*range(1, 101)] * 2  # 1 to 100 ms: too slow at the end, but the middle is 50
    finding = on_disk(tmp_path, [1] * 190 + [60] * 10)["sync"]
    assert "1.00 ms (p50), 60.00 ms (p99)" in finding.seen
    assert finding.level == "warn"
    assert "one commit in a hundred" in finding.means
    assert on_disk(tmp_path, [1] * 200)["sync"].level == "ok"
    assert "each commit" in on_disk(tmp_path, [51] * 200)["sync"].means
    slow = on_disk(tmp_path, usual)["sync"]
    assert slow.level == "warn"
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"


def test_without_a_delay_the_disk_alone_counts(tmp_path):
    for time_ms, level in ((10, "ok"), (11, "warn")):
        clock = ManualClock()
        slow = SlowDisk(clock, [time_ms] * 200)
        assert check_disk(place(tmp_path, delay_ms=0), clock, slow)[0].level == level


def test_a_very_slow_disk_does_not_keep_people_waiting(tmp_path):
    times = iter([1000] * 200)
    on_disk(tmp_path, times)
    assert len(list(times)) == 200 - 4


def test_the_real_disk_is_measured_where_the_folder_will_be(tmp_path):
    findings = check_disk(place(tmp_path / "not" / "yet"), ManualClock())
    assert [f.check for f in findings] == ["state.sync", "state.medium", "state.room"]
    assert str(tmp_path) in findings[0].seen
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "way_out"),
    [
        (errno.EACCES, "daemon's user"),
        (errno.EROFS, "ReadWritePaths="),
        (errno.ENOSPC, "make room"),
    ],
)
def test_a_folder_that_cannot_be_written_fails(tmp_path, number, way_out):
    class Broken(OsDisk):
        def create(self, path):
            raise OSError(number, os.strerror(number))

    [finding] = check_disk(place(tmp_path), ManualClock(), Broken())
    assert finding.level == "fail"
    assert way_out in finding.way_out


@pytest.mark.parametrize(
    ("free", "level"), [(32 * MIB, "fail"), (70 * MIB, "warn"), (99 * MIB, "ok")]
)
def test_room(tmp_path, free, level):
    (tmp_path / "segment").write_bytes(bytes(4 * MIB))
    clock = ManualClock()
    small = SlowDisk(clock, [1] * 200, free)
    findings = check_disk(place(tmp_path, size=100 * MIB), clock, small)
    assert findings[-1].level == level
    assert "4 of 100 MiB used" in findings[-1].seen


def test_a_medium_that_forgets(tmp_path, monkeypatch):
    mounts = tmp_path / "mounts"
    monkeypatch.setattr(disk, "MOUNTS", mounts)
    line = "36 35 98:0 / {} rw - {} none rw\n"
    mounts.write_text(line.format("/", "ext4"))
    assert on_disk(tmp_path, [1] * 200)["medium"].level == "ok"
    mounts.write_text(line.format(tmp_path, "tmpfs") + line.format("/", "ext4"))
    assert on_disk(tmp_path, [1] * 200)["medium"].level == "warn"


# --- machine and installation ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("now_ns", "kept", "level", "words"),
    [
        (EARLIEST_NS - 1, True, "fail", "before this program was written"),
        (EARLIEST_NS, True, "ok", "kept right"),
        (EARLIEST_NS, False, "warn", "drifts"),
        (EARLIEST_NS, None, "warn", "ProtectClock="),
    ],
)
def test_clock(monkeypatch, now_ns, kept, level, words):
    monkeypatch.setattr(machine, "kernel_clock", lambda: lambda: kept)
    finding = machine.check_clock(ManualClock(now_ns))
    assert finding.level == level
    assert words in f"{finding.seen} {finding.means} {finding.way_out}"


@pytest.mark.parametrize(
    ("soft", "level"), [(32, "fail"), (128, "warn"), (1024, "ok"), (resource.RLIM_INFINITY, "ok")]
)
def test_open_files(monkeypatch, soft, level):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, resource.RLIM_INFINITY))
    assert machine.check_files().level == level


def test_compiled_kernels(tmp_path, monkeypatch):
    folder = tmp_path / "kernels-1"
    assert machine.check_kernels(None).level == "warn"
    assert "is empty" in machine.check_kernels(folder).seen
    # Root may write anywhere, so it is told otherwise.
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert "cannot be written" in machine.check_kernels(folder).seen
    folder.mkdir()
    (folder / "pipelines.operators.rolling.step-0123.kernel").touch()
    warm = machine.check_kernels(folder)  # which is only read
    assert (warm.level, warm.seen) == ("ok", f"1 kernels compiled ahead of time, in {folder}")


def test_packages_of_somebody_else(tmp_path):
    assert machine.check_install(None, tmp_path).level == "ok"
    other = machine.check_install("config (/elsewhere/config.py)", tmp_path)
    assert (other.level, "/elsewhere" in other.seen) == ("fail", True)


# --- the command -----------------------------------------------------------------------------


def run(path, *more):
    command = [sys.executable, "-m", "daemon", "doctor", str(path), *more]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def written(folder, **more) -> Path:
    path = folder / "gateway.yaml"
    url = f"mqtt://127.0.0.1:{free_port()}"
    path.write_text(json.dumps({"gateway": "g", "broker": {"url": url}, **more}))
    return path


def test_for_machines(tmp_path):
    kept = {what: {"folder": str(tmp_path / what)} for what in ("record", "state")}
    path = written(tmp_path, **kept)
    done = run(path, "--format", "json", "--kernel-cache", str(tmp_path))
    said = json.loads(done.stdout)
    assert (done.returncode, said["ok"], done.stderr) == (1, False, "")
    levels = {f["check"]: f["level"] for f in said["findings"]}
    assert levels["broker.reach"] == "fail"
    assert levels["install.packages"] == "ok"
    assert {"kernels.cache", "machine.clock", "machine.files", "record.sync", "state.sync"} <= set(
        levels
    )
    assert all(f["means"] and f["seen"] for f in said["findings"])


def test_for_people(tmp_path):
    done = run(written(tmp_path))
    assert done.returncode == 1
    assert "fail  broker.reach" in done.stdout
    assert "→ start the broker" in done.stdout
    assert done.stdout.rstrip().endswith("1 to repair")


def test_a_wrong_configuration_is_not_looked_at(tmp_path):
    done = run(written(tmp_path, nonsense=1))
    assert (done.returncode, done.stdout) == (78, "")
    assert "nonsense" in done.stderr


def test_memory_has_no_other_side(tmp_path):
    path = written(tmp_path, broker={"url": "memory://"})
    done = run(path, "--format", "json")
    assert done.returncode == 0, done.stdout
    [last] = [f for f in json.loads(done.stdout)["findings"] if f["check"] == "broker.reach"]
    assert last["level"] == "warn"


def test_it_loads_no_compiler(tmp_path):
    code = (
        "import sys; sys.argv = ['sensorweir', 'doctor', sys.argv[1]]\n"
        "import daemon.cli\n"
        "try: daemon.cli.main()\n"
        "finally: print('numba' in sys.modules, file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, str(written(tmp_path))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stderr.strip().endswith("False"), done.stderr
