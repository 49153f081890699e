"""The whole daemon: a process of its own, a real broker, ordinary clients on the other side."""

import json
import signal
import subprocess
import sys
import threading
import time
from datetime import datetime
from pathlib import Path

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from tests.daemons import Publisher, Recorder, gateway, hot
from tests.wires import until

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.broker


class Subscriber5:
    """An MQTT 5 client: what the daemon sends beside the payload."""

    def __init__(self, port, topic):
        self.got = []
        self.client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        ready = threading.Event()
        self.client.on_message = lambda _c, _u, message: self.got.append(message)
        self.client.on_connect = lambda *_: self.client.subscribe(topic, 1)
        self.client.on_subscribe = lambda *_: ready.set()
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        assert ready.wait(60)

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


# --- alerts and their states -----------------------------------------------------------------


def test_the_first_alert_and_its_end(mosquitto, daemons, closing):
    heard = closing(Recorder(mosquitto.url, "first/#"))
    five = closing(Subscriber5(mosquitto.port, "first/alerts/#"))
    daemon = daemons(gateway(mosquitto.url, "first", {"hot": hot()}))
    plant = closing(Publisher(mosquitto.port))
    plant.send("first/plant/north/b7/telemetry", {"temperature": 95.5, "pressure": 3})
    until(lambda: len(heard.on("first/alerts/")) == 1 and heard.on("state/") == [])
    [alert] = heard.on("first/alerts/")
    assert alert.topic == "first/alerts/b7/hot"
    event = alert.event
    assert event["specversion"] == "1.0"
    assert event["type"] == "sensorweir.alert.active"
    assert event["source"] == "/sensorweir/first/hot"
    assert event["data"]["labels"] == {"channel": "temperature", "device": "b7", "site": "north"}
    assert event["data"]["value"] == 95.5
    assert abs(datetime.fromisoformat(event["time"]).timestamp() - time.time()) < 10
    # MQTT 5 repeats the attributes beside the payload.
    until(lambda: five.got)
    properties = five.got[0].properties
    assert properties.ContentType == "application/cloudevents+json"
    named = dict(properties.UserProperty)
    assert named == {k: str(v) for k, v in event.items() if k != "data"}
    # The state lies on the broker for whoever comes later, until the alert ends.
    late = closing(Recorder(mosquitto.url, "state/first/#"))
    until(lambda: late.heard)
    assert (late.heard[0].topic, late.heard[0].retained) == ("state/first/alerts/b7/hot", True)
    assert late.heard[0].payload == alert.payload
    assert daemon.metrics()["alerts_active"] == 1
    plant.send("first/plant/north/b7/telemetry", {"temperature": 20})
    until(lambda: len(heard.on("first/alerts/")) == 2 and len(late.heard) == 2)
    assert heard.changes("first/alerts/")[1] == ("first/alerts/b7/hot", "cleared")
    assert heard.on("first/alerts/")[1].event["data"]["alert"] == event["data"]["alert"]
    assert late.heard[1].payload == b""
    later = closing(Recorder(mosquitto.url, "state/first/#"))
    metrics = daemon.quiet()
    assert later.heard == []
    assert metrics["messages_accepted{source=boilers}"] == 2
    assert metrics["outputs_published{kind=alert}"] == 2
    assert daemon.get("/healthz")[0] == 200
    assert daemon.get("/nothing")[0] == 404
    assert daemon.stop() == 0
    print(f"an idle daemon ended in {daemon.stopped_in_s:.2f} s")
    assert daemon.stopped_in_s < 2
    assert daemon.complaints() == []


def test_what_is_normal_waits_for_others_and_an_alert_does_not(mosquitto, daemons, closing):
    linger_s = 1.0
    heard = closing(Recorder(mosquitto.url, "linger/#"))
    config = gateway(mosquitto.url, "linger", {"hot": hot()})
    config["broker"]["linger"] = "1s"
    for source in config["sources"].values():
        source["time"] = {"field": "ts", "unit": "ns"}
    daemon = daemons(config)
    plant = closing(Publisher(mosquitto.port))

    def send(value):
        before = daemon.metrics()["samples_used"], time.monotonic()
        sent = {"ts": time.time_ns(), "temperature": value}
        plant.send("linger/plant/north/b7/telemetry", sent)
        return before

    def used(n):
        until(lambda: daemon.metrics()["samples_used"] >= n, what="the sample")
        return time.monotonic()

    for _ in range(5):
        n, _ = send(20)
        used(n + 1)
    n, began = send(21)
    assert used(n + 1) - began > 0.9 * linger_s
    send(22)
    _, began = send(95)
    until(lambda: heard.changes("linger/alerts/") == [("linger/alerts/b7/hot", "active")])
    assert heard.on("linger/alerts/")[0].time - began < 0.8 * linger_s
    daemon.quiet()


