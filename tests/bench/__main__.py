"""What a message costs in each hop, how late alerts are, and whether the hot path's targets are reached.

    python -m tests.bench [--quick] [--part parsing] [--format json] [--readme]

Parts may be given several times; without any, all run, in about twelve minutes; --quick takes fewer
rounds and leaves out the operators unless they are named.  --readme runs the targets and writes
the README's table of them.
Every case asserts its result before a cost counts; ends with status 1 when the engine costs more
than 1 µs per sample, or an operator more than its budget.
"""

import argparse
import gc
import os
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from statistics import median

from pipelines.jit import use_cache
from tests.bench import hops, latency, links, operators, table, targets
from tests.bench.measure import Cost, machine, rounds
from tests.mosquitto import Mosquitto

HOPS = ("hops", "decode", "latency", "operators")
TARGETS = (
    *("parsing", "receiving", "engine", "rules", "rolling"),
    *("beside_broker", "burst", "spinning", "starting", "memory"),
)
"""Modules whose `rows` are targets."""
BEGAN = time.monotonic()
ENGINE_GATED = 4096
"""Size of the batches for which the limit holds; smaller ones are shown."""


def say(text):
    sys.stderr.write(f"bench: {time.monotonic() - BEGAN:4.0f} s  {text}\n")


def inside(quick):
    """{(hop, case, unit): bench} of what needs no broker."""
    n = 10_000 if quick else 20_000
    sizes = (4096, 500, 50)
    engine = {("engine", f"3 steps + alert, 10,000 series, by {s}", "ns/sample"): s for s in sizes}
    return {
        ("decode", "JSON, 1 channel", "µs/msg"): hops.DecodeBench(1, 4096, n),
        ("decode", "JSON, 2 channels", "µs/msg"): hops.DecodeBench(2, 4096, n),
        **{key: hops.EngineBench(size) for key, size in engine.items()},
        ("engine", "tick, 10,000 series, 1 pipeline", "µs/tick"): hops.TickBench(1),
        ("engine", "tick, 10,000 series, 10 pipelines", "µs/tick"): hops.TickBench(10),
        ("encode", "alert event and its state", "µs/event"): hops.EncodeBench(),
        ("whole turn", "1 message", "µs/msg"): hops.TurnBench(1, 2000),
        ("whole turn", "50 messages", "µs/msg"): hops.TurnBench(50, n),
        ("whole turn", "4096 messages", "µs/msg"): hops.TurnBench(4096, n),
    }


