"""Budgets of false alarms: what is asked for, what comes, and what it costs."""

import json

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from config.units import Budget
from pipelines import budget
from pipelines.operator import load_all
from tests.bench.bench_false_alarms import Noise, Watched, achieved, delay
from tests.graphs import T0, Feed, S, b, graph
from tests.nab import payloads, windows
from tests.naive.budget import Limit
from tests.operators.one_step import feed, feed_ns, runner

DETECTORS = ("zscore", "mad", "cusum", "ewma_chart", "change_point", "seasonal", "holt_winters")
NEEDED = {"holt_winters": {"season": "1m", "every": "1s"}}
DAY = 86_400 * S
asked = TypeAdapter(Budget)


# --- what is written ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "ns"),
    [("1/30d", 30 * DAY), ("2/1d", DAY // 2), (" 7 / 1w ", DAY), ("1/1d12h", 3 * DAY // 2)],
)
def test_a_budget_is_read_and_written_back(text, ns):
    assert asked.validate_python(text) == ns
    assert asked.validate_python(asked.dump_python(ns)) == ns


@pytest.mark.parametrize("text", ["0/1d", "1/0s", "1/30", "30d", "1/", 30, True, None, "2/1s"])
def test_what_is_no_budget_is_refused(text):
    with pytest.raises(ValidationError, match=r"number per time|unit|0|once a second|duration"):
        asked.validate_python(text)


@pytest.mark.parametrize("name", DETECTORS)
def test_one_limit_raw_or_a_budget(name):
    params, needed = load_all()[name].params, NEEDED.get(name, {})
    raw = params.RAW_LIMIT
    with pytest.raises(ValidationError, match=f"one of {raw} and false_alarms"):
        params.model_validate(needed | {raw: 4, "false_alarms": "1/30d"})
    usual = load_all()[name].condition(params.model_validate(needed))
    assert usual.outside == (-getattr(params.model_validate(needed), raw), usual.outside[1])
    in_limits = load_all()[name].condition(params.model_validate(needed | {"false_alarms": "1/1d"}))
    assert in_limits.outside == (-1, 1)


# --- the limit of one series -------------------------------------------------------------


class One:
    """The limit of one series, a score a second unless said otherwise."""

    def __init__(self, seconds, table=None):
        self.ns = seconds * S
        self.row = np.zeros(budget.WIDTH)
        self.table = budget.shewhart_limits() if table is None else table
        self.t_ns = T0

    def run(self, scores, gap_s=1.0):
        """(n,) limits before each of the scores."""
        limits = np.empty(len(scores))
        for i, score in enumerate(scores):
            self.t_ns += round(gap_s * S)
            limits[i] = budget.limit_now(self.row, self.table, self.ns, self.t_ns)
            budget.note(self.row, self.table, self.ns, score)
        return limits


def noise(n, seed=0):
    return np.random.default_rng(seed).normal(size=n)


def test_at_first_it_is_that_of_theory_for_the_samples_in_the_time_of_an_alarm():
    # Quantiles of the normal distribution for two sides of 1 in 100,000, 1000 and a million.
    for gap_s, limit in ((1, 4.4172), (100, 3.2905), (0.1, 4.8916)):
        assert One(100_000).run(np.zeros(60), gap_s)[-1] == pytest.approx(limit, abs=0.02)


@pytest.mark.parametrize("seconds", [40, 700, 30_000])
@pytest.mark.parametrize("scale", [1, 40])
def test_it_is_that_of_the_plain_version(seconds, scale):
    rng = np.random.default_rng(seconds)
    scores = rng.standard_t(3, 12_000) * np.where(np.arange(12_000) > 9000, scale, 1)
    gaps = rng.integers(0, 4, scores.size) * S

    class Params:
        RAW_LIMIT, k, false_alarms = "k", 1.0, seconds * S
        theory = staticmethod(budget.shewhart_limits)

    plain, one, t_ns = Limit(Params), One(seconds), T0
    for score, gap in zip(scores.tolist(), gaps.tolist(), strict=True):
        t_ns += gap
        limit = budget.limit_now(one.row, one.table, one.ns, t_ns)
        assert limit == pytest.approx(plain.at(t_ns), rel=1e-9)
        got = budget.note(one.row, one.table, one.ns, score)
        assert got == pytest.approx(plain.note(score), rel=1e-9)


def test_a_heavy_tail_raises_it_to_where_it_belongs():
    rng, found = np.random.default_rng(2), []
    for _ in range(20):
        one = One(5000)
        one.run(rng.standard_t(3, 20_000))
        found.append(one.row[budget.LIMIT])
    want = np.quantile(np.abs(rng.standard_t(3, 5_000_000)), 1 - 1 / 5000)
    assert np.median(found) == pytest.approx(want, rel=0.25)  # a rate of t3 goes with its cube


def test_what_stands_still_keeps_the_limit_of_theory():
    one = One(1000)
    limits = one.run(np.zeros(9000))
    assert limits[-1] == limits[100] > 3


def test_faults_do_not_move_it():
    plain, faulty = One(5000), One(5000)
    scores = noise(20_000)
    plain.run(scores)
    scores[[9000, 14_000]] = 400.0
    faulty.run(scores)
    assert faulty.row[budget.LIMIT] == pytest.approx(plain.row[budget.LIMIT], rel=0.05)


def test_a_fault_that_lasts_is_one_episode():
    scores = noise(20_000)
    scores[12_000:15_000] = 400.0
    one = One(5000)
    one.run(scores)
    assert one.row[budget.LIMIT] < 5


def test_it_comes_down_again_when_a_noisy_series_has_become_quiet():
    one = One(1000)
    one.run(30 * noise(9000))
    assert one.row[budget.LIMIT] > 60
    one.run(noise(40_000))
    assert one.row[budget.LIMIT] < 6


def test_an_outage_is_no_cadence():
    with_outage, without = One(10_000), One(10_000)
    without.run(noise(3000))
    with_outage.run(noise(1500))
    with_outage.run(noise(1), gap_s=5 * 86_400)
    with_outage.run(noise(1499))
    assert with_outage.row[budget.GAP_NS] == pytest.approx(without.row[budget.GAP_NS], rel=0.01)


# --- detectors with a budget -------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "noise"),
    [
        ("zscore", Noise(0.9)),
        ("zscore", Noise(0, 3)),
        ("cusum", Noise(0.5)),
        ("cusum", Noise(0, 4)),
    ],
    ids=str,
)
def test_alerts_are_as_rare_as_asked_for_after_learning(name, noise):
    _, later, _ = achieved(name, {}, noise, budget_s=3000, series=60)
    assert 0.5 < later < 2  # about 240 alerts: the rate is within 7 % of its mean


