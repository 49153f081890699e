"""Hops at the sockets: receive and publish, against a real Mosquitto, with its own cost."""

import threading
import time

from daemon.ledger import Count
from daemon.messages import Outgoing
from daemon.transport.mqtt import MqttTransport
from tests.bench.measure import thread_ns, threads_ns
from tests.bench.peer import Peer, frame, mid_of
from tests.wires import until, wiring

LIMIT_S = 60


class LinkBench:
    """What both directions share: a transport and a bare client on the other side."""

    def __init__(self, broker, qos, messages, name):
        self.broker, self.qos, self.messages = broker, qos, messages
        self.topic = f"bench/{name}/{qos}"
        self.wiring = wiring(broker.url, f"bench-{name}-{qos}", inbox_max=messages + 1)
        self.transport = MqttTransport(self.wiring)
        self.peer = Peer(broker.port, f"bench-peer-{name}-{qos}")
        self.transport.subscribe({f"{self.topic}/+": qos} if name == "receive" else {})
        self.transport.start()
        until(lambda: self.transport.connected)

    def broker_ns(self):
        return sum(threads_ns(self.broker.process.pid))

    def close(self):
        self.transport.stop(1)
        self.peer.close()


class ReceiveBench(LinkBench):
    """(µs per message of the thread that reads and acknowledges, µs of the broker)."""

    def __init__(self, broker, qos, messages):
        super().__init__(broker, qos, messages, "receive")
        body = b'{"ts":1764000000000,"temperature":21.53}'
        self.size = sum(len(body) + len(self._name(i)) for i in range(messages))
        self.data = b"".join(frame(self._name(i), body, qos, mid_of(i)) for i in range(messages))

    def _name(self, i):
        return f"{self.topic}/d{i % 1000}"

    def __call__(self):
        thread, inbox = self.transport._ingest._thread, self.wiring.inbox
        before, broker = thread_ns(thread), self.broker_ns()
        sender = threading.Thread(target=self.peer.send, args=(self.data,))
        sender.start()
        got = size = 0
        ends = time.monotonic() + LIMIT_S
        while got < self.messages and time.monotonic() < ends:
            part = inbox.drain(4096, 0.1)
            got += len(part)
            size += sum(len(m.payload) + len(m.topic) for m in part)
            self.transport.acknowledge(part)
            time.sleep(0.005)
        sender.join()
        assert (got, size) == (self.messages, self.size), f"{got} of {self.messages} came"
        time.sleep(0.05)  # the last acknowledgements
        self.peer.answers(0.05)
        n = 1e3 * self.messages
        return (thread_ns(thread) - before) / n, (self.broker_ns() - broker) / n


class PublishBench(LinkBench):
    """(µs per message of the thread that publishes and settles, µs of the broker)."""

    def __init__(self, broker, qos, messages):
        super().__init__(broker, qos, messages, "publish")
        self.peer.subscribe(f"{self.topic}/+", qos)
        payload = b'{"specversion":"1.0","data":{"value":95.5,"state":"active"}}' * 10
        properties = (("id", "0123456789abcdef" * 2), ("type", "sensorweir.alert.active"))
        self.outputs = [
            Outgoing(f"{self.topic}/d{i}", payload, qos, False, "alert", properties, "text/json")
            for i in range(messages)
        ]

    def __call__(self):
        thread, ledger = self.transport._egress._thread, self.wiring.ledger
        done = ledger.value(Count.OUTPUTS_PUBLISHED, kind="alert")
        before, broker = thread_ns(thread), self.broker_ns()
        self.wiring.outbox.put(self.outputs)
        got, ends = [], time.monotonic() + LIMIT_S
        while len(got) < self.messages and time.monotonic() < ends:
            got += self.peer.publishes(0.1)
        assert len(got) == self.messages, f"{len(got)} of {self.messages} came"
        until(lambda: not len(self.wiring.outbox))
        published = ledger.value(Count.OUTPUTS_PUBLISHED, kind="alert") - done
        assert published == self.messages
        n = 1e3 * self.messages
        return (thread_ns(thread) - before) / n, (self.broker_ns() - broker) / n
