"""Packets as devices send them, made once: what parsing and receiving are measured with."""

from typing import NamedTuple

import numpy as np

from tests.bench.peer import frame, mid_of
from tests.graphs import T0

CHANNELS = ("temperature", "humidity")
TOPIC = "site/{site}/{device}/env"
SOURCE = {"plant": {"topic": TOPIC, "time": {"field": "ts", "unit": "ms"}}}
QUICK = {"device_messages_per_s_max": 1_000_000}
"""Limits under which a device may send as fast as it is read here."""


class Traffic(NamedTuple):
    """PUBLISH packets of MQTT 3.1.1 one behind the other, and what is in them."""

    data: bytes
    payloads: list
    total: float
    """Sum of all numbers, without the times."""

    @property
    def messages(self):
        return len(self.payloads)


def traffic(messages, qos=0, devices=1000):
    """JSON of a time and two numbers, 56 bytes, from `devices` topics in turn."""
    rng = np.random.default_rng(1)
    values = np.column_stack(
        (rng.uniform(20, 25, messages).round(2), rng.uniform(35, 55, messages).round(1))
    ).tolist()
    payloads = [
        b'{"ts":%d,"temperature":%b,"humidity":%b}'
        % (T0 // 1_000_000 + i, b"%.2f" % one, b"%.1f" % other)
        for i, (one, other) in enumerate(values)
    ]
    data = b"".join(
        frame(f"site/a/dev{i % devices:05d}/env", payload, qos, mid_of(i))
        for i, payload in enumerate(payloads)
    )
    return Traffic(data, payloads, sum(map(sum, values)))
