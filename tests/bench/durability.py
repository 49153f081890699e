"""What it costs to acknowledge only what is on disk: the same daemon, the same load, both ways.

    python -m tests.bench.durability [--folder FOLDER] [--seconds 15] [--messages 60000]

*Latency*: publish → alert at a paced rate, QoS 1, `none` and `committed` in turn.
*Drain*: messages wait in the broker's session while the daemon is away; how fast it takes them, and
what each thread costs; no publisher is in the way.  *Start*: from exec to ready and to the first
result, with as many series as messages had devices, from a checkpoint.
"""

import argparse
import json
import statistics
import tempfile
import time
import urllib.request
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests.bench import latency
from tests.bench.measure import machine, threads_ns
from tests.bench.peer import Peer, frame, mid_of
from tests.mosquitto import Mosquitto, free_port

BURST = 20
"""Mosquitto 2.0.11 loses some of those that a client of MQTT 3.1.1 has in flight beyond that."""
PUBACK_BYTES = 4
EVERY, COPIES = "5s", 3


def say(text):
    print(text, flush=True)


def metrics(port):
    """{name: sum over labels}, empty while nobody answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            text = answer.read().decode()
    except OSError:
        return {}
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            name = sample.name.removeprefix("sensorweir_").removesuffix("_total")
            found[name] = found.get(name, 0) + sample.value
    return found


def state_of(folder, durability, every="60s"):
    kept = f"{{folder: {folder / 'state'}, every: {every}}}"
    return "null" if durability == "none" else kept


def paced(broker, folder, rate, seconds, rounds):
    """Rows of publish → alert, both ways in turn."""
    rows = {"none": [], "committed": []}
    for i in range(rounds):
        for durability, found in rows.items():
            place = folder / f"{rate}-{durability}-{i}"
            place.mkdir()
            state = state_of(place, durability)
            row = latency.run(broker, rate, 1, seconds, place, state)
            log = place / "state" / "log"
            size = sum(p.stat().st_size for p in log.glob("*")) if log.exists() else 0
            row["bytes"] = size / row["sent"]
            found.append(row)
    return rows


def show_paced(rate, rows):
    for durability, found in rows.items():
        p50, p99, us, size = (
            statistics.median(r[key] for r in found)
            for key in ("p50_ms", "p99_ms", "daemon_us", "bytes")
        )
        valid = sorted({r["valid"] for r in found})
        say(
            f"{rate:7,} msg/s  {durability:9}  p50 {p50:5.1f} ms  p99 {p99:6.1f} ms  "
            f"{us:5.0f} µs CPU/msg  {size:4.0f} bytes/msg written  valid: {', '.join(valid)}"
        )
    ratios = [c["daemon_us"] / n["daemon_us"] for n, c in zip(*rows.values(), strict=True)]
    say(f"{rate:7,} msg/s  committed / none: {statistics.median(ratios):.2f} of the CPU")


class Drained:
    """A daemon that was away, and finds its session full."""

    def __init__(self, broker, folder, durability, every="60s"):
        self.broker, self.folder, self.port = broker, folder, free_port()
        self.state = state_of(folder, durability, every)

    def start(self):
        http = f'{{listen: "127.0.0.1:{self.port}"}}'
        began = time.monotonic()
        daemon = latency.Daemon(self.broker, 1, self.folder, self.state, http)
        while metrics(self.port).get("time_held", 1) != 0:
            if daemon.process.poll() is not None:
                raise RuntimeError(daemon._text()[-2000:])
            time.sleep(0.02)
        return daemon, time.monotonic() - began

    def run(self, messages, devices):
        """Messages per second, CPU of each thread per message, the state's own figures."""
        daemon, _ = self.start()
        daemon.stop()
        self.publish(messages, devices)
        server = sum(threads_ns(self.broker.process.pid))
        http = f'{{listen: "127.0.0.1:{self.port}"}}'
        daemon = latency.Daemon(self.broker, 1, self.folder, self.state, http)
        took, spent = self.drain(daemon, messages)
        server = sum(threads_ns(self.broker.process.pid)) - server
        daemon.stop()
        return {
            "rate": messages / took,
            "threads_us": [us for us in spent if us > 0.2],
            "broker_us": server / 1e3 / messages,
        }

    def publish(self, messages, devices):
        peer = Peer(self.broker.port, "bench-filler")
        now = time.time_ns()
        for first in range(0, messages, BURST):
            packets = [
                frame(
                    f"plant/s0/d{i % devices}",
                    b'{"ts":%d,"temperature":21.5,"pressure":3.%d}' % (now + i * 1000, i % 7),
                    1,
                    mid_of(i),
                )
                for i in range(first, min(first + BURST, messages))
            ]
            answered = peer.send(b"".join(packets))
            while answered < PUBACK_BYTES * len(packets):
                answered += peer.answers(5)
        peer.close()

    def drain(self, daemon, messages):
        """Seconds from the first message to the last, µs of each thread per message, most first.

        What the start cost before messages came is left out.
        """
        first, until, before, spent = 0.0, time.monotonic() + 300, 0, []
        while time.monotonic() < until:
            asked = time.monotonic()  # while it is busy, an answer takes a while
            found = metrics(self.port)
            done = found.get("samples_decoded", 0)
            if done and not first:
                first, before = asked, done
                spent = threads_ns(daemon.process.pid)
            if done >= 2 * messages and not found.get("log_waiting_bytes"):
                share = (done - before) / done
                if share < 0.3:
                    raise RuntimeError("too quick to be measured: more messages")
                took = (time.monotonic() - first) / share
                pairs = zip(threads_ns(daemon.process.pid), spent, strict=False)
                each = [(now - then) / 1e3 / (messages * share) for now, then in pairs]
                return took, sorted(each, reverse=True)
            if daemon.process.poll() is not None:
                break
            time.sleep(0.01)
        raise RuntimeError(f"not drained: {metrics(self.port)}\n{daemon._text()[-2000:]}")


