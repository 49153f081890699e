"""What the tests of transports share: a wiring, and waiting for something to become true."""

import time

from config.model import Broker
from daemon.clock import SystemClock
from daemon.inbox import Inbox
from daemon.ledger import Ledger
from daemon.messages import Outgoing
from daemon.outbox import Outbox
from daemon.transport import Wiring

TOPIC = "sensorweir/test/status"


def wiring(url, client_id, *, inbox_max=10_000, outbox_max=50_000, clock=None, **broker):
    ledger = Ledger()
    return Wiring(
        broker=Broker(url=url, **broker),
        client_id=client_id,
        inbox=Inbox(inbox_max, 32 << 20, ledger),
        outbox=Outbox(outbox_max, 64 << 20, ledger),
        ledger=ledger,
        clock=clock or SystemClock(),
        birth=Outgoing(TOPIC, b"online", 1, True, "status"),
        will=Outgoing(TOPIC, b"offline", 1, True, "status"),
    )


def until(true, timeout_s=60, what="it"):
    """Wait for a condition of another thread or process, up to a limit."""
    end = time.monotonic() + timeout_s
    while not (value := true()):
        assert time.monotonic() < end, f"{what} did not come within {timeout_s} s"
        time.sleep(0.005)
    return value


def alert(topic, payload=b"x", **more):
    return Outgoing(topic, payload, **{"qos": 1, "retain": False, "kind": "alert", **more})
