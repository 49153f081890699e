"""Cost of every operator in ns per sample, on noise, flat and wild traffic of many series.

    python -m tests.bench.bench_operators [--series 10000] [--samples 100] [--only rolling] [--max 300]

Samples come in batches of 4096 with the series in turn, one second apart in each series: the worst
order for a cache. Medians of the second half of the batches, when rings have their final width.
Ends with status 1 when an operator is above `--max` on any traffic.
"""

import argparse
import sys
import time

import numpy as np

from pipelines.batch import GroupedBatch, new_batch
from pipelines.operator import load_all
from pipelines.runner import StepRunner
from tests.operator_runs import example_options, twin_of
from tests.traffic import SECOND, START_NS

BATCH = 4096
KINDS = ("noise", "flat", "wild")
MORE = {
    "rolling": tuple(
        {"stat": stat, "window": 60} | ({"q": 0.9} if stat == "quantile" else {})
        for stat in ("sum", "std", "min", "median", "quantile", "range", "count", "slope")
    ),
    "seasonal": ({"period": "20s", "bins": 10},),
    "aggregate": ({"size": "1m", "hop": "10s", "stats": ["mean", "std"]},),
    "spectrum": ({"n": 32, "hop": 32},),
    "geofence": ({"polygons": [[[20, 20], [20, 22], [22, 22], [22, 21], [21.6, 21], [21.6, 20]]]},),
    "quantile": ({"window": "20s", "sketch": "exact"},),
    "distinct": ({"window": "1m", "exact_max": 16},),
}


def batches(kind, series, samples, slots):
    """Every batch of the run; times rise by a second from sample to sample of a series."""
    rng = np.random.default_rng(1)
    total = series * samples
    for first in range(0, total - BATCH, BATCH):
        at = np.arange(first, first + BATCH)
        batch = new_batch(BATCH)
        batch.series[:] = at % series
        batch.t_ns[:] = START_NS + at // series * SECOND
        batch.start_ns[:] = batch.t_ns
        batch.value[:] = 21.5 if kind == "flat" else rng.normal(1e6, 1.0, BATCH)
        if kind == "wild":
            batch.value[rng.random(BATCH) < 0.02] = 1e9
        if slots:
            slot = (at // series % slots).astype(np.int32)
            yield GroupedBatch(*batch, slot, slot)
        else:
            yield batch


def cost(operator, options, kind, series, samples):
    """Median ns per sample of `step`, and ns per series of one `tick` at the end."""
    params = operator.params.model_validate(options)
    slots = 0
    if operator.regroup is not None:
        slots = getattr(twin_of(operator.name), "slots", lambda params: 1)(params)
    runner = StepRunner(operator, [params], series, 8 << 30)
    runner.ensure(series)
    spent = []
    for batch in batches(kind, series, samples, slots):
        started = time.perf_counter_ns()
        runner.run(batch)
        spent.append((time.perf_counter_ns() - started) / BATCH)
    clock = np.full(series, batch.t_ns[-1])
    runner.tick(clock, series)
    started = time.perf_counter_ns()
    runner.tick(clock, series)
    ticked = (time.perf_counter_ns() - started) / series
    return float(np.median(spent[len(spent) // 2 :])), ticked


def table(series=10_000, samples=100, only=(), window=None):
    """{'operator: options': {kind of traffic: ns per sample, 'tick': ns per series}}"""
    found = {}
    for name, operator in load_all().items():
        if only and name not in only:
            continue
        for options in (example_options(operator), *MORE.get(name, ())):
            chosen = options | ({"window": window} if name == "rolling" and window else {})
            costs = {k: cost(operator, chosen, k, series, samples) for k in KINDS}
            steps = {k: step for k, (step, _) in costs.items()}
            found[f"{name}: {chosen}"] = steps | {"tick": max(tick for _, tick in costs.values())}
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--series", type=int, default=10_000)
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--only", default="")
    parser.add_argument("--window", type=int, help="another window for rolling, in samples")
    parser.add_argument("--max", type=float, default=float("inf"))
    args = parser.parse_args()
    only = tuple(filter(None, args.only.split(",")))
    found = table(args.series, args.samples, only, args.window)
    lines = [f"{'ns per sample':44}" + "".join(f"{k:>8}" for k in KINDS) + "    tick"]
    for shown, costs in found.items():
        steps = "".join(f"{costs[k]:8.0f}" for k in KINDS)
        lines.append(f"{shown[:43]:44}{steps}{costs['tick']:8.1f}")
    sys.stdout.write("\n".join(lines) + "\n")
    sys.exit(any(costs[k] > args.max for costs in found.values() for k in KINDS))


if __name__ == "__main__":
    main()
