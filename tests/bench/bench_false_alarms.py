"""How often detectors with a budget of false alarms raise one, and what a shift costs then.

    python -m tests.bench.bench_false_alarms [--only mad,cusum] [--series 100] [--budget 10000]

Each detector watches series of noise that has no fault in it, a sample a second: after the time
of one false alarm it is counted for four more how often an alert is raised, over how often it
was asked for. Then every series shifts by three standard deviations, for as long as a tenth of the
budget: in how many samples half of the series have an alert, by the budget and by the detector's
default limit, and how often that default limit raised false alarms, over the budget too.
Ends with status 1 when a detector is off by more than a factor of two.
"""

import argparse
import sys
from typing import NamedTuple

import numpy as np

from pipelines.batch import samples
from pipelines.budget import LIMIT
from pipelines.operator import load_all
from pipelines.runner import StepRunner
from tests.traffic import SECOND, START_NS

LEVEL = 1000.0
SHIFT = 3.0
BLOCK = 500
DETECTORS = {
    "zscore": {},
    "mad": {},
    "cusum": {},
    "ewma_chart": {},
    "change_point": {},
    "seasonal": {"period": "10m", "bins": 60},
    "holt_winters": {"season": "1m", "every": "1s"},
}


class Noise(NamedTuple):
    """AR(1) with coefficient `phi` of innovations that are normal or Student's t."""

    phi: float
    freedom: float = np.inf

    def __str__(self):
        kind = "normal" if np.isinf(self.freedom) else f"t{self.freedom:g}"
        return f"{kind}, AR {self.phi:g}"

    def innovations(self, rng, shape):
        if np.isinf(self.freedom):
            return rng.normal(size=shape)
        return rng.standard_t(self.freedom, shape) * np.sqrt(1 - 2 / self.freedom)


NOISES = (
    Noise(0),
    Noise(0.5),
    Noise(0.9),
    Noise(0, 4),
    Noise(0, 3),
    Noise(0.5, 3),
    Noise(0.9, 4),
)


class Watched:
    """One detector over many series of noise with variance 1, and the alerts that it raises."""

    def __init__(self, name, options, noise, series, seed):
        operator = load_all()[name]
        params = operator.params.model_validate(options)
        [_, self.limit] = operator.condition(params).outside
        self.clear = self.limit - operator.condition(params).deadband
        self.runner = StepRunner(operator, [params], series, 8 << 30)
        self.noise, self.series = noise, series
        self.rng = np.random.default_rng(seed)
        self.before = self.rng.normal(size=series)
        self.on = np.zeros(series, bool)
        self.seconds = 0

    def run(self, seconds, shift=0.0):
        """(seconds, series) of whether an alert is raised at that time."""
        raised = [
            self._block(min(BLOCK, seconds - first), shift) for first in range(0, seconds, BLOCK)
        ]
        return np.concatenate(raised)

    def _block(self, n, shift):
        x = self.noise.innovations(self.rng, (n, self.series))
        phi = self.noise.phi
        for i in range(n):
            self.before = x[i] = phi * self.before + np.sqrt(1 - phi * phi) * x[i]
        row = np.tile(np.arange(self.series, dtype=np.int32), n)
        t_ns = START_NS + (self.seconds + np.repeat(np.arange(n), self.series)) * SECOND
        self.seconds += n
        out = self.runner.run(samples(row, t_ns, (LEVEL + shift + x).ravel()))
        size = np.abs(out.value).reshape(n, self.series)
        raised = np.zeros((n, self.series), bool)
        for i in range(n):
            raised[i] = ~self.on & (size[i] > self.limit)
            self.on = (self.on | raised[i]) & ~(size[i] <= self.clear)
        return raised


def achieved(name, options, noise, budget_s, series, judged=4, seed=1):
    """Alerts over what was asked, while learning and after that; and the watched series."""
    watched = Watched(name, options | {"false_alarms": f"1/{budget_s}s"}, noise, series, seed)
    early = watched.run(budget_s).mean() * budget_s
    later = watched.run(judged * budget_s).mean() * budget_s
    return early, later, watched


def delay(watched, seconds):
    """Samples until half of the series have an alert of a shift; NaN when they have none."""
    watched.on[:] = False
    raised = watched.run(seconds, SHIFT)
    first = np.where(raised.any(axis=0), raised.argmax(axis=0) + 1.0, np.inf)
    middle = np.sort(first)[first.size // 2]
    return middle if np.isfinite(middle) else np.nan


def line(name, noise, budget_s, series):
    options = DETECTORS[name]
    early, later, watched = achieved(name, options, noise, budget_s, series)
    raw = Watched(name, options, noise, series, 2)
    usual = raw.run(2 * budget_s)[budget_s:].mean() * budget_s
    limits = np.median(watched.runner.state.peaks[:series, LIMIT])
    delays = [delay(w, budget_s // 10) for w in (watched, raw)]
    shown = (
        f"{name:13} {noise!s:15} {later:9.2f} {early:9.2f} {limits:9.2f} {delays[0]:9.0f}"
        f" {raw.limit:9.1f} {usual:9.2f} {delays[1]:9.0f}"
    )
    return shown, later


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--only", default=",".join(DETECTORS))
    parser.add_argument("--series", type=int, default=100)
    parser.add_argument("--budget", type=int, default=10_000, help="seconds per false alarm")
    args = parser.parse_args()
    names = ("achieved", "learning", "limit", "delay", "default", "achieved", "delay")
    head = f"{'detector':13} {'noise':15} " + " ".join(f"{n:>9}" for n in names)
    sys.stdout.write(f"{head}\n")
    off = 0
    for name in filter(None, args.only.split(",")):
        for noise in NOISES:
            shown, later = line(name, noise, args.budget, args.series)
            off += not 0.5 <= later <= 2
            sys.stdout.write(f"{shown}\n")
            sys.stdout.flush()
    sys.exit(off > 0)


if __name__ == "__main__":
    main()
