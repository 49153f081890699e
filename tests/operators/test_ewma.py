from fractions import Fraction

import numpy as np
import pandas as pd
import pytest

from tests.operators.one_step import feed_ns as feed
from tests.operators.one_step import runner
from tests.traffic import SECOND, START_NS, times


@pytest.mark.parametrize("halflife", ["500ms", "7s", "1h"])
def test_is_pandas(halflife):
    rng = np.random.default_rng(4)
    t, x = times(rng, 500), rng.normal(20, 3, 500)
    since = pd.to_datetime(t - t[0])  # pandas takes times as floats, which cost 256 ns in 2025
    oracle = pd.Series(x).ewm(halflife=pd.Timedelta(halflife), times=since).mean()
    out = feed(runner("ewma", {"halflife": halflife}), x, t)
    np.testing.assert_allclose(out.value, oracle, rtol=1e-12)


def test_without_bias_correction_by_exact_fractions():
    t = START_NS + np.array([0, 1, 1, 3, 4]) * SECOND
    x = [8.0, 4.0, 100.0, 0.0, 2.0]
    out = feed(runner("ewma", {"halflife": "1s", "bias_correct": False}), x, t)
    mean, wanted = Fraction(8), [8.0]
    for decay, value in ((Fraction(1, 2), 4), (1, 100), (Fraction(1, 4), 0), (Fraction(1, 2), 2)):
        mean = decay * mean + (1 - decay) * value
        wanted.append(float(mean))
    np.testing.assert_allclose(out.value, wanted, rtol=1e-15)


@pytest.mark.parametrize("correct", [True, False])
def test_a_standing_value_is_its_own_mean(correct):
    x = np.full(5000, 21.7)
    out = feed(runner("ewma", {"halflife": "1m", "bias_correct": correct}), x)
    np.testing.assert_array_equal(out.value, x)


@pytest.mark.parametrize("correct", [True, False])
def test_after_one_halflife_half_of_a_step_is_seen(correct):
    x = np.concatenate([np.zeros(10_000), np.ones(60)])
    out = feed(runner("ewma", {"halflife": "60s", "bias_correct": correct}), x)
    assert out.value[-1] == pytest.approx(0.5, abs=1e-9)


def test_shift_and_scale_go_through():
    rng = np.random.default_rng(2)
    t, x = times(rng, 200), rng.normal(0, 1, 200)
    plain = feed(runner("ewma", {"halflife": "10s"}), x, t).value
    moved = feed(runner("ewma", {"halflife": "10s"}), 3 * x - 7, t).value
    np.testing.assert_allclose(moved, 3 * plain - 7, atol=1e-12)
