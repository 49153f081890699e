"""The in-process bus: behaves like one MQTT session, at once and in order."""

import pytest

from daemon.ledger import Count
from daemon.transport import make_transport
from tests.wires import TOPIC, alert, wiring


@pytest.fixture
def bus():
    w = wiring("memory://", "test")
    transport = make_transport(w)
    transport.subscribe({"a/+": 1, "b/#": 0})
    transport.start()
    w.inbox.drain(100)
    return w, transport


def arrived(w):
    return [(m.topic, m.payload, m.qos, m.retain) for m in w.inbox.drain(1000)]


def test_only_what_is_subscribed_arrives_with_the_lower_qos(bus):
    w, transport = bus
    transport.publish("a/1", b"x", 1)
    transport.publish("a/1/2", b"x", 1)
    transport.publish("b/1/2", b"x", 1)
    transport.publish("a/1", b"y", 0)
    assert arrived(w) == [
        ("a/1", b"x", 1, False),
        ("b/1/2", b"x", 0, False),
        ("a/1", b"y", 0, False),
    ]


def test_outputs_are_published_in_order_and_come_back_where_subscribed(bus):
    w, transport = bus
    w.outbox.put([alert("a/1"), alert("c/1"), alert("b/2")])
    assert [o.topic for o in transport.published] == [TOPIC, "a/1", "c/1", "b/2"]
    assert [t for t, *_ in arrived(w)] == ["a/1", "b/2"]
    assert w.ledger.total(Count.OUTPUTS_PUBLISHED) == 3


def test_retained_messages_come_to_new_subscriptions_only(bus):
    w, transport = bus
    transport.publish("c/1", b"old", retain=True)
    transport.publish("c/1", b"new", retain=True)
    transport.publish("c/2", b"gone", retain=True)
    transport.publish("c/2", b"", retain=True)
    transport.subscribe({"a/+": 1, "c/#": 1})
    assert arrived(w) == [("c/1", b"new", 1, True)]
    transport.subscribe({"a/+": 1, "c/#": 1})
    assert arrived(w) == []


def test_a_removed_subscription_brings_nothing_more(bus):
    w, transport = bus
    transport.subscribe({"b/#": 1})
    transport.publish("a/1", b"x")
    assert arrived(w) == []


def test_what_was_not_acknowledged_comes_again_in_order_before_what_was_held(bus):
    w, transport = bus
    for i in range(4):
        transport.publish("a/1", str(i).encode())
    first = w.inbox.drain(10)
    transport.acknowledge(first[:2])
    transport.cut()
    assert not transport.connected
    transport.publish("a/1", b"4")
    transport.publish("b/1", b"lost", 0)
    w.outbox.put([alert("c/1")])
    assert [o.topic for o in transport.published] == [TOPIC]
    transport.restore()
    again = w.inbox.drain(10)
    assert [m.payload for m in again] == [b"2", b"3", b"4"]
    assert {m.epoch for m in again} == {2}
    assert transport.published[-1].topic == "c/1"
    transport.acknowledge(first[2:])
    assert transport.status()["unacknowledged"] == 3
    transport.acknowledge(again)
    assert transport.status()["unacknowledged"] == 0


def test_birth_and_will_frame_everything(bus):
    w, transport = bus
    w.outbox.put([alert("c/1")])
    transport.stop(1)
    assert [o.payload for o in transport.published] == [b"online", b"x", b"offline"]
    assert not transport.connected
