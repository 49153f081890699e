"""Standard deviation of the last 60 samples: ours beside river and polars, CPU time of all threads.

River takes a sample at a time, as we do; polars has all of them in one table beforehand.  All are first
seen to give the same.
"""

import importlib.util
import time

import numpy as np

from pipelines.batch import samples
from pipelines.operator import load_all
from pipelines.runner import StepRunner
from tests.bench.budgets import SERIES
from tests.bench.engine import WINDOW, Work
from tests.bench.measure import rounds
from tests.bench.targets import absent, middle, ratios, row
from tests.graphs import T0, S

AT_LEAST = {"river": 1000, "polars": 10}
LAST = 60
RIVER_SAMPLES, POLARS_SAMPLES = 20_000, 1_000_000
CHECKED = 300


def values(n):
    return np.random.default_rng(1).normal(20, 1, n)


class River:
    """ns per sample."""

    series = 20

    def __init__(self):
        self.values = values(RIVER_SAMPLES).tolist()

    def run(self, numbers, series):
        from river import stats, utils  # noqa: PLC0415

        known, found = {}, []
        for i, x in enumerate(numbers):
            s = i % series
            window = known.get(s)
            if window is None:
                window = known[s] = utils.Rolling(stats.Var(), LAST)
            window.update(x)
            found.append(window.get() ** 0.5)
        return found

    def __call__(self):
        began = time.process_time_ns()
        found = self.run(self.values, self.series)
        spent = time.process_time_ns() - began
        assert len(found) == len(self.values)
        return spent / len(self.values)


class Polars:
    """ns per sample."""

    def __init__(self):
        import polars as pl  # noqa: PLC0415

        self.polars = pl
        series = np.arange(POLARS_SAMPLES) % SERIES
        self.frame = pl.DataFrame({"series": series, "value": values(POLARS_SAMPLES)})

    def run(self, frame):
        std = self.polars.col("value").rolling_std(LAST, min_samples=2).over("series")
        return frame.select(std)["value"].to_numpy()

    def __call__(self):
        began = time.process_time_ns()
        found = self.run(self.frame)
        spent = time.process_time_ns() - began
        assert abs(float(np.nanmean(found[-SERIES:])) - 1) < 0.05
        return spent / POLARS_SAMPLES


def ours(numbers):
    operator = load_all()["rolling"]
    runner = StepRunner(operator, [operator.params.model_validate(WINDOW)], 1, 1 << 30)
    n = numbers.size
    return runner.run(samples(np.zeros(n, np.int32), T0 + np.arange(n) * S, numbers)).value.copy()


def rows(quick, say):
    """(Rows, rounds left out)."""
    say("rolling, beside river and polars")
    numbers = values(CHECKED)
    here = {who: importlib.util.find_spec(who) is not None for who in AT_LEAST}
    cases = {"ours": Work("rolling std, 60")}
    expected = ours(numbers)
    if here["river"]:
        cases["river"] = River()
        np.testing.assert_allclose(cases["river"].run(numbers.tolist(), 1)[LAST:], expected[LAST:])
    if here["polars"]:
        cases["polars"] = Polars()
        frame = cases["polars"].polars.DataFrame({"series": np.zeros(CHECKED), "value": numbers})
        np.testing.assert_allclose(cases["polars"].run(frame)[LAST:], expected[LAST:])
    found, out = rounds(cases, 3 if quick else 7)
    made = []
    for who, at_least in AT_LEAST.items():
        what = f"{who}'s rolling standard deviation of {LAST} to ours"
        if not here[who]:
            made.append(absent(what, f"{who} is not installed: `make bench` does that"))
            continue
        beside = f"{who} {middle(found[who])} ns per sample, ours {middle(found['ours'])}"
        made.append(row(what, ratios(found, who, "ours"), at_least=at_least, beside=beside))
    return made, out