def between(broker, quick):
    """The same for what goes over the broker; these tell its cost as well."""
    n = 10_000 if quick else 30_000
    receive = {("receive", f"QoS {q}", "µs/msg"): links.ReceiveBench(broker, q, n) for q in (0, 1)}
    publish = {
        ("publish", f"QoS {q}", "µs/msg"): links.PublishBench(broker, q, n // 10) for q in (0, 1)
    }
    return receive | publish


def run_hops(broker, quick):
    """Rows of all hops, the engine's split, rounds left out."""
    linked, rows, out = between(broker, quick), [], 0
    say("receive and publish, over Mosquitto")
    found, out = rounds(linked, 2 if quick else 5)
    for bench in linked.values():
        bench.close()
    rows += [
        table.hop(*key, Cost.of([us for us, _ in costs]), Cost.of([us for _, us in costs]))
        for key, costs in found.items()
    ]
    say("decode, engine, encode, in process")
    cases = inside(quick)
    found, more = rounds(cases, 2 if quick else 4)
    rows += [table.hop(*key, Cost.of(costs)) for key, costs in found.items()]
    engines = [bench for bench in cases.values() if isinstance(bench, hops.EngineBench)]
    split = {str(bench.size): hops.split_of(bench) for bench in engines}
    order = ["receive", "decode", "engine", "encode", "publish", "whole turn"]
    return sorted(rows, key=lambda row: order.index(row["hop"])), split, out + more


def run_decode(quick):
    """{case: figures}: decoding in bulk, without the kernel, and what orjson alone costs."""
    say("decode, with the kernel and without")
    cases = hops.decode_cases(quick)
    found, out = rounds(cases, 3 if quick else 9)
    rows = {}
    for case in dict.fromkeys(case for case, _ in cases):
        bulk, plain, loads = (found[case, way] for way in hops.WAYS)
        rows[case] = {
            "bulk µs/msg": median(bulk),
            "plain µs/msg": median(plain),
            "orjson.loads µs/msg": median(loads),
            "plain : bulk": median([p / b for p, b in zip(plain, bulk, strict=True)]),
            "bulk : orjson.loads": median([b / o for b, o in zip(bulk, loads, strict=True)]),
        }
    return rows, out


def run_latency(broker, quick, folder):
    """One row for each rate and QoS, the latter in turn."""
    rows = []
    for rate in (1_000, 10_000):
        for qos in (1,) if quick else (0, 1):
            say(f"latency at {rate:,} msg/s, QoS {qos}")
            gc.collect()
            gc.freeze()  # a collection here would count as the daemon's latency
            rows.append(latency.run(broker, rate, qos, 6 if quick else 15, folder))
    return rows


def run_targets(parts, quick):
    """(Rows of these targets in order, rounds left out)."""
    made, out = [], 0
    for part in TARGETS:
        if part in parts:
            rows, more = import_module(f"tests.bench.{part}").rows(quick, say)
            made, out = made + rows, out + more
    return made, out


def arguments():
    """Of the command line."""
    parser = argparse.ArgumentParser(prog="tests.bench", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds, shorter runs")
    parser.add_argument(
        "--part", action="append", choices=(*HOPS, *TARGETS), help="only this; repeatable"
    )
    parser.add_argument("--format", choices=("markdown", "json"), default="markdown")
    parser.add_argument("--readme", action="store_true", help="write the table of targets there")
    args = parser.parse_args()
    if args.readme and args.part:
        parser.error("--readme needs all targets of one run")
    usual = TARGETS if args.readme else (*(HOPS[:3] if args.quick else HOPS), *TARGETS)
    return args, args.part or usual


def main():
    args, parts = arguments()
    os.environ.pop("NUMBA_CACHE_DIR", None)  # one shared with other sources may hold stale helpers
    use_cache(latency.CACHE)
    result = {
        "machine": machine(),
        "hops": [],
        "split": {},
        "latency": [],
        "operators": {},
        "decode": {},
        "targets": [],
    }
    result["rounds_left_out"], dear = 0, []
    with tempfile.TemporaryDirectory() as folder:
        broker = Mosquitto(Path(folder)).start()
        try:
            if "hops" in parts:
                found = run_hops(broker, args.quick)
                result["hops"], result["split"], result["rounds_left_out"] = found
            if "latency" in parts:
                result["latency"] = run_latency(broker, args.quick, Path(folder))
        finally:
            broker.stop()
    if "decode" in parts:
        result["decode"], out = run_decode(args.quick)
        result["rounds_left_out"] += out
    if "operators" in parts:
        say("operators")
        found = list(operators.results(rounds=2 if args.quick else 5))
        result["operators"], dear = operators.table(found), [r for r in found if r.over]
    rows, out = run_targets(parts, args.quick)
    result["targets"] = [r._asdict() | {"met": r.met, "cells": r.cells} for r in rows]
    result["rounds_left_out"] += out
    if args.readme:
        targets.write_readme(rows, result["machine"], out)
    sys.stdout.write((table.as_json if args.format == "json" else table.markdown)(result))
    gated = [r for r in result["hops"] if r["case"].endswith(f"by {ENGINE_GATED}")]
    slow = [r["median"] for r in gated if r["median"] > hops.ENGINE_NS_MAX]
    if slow:
        say(f"the engine costs {slow[0]:.0f} ns per sample, allowed are {hops.ENGINE_NS_MAX}")
    for r in dear:
        say(f"{r.title} costs {r.worst:.0f} ns per sample, allowed are {r.budget:.0f}")
    sys.exit(bool(slow or dear))


if __name__ == "__main__":
    main()
