"""A paced publisher as a process of its own; says at the end how well it kept the pace.

    python -m tests.bench.publisher PORT RATE SECONDS QOS DEVICES      (RATE in thousands)

A burst leaves every millisecond; each message holds the time at which it was sent.  About 25
messages a second are hot, each from another device, whose next message is cool again.
"""

import json
import sys
import time

from tests.bench.peer import Peer, frame, mid_of

HOT_PER_SECOND = 25
BURST_NS = 1_000_000
LATE_NS = 10_000_000
STAMP = b"%019d" % 0


def blocks(rate, qos, devices, site):
    """Endless bursts of a millisecond: (packets, where their stamps are, how many are hot)."""
    size, every = rate // 1000, rate // HOT_PER_SECOND + 1
    i = 0
    while True:
        data, places, hot = bytearray(), [], 0
        for _ in range(size):
            is_hot = i % every == 0
            hot += is_hot
            text = b'{"ts":%b,"temperature":%b,"pressure":3.1%d}'
            body = text % (STAMP, b"120.5" if is_hot else b"21.53", i % 7)
            packet = frame(f"plant/{site}/d{i % devices}", body, qos, mid_of(i))
            places.append(len(data) + packet.index(STAMP))
            data += packet
            i += 1
        yield data, places, hot


def main():
    port, rate, seconds, qos, devices = map(int, sys.argv[1:])
    peer = Peer(port, "bench-publisher")
    # Devices that no run before knows: the daemon takes over what is active from retained states.
    bursts = blocks(rate, qos, devices, f"s{time.time_ns()}")
    began, cpu = time.monotonic_ns(), time.process_time_ns()
    sent = hot = late = late_max = 0
    for burst in range(seconds * 1000):
        data, places, more = next(bursts)
        hot += more
        behind = time.monotonic_ns() - began - burst * BURST_NS
        if behind < 0:
            time.sleep(-behind / 1e9)
        late += behind > LATE_NS
        late_max = max(late_max, behind)
        stamp = b"%019d" % time.time_ns()
        for place in places:
            data[place : place + len(STAMP)] = stamp
        peer.sock.sendall(data)
        sent += len(places)
        if qos and burst % 16 == 0:
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
