import numpy as np
import pandas as pd
import pytest

from pipelines.operator import load_all
from tests.operators.charts import ewma_arl, run_lengths
from tests.operators.one_step import feed, runner

KNOWN = {"mean": 0, "std": 1}
OPERATOR = load_all()["ewma_chart"]


def noise(n, seed=0, level=0.0):
    return np.random.default_rng(seed).normal(level, 1, n)


@pytest.mark.parametrize(
    ("weight", "limit", "published"),
    [(0.1, 2.7, 368.9), (0.2, 2.86, 371.0), (0.2, 3, 559.7), (0.05, 2.6, 481.6), (0.1, 4, 26193)],
)
def test_the_chain_of_this_test_is_that_of_the_literature(weight, limit, published):
    assert ewma_arl(weight, limit) == pytest.approx(published, rel=0.003)


@pytest.mark.parametrize(
    ("weight", "limit", "shift", "n"),
    [(0.1, 2.7, 0, 500_000), (0.2, 2.86, 0, 500_000), (0.05, 2.6, 1, 200_000), (1, 2, 0, 100_000)],
)
def test_samples_until_a_signal_are_as_many_as_the_chain_says(weight, limit, shift, n):
    options = KNOWN | {"weight": weight, "limit": limit}
    out = feed(runner("ewma_chart", options), noise(n, 5, shift))
    lengths = run_lengths(np.abs(out.value) > limit)
    want = ewma_arl(weight, limit, shift, varying=100)
    assert lengths.mean() == pytest.approx(want, abs=4 * lengths.std() / lengths.size**0.5)
    assert lengths.size > 500


def test_narrow_limits_in_the_beginning_find_a_shift_sooner():
    assert ewma_arl(0.1, 2.7, 1, varying=100) < ewma_arl(0.1, 2.7, 1) - 1.5


@pytest.mark.parametrize("weight", [0.05, 0.3, 1])
def test_smoothed_is_pandas_and_its_limits_are_the_formula(weight):
    x = noise(300, 3, 0.2)
    options = {"mean": 0.5, "std": 2, "weight": weight, "limit": 3, "on_signal": "go_on"}
    out = feed(runner("ewma_chart", options), x)
    want = pd.Series(np.r_[0.5, x]).ewm(alpha=weight, adjust=False).mean()[1:]
    np.testing.assert_allclose(out.fields[:, 1], want, rtol=1e-12, atol=1e-12)
    t = np.arange(1, 301)
    reach = 3 * 2 * np.sqrt(weight / (2 - weight) * (1 - (1 - weight) ** (2 * t)))
    np.testing.assert_allclose(out.fields[:, 2], 0.5 - reach, rtol=1e-9)
    np.testing.assert_allclose(out.fields[:, 3], 0.5 + reach, rtol=1e-9)
    beyond = (want < 0.5 - reach) | (want > 0.5 + reach)
    np.testing.assert_array_equal(np.abs(out.value) > 3, beyond)


def test_scores_of_noise_are_standard_normal_from_the_first_on():
    starts = [feed(runner("ewma_chart", KNOWN), noise(4, seed)).value for seed in range(400)]
    assert np.std(starts, axis=0) == pytest.approx([1] * 4, abs=0.15)


def test_weight_1_is_the_plain_distance():
    out = feed(runner("ewma_chart", {"mean": 2, "std": 0.5, "weight": 1}), [2, 3, 0])
    assert list(out.value) == [0, 2, -4]


def test_learned_from_the_first_samples_and_from_no_later_one():
    x = np.r_[noise(50, 1, 7), 100 + noise(50)]
    out = feed(runner("ewma_chart", {"learn": 50, "on_signal": "go_on"}), x)
    assert np.isnan(out.value[:50]).all()
    z = (x[50] - x[:50].mean()) / x[:50].std(ddof=1)
    np.testing.assert_allclose(out.value[50], z)  # the first score is of one sample
    middle = (out.fields[50:, 2] + out.fields[50:, 3]) / 2
    np.testing.assert_allclose(middle, x[:50].mean())


def test_a_shift_that_goes_is_forgotten():
    x = np.r_[noise(100), 2 + noise(60, 1), noise(150, 2)]
    out = feed(runner("ewma_chart", {"learn": 100, "limit": 4, "on_signal": "go_on"}), x)
    beyond = np.flatnonzero(np.abs(out.value) > 4)
    assert 100 < beyond[0] < 115
    assert 160 <= beyond[-1] < 190


def test_relearned_a_lasting_shift_signals_once():
    x = np.r_[noise(100), 5 + noise(400, 1)]
    options = {"learn": 100, "limit": 5}
    again = feed(runner("ewma_chart", options), x)
    once = feed(runner("ewma_chart", options | {"on_signal": "relearn"}), x)
    assert (np.abs(once.value) > 5).sum() == 1
    assert (np.abs(again.value) > 5).sum() > 100


def test_the_default_condition():
    assert OPERATOR.condition(OPERATOR.params(limit=4)).outside == (-4, 4)
