"""Receiving, beside plain paho and gmqtt, all from the same fake broker (`tests.bench.blaster`).

Ours is the daemon's connection for messages and what its main thread does to read columns out of them;
plain paho and gmqtt hand payloads to a callback that counts.  CPU time of this process, in which
they take turns.
"""

import asyncio
import importlib.util
import threading
import time

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from daemon.transport.dialect import Dialect
from daemon.transport.ingest import Ingest
from tests.bench.blaster import BLOCK, Blaster, block
from tests.bench.measure import rounds
from tests.bench.parsing import Reading, check
from tests.bench.targets import absent, middle, ratios, row
from tests.wires import until, wiring

AT_LEAST = {0: 100, 1: 150}
LIMIT_S = 60
OURS, PAHO, GMQTT = 20 * BLOCK, 2 * BLOCK, 4 * BLOCK
"""Messages of each: about half a second for paho."""


def wish(messages, qos):
    return f"blast/{messages}/{qos}/#"


class Ours:
    """µs per message; with `path`, until they are columns, else until the main thread has them."""

    def __init__(self, port, qos, messages=OURS, path=None):
        self.port, self.qos, self.messages, self.path = port, qos, messages, path

    def __call__(self):
        made = wiring(f"mqtt://127.0.0.1:{self.port}", "ours", inbox_max=20_000, protocol="3.1.1")
        link, inbox = Ingest(made, Dialect(made.broker)), made.inbox
        link.subscribe({wish(self.messages, self.qos): self.qos})
        link.start()
        until(lambda: link.settled)
        found, got, ends = [], 0, time.monotonic() + LIMIT_S
        began = time.process_time_ns()
        while got < self.messages and time.monotonic() < ends:
            messages = inbox.drain(4096, 0.1)
            got += len(messages)
            if self.path is not None:
                found += self.path.read(messages)
            link.acknowledge(messages)
        spent = time.process_time_ns() - began
        link.ask_stop()
        link.join(10)
        assert got == self.messages, f"{got} of {self.messages} came"
        if self.path is not None:
            check(found, block(self.qos), self.messages // BLOCK)
        return spent / 1e3 / self.messages


class Counter:
    """Counts what a callback is given, and takes the CPU time of the first and the last."""

    def __init__(self, qos, messages):
        self.qos, self.messages, self.got, self.size = qos, messages, 0, 0
        self.began = self.ended = 0

    def heard(self, payload):
        if not self.got:
            self.began = time.process_time_ns()
        self.got += 1
        self.size += len(payload)
        if self.got == self.messages:
            self.ended = time.process_time_ns()

    def cost(self):
        expected = self.messages // BLOCK * sum(map(len, block(self.qos).payloads))
        assert (self.got, self.size) == (self.messages, expected), f"{self.got} came"
        return (self.ended - self.began) / 1e3 / self.messages


class Paho:
    """µs per message of `loop_start` and `on_message`."""

    def __init__(self, port, qos, messages=PAHO):
        self.port, self.qos, self.messages = port, qos, messages

    def __call__(self):
        counter, done = Counter(self.qos, self.messages), threading.Event()

        def on_message(_client, _data, message):
            counter.heard(message.payload)
            if counter.ended:
                done.set()

        client = Client(CallbackAPIVersion.VERSION2, client_id="paho", reconnect_on_failure=False)
        client.on_message = on_message
        client.on_connect = lambda *_: client.subscribe(wish(self.messages, self.qos), self.qos)
        client.connect("127.0.0.1", self.port)
        client.loop_start()
        done.wait(LIMIT_S)
        client.disconnect()
        client.loop_stop()
        return counter.cost()


class Gmqtt:
    """µs per message of gmqtt's `on_message`."""

    def __init__(self, port, qos, messages=GMQTT):
        self.port, self.qos, self.messages = port, qos, messages

    def __call__(self):
        return asyncio.run(self._run())

    async def _run(self):
        import gmqtt  # noqa: PLC0415

        counter, done = Counter(self.qos, self.messages), asyncio.Event()

        def on_message(_client, _topic, payload, _qos, _properties):
            counter.heard(payload)
            if counter.ended:
                done.set()
            return 0

        client = gmqtt.Client("gmqtt")
        client.on_message = on_message
        client.on_connect = lambda *_: client.subscribe(wish(self.messages, self.qos), qos=self.qos)
        await client.connect("127.0.0.1", self.port, version=gmqtt.constants.MQTTv311)
        await asyncio.wait_for(done.wait(), LIMIT_S)
        await client.disconnect()
        return counter.cost()


WHO = ("ours", "paho", "columns", "gmqtt")


def measured(n, who=WHO, ours=OURS, paho=PAHO):
    """({(who, QoS): µs per message of each round}, rounds left out); gmqtt where it is installed."""
    blaster, cases = Blaster(), {}
    port, path = blaster.port, Reading()
    try:
        for qos in AT_LEAST:
            made = {
                "ours": Ours(port, qos, ours),
                "paho": Paho(port, qos, paho),
                "columns": Ours(port, qos, ours, path),
                "gmqtt": Gmqtt(port, qos),
            }
            cases |= {(name, qos): made[name] for name in who}
        if not importlib.util.find_spec("gmqtt"):
            cases = {key: case for key, case in cases.items() if key[0] != "gmqtt"}
        Ours(port, 0, BLOCK, path)()  # topics are learnt, kernels loaded
        return rounds(cases, n)
    finally:
        blaster.close()


def rows(quick, say):
    """(Rows, rounds left out)."""
    say("receiving, beside paho and gmqtt")
    found, out = measured(2 if quick else 3)
    made = []
    for qos, at_least in AT_LEAST.items():
        paho = f"paho {middle(found['paho', qos])} µs"
        what = f"plain paho's receiving to ours, QoS {qos}"
        beside = f"{middle(found['ours', qos])} µs per message; {paho}"
        times = ratios(found, ("paho", qos), ("ours", qos))
        made.append(row(what, times, at_least=at_least, beside=beside))
        what = f"plain paho's receiving to ours with parsing into columns, QoS {qos}"
        beside = f"{middle(found['columns', qos])} µs per message; {paho}"
        made.append(row(what, ratios(found, ("paho", qos), ("columns", qos)), beside=beside))
        what = f"gmqtt's receiving to ours, QoS {qos}"
        if ("gmqtt", qos) in found:
            times = ratios(found, ("gmqtt", qos), ("ours", qos))
            made.append(row(what, times, beside=f"gmqtt {middle(found['gmqtt', qos])} µs"))
        else:
            made.append(absent(what, "gmqtt is not installed: `make bench` does that"))
    return made, out
