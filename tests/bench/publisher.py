"""A paced publisher as a process of its own; says at the end how well it kept the pace.

    python -m tests.bench.publisher PORT RATE SECONDS QOS DEVICES [HOT_EVERY]

A burst leaves every millisecond, or every message by itself below 1,000 a second; each message holds
the time at which it was sent.  About 25 messages a second are hot, or each HOT_EVERY-th, each from
another device, whose next message is cool again.  Packets are made once for each device and only
stamped, so that the publisher costs little.
"""

import json
import sys
import time

from tests.bench.peer import Peer, frame, mid_of

HOT_PER_SECOND = 25
LATE_NS = 10_000_000
STAMP = b"%019d" % 0
COOL, HOT = b"21.53", b"99.53"
DEVICES_MAX = 10_000
ANSWERS_EVERY = 16
"""Bursts between two looks at what the broker answers."""


class Fleet:
    """One packet of each device, one behind the other."""

    def __init__(self, devices, qos, site):
        self.data, self.ends, self.stamps, self.values = bytearray(), [], [], []
        for i in range(devices):
            text = b'{"ts":%b,"temperature":%b,"pressure":3.1%d}' % (STAMP, COOL, i % 7)
            packet = frame(f"plant/{site}/d{i}", text, qos, mid_of(i))
            self.stamps.append(len(self.data) + packet.index(STAMP))
            self.values.append(len(self.data) + packet.index(COOL))
            self.data += packet
            self.ends.append(len(self.data))
        self.devices, self.view = devices, memoryview(self.data)

    def send(self, sock, first, n, every):
        """Messages [first, first + n) of all, in one piece; how many of them are hot."""
        stamp = b"%019d" % time.time_ns()
        begin = first % self.devices
        assert begin + n <= self.devices, "a burst does not go around"
        for place in self.stamps[begin : begin + n]:
            self.data[place : place + len(STAMP)] = stamp
        hot = list(range(-(-first // every) * every, first + n, every))
        places = [self.values[i % self.devices] for i in hot]
        for place in places:
            self.data[place : place + len(HOT)] = HOT
        start = self.ends[begin - 1] if begin else 0
        sock.sendall(self.view[start : self.ends[begin + n - 1]])
        for place in places:
            self.data[place : place + len(COOL)] = COOL
        return len(hot)


def hot_every(rate):
    return rate // HOT_PER_SECOND + 1


def devices_of(rate):
    """Each sends twice a second, those of a fast stream more often."""
    return min(rate // 2, DEVICES_MAX)


def main():
    port, rate, seconds, qos, devices, *more = map(int, sys.argv[1:])
    peer = Peer(port, "bench-publisher")
    size, every = max(1, rate // 1000), more[0] if more else hot_every(rate)
    gap_ns = 1_000_000_000 * size // rate
    # Devices that no run before knows: the daemon takes over what is active from retained states.
    fleet = Fleet(devices // size * size, qos, f"s{time.time_ns()}")
    began, cpu = time.monotonic_ns(), time.process_time_ns()
    sent = hot = late = late_max = 0
    for burst in range(seconds * rate // size):
        behind = time.monotonic_ns() - began - burst * gap_ns
        if behind < 0:
            time.sleep(-behind / 1e9)
        late += behind > LATE_NS
        late_max = max(late_max, behind)
        hot += fleet.send(peer.sock, sent, size, every)
        sent += size
        if qos and burst % ANSWERS_EVERY == 0:
            peer.answers()
    seconds = (time.monotonic_ns() - began) / 1e9
    cpu_us = (time.process_time_ns() - cpu) / 1e3 / sent
    peer.answers(0.2)
    peer.close()
    result = {"sent": sent, "hot": hot, "rate": sent / seconds, "cpu_us": cpu_us}
    result |= {"late": late, "late_max_ms": late_max / 1e6}
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
