"""Cost of every operator in ns per sample, on noise, flat and wild traffic of 10,000 series.

    python -m tests.bench.operators [--only rolling,mad] [--rounds 5]

Ends with status 1 when an operator costs more than `tests.bench.budgets` allows, on the traffic
that it costs most on.

Samples come in batches of 4096 with the series in turn, the worst order for a cache.  What counts
is the mean over all of a round's batches, so that what happens once in a while counts in proportion
to how often it happens: series begin at times spread evenly over a week, and with numbers of samples
spread over `stagger`, so that in each batch as many windows of any length close as do in the long
run, instead of all of them in one batch or none.
It is CPU time of the thread, and each round is set against the control before and after it,
because other work on the machine slows memory and caches down: the gate is on that ratio, median
of the rounds, and the figures as they were stand beside it.
"""

import argparse
import os
import statistics
import sys
import time
from typing import NamedTuple

import numpy as np

from pipelines.batch import BAD, GroupedBatch, new_batch, take
from pipelines.jit import use_cache
from pipelines.operator import load_all
from pipelines.runner import StepRunner
from tests.bench import control, latency
from tests.bench.budgets import BUDGETS, CONTROL_NS, SERIES
from tests.operator_runs import example_options, twin_of
from tests.traffic import SECOND, START_NS

BATCH = 4096
ROUND = 20
"""Batches of a round: 8 samples of each series."""
KINDS = ("noise", "flat", "wild")
WEEK_NS = 7 * 86_400 * SECOND


class Result(NamedTuple):
    """Costs of one use of an operator, in ns per sample by kind of traffic."""

    title: str
    raw: dict
    """As measured."""
    costs: dict
    """As they would be where the control costs `CONTROL_NS`."""
    tick: float
    """ns per series of a tick that finds nothing due."""
    budget: float
    heavy: str

    @property
    def worst(self):
        return max(self.costs.values())

    @property
    def over(self):
        return self.worst > self.budget


class Stream:
    """Batches without end: some of each kind made once, their times new each time."""

    def __init__(self, kind, budget, slots):
        rng = np.random.default_rng(1)
        self.groups = SERIES // budget.members
        self.total = self.groups * budget.members
        self.gap_ns = round(budget.every_s * SECOND)
        self.members, self.slots, self.at = budget.members, slots, 0
        self.values = rng.normal(budget.level, budget.spread, (64, BATCH))
        if kind == "flat":
            self.values[:] = budget.level
        if kind == "wild":
            self.values[rng.random(self.values.shape) < 0.02] = 1e9
            self.values[rng.random(self.values.shape) < 0.01] = np.nan
        group = np.arange(self.groups)
        self.begin_ns = START_NS + group * (WEEK_NS // self.groups // 1000 * 1000)
        # Neighbours begin far apart, so that no batch holds those that fill up together.
        self.skipped = group * 7919 % self.groups * budget.stagger // self.groups

    def next(self):
        at = np.arange(self.at, self.at + BATCH)
        member = (at % self.total).astype(np.int32)
        batch = new_batch(BATCH)
        batch.series[:] = member // self.members
        batch.t_ns[:] = self.begin_ns[batch.series] + at // self.total * self.gap_ns
        batch.start_ns[:] = batch.t_ns
        batch.value[:] = self.values[self.at // BATCH % 64]
        batch.quality[np.isnan(batch.value)] = BAD
        here = at // self.total >= self.skipped[batch.series]
        self.at += BATCH
        if not here.all():
            batch, member = take(batch, here), member[here]
        if self.slots:
            return GroupedBatch(*batch, member, member % self.members % self.slots)
        return batch


class Bench:
    """One operator at work on one kind of traffic."""

    def __init__(self, operator, budget, options, kind):
        params = operator.params.model_validate(options)
        slots = 0
        if operator.regroup is not None:
            slots = getattr(twin_of(operator.name), "slots", lambda params: 1)(params)
            slots = budget.names or slots
        self.stream = Stream(kind, budget, slots)
        self.runner = StepRunner(operator, [params], SERIES, 8 << 30)
        self.runner.ensure(self.stream.groups)
        for _ in range(-(-(budget.stagger + budget.warm) * SERIES // BATCH)):
            self.runner.run(self.stream.next())

    def round(self):
        """CPU ns per sample of the next batches."""
        batches = [self.stream.next() for _ in range(ROUND)]
        started = time.thread_time_ns()
        for batch in batches:
            self.runner.run(batch)
        return (time.thread_time_ns() - started) / ROUND / BATCH

    def tick(self):
        """CPU ns per series of a tick that finds nothing due."""
        groups = self.stream.groups
        clock = (
            self.stream.begin_ns + (self.stream.at // self.stream.total - 1) * self.stream.gap_ns
        )
        self.runner.tick(clock, groups)
        started = time.thread_time_ns()
        for _ in range(5):
            self.runner.tick(clock, groups)
        return (time.thread_time_ns() - started) / 5 / groups


def measured(bench, standard, rounds):
    """(ns per sample, how many times the control's), medians of the rounds."""
    raw, ratios, before = [], [], standard.round()
    for _ in range(rounds):
        cost, after = bench.round(), standard.round()
        raw.append(cost)
        ratios.append(2 * cost / (before + after))
        before = after
    return statistics.median(raw), statistics.median(ratios)


def results(only=(), rounds=5):
    """A `Result` for each budget of each operator."""
    standard = Bench(control.OPERATOR, BUDGETS["validate"][0], {}, "noise")
    for name, operator in load_all().items():
        if only and name not in only:
            continue
        for budget in BUDGETS[name]:
            options = example_options(operator) if budget.options is None else budget.options
            raw, costs, ticks = {}, {}, []
            for kind in KINDS:
                bench = Bench(operator, budget, options, kind)
                raw[kind], ratio = measured(bench, standard, rounds)
                costs[kind] = ratio * CONTROL_NS
                ticks.append(bench.tick())
            title = f"{name}: {options}"
            yield Result(title, raw, costs, max(ticks), budget.ns, budget.heavy)


def table(found):
    """{'operator: options': columns} for the tables of `make bench`."""
    return {
        r.title: {
            **r.costs,
            "worst": r.worst,
            "budget": r.budget,
            "as measured": max(r.raw.values()),
            "tick, per series": r.tick,
        }
        for r in found
    }


def line(r):
    costs = "".join(f"{r.costs[k]:7.0f}" for k in KINDS)
    mark = " OVER" if r.over else f" heavy: {r.heavy}" if r.heavy else ""
    raw = max(r.raw.values())
    return f"{r.title[:46]:47}{costs}{r.worst:7.0f}{r.budget:8.0f}{raw:8.0f}{r.tick:7.1f}{mark}\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--only", default="", help="names of operators, by commas")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    os.environ.pop("NUMBA_CACHE_DIR", None)
    use_cache(latency.CACHE)
    heads = (*KINDS, "worst")
    title = f"{'ns per sample, 10,000 series':47}" + "".join(f"{k:>7}" for k in heads)
    sys.stdout.write(f"{title}  budget     raw   tick\n")
    over = 0
    for found in results(tuple(filter(None, args.only.split(","))), args.rounds):
        sys.stdout.write(line(found))
        sys.stdout.flush()
        over += found.over
    sys.exit(bool(over))


if __name__ == "__main__":
    main()
