"""Commands through a real broker that lets some people ask and others not."""

import json
import shutil
import threading

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.daemons import ROOT, gateway
from tests.mosquitto import Mosquitto
from tests.wires import until

pytestmark = pytest.mark.broker
NAME = "press-shop-1"
COMMAND = f"sensorweir/{NAME}/command"
ANSWERS = "operators/operator/answers"
HOT = {"from": "boilers", "alert": {"when": {"above": 90}, "topic": "alerts/{device}/hot"}}


class Person:
    """An MQTT 5 client with a name."""

    def __init__(self, port, user, *topics):
        self.got, self.codes = [], []
        self.client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self.client.username_pw_set(user)
        ready = threading.Event()
        self.client.on_message = lambda _c, _u, message: self.got.append(message)
        self.client.on_publish = lambda _c, _u, _mid, code, _p: self.codes.append(code.value)
        self.client.on_connect = lambda *_: self.client.subscribe([(t, 1) for t in topics])
        self.client.on_subscribe = lambda *_: ready.set()
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        assert ready.wait(60)

    def ask(self, command, correlation):
        properties = Properties(PacketTypes.PUBLISH)
        properties.ResponseTopic, properties.CorrelationData = ANSWERS, correlation
        self.client.publish(COMMAND, json.dumps(command), 1, properties=properties)

    def on(self, first):
        return [m for m in self.got if m.topic.startswith(first)]

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def guarded(tmp_path):
    """A broker with the access control that we give as an example, and somebody who measures."""
    rules = tmp_path / "rules"
    shutil.copy(ROOT / "deploy" / "mosquitto.acl", rules)
    with rules.open("a") as more:
        more.write("\nuser plant\ntopic write plant/#\n")
    broker = Mosquitto(tmp_path, f"acl_file {rules}").start()
    yield broker
    broker.stop()


def test_who_may_ask_is_answered_and_who_may_not_has_no_effect(guarded, daemons, closing):
    config = gateway(guarded.url, NAME, {"hot": HOT}, command_topic=COMMAND)
    config["broker"] |= {"username": f"{NAME}-in", "publish_as": {"username": f"{NAME}-out"}}
    config["sources"] = {"boilers": {"topic": "plant/{site}/{device}/telemetry"}}
    operator = closing(Person(guarded.port, "operator", "alerts/#", "state/#", ANSWERS))
    dashboard = closing(Person(guarded.port, "dashboard", "alerts/#"))
    plant = closing(Person(guarded.port, "plant", "alerts/none"))
    daemons(config)
    plant.client.publish("plant/north/b7/telemetry", json.dumps({"temperature": 99}), 1)
    until(lambda: operator.on("alerts/") and operator.on("state/"))
    alert = json.loads(operator.on("alerts/")[0].payload)["data"]["alert"]

    dashboard.ask({"acknowledge": alert, "by": "dashboard"}, b"no")
    until(lambda: dashboard.codes)
    assert dashboard.codes == [0x87], "not authorised, says the broker"

    operator.ask({"acknowledge": alert, "by": "ann", "comment": "I go there"}, b"\x00one")
    until(lambda: len(operator.on(ANSWERS)) == 1 and len(operator.on("state/")) == 2)
    [answer] = operator.on(ANSWERS)
    assert answer.properties.CorrelationData == b"\x00one"
    assert json.loads(answer.payload) == {"done": True, "command": "acknowledge", "alert": alert}
    kept = json.loads(operator.on("state/")[1].payload)["data"]
    assert kept["acknowledged"]["by"] == "ann"

    operator.ask({"acknowledge": alert}, b"\x00two")
    until(lambda: len(operator.on(ANSWERS)) == 2)
    second = operator.on(ANSWERS)[1]
    assert second.properties.CorrelationData == b"\x00two"
    assert json.loads(second.payload)["done"] is False
    assert len(dashboard.on("alerts/")) == 2