def drains(folder, messages, rounds):
    broker = Mosquitto(
        folder, "max_queued_messages 0", "max_queued_bytes 0", "set_tcp_nodelay true"
    ).start()
    try:
        for i in range(rounds):
            for durability in ("none", "committed"):
                place = folder / f"drain-{durability}-{i}"
                place.mkdir()
                found = Drained(broker, place, durability).run(messages, 1000)
                threads = " + ".join(f"{us:.1f}" for us in found["threads_us"])
                say(
                    f"drain  {durability:9}  {found['rate']:8,.0f} msg/s   threads {threads} µs/msg, "
                    f"broker {found['broker_us']:.1f}"
                )
    finally:
        broker.stop()


def starts(folder, series):
    """From exec to ready with so many series in the checkpoint."""
    broker = Mosquitto(
        folder, "max_queued_messages 0", "max_queued_bytes 0", "set_tcp_nodelay true"
    ).start()
    try:
        place = folder / "starts"
        place.mkdir()
        latency.CONFIG = latency.CONFIG.replace("100000", str(2 * series))
        one = Drained(broker, place, "committed", EVERY)
        one.run(series // 2, series // 2)
        for _ in range(3):
            daemon, took = one.start()
            stall_ms, size = stalled(one.port)
            daemon.stop()
            say(
                f"start  {series:,} series, checkpoints of {size / 1e6:.0f} MB: ready, with nothing "
                f"waiting at the broker, after {took:.2f} s; a copy of the state keeps the engine "
                f"for {stall_ms:.0f} ms at most"
            )
    finally:
        broker.stop()


def stalled(port):
    """(ms for which the engine waited for a copy of the state at most, bytes of a checkpoint)."""
    until = time.monotonic() + 60
    while (found := metrics(port)).get("state_written", 0) < COPIES:
        if time.monotonic() > until:
            raise RuntimeError(f"no checkpoints: {found}")
        time.sleep(0.1)
    return found["state_stall_seconds_max"] * 1e3, found["state_bytes"]


def main():
    parser = argparse.ArgumentParser(prog="tests.bench.durability", description=__doc__)
    parser.add_argument(
        "--folder", type=Path, help="which disk is measured; default: a temporary one"
    )
    parser.add_argument("--seconds", type=int, default=15)
    parser.add_argument("--messages", type=int, default=60_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--part", action="append", choices=("paced", "drain", "start"))
    args = parser.parse_args()
    parts = args.part or ["paced", "drain", "start"]
    say(json.dumps(machine()))
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name)
        if "paced" in parts:
            broker = Mosquitto(folder).start()
            try:
                for rate in (1_000, 10_000):
                    show_paced(rate, paced(broker, folder, rate, args.seconds, args.rounds))
            finally:
                broker.stop()
        if "drain" in parts:
            (folder / "d").mkdir()
            drains(folder / "d", args.messages, args.rounds)
        if "start" in parts:
            (folder / "s").mkdir()
            starts(folder / "s", 100_000)


if __name__ == "__main__":
    main()
