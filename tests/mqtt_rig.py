"""Fixtures of the MQTT tests: transports that are stopped in the end, and witnesses."""

import threading

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from daemon.transport import make_transport
from daemon.transport.backoff import Backoff


@pytest.fixture
def quick(monkeypatch):
    """Reconnect at once: what is tested here is that it happens, not how long it waits."""
    monkeypatch.setattr(Backoff, "next_s", lambda self, **_: 0.05)


@pytest.fixture
def opened():
    """Makes transports and stops them at the end."""
    made = []

    def make(w, filters=(), recalled=()):
        transport = make_transport(w)
        made.append(transport)
        if recalled:
            transport.recall(recalled)
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
            assert subscribed.wait(60)

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
