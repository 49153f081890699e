"""The true daemon records through a real broker, is killed, and its recording is played."""

import json
import subprocess
import sys
import time

import pytest

from daemon.durable.tape import Tape
from daemon.replay import Replay
from tests.daemons import CACHE, ROOT, DaemonProcess, Publisher, Recorder, gateway, hot
from tests.mosquitto import free_port
from tests.wires import until

pytestmark = pytest.mark.broker
MISSING = {
    "from": "boilers",
    "steps": [{"missing": {"timeout": "2s"}}],
    "alert": {"severity": "minor"},
}
MEANS = {
    "from": "boilers",
    "amend_for": "10s",
    "steps": [{"aggregate": {"size": "500ms", "stats": ["mean", "count"]}}],
}


def config(mosquitto, name, folder, **more):
    source = {
        "boilers": {
            "topic": f"{name}/plant/{{site}}/{{device}}/telemetry",
            "time": {"field": "ts", "unit": "ms"},
            "lateness": "200ms",
        }
    }
    means = {**MEANS, "publish": {"topic": f"{name}/agg/{{device}}/{{channel}}", "retain": True}}
    pipelines = {"hot": hot(deadband=5, on_delay="300ms"), "silent": MISSING, "means": means}
    return gateway(
        mosquitto.url,
        name,
        pipelines,
        source,
        record={"folder": str(folder), "size": "64MiB", "commit_delay": "50ms"},
        command_topic=f"{name}/command",
        **more,
    )


def sensorweir(*arguments, status=0):
    """Run a command to its end; what it wrote to stdout and stderr."""
    command = [sys.executable, "-m", "daemon", *map(str, arguments)]
    env = {"CACHE_DIRECTORY": str(CACHE), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False, timeout=100, env=env)
    assert done.returncode == status, done.stderr.decode()
    return done.stdout, done.stderr.decode()


def simulate(mosquitto, name, folder, seconds=6):
    """Boilers, one too hot, one that falls silent, some messages late or twice."""
    scenario = folder / "plant.yaml"
    fleet = {
        "count": 20,
        "id": "b{n}",
        "topic": f"{name}/plant/{{site}}/{{id}}/telemetry",
        "labels": {"site": ["north", "south"]},
        "every": "100ms",
        "qos": 1,
        "channels": {"temperature": [{"constant": {"value": 72}}, {"noise": 1.5}]},
    }
    faults = [
        {"step": {"device": "b7", "start": "1s", "duration": "3s", "magnitude": 28}},
        {"dropout": {"device": "b5", "start": "1s", "duration": "4s"}},
    ]
    transport = [
        {"out_of_order": {"device": "b1?", "probability": 0.1, "delay_max": "2s"}},
        {"duplicate": {"device": "b2", "probability": 0.2, "delay_max": "1s"}},
    ]
    body = {"seed": 7, "duration": f"{seconds}s", "fleets": {"boilers": fleet}}
    scenario.write_text(json.dumps({**body, "faults": faults, "transport": transport}))
    return sensorweir("sim", "run", scenario, "--broker", mosquitto.url)


def settled(daemon):
    """Wait until all that has been told by now rests on what is on disk."""
    until(lambda: daemon.metrics()["record_waiting_bytes"] == 0, what="the disk")


def played(folder, *options, status=0):
    """[(topic, payload)] of a replay by the command, and what it said."""
    out, said = sensorweir("replay", folder, *options, status=status)
    events = [json.loads(text) for text in out.splitlines()]
    return [(e["topic"], e["payload"].encode()) for e in events], said


def here(folder):
    """[(topic, payload)] of a replay in this process."""
    made = Replay(Tape(folder), note=pytest.fail, prepare=lambda _: None)
    return [(out.topic, out.payload) for moment in made for out in moment.outputs]


@pytest.mark.timeout(240)
def test_a_killed_daemon_told_what_its_recording_tells(mosquitto, daemons, closing, tmp_path):
    name, folder = "taped", tmp_path / "record"
    topics = (f"{name}/alerts/#", f"{name}/agg/#", f"state/{name}/#", f"{name}/command/response")
    heard = closing(Recorder(mosquitto.url, *topics))
    made = config(mosquitto, name, folder)
    daemon = daemons(made)
    simulate(mosquitto, name, tmp_path)
    person = closing(Publisher(mosquitto.port))
    person.send(f"{name}/command", {"acknowledge": "0" * 32})
    until(lambda: heard.on(f"{name}/command/response"))
    made["pipelines"]["hot"]["alert"]["severity"] = "critical"
    assert daemon.reload(made)
    simulate(mosquitto, name, tmp_path, 5)
    told = [(h.topic, h.payload) for h in list(heard.heard)]
    settled(daemon)
    assert here(folder)[: len(told)] == told  # while it is recording
    daemon.kill()
    kinds = {
        json.loads(payload)["type"]
        for topic, payload in told
        if payload and "response" not in topic
    }
    assert kinds >= {"sensorweir.alert.active", "sensorweir.alert.cleared", "sensorweir.window"}
    assert any(b'"correction"' in payload for _, payload in told)
    again, said = played(folder)
    assert again[: len(told)] == told
    assert here(folder) == again
    print(said.strip(), f"{len(told)} events heard, {len(again)} replayed")

    daemon.start()
    simulate(mosquitto, name, tmp_path, 3)
    daemon.quiet()
    assert daemon.stop() == 0
    both = here(folder)
    until(lambda: len(heard.heard) >= len(both), what="the last events")
    assert [(h.topic, h.payload) for h in heard.heard] == both


