"""The broker as deploy/ sets it up, on a free port, with certificates of its own authority."""

import getpass
import ssl
import subprocess
import threading

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.daemons import ROOT
from tests.mosquitto import Mosquitto

DEPLOY = ROOT / "deploy"
GATEWAY = "press-shop-1"
PEOPLE = ("b7", "b8", f"{GATEWAY}-in", f"{GATEWAY}-out", "operator")


def make_tls(folder, *words):
    """Run make-tls.sh; what became of it."""
    command = [str(DEPLOY / "make-tls.sh"), str(folder), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def settings(name, broker):
    """A configuration of deploy/, with the places of this test in place of the system's."""
    text = (DEPLOY / name).read_text()
    for theirs, ours in (
        ("listener 8883", f"user {getpass.getuser()}\nlistener {broker.port} 127.0.0.1"),
        ("/etc/mosquitto/sensorweir.acl", str(DEPLOY / "mosquitto.acl")),
        ("/etc/mosquitto/tls", str(broker.folder / "tls")),
        ("/var/log/mosquitto/mosquitto.log", str(broker.log)),
        ("/var/lib/mosquitto/", f"{broker.folder}/"),
        ("pid_file /run/mosquitto/mosquitto.pid", ""),
    ):
        assert theirs in text, theirs
        text = text.replace(theirs, ours)
    return text


def deployed(folder, name="mosquitto-debian.conf", change=lambda text: text):
    """Mosquitto with that configuration, not started; certificates lie in folder/tls."""
    for words in (["ca"], ["server", "localhost"], *(["client", who] for who in PEOPLE)):
        made = make_tls(folder / "tls", *words)
        assert made.returncode == 0, made.stderr
    broker = Mosquitto(folder)
    broker.config.write_text(change(settings(name, broker)))
    return broker


class Visitor:
    """An MQTT 5 client with the certificate of `who`, or with none; waits for each answer."""

    def __init__(self, broker, who=None, tls=None, client_id=None, filters=()):
        tls = tls or broker.folder / "tls"
        self.got, self.codes, self._answered = [], {}, threading.Event()
        self.client = Client(
            CallbackAPIVersion.VERSION2, client_id, protocol=MQTTProtocolVersion.MQTTv5
        )
        context = ssl.create_default_context(cafile=broker.folder / "tls" / "ca.crt")
        if who:
            context.load_cert_chain(tls / f"{who}.crt", tls / f"{who}.key")
        self.client.tls_set_context(context)
        self.client.on_message = lambda _c, _u, m: self.got.append((m.topic, m.payload))
        self.client.on_subscribe = lambda *_: self._answered.set()
        self.client.on_publish = self._published
        self.connected = False
        self.client.on_connect = lambda *_: self._told(connected=True)
        self.client.on_disconnect = lambda *_: self._told(connected=False)
        kept = Properties(PacketTypes.CONNECT)
        kept.SessionExpiryInterval = 60 if client_id else 0
        self.client.connect(
            "localhost", broker.port, clean_start=client_id is None, properties=kept
        )
        self.client.loop_start()
        assert self._answered.wait(60)
        if not self.connected:
            self.close()
            raise ConnectionRefusedError(who)
        for text in filters:
            self._answered.clear()
            self.client.subscribe(text, 1)
            assert self._answered.wait(60), text

    def _told(self, connected):
        self.connected = connected
        self._answered.set()

    def _published(self, _client, _user, mid, code, _properties):
        self.codes[mid] = code.value
        self._answered.set()

    def publish(self, topic, payload=b"1", retain=False):
        """The broker's reason code: 0 taken, 0x10 taken and nobody listens, 0x87 not allowed."""
        self._answered.clear()
        info = self.client.publish(topic, payload, 1, retain)
        while info.mid not in self.codes:
            assert self._answered.wait(60), topic
        return self.codes[info.mid]

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()