def test_birth_good_bye_and_the_will(mosquitto, daemons, closing):
    topic = "sensorweir/status1/status"
    heard = closing(Recorder(mosquitto.url, topic))

    def states():
        return [h.event["state"] for h in heard.heard]

    daemon = daemons(gateway(mosquitto.url, "status1", {"hot": hot()}))
    until(lambda: states() == ["online"])
    assert daemon.stop() == 0
    assert states() == ["online", "offline"]
    daemon.start()
    until(lambda: states()[2:] == ["online"])
    daemon.kill()
    until(lambda: states()[3:] == ["offline"], what="the will")
    boots = [h.event["boot"] for h in heard.heard]
    assert boots[0] == boots[1] != boots[2] == boots[3]
    late = closing(Recorder(mosquitto.url, topic))
    until(lambda: late.heard)
    assert late.heard[0].retained
    assert late.heard[0].event["state"] == "offline"


def test_a_stop_under_load_accounts_for_every_message(mosquitto, daemons, closing):
    """What was acknowledged before the stop has left as outputs; the rest comes again."""
    n, devices = 6000, 5
    every = {"from": "boilers", "publish": {"topic": "load/out/{device}"}}
    source = {
        "boilers": {
            "topic": "load/plant/{site}/{device}/telemetry",
            "time": {"field": "ts", "unit": "ms"},
            "seq": "seq",
        }
    }
    heard = closing(Recorder(mosquitto.url, "load/out/#"))
    daemon = daemons(gateway(mosquitto.url, "load", {"every": every}, source))
    plant = closing(Publisher(mosquitto.port))
    now = int(time.time() * 1000) - n
    for i in range(n):
        body = {"ts": now + i, "seq": i, "x": i}
        plant.send(f"load/plant/north/b{i % devices}/telemetry", body)
    until(lambda: len(heard.heard) > 500, what="some outputs")
    assert daemon.stop() == 0
    print(f"a busy daemon ended in {daemon.stopped_in_s:.2f} s after {len(heard.heard)} outputs")
    assert len(heard.heard) < n, "the stop came too late to test anything"
    assert not daemon.said("The ledger does not balance")
    assert daemon.said("Stopped")
    daemon.start()
    plant.settle()

    def missing():
        return set(range(n)) - {int(h.event["data"]["value"]) for h in list(heard.heard)}

    until(lambda: len(heard.heard) >= n and not missing(), 20, "every message's output")
    daemon.quiet()
    ids = [h.event["id"] for h in heard.heard]
    print(f"{len(ids) - len(set(ids))} outputs told twice, all with the same id")
    assert len(set(ids)) == n


@pytest.mark.parametrize("meanwhile", [0, 3])
def test_a_restart_goes_on_with_active_alerts(mosquitto, daemons, closing, meanwhile):
    """Samples that the broker kept meanwhile come before or after the states: no matter."""
    name = f"again{meanwhile}"
    heard = closing(Recorder(mosquitto.url, f"{name}/alerts/#"))
    daemon = daemons(gateway(mosquitto.url, name, {"hot": hot()}))
    plant = closing(Publisher(mosquitto.port))
    for device in ("b1", "b2"):
        plant.send(f"{name}/plant/north/{device}/telemetry", {"temperature": 99})
    until(lambda: len(heard.heard) == 2)
    assert daemon.stop() == 0
    for _ in range(meanwhile):
        plant.send(f"{name}/plant/north/b1/telemetry", {"temperature": 98})
    plant.settle()
    daemon.start()
    until(lambda: daemon.metrics()["alerts_active"] == 2, what="states of before")
    plant.send(f"{name}/plant/north/b1/telemetry", {"temperature": 97})
    plant.send(f"{name}/plant/north/b2/telemetry", {"temperature": 20})
    until(lambda: len(heard.heard) >= 3)
    plant.send(f"{name}/plant/north/b1/telemetry", {"temperature": 20})
    until(lambda: len(heard.heard) >= 4)
    daemon.quiet()
    assert sorted(heard.changes(f"{name}/alerts/")) == [
        (f"{name}/alerts/b1/hot", "active"),
        (f"{name}/alerts/b1/hot", "cleared"),
        (f"{name}/alerts/b2/hot", "active"),
        (f"{name}/alerts/b2/hot", "cleared"),
    ]
    by_device = {}
    for h in heard.heard:
        by_device.setdefault(h.topic, set()).add(h.event["data"]["alert"])
    assert all(len(ids) == 1 for ids in by_device.values())
    late = closing(Recorder(mosquitto.url, f"state/{name}/#"))
    assert late.heard == []


