"""The true daemon stops, dies and starts again: what it knew before it knows after."""

import json
import subprocess
import time
from pathlib import Path

import pytest

from tests.daemons import Publisher, Recorder, gateway
from tests.wires import until

pytestmark = pytest.mark.broker

TIMED = {"time": {"field": "ts", "unit": "ms"}, "idle_after": "1h"}
BEGIN_S = int(time.time()) // 10 * 10 - 50
"""Event times lie a little in the past, and begin with a window."""
PIPELINES = {
    "window": {
        "from": "boilers",
        "steps": [{"aggregate": {"size": "10s", "stats": ["count", "mean"]}}],
        "amend_for": "5m",
        "publish": {"topic": "NAME/window/{device}"},
    },
    "slow": {"from": "boilers", "alert": {"when": {"above": 90, "on_delay": "5s"}}},
    "odd": {
        "from": "boilers",
        "steps": [{"mad": {"window": 30, "min_samples": 8}}],
        "alert": {"when": {"outside": [-9, 9]}},
    },
}


class Plant:
    """A daemon that keeps its state, and what is sent to it and heard of it."""

    def __init__(self, name, mosquitto, daemons, closing, folder, every="1h", pipelines=PIPELINES):
        self.name, self.folder = name, folder / "state"
        topic = f"{name}/plant/{{site}}/{{device}}/telemetry"
        self.config = gateway(
            mosquitto.url,
            name,
            json.loads(json.dumps(pipelines).replace("NAME", name)),
            {"boilers": {"topic": topic, "late": "amend", **TIMED}},
            state={"folder": str(self.folder), "every": every},
        )
        self.heard = closing(Recorder(mosquitto.url, f"{name}/#"))
        self.daemon = daemons(self.config)
        self.publisher = closing(Publisher(mosquitto.port))

    def send(self, *rows):
        """(second, value) of one boiler, and wait until the daemon has used them."""
        before = self.daemon.metrics()["samples_decoded"]
        for second, value in rows:
            sample = {"ts": round((BEGIN_S + second) * 1000), "temperature": value}
            self.publisher.send(f"{self.name}/plant/north/b7/telemetry", sample)
        self.publisher.settle()
        until(lambda: self.daemon.metrics()["samples_decoded"] >= before + len(rows))
        self.daemon.quiet()

    def told(self, what):
        """Events on the topics of one pipeline: (type, second, revision, data)."""
        found = []
        for h in self.heard.on(f"{self.name}/"):
            event = json.loads(h.payload) if h.payload.startswith(b"{") else {}
            if str(event.get("source", "")).endswith(f"/{what}") and not h.topic.startswith(
                "state"
            ):
                found.append(event)
        return found

    def written(self, more):
        """Wait for checkpoints."""
        goal = self.daemon.metrics()["state_written"] + more
        until(lambda: self.daemon.metrics()["state_written"] >= goal)

    @property
    def restored(self):
        [said] = self.daemon.said("The state of before goes on")
        return said

    def files(self, place="."):
        return sorted(p.name for p in (self.folder / place).glob("*.state"))


@pytest.fixture
def plant(mosquitto, daemons, closing, tmp_path):
    return lambda name, **more: Plant(name, mosquitto, daemons, closing, tmp_path, **more)


def kinds(events):
    return [e["type"].removeprefix("sensorweir.") for e in events]


def ids(plant):
    return [(e["id"], e["revision"]) for w in PIPELINES for e in plant.told(w)]


def test_windows_delays_history_and_corrections_survive_a_stop(plant):
    made = plant("stopped")
    made.send(*((t, 20 + t % 3) for t in range(12)), (12, 95), (13, 96))
    assert [e["data"]["count"] for e in made.told("window")] == [10]
    assert kinds(made.told("odd")) == ["alert.active"]
    before = ids(made)
    assert made.daemon.stop() == 0
    assert Path(made.folder).stat().st_mode & 0o777 == 0o700
    assert [p.stat().st_mode & 0o777 for p in made.folder.glob("*.state")] == [0o600]
    made.daemon.start()
    assert made.restored["anew"] == {}
    made.send((14, 95), (18, 97), (21, 20))
    # on_delay began before the stop, and ran out after it.
    active, cleared = made.told("slow")
    assert active["data"]["since"].endswith(iso(12))
    assert active["time"].endswith(iso(17))
    assert cleared["type"].endswith("cleared")
    # mad still knew what was usual, and that its alert was told.
    assert kinds(made.told("odd")) == ["alert.active", "alert.cleared"]
    # The window that was open holds what came before and after; the one told before is corrected.
    assert [e["data"]["count"] for e in made.told("window")] == [10, 6]
    made.send((5.5, 50), (22, 20))
    until(lambda: len(made.told("window")) == 3)
    first, _, again = made.told("window")
    assert (again["id"], again["revision"], again["data"]["count"]) == (first["id"], 2, 11)
    assert len(set(ids(made))) == len(ids(made))
    assert ids(made)[: len(before)] != []
    made.daemon.close()


def iso(second):
    moment = time.gmtime(BEGIN_S + second)
    return time.strftime("%H:%M:%SZ", moment)


def test_killed_it_goes_on_from_the_last_checkpoint(plant):
    made = plant("killed", every="1s")
    made.send(*((t, 20) for t in range(5)))
    made.written(2)
    made.daemon.kill()
    made.daemon.start()
    made.send(*((t, 20) for t in range(5, 11)))
    until(lambda: made.told("window"))
    assert [e["data"]["count"] for e in made.told("window")] == [10]
    assert len(made.files()) == 2
    made.daemon.close()


def test_a_damaged_checkpoint_is_put_aside_and_the_older_one_taken(plant):
    made = plant("damaged", every="1s")
    made.send(*((t, 20) for t in range(5)))
    made.written(3)
    made.daemon.kill()
    newest = made.folder / made.files()[-1]
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 0x40
    newest.write_bytes(data)
    made.daemon.start()
    [aside] = made.daemon.said("A checkpoint cannot be used and is put aside", "error")
    assert newest.name in aside["file"]
    assert made.files("quarantine") == [newest.name]
    made.send(*((t, 20) for t in range(5, 11)))
    until(lambda: made.told("window"))
    assert [e["data"]["count"] for e in made.told("window")] == [10]
    made.daemon.close()


def test_a_changed_pipeline_begins_anew_alone(plant):
    made = plant("changed")
    made.send(*((t, 95) for t in range(3)))
    assert made.daemon.stop() == 0
    made.config["pipelines"]["slow"]["alert"]["when"]["on_delay"] = "6s"
    made.daemon.write(made.config)
    made.daemon.start()
    assert made.restored["anew"] == {}
    made.send(*((t, 95) for t in range(3, 11)))
    assert [e["data"]["count"] for e in made.told("window")] == [10]
    [active] = made.told("slow")
    assert active["time"].endswith(iso(9))  # six seconds from the first sample after the start
    made.daemon.close()


def test_two_daemons_never_share_a_folder(plant):
    made = plant("alone")
    other = subprocess.run(made.daemon.command, capture_output=True, text=True, check=False)
    assert other.returncode == 1
    assert str(made.folder) in other.stderr
    assert str(made.daemon.process.pid) in other.stderr
    assert "state.folder" in other.stderr
    made.daemon.close()
