"""The daemon as a process between a paced publisher and Mosquitto, beside the broker and Node-RED.

CPU time of daemon and broker are of the same window, from `/proc/<pid>/task/*/schedstat`.  They take
turns: the daemon without state at QoS 0, with `state:` at QoS 1, Node-RED at QoS 0, each with a broker
of its own.
"""

import contextlib
import json
import tempfile
import time
from pathlib import Path

from tests.bench.latency import listening, running, window
from tests.bench.node_red import NodeRed, NodeRedMissingError, installed
from tests.bench.paced import latency_of, paced
from tests.bench.targets import absent, middle, number, row
from tests.mosquitto import Mosquitto

RATES = (10_000, 50_000)
FULL = 50_000
AT_MOST, P99_MS_AT_MOST = 0.25, 3.0
"""Of the broker's CPU, and the latency, at the full rate without state."""
NODE_RED_AT_LEAST = 6
SECONDS, SETTLE_S = 10, 4
"""Twenty thousand series are new at first, which takes longer than their samples come in."""
QOS = {"none": 0, "committed": 1}


def daemon(folder, durability):
    """{rate: figures} of one start of the daemon."""
    qos, broker = QOS[durability], Mosquitto(folder).start()
    state = "null" if durability == "none" else f"{{folder: {folder / 'state'}}}"
    try:
        with listening(broker) as heard, running(broker, qos, folder, heard, state=state) as one:
            return {
                rate: window(broker, one, heard, rate, qos, SECONDS, SETTLE_S) for rate in RATES
            }
    finally:
        broker.stop()


def node_red(folder):
    """The same of Node-RED; None where it cannot be had."""
    broker, found = Mosquitto(folder).start(), {}
    try:
        with (
            listening(broker) as heard,
            contextlib.closing(_Stopping(NodeRed(broker, folder))) as one,
        ):
            one.wait(broker, heard)
            for rate in RATES:
                heard.clear()
                made = paced(broker, one.process.pid, rate, 0, SECONDS, SETTLE_S)
                _wait(heard, made["hot"])
                answers = [(now, (now - json.loads(body)["ts"]) / 1e6) for now, _, body in heard]
                found[rate] = made | latency_of(answers, made)
    finally:
        broker.stop()
    return found


def _wait(heard, n, patience_s=5):
    until = time.monotonic() + patience_s
    while len(heard) < n and time.monotonic() < until:
        time.sleep(0.1)


class _Stopping:
    def __init__(self, inner):
        self.inner = inner

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def close(self):
        self.inner.stop()


def measured(rounds, say):
    """({who: [{rate: figures} of each round]}, why there is no Node-RED)."""
    found, why = {"none": [], "committed": [], "Node-RED": []}, ""
    try:
        installed()
    except NodeRedMissingError as error:
        why = str(error)
    for i in range(rounds):
        for who, results in found.items():
            if who == "Node-RED" and why:
                continue
            say(f"paced load, {who}, round {i + 1} of {rounds}")
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                results.append(node_red(folder) if who == "Node-RED" else daemon(folder, who))
    return found, why


def good(runs):
    """(Valid ones of these, or all when there is none; what is to be said of that; why none is)."""
    valid = [run for run in runs if run["valid"] == "yes"]
    why = next((run["valid"] for run in runs if run["valid"] != "yes"), "")
    if not valid:
        return runs, "", f"no run is valid: {why}"
    out = len(runs) - len(valid)
    return valid, f"; {out} of {len(runs)} runs left out: {why}" if out else "", ""


def rows(quick, say):
    """(Rows, runs left out)."""
    found, why = measured(1 if quick else 3, say)
    made, out = [], 0
    for who, qos in QOS.items():
        for rate in RATES:
            runs = [results[rate] for results in found[who]]
            valid, note, broken = good(runs)
            out += len(runs) - len(valid)
            load = f"{rate:,} msg/s, QoS {qos}, {'with' if qos else 'without'} `state:`"
            full = rate == FULL and not qos
            shares = [run["daemon_us"] / run["broker_us"] for run in valid]
            beside = (
                f"{_cost(valid, 'daemon_us')} µs per message; broker {_cost(valid, 'broker_us')}"
            )
            made.append(
                row(
                    f"daemon's CPU to its broker's, {load}",
                    shares,
                    at_most=AT_MOST if full else None,
                    beside=beside + note,
                    broken=broken,
                )
            )
            made.append(
                row(
                    f"p99 publish → alert, {load}",
                    [run["p99_ms"] for run in valid],
                    " ms",
                    at_most=P99_MS_AT_MOST if full else None,
                    beside=f"p50 {_cost(valid, 'p50_ms')} ms; broker at "
                    f"{number(100 * max(run['broker_busy'] for run in valid))} % of a core",
                    broken=broken,
                )
            )
    return made + _node_red_rows(found, why), out


def _node_red_rows(found, why):
    made = []
    for rate in RATES:
        what = f"Node-RED's CPU to ours, {rate:,} msg/s, QoS 0"
        if why:
            made.append(absent(what, f"Node-RED: {why}"))
            continue
        both = zip(found["Node-RED"], found["none"], strict=True)
        pairs = [(theirs[rate], ours[rate]) for theirs, ours in both]
        valid = [pair for pair in pairs if all(run["valid"] == "yes" for run in pair)]
        _, note, broken = good([run for pair in pairs for run in pair])
        broken = broken or ("" if valid else "in no round both runs are valid")
        pairs = valid or pairs
        theirs = [run for run, _ in pairs]
        made.append(
            row(
                what,
                [a["daemon_us"] / b["daemon_us"] for a, b in pairs],
                at_least=NODE_RED_AT_LEAST if rate == FULL else None,
                beside=f"Node-RED {_cost(theirs, 'daemon_us')} µs per message, p50 "
                f"{_cost(theirs, 'p50_ms')}, p99 {_cost(theirs, 'p99_ms')} ms{note}",
                broken=broken,
            )
        )
    return made


def _cost(runs, key):
    return middle([run[key] for run in runs])