# --- reload ----------------------------------------------------------------------------------


def counted(above):
    """Active when the last minute holds more than `above` samples: its window is its memory."""
    return {
        "from": "boilers",
        "steps": [{"rolling": {"stat": "count", "window": "60s", "min_samples": 1}}],
        "alert": {"when": {"above": above}},
    }


def test_a_reload_that_is_invalid_changes_nothing(mosquitto, daemons, closing):
    heard = closing(Recorder(mosquitto.url, "bad/alerts/#"))
    good = gateway(mosquitto.url, "bad", {"hot": hot()})
    daemon = daemons(good)
    plant = closing(Publisher(mosquitto.port))
    wrong = json.loads(json.dumps(good))
    wrong["sources"]["boilers"]["latness"] = "5s"
    wrong["pipelines"]["hot"]["from"] = "boiler"
    assert not daemon.reload(wrong)
    [line] = daemon.said("Reload refused, the old configuration goes on", "error")
    errors = [problem for problem in line["problems"] if ": error: " in problem]
    for problem, word in zip(errors, ("'lateness'", "'boilers'"), strict=True):
        place = problem.split(": error: ")[0]
        assert place.startswith(f"{daemon.path}:"), problem
        assert all(part.isdigit() for part in place.rsplit(":", 2)[1:]), problem
        assert f"did you mean {word}" in problem
    assert not daemon.reload("gateway: [")
    plant.send("bad/plant/north/b1/telemetry", {"temperature": 99})
    until(lambda: heard.changes("bad/") == [("bad/alerts/b1/hot", "active")])
    daemon.path.unlink()
    assert not daemon.reload()
    assert daemon.reload(good)
    assert daemon.ready
    daemon.quiet()


def test_a_reload_restarts_only_what_changed(mosquitto, daemons, closing):
    heard = closing(Recorder(mosquitto.url, "part/alerts/#"))
    kept, changed = counted(4.5), counted(4.5)
    daemon = daemons(gateway(mosquitto.url, "part", {"kept": kept, "changed": changed}))
    plant = closing(Publisher(mosquitto.port))

    def send(n):
        before = daemon.metrics()["messages_accepted{source=boilers}"]
        for _ in range(n):
            plant.send("part/plant/north/b1/telemetry", {"x": 1})
        until(lambda: daemon.metrics()["messages_accepted{source=boilers}"] >= before + n)

    send(4)
    longer = json.loads(json.dumps(counted(4.5)))
    longer["steps"][0]["rolling"]["window"] = "61s"
    assert daemon.reload(gateway(mosquitto.url, "part", {"kept": counted(4.5), "changed": longer}))
    assert daemon.said("Reloaded")[-1] | {"kept": 1, "new": 1} == daemon.said("Reloaded")[-1]
    send(1)  # the fifth for the one that was kept, the first for the other
    until(lambda: heard.heard)
    daemon.quiet()
    assert heard.changes("part/") == [("part/alerts/b1/kept", "active")]
    send(3)
    assert heard.changes("part/") == [("part/alerts/b1/kept", "active")]
    send(1)
    until(lambda: len(heard.heard) == 2)
    assert heard.changes("part/")[1] == ("part/alerts/b1/changed", "active")
    # Its alert ends with a pipeline that is taken out, and its state does too.
    assert daemon.reload(gateway(mosquitto.url, "part", {"kept": counted(4.5)}))
    until(lambda: len(heard.heard) == 3)
    assert heard.changes("part/")[2] == ("part/alerts/b1/changed", "cleared")
    assert heard.heard[2].event["data"]["reason"] == "pipeline removed"
    daemon.quiet()
    late = closing(Recorder(mosquitto.url, "state/part/#"))
    until(lambda: late.heard)
    assert [h.topic for h in late.heard] == ["state/part/alerts/b1/kept"]