def test_a_folder_that_cannot_be_written_degrades_and_stops_nothing(
    mosquitto, daemons, closing, tmp_path
):
    place = tmp_path / "record"
    place.write_text("a file")
    heard = closing(Recorder(mosquitto.url, "untaped/alerts/#"))
    daemon = daemons(config(mosquitto, "untaped", place))
    assert daemon.said("The recording has ended, the daemon goes on", "error")
    status, body = daemon.get("/readyz")
    assert (status, json.loads(body)["status"]) == (200, "degraded")
    assert daemon.metrics()["record_failed"] == 1
    person = closing(Publisher(mosquitto.port))
    now = int(time.time() * 1000)
    for i in range(10):
        person.send("untaped/plant/n/b1/telemetry", {"ts": now + 100 * i, "temperature": 99})
    until(lambda: heard.changes("untaped/alerts"))


@pytest.fixture(scope="module")
def recording(mosquitto, tmp_path_factory):
    """A recording of a daemon that stopped in order."""
    folder = tmp_path_factory.mktemp("record")
    daemon = DaemonProcess(folder, config(mosquitto, "played", folder / "record")).start()
    simulate(mosquitto, "played", folder, 6)
    daemon.close()
    return folder / "record"


def test_parts_of_a_recording(recording):
    whole, _ = played(recording)
    [first, *_] = [p for t, p in whole if t.startswith("played/alerts/b7/hot")]
    event = json.loads(first)
    found, _ = played(recording, "--around", event["id"])
    assert ("played/alerts/b7/hot", first) in found
    cut = event["time"]
    before, _ = played(recording, "--to", cut)
    after, _ = played(recording, "--from", cut)
    assert before + after == whole
    assert before
    assert after
    nothing, said = played(recording, "--around", "f" * 32, status=1)
    assert nothing == []
    assert "no event with the id ffff" in said


def test_a_replay_onto_a_broker_is_kept_apart(recording, mosquitto, closing):
    whole, _ = played(recording)
    heard = closing(Recorder(mosquitto.url, "kept/apart/#"))
    out, said = sensorweir(
        "replay", recording, "--to-broker", mosquitto.url, "--prefix", "kept/apart/"
    )
    assert out == b""
    print(said)
    mine = [h for h in heard.heard if not h.topic.endswith("sensorweir/replay/status")]
    assert [(h.topic, h.payload) for h in mine] == [(f"kept/apart/{t}", p) for t, p in whole]


def test_what_another_limit_would_have_told(recording, mosquitto, tmp_path):
    other = config(mosquitto, "played", tmp_path / "unused")
    other["pipelines"]["hot"]["alert"]["when"]["above"] = 500
    other["broker"]["url"] = "mqtt://nowhere.example:1"
    path = tmp_path / "other.yaml"
    path.write_text(json.dumps(other))
    whole, tried = played(recording)[0], played(recording, "--config", path)[0]
    assert any("hot" in topic for topic, _ in whole)
    assert not any("hot" in topic for topic, _ in tried)
    assert [x for x in whole if "/agg/" in x[0]] == [x for x in tried if "/agg/" in x[0]]
    assert not (tmp_path / "unused").exists()


@pytest.mark.parametrize(
    ("options", "status", "words"),
    [
        (["--from", "noon"], 2, "expects a time with its zone"),
        (["--from", "2026-01-01T00:00:00"], 2, "expects a time with its zone"),
        (["--around", "x", "--to", "2026-01-01T00:00:00Z"], 2, "leave out --from and --to"),
        (["--to-broker", "localhost"], 2, "an address such as mqtt://"),
        (["--to-broker", "mqtt://localhost", "--prefix", ""], 2, "--prefix keeps"),
        (["--to-broker", "mqtt://localhost", "--out", "x"], 2, "one of them"),
        (["--out", "/nowhere/events.jsonl"], 1, "/nowhere/events.jsonl"),
        (["--config", "/nowhere.yaml"], 78, "nowhere.yaml"),
    ],
)
def test_what_cannot_be_is_said(recording, options, status, words):
    out, said = sensorweir("replay", recording, *options, status=status)
    assert out == b""
    assert words in " ".join(said.replace("│", " ").split())
    assert "Traceback" not in said


def test_no_recording_and_no_broker(recording, tmp_path):
    _, said = sensorweir("replay", tmp_path, status=2)
    assert "there is no recording in" in said
    url = f"mqtt://127.0.0.1:{free_port()}"
    _, said = sensorweir("replay", recording, "--to-broker", url, status=69)
    assert f"no connection to {url}" in said
