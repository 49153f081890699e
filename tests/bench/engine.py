"""Operators over 10,000 series beside the bandwidth of `np.copyto` in the same process.

A sample is 20 bytes (series, time, value).  100 % would be an operator that goes through samples as fast
as `np.copyto` moves bytes, reading and writing.  Operators run as the daemon runs them, in batches of
4,096 with the series in turn, one worth of `StepRunner.run` each.
"""

import time

import numpy as np

from pipelines import alerts
from pipelines.operator import load_all
from tests.bench.budgets import SERIES, Budget
from tests.bench.measure import rounds
from tests.bench.operators import BATCH, Bench
from tests.bench.targets import middle, ratios, row

SAMPLE_BYTES = 20
COPY_ROWS = 4_000_000
"""More than any cache holds."""
PERCENT = 100
STATS = ["count", "sum", "min", "max"]
LIMIT = {"levels": [{"high": 90.0, "deadband": 5.0}]}
WINDOW = {"stat": "std", "window": 60}

CASES = {
    "validate": Budget(0, {"min": -1e9, "max": 1e9}, stagger=1, warm=4),
    "alert above a limit": Budget(0, LIMIT, stagger=1, warm=4, level=20.0),
    "ewma": Budget(0, {"halflife": "30s"}, stagger=1, warm=4),
    "aggregate": Budget(0, {"size": "10s", "stats": STATS}, stagger=10, warm=20),
    "rolling std, 60": Budget(0, WINDOW, stagger=1, warm=100),
    "mad, 31": Budget(0, {"window": 31}, stagger=1, warm=60),
}
AT_LEAST = {
    "validate": 50,
    "alert above a limit": 50,
    "ewma": 30,
    "aggregate": 20,
    "rolling std, 60": 12,
}
"""Percent of the bandwidth."""
MAD_AT_LEAST = 15
ALL_AT_LEAST = 15
"""Millions of samples a second on one core."""
FIVE = ("alert above a limit", "ewma", "aggregate", "rolling std, 60", "mad, 31")
REPEATS = 4
EACH_WINDOW = 10
"""Samples: one a second in windows of ten seconds."""
BETWEEN = {
    "validate": (-0.1, 0.1),
    "ewma": (-0.1, 0.1),
    "rolling std, 60": (0.95, 1.05),
    "mad, 31": (-0.1, 0.1),
}
"""Where the mean of what comes out lies for noise of a standard deviation of 1."""


class Copy:
    """ns per sample of copying three columns."""

    def __init__(self, n=COPY_ROWS):
        kinds = (np.int32, np.int64, np.float64)
        self.pairs = [(np.ones(n, kind), np.zeros(n, kind)) for kind in kinds]
        self.n = n

    def __call__(self):
        began = time.thread_time_ns()
        for source, into in self.pairs:
            np.copyto(into, source)
        spent = time.thread_time_ns() - began
        assert all(into[-1] == 1 for _, into in self.pairs)
        return spent / self.n


class Work:
    """ns per sample of one operator."""

    def __init__(self, name):
        budget = CASES[name]
        operators = load_all() | {"alert": alerts.OPERATOR}
        word = name.replace(",", " ").split()[0]
        self.bench = Bench(operators[word], budget, budget.options, "noise")
        self.name, self.level = name, budget.level
        self.check()

    def __call__(self):
        return sum(self.bench.round() for _ in range(REPEATS)) / REPEATS

    def check(self):
        """What comes out is what there must be of noise around a level."""
        batch = self.bench.stream.next()
        if self.name == "alert above a limit":
            counts = [self._rows(batch, level) for level in (self.level, 100.0, self.level)]
            assert counts == [0, BATCH, BATCH], f"{counts} transitions"
            return
        out = self.bench.runner.run(batch)
        if self.name == "aggregate":
            assert (out.fields[:, 0] == EACH_WINDOW).all()
            return
        assert (out.series == batch.series).all()
        low, high = BETWEEN[self.name]
        value = out.value - (self.level if self.name in {"validate", "ewma"} else 0.0)
        assert low < value.mean() < high, f"{self.name}: {value.mean()}"

    def _rows(self, batch, level):
        value = np.full(BATCH, level)
        later = batch.t_ns + round(level * 1e6)  # time goes on
        return self.bench.runner.run(batch._replace(value=value, t_ns=later)).size


def measured(names, n, copied=COPY_ROWS):
    """({case: ns per sample of each round}, rounds left out)."""
    cases = {"copy": Copy(copied)} | {name: Work(name) for name in names}
    for case in cases.values():
        case()
    return rounds(cases, n)


def shares(found, name):
    """Percent of the copy's bytes a second, reading and writing, in each round."""
    return [PERCENT / 2 * share for share in ratios(found, "copy", name)]


def rows(quick, say):
    """(Rows, rounds left out)."""
    say("operators, beside np.copyto")
    found, out = measured(CASES, 3 if quick else 9)
    copy = 2 * SAMPLE_BYTES / min(found["copy"])
    made = []
    for name, at_least in AT_LEAST.items():
        beside = f"{middle(found[name])} ns per sample; `np.copyto` {copy:.1f} GB/s"
        what = f"{name}, {SERIES:,} series, of `np.copyto`'s bandwidth"
        made.append(row(what, shares(found, name), " %", at_least=at_least, beside=beside))
    rate = [1e3 / ns for ns in found["mad, 31"]]
    what = f"exact median and deviation of 31 samples, {SERIES:,} series"
    beside = f"{middle(found['mad, 31'])} ns per sample"
    made.append(row(what, rate, " M/s", at_least=MAD_AT_LEAST, beside=beside))
    five = [sum(costs) for costs in zip(*(found[name] for name in FIVE), strict=True)]
    what = f"five operators one after another, {SERIES:,} series"
    beside = f"{middle(five)} ns per sample, batches of {BATCH:,}"
    made.append(row(what, [1e3 / ns for ns in five], " M/s", at_least=ALL_AT_LEAST, beside=beside))
    return made, out