def test_limits_move_without_losing_state(mosquitto, daemons, closing):
    def limits(**by):
        spec = counted("{limit}")
        spec["values"] = {"limit": {"default": 100, "by": {"device": by}}}
        return gateway(mosquitto.url, "limits", {"busy": spec})

    heard = closing(Recorder(mosquitto.url, "limits/alerts/#"))
    daemon = daemons(limits())
    plant = closing(Publisher(mosquitto.port))
    for _ in range(4):
        for device in ("b1", "b2"):
            plant.send(f"limits/plant/north/{device}/telemetry", {"x": 1})
    until(lambda: daemon.metrics()["messages_accepted{source=boilers}"] == 8)
    assert daemon.reload(limits(b1=4.5))
    assert daemon.said("Reloaded")[-1]["new"] == 0
    for device in ("b1", "b2"):
        plant.send(f"limits/plant/north/{device}/telemetry", {"x": 1})
    until(lambda: heard.heard)
    daemon.quiet()
    assert heard.changes("limits/") == [("limits/alerts/b1/busy", "active")]
    assert heard.heard[0].event["data"]["limit"]["above"] == 4.5
    assert heard.heard[0].event["data"]["value"] == 5
    assert daemon.complaints() == []


def test_topics_that_change_are_subscribed_and_left(mosquitto, daemons, closing):
    def at(*topics):
        sources = {
            f"s{i}": {"topic": f"moves/{topic}/{{device}}"} for i, topic in enumerate(topics)
        }
        spec = {**hot(), "from": "s0"}
        return gateway(mosquitto.url, "moves", {"hot": spec}, sources)

    heard = closing(Recorder(mosquitto.url, "moves/alerts/#"))
    daemon = daemons(at("old", "other"))
    plant = closing(Publisher(mosquitto.port))

    def received_after(*topics):
        """Which of these reach the daemon: each is told apart by a last message that does."""
        before = daemon.metrics()["messages_received"]
        for topic in topics:
            plant.send(f"moves/{topic}/b1", {"pressure": 1})
        plant.settle()
        plant.send("moves/other/b1", {"pressure": 1})
        plant.settle()
        time.sleep(0.2)  # what must not come can only be waited for
        return daemon.metrics()["messages_received"] - before - 1

    assert received_after("old", "new") == 1
    assert daemon.reload(at("new", "other"))
    until(lambda: daemon.ready)
    assert received_after("old") == 0
    assert received_after("new") == 1
    plant.send("moves/new/b1", {"temperature": 99})
    until(lambda: heard.changes("moves/") == [("moves/alerts/b1/hot", "active")])
    assert daemon.quiet()["messages_rejected"] == 0
    assert daemon.complaints() == []


def test_two_sources(mosquitto, daemons, closing):
    sources = {
        "boilers": {"topic": "two/boiler/{device}"},
        "pumps": {"topic": "two/pump/{device}", "decode": "number"},
    }
    fast = {**hot(), "from": "pumps", "where": {}}
    heard = closing(Recorder(mosquitto.url, "two/alerts/#"))
    daemon = daemons(gateway(mosquitto.url, "two", {"hot": hot(), "fast": fast}, sources))
    plant = closing(Publisher(mosquitto.port))
    plant.send("two/boiler/b1", {"temperature": 99})
    plant.send("two/pump/p1", b"99")
    until(lambda: len(heard.heard) == 2)
    metrics = daemon.quiet()
    assert sorted(heard.changes("two/")) == [
        ("two/alerts/b1/hot", "active"),
        ("two/alerts/p1/fast", "active"),
    ]
    assert metrics["messages_accepted{source=boilers}"] == 1
    assert metrics["messages_accepted{source=pumps}"] == 1
    assert daemon.complaints() == []


def test_a_stop_while_kernels_are_compiled_is_obeyed_soon(tmp_path, mosquitto):
    config = tmp_path / "gateway.yaml"
    config.write_text(
        f"broker: {{url: '{mosquitto.url}'}}\nhttp: {{enabled: false}}\n"
        "sources: {s: {topic: 'never/{device}'}}\n"
        "pipelines: {p: {from: s, steps: [rolling: {stat: mean, window: 5s}], alert: {when: {above: 1}}}}\n"
    )
    command = [sys.executable, "-m", "daemon", "run", str(config)]
    process = subprocess.Popen(
        [*command, "--kernel-cache", str(tmp_path / "cache")], stderr=subprocess.PIPE, cwd=ROOT
    )
    line = process.stderr.readline()
    assert line.startswith(b"kernels"), line
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    process.stderr.close()
    assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]
