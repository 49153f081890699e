"""A burst of QoS 1 at a Mosquitto with its defaults: it keeps 1,000 for a subscriber that is slower.

python -m tests.bench.burst PORT MESSAGES       the publisher: all at once
"""

import contextlib
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from tests.bench.durability import metrics
from tests.bench.latency import listening, running
from tests.bench.peer import Peer, frame, mid_of
from tests.bench.targets import ROOT, middle, row
from tests.mosquitto import Mosquitto, free_port

MESSAGES = 20_000
DEVICES = 1000
DEFAULTS = ("max_queued_messages 1000", "max_inflight_messages 20")
"""What mosquitto.conf(5) says they are."""
PUBACK_BYTES = 4
QUIET_S, LIMIT_S = 1.5, 60


def publish(port, messages):
    """Send all of it as fast as the broker reads, and wait for its acknowledgements."""
    peer, now = Peer(port, "bench-burst"), time.time_ns()
    text = b'{"ts":%d,"temperature":21.53,"pressure":3.1}'
    data = b"".join(
        frame(f"plant/burst/d{i % DEVICES}", text % (now + i), 1, mid_of(i))
        for i in range(messages)
    )
    answered = peer.send(data)
    while answered < PUBACK_BYTES * messages:
        answered += peer.answers(5)
    peer.close()


def settled(count):
    """What `count` has come to once it stands still."""
    last, since, ends = count(), time.monotonic(), time.monotonic() + LIMIT_S
    while time.monotonic() - since < QUIET_S and time.monotonic() < ends:
        time.sleep(0.1)
        now = count()
        if now != last:
            last, since = now, time.monotonic()
    return last


def send(broker):
    command = [sys.executable, "-m", "tests.bench.burst", str(broker.port), str(MESSAGES)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=LIMIT_S)


@contextlib.contextmanager
def broker_of():
    with tempfile.TemporaryDirectory() as name:
        broker = Mosquitto(Path(name), *DEFAULTS).start()
        try:
            yield broker, Path(name)
        finally:
            broker.stop()


def by_daemon(durable):
    """How many of the burst the daemon has not received."""
    with broker_of() as (broker, folder):
        port = free_port()
        state = f"{{folder: {folder / 'state'}}}" if durable else "null"
        http = f'{{listen: "127.0.0.1:{port}"}}'
        with listening(broker) as heard, running(broker, 1, folder, heard, state=state, http=http):

            def count():
                return metrics(port).get("messages_received", 0)

            before = settled(count)
            send(broker)
            return MESSAGES - (settled(count) - before)


def by_paho():
    """How many of it plain paho has not received."""
    with broker_of() as (broker, _):
        got, ready = [], threading.Event()
        client = Client(CallbackAPIVersion.VERSION2, client_id="bench-paho")
        client.on_message = lambda _c, _d, message: got.append(message.payload)
        client.on_connect = lambda *_: client.subscribe("plant/#", 1)
        client.on_subscribe = lambda *_: ready.set()
        client.connect("127.0.0.1", broker.port)
        client.loop_start()
        assert ready.wait(10), "no SUBACK"
        send(broker)
        lost = MESSAGES - settled(lambda: len(got))
        client.disconnect()
        client.loop_stop()
        return lost


def rows(quick, say):
    """(Rows, rounds left out)."""
    cases = {
        "": lambda: by_daemon(durable=False),
        ", with `state:`": lambda: by_daemon(durable=True),
        "paho": by_paho,
    }
    found = {name: [] for name in cases}
    for i in range(1 if quick else 3):
        say(f"burst, round {i + 1}")
        for name, case in cases.items():
            found[name].append(case())
    beside = f"plain paho loses {middle(found.pop('paho'))}"
    made = [
        row(
            f"lost of a burst of {MESSAGES:,} at QoS 1, Mosquitto's defaults{name}",
            lost,
            " messages",
            at_most=0,
            beside=beside,
        )
        for name, lost in found.items()
    ]
    return made, 0


if __name__ == "__main__":
    publish(*map(int, sys.argv[1:]))
