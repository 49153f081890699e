"""Strangers on the broker: whatever they send, everybody else's alerts leave and topics are safe."""

import json
import re
import threading
import time

import pytest

from tests.daemons import Publisher, Recorder, gateway, hot
from tests.wires import until

pytestmark = pytest.mark.broker

RUBBISH = {
    "nothing": b"",
    "half an object": b'{"temperature": 99',
    "empty list": b"[]",
    "null": b"null",
    "true": b"true",
    "text": b'"99"',
    "no UTF-8": b"\xff\xfe\x00\x99",
    "NULs": b"\0" * 1000,
    "compressed": b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03",
    "text for a number": b'{"temperature": "99"}',
    "unknown": b'{"temperature": null}',
    "too large for a float": b'{"temperature": 1e999}',
    "too many digits": b'{"temperature": ' + b"9" * 400 + b"}",
    "NaN": b'{"temperature": NaN}',
    "deep": b"[" * 100_000,
    "deep objects": b'{"a":' * 50_000,
    "many keys": json.dumps({f"k{i}": "x" for i in range(10_000)}).encode(),
    "many readings": json.dumps([{"temperature": 1}] * 5_000).encode(),
    "a lone surrogate": b'{"\\ud800": 99}',
    "long, just under the limit": b"9" * 250_000,
    "a bad time": b'{"ts": "yesterday", "temperature": 99}',
}
TOO_LONG = b'{"temperature": 99, "x": "' + b"x" * 300_000 + b'"}'
FAR_TOO_LONG = b"9" * 3_000_000
DEVICES = [
    "two words",
    "Kessel Süd 😀",
    "a%2Fb",
    "$SYS",
    "~",
    "..",
    "'; --",
    "\u202egnp",
    "b" * 400,
]
CHANNELS = [
    "a/b",
    "+",
    "#",
    "nul\0",
    "line\nend",
    "",
    " ",
    "$share",
    "%2F",
    "\U0001d499",
    "x" * 200,
]
SAFE = re.compile(r"[A-Za-z0-9._:%~/-]+")


def test_rubbish_of_every_kind_and_odd_names(mosquitto, daemons, closing):
    every = {"from": "boilers", "alert": {"when": {"above": 90}}}
    every["alert"]["topic"] = "rubbish/alerts/{device}/{channel}"
    heard = closing(Recorder(mosquitto.url, "rubbish/alerts/#"))
    daemon = daemons(gateway(mosquitto.url, "rubbish", {"every": every}))
    plant = closing(Publisher(mosquitto.port))

    def send(device, payload):
        plant.send(f"rubbish/plant/north/{device}/telemetry", payload)

    for payload in (*RUBBISH.values(), TOO_LONG, FAR_TOO_LONG):
        send("bad", payload)
    for device in DEVICES:
        send(device, {"temperature": 99})
    send("c" * 60_000, {"temperature": 99})
    send("odd", dict.fromkeys(CHANNELS, 99))
    send("b7", {"temperature": 99})
    until(lambda: any(h.topic.startswith("rubbish/alerts/b7/") for h in heard.heard))
    metrics = daemon.quiet()
    for h in heard.heard:
        assert SAFE.fullmatch(h.topic), h.topic
        assert h.topic.count("/") == 3, h.topic
    assert len({h.topic for h in heard.heard}) == len(heard.heard), "two series on one topic"
    labels = [h.event["data"]["labels"] for h in heard.heard]
    assert {x["device"] for x in labels} >= {*DEVICES, "b7"}
    told = {x["channel"] for x in labels if x["device"] == "odd"}
    assert told >= {c for c in CHANNELS if len(c) < 100}
    # The packet that was far too large is the only one that the broker keeps from us.
    assert metrics["messages_received"] == plant.sent - 1
    assert metrics["messages_rejected{reason=too_big,source=boilers}"] == 1
    assert metrics["messages_rejected"] >= 15
    print({k: v for k, v in metrics.items() if "rejected{" in k or "dropped{" in k})
    assert metrics["callback_errors"] == 0
    assert metrics["connections{connection=in}"] == 1
    assert {line["level"] for line in daemon.complaints()} <= {"warning"}
    assert all(len(json.dumps(line)) < 3000 for line in daemon.log_lines())
    assert daemon.get("/healthz")[0] == 200


def test_a_flood_delays_nobody_for_long(mosquitto, daemons, closing):
    n = 20_000
    heard = closing(Recorder(mosquitto.url, "flood/alerts/#"))
    daemon = daemons(gateway(mosquitto.url, "flood", {"hot": hot()}))
    plant = closing(Publisher(mosquitto.port))
    mad = closing(Publisher(mosquitto.port))
    took = {}

    def flood():
        for i in range(n):
            mad.client.publish("flood/plant/north/mad/telemetry", b'{"pressure": %d}' % i, 0)

    def alert(device):
        began = time.monotonic()
        plant.send(f"flood/plant/north/{device}/telemetry", {"temperature": 99})
        until(lambda: heard.on(f"flood/alerts/{device}/"))
        took[device] = heard.on(f"flood/alerts/{device}/")[0].time - began

    alert("before")
    thread = threading.Thread(target=flood)
    thread.start()
    received = []
    while thread.is_alive():
        alert(f"b{len(received)}")
        received.append(daemon.metrics()["messages_received"])
    thread.join()
    until(lambda: daemon.metrics()["messages_received"] == n + plant.sent, what="all of the flood")
    metrics = daemon.quiet()
    print(f"{len(took)} alerts, the slowest after {max(took.values()):.2f} s; flood {received}")
    assert sum(100 < r < n for r in received) >= 2, "the alerts came beside the flood"
    assert max(took.values()) < 3
    refused = metrics["messages_rejected{reason=rate_limited,source=boilers}"]
    assert metrics["samples_used"] + refused == n + plant.sent
    assert refused > n / 2, "one device may not take what is for all"
    told = daemon.complaints()
    assert {(line["message"], line["reason"]) for line in told} == {
        ("Messages are rejected", "rate_limited")
    }
    assert len(told) <= 2, "once in ten seconds"