def test_a_lasting_shift_is_found_where_a_raw_limit_drowns_in_false_alarms():
    noise = Noise(0.9)
    _, later, watched = achieved("ewma_chart", {}, noise, budget_s=3000, series=60)
    raw = Watched("ewma_chart", {}, noise, 60, 1)
    assert raw.run(3000).mean() * 3000 > 50 > 20 * later
    assert delay(watched, 300) < 60


def test_what_a_chart_compares_with_follows_a_slow_drift_with_a_budget_and_not_without():
    drift = np.arange(30_000) * 2e-4  # six deviations in 30,000 samples
    x = 20 + drift + noise(drift.size)
    means = {}
    for options in ({"false_alarms": "1/8000s"}, {"h": 8}):
        out = feed(runner("cusum", {"on_signal": "restart"} | options), x)
        means[tuple(options)] = out.fields[-1, 1]
    assert means["h",] == pytest.approx(20, abs=0.5)
    assert means["false_alarms",] == pytest.approx(26, abs=0.5)


@pytest.mark.parametrize(("days", "most"), [(7, 24), (30, 8)])
def test_a_real_machine_has_about_as_many_alerts_as_asked_for_and_its_failures_are_among_them(
    days, most
):
    samples = list(payloads())
    t_ns = [p["ts"] * 1_000_000 for p in samples]
    in_order = np.maximum.accumulate(np.array(t_ns))
    step = runner("mad", {"window": "1d", "false_alarms": f"1/{days}d"})
    out = feed_ns(step, [p["temperature"] for p in samples], in_order)
    beyond, on, alerts = np.abs(out.value), False, []
    for t, size in zip(out.t_ns.tolist(), beyond.tolist(), strict=True):
        if not on and size > 1:
            alerts.append(t)
        on = (on or size > 1) and not size <= budget.CLEAR
    ends = [[round(t.timestamp() * S) for t in window] for window in windows()]
    hit = {i for i, (start, end) in enumerate(ends) for t in alerts if start <= t <= end}
    assert len(hit) >= 3
    # In 79 days, of which the first `days` are those of learning.
    assert len([t for t in alerts if not any(a <= t <= b for a, b in ends)]) <= most


def test_the_alert_says_which_limit_it_passed_and_that_it_came_from_the_budget():
    steps = [{"mad": {"window": "1d", "false_alarms": "1/30d"}}]
    pipeline = {"from": "boilers", "steps": steps, "alert": {"severity": "warning"}}
    feed = Feed(graph({"odd": pipeline}))
    values = [50 + x for x in noise(200)]
    told = feed.send([(60 * i, b("b1"), x) for i, x in enumerate([*values, 90.0])])
    [event] = told
    data = json.loads(json.dumps(event.data))
    assert (data["limit"]["above"], data["limit"]["from"]) == (1, "false_alarms of mad")
    assert data["detail"]["limit"] == pytest.approx(4.25, abs=0.2)  # 43,200 samples in 30 days
    assert data["value"] > 5
    assert data["detail"]["upper"] < 90 == data["detail"]["input"]
