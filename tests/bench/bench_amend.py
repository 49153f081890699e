"""What corrections cost: the same samples without amend_for, with it, and with late ones.

    python -m tests.bench.bench_amend [--rounds 3]

10,000 series with a sample every 10 s go through windows of a minute and an alert with delays,
5 minutes long, with a tick each second.  Costs are CPU time per sample, side by side in one run;
a case with late samples must have corrected something, and one without nothing.
"""

import argparse
import statistics
import time

import numpy as np

from pipelines import warmup
from pipelines.order import Arrivals
from pipelines.series import make_labels
from tests.graphs import T0, S, graph

SERIES, EVERY_S, LASTS_S = 10_000, 10, 300
SOURCES = {"plant": {"topic": "plant/{site}/{device}"}}
WINDOWS = {
    "from": "plant",
    "steps": [{"aggregate": {"size": "1m", "stats": ["mean", "max"]}}],
    "publish": {"topic": "agg/{device}"},
}
ALERT = {
    "from": "plant",
    "steps": [{"rolling": {"stat": "mean", "window": "60s"}}],
    "alert": {"when": {"above": 90, "on_delay": "20s", "off_delay": "20s"}},
}
CASES = (
    ("as it comes", None, 0.0),
    ("amend_for 10m, none late", "10m", 0.0),
    ("amend_for 10m, 1 of 10,000 late", "10m", 0.0001),
    ("amend_for 10m, 1 of 100 late", "10m", 0.01),
)


def pipelines(amend_for):
    more = {} if amend_for is None else {"amend_for": amend_for}
    return {"windows": WINDOWS | more, "hot": ALERT | more}


def run(amend_for, late):
    """(ns of CPU per sample, µs per late sample, worst tick in ms, corrections)."""
    made = graph(pipelines(amend_for), sources=SOURCES, limits={"series_max": SERIES})
    for i in range(SERIES):
        labels = {"device": f"d{i}", "channel": "temperature", "site": "north"}
        made.sources["plant"].table.intern(make_labels(labels))
    for _, compile_it in warmup.steps(made):
        compile_it()
    rng = np.random.default_rng(1)
    order = rng.permutation(SERIES).astype(np.int32)
    spent = corrections = samples = behind = worst = 0
    for second in range(LASTS_S):
        part = order[second % EVERY_S :: EVERY_S]
        t_ns = T0 + second * S + np.arange(part.size) * (S // part.size)
        is_late = (rng.random(part.size) < late) & (second > 60)
        told_ns = t_ns - is_late * rng.integers(15, 60, part.size) * S
        value = rng.normal(60, 20, part.size)
        none = np.full(part.size, -1)
        arrivals = Arrivals(part, told_ns, value, t_ns, none)
        began = time.process_time_ns()
        events = made.run({"plant": arrivals})
        ticked = time.process_time_ns()
        events += made.tick(T0 + (second + 1) * S)
        ended = time.process_time_ns()
        spent += ended - began
        worst = max(worst, ended - ticked if second > 60 else 0)
        samples += part.size
        behind += int(is_late.sum())
        corrections += sum(e.correction != "" for e in events)
    assert (corrections > 0) == (late > 0)
    assert made.pipelines["hot"].counters().get("amend_differs", 0) == 0
    return spent / samples, behind, worst / 1e6, corrections


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    found = {name: [] for name, *_ in CASES}
    for _ in range(rounds):
        for name, amend_for, late in CASES:
            found[name].append(run(amend_for, late))
    base = statistics.median(r[0] for r in found[CASES[0][0]])
    print("| case | ns/sample | ratio | late | µs per late sample | worst tick ms | corrections |")
    print("|---|---|---|---|---|---|---|")
    none = statistics.median(r[0] for r in found[CASES[1][0]])
    for name, results in found.items():
        cost = statistics.median(r[0] for r in results)
        worst = statistics.median(r[2] for r in results)
        _, behind, _, corrections = results[0]
        each = (cost - none) * SERIES / EVERY_S * LASTS_S / behind / 1e3 if behind else 0.0
        print(
            f"| {name} | {cost:.0f} | {cost / base:.2f} | {behind} | {each:.0f} | {worst:.1f} "
            f"| {corrections} |"
        )


if __name__ == "__main__":
    main()
