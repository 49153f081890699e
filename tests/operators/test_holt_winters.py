from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from tests.operators.one_step import feed, feed_ns, runner
from tests.traffic import SECOND, START_NS

PLAIN = {"season": "12s", "every": "1s", "min_samples": 10**6, "on_anomaly": "learn"}


def wave(n, m=12, noise=0.0, seed=0):
    at = np.arange(n)
    return 50 + 8 * np.sin(2 * np.pi * at / m) + np.random.default_rng(seed).normal(0, noise, n)


@pytest.mark.parametrize("damping", [1, 0.75])
def test_it_is_winters_equations_in_exact_numbers(damping):
    x = [Fraction(v) for v in np.random.default_rng(1).integers(-40, 40, 80).tolist()]
    a, b, g, m = Fraction(1, 4), Fraction(1, 8), Fraction(1, 2), 4
    options = PLAIN | {"season": "4s", "alpha": 0.25, "beta": 0.125, "gamma": 0.5}
    options["damping"], d = damping, Fraction(damping)
    out = feed(runner("holt_winters", options), [float(v) for v in x])
    level, trend = sum(x[:m]) / m, Fraction(0)
    season, want = [v - level for v in x[:m]], []
    for k in range(m, len(x)):
        was, before, trend = level, season[k - m], d * trend
        want.append(float(was + trend + before))
        season.append(g * (x[k] - was - trend) + (1 - g) * before)
        level = a * (x[k] - before) + (1 - a) * (was + trend)
        trend = b * (level - was) + (1 - b) * trend
    np.testing.assert_allclose(out.fields[m:, 1], want, rtol=1e-12)


def test_with_a_fixed_season_and_no_trend_it_is_pandas_exponential_mean():
    x = wave(600, noise=1, seed=2)
    options = PLAIN | {"beta": 0, "gamma": 0, "alpha": 0.3}
    out = feed(runner("holt_winters", options), x)
    season = np.tile(x[:12] - x[:12].mean(), 50)
    without = pd.Series(np.concatenate(([x[:12].mean()], (x - season)[12:])))
    level = without.ewm(alpha=0.3, adjust=False).mean().to_numpy()
    np.testing.assert_allclose(out.fields[12:, 1], level[:-1] + season[12:], rtol=1e-12)


def test_a_steady_rise_is_learned():
    x = wave(4000) + 0.05 * np.arange(4000)
    out = feed(runner("holt_winters", PLAIN | {"beta": 0.1}), x)
    np.testing.assert_allclose(out.fields[3000:, 1], x[3000:], atol=1e-3)


def test_over_lost_samples_a_damped_trend_levels_off():
    """Its sum over ever more steps is the geometric series d / (1 - d) of the trend."""
    x, foretold = wave(600) + np.arange(600), {}
    for gap in (12, 24, 120, 1200):  # all at the same step of the season
        step = runner("holt_winters", PLAIN | {"damping": 0.9, "alpha": 0.5, "beta": 0.5})
        out = feed(step, [*x, 0], [*range(600), 599 + gap])
        foretold[gap] = out.fields[-1, 1]
    sums = {gap: 9 * (1 - 0.9**gap) for gap in foretold}
    trend = (foretold[24] - foretold[12]) / (sums[24] - sums[12])
    assert trend > 0.1
    for gap, value in foretold.items():
        assert value - foretold[12] == pytest.approx(trend * (sums[gap] - sums[12]), rel=1e-9)


def test_lost_samples_shift_no_season():
    t = np.arange(2400)
    x = wave(2400)
    kept = np.random.default_rng(3).random(t.size) < 0.6
    kept[:12] = True
    out = feed(runner("holt_winters", PLAIN), x[kept], t[kept])
    np.testing.assert_allclose(out.fields[12:, 1], x[kept][12:], atol=1e-9)


def test_a_step_never_seen_is_learned_at_first_sight():
    x = [*wave(12), *wave(24)]
    x[5] = np.nan
    out = feed(runner("holt_winters", PLAIN | {"min_samples": 1, "min_std": 1}), x)
    assert np.isnan(out.fields[17, 1])
    assert out.fields[29, 1] == pytest.approx(x[29], abs=1.0)
    assert np.isfinite(out.value[18:]).all()


def test_a_value_usual_at_noon_is_unusual_at_midnight():
    x = wave(600, m=12, noise=0.3, seed=4)
    x[403] = 54  # where 46 is usual
    out = feed(runner("holt_winters", {"season": "12s", "every": "1s"}), x)
    far = np.flatnonzero(np.abs(out.value) > 6)
    assert far.tolist() == [403]
    width = out.fields[100:404, 3] - out.fields[100:404, 2]
    np.testing.assert_allclose(width, 2 * 6 * 0.33, rtol=0.5)


def test_scores_of_noise_have_a_deviation_of_one():
    x = wave(20_000, noise=0.5, seed=5)
    out = feed(runner("holt_winters", {"season": "12s", "every": "1s"}), x)
    assert np.nanstd(out.value[1000:]) == pytest.approx(1, abs=0.05)


def test_a_step_is_learned_slowly_when_clipped_at_once_when_learned_never_when_frozen():
    x = wave(900, noise=0.5, seed=6)
    x[300:] += 40
    beyond = {}
    for how in ("learn", "clip", "freeze"):
        options = {"season": "12s", "every": "1s", "on_anomaly": how, "beta": 0}
        out = feed(runner("holt_winters", options), x)
        beyond[how] = int((np.abs(out.value[300:]) > 6).sum())
    assert beyond["learn"] < beyond["clip"] < beyond["freeze"] == 600


def test_the_season_is_of_time_since_1970():
    t = START_NS + SECOND * np.arange(400) * 3
    x = np.where(t // SECOND % 24 < 12, 10.0, 20.0)
    options = {"season": "24s", "every": "3s", "min_samples": 1}
    out = feed_ns(runner("holt_winters", options), x, t)
    np.testing.assert_allclose(out.value[9:], 0, atol=1e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"season": "1d", "every": "7m"}, "season 1d is not 2 or more whole steps of 7m"),
        ({"season": "1h", "every": "1m", "damping": 0}, "greater than 0"),
        ({"season": "1m", "every": "1m"}, "not 2 or more whole steps"),
        ({"season": "1w", "every": "1m"}, "10080 steps, at most 2016.*`every` of 5m or more"),
    ],
)
def test_what_cannot_be_asked_for(options, message):
    with pytest.raises(ValidationError, match=message):
        runner("holt_winters", options)
