import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipelines.operator import load_all
from tests.operators.charts import cusum_arl, run_lengths, two_sided
from tests.operators.one_step import feed, runner

KNOWN = {"mean": 0, "std": 1}
OPERATOR = load_all()["cusum"]


def noise(n, seed=0, level=0.0):
    return np.random.default_rng(seed).normal(level, 1, n)


@pytest.mark.parametrize(
    ("h", "published"), [(4, 167.7), (4.77, 368.5), (5, 465.4), (8, 9481), (10, 70104)]
)
def test_the_chain_of_this_test_is_that_of_the_literature(h, published):
    one = cusum_arl(0.5, h, cells=400)
    assert two_sided(one, one) == pytest.approx(published, rel=0.003)


def test_the_chain_knows_shifts_too():
    # Montgomery, ARL of a shift by one standard deviation.
    assert cusum_arl(0.5, 5, 1.0) == pytest.approx(10.4, abs=0.05)
    assert cusum_arl(0.5, 4, 1.0) == pytest.approx(8.38, abs=0.05)


@pytest.mark.parametrize(
    ("k", "h", "shift", "n"), [(0.5, 4, 0, 500_000), (0.5, 5, 1, 200_000), (1, 2, -0.5, 200_000)]
)
def test_samples_until_a_signal_are_as_many_as_the_chain_says(k, h, shift, n):
    out = feed(runner("cusum", KNOWN | {"k": k, "h": h}), noise(n, 5, shift))
    lengths = run_lengths(np.abs(out.value) > h)
    want = two_sided(cusum_arl(k, h, shift), cusum_arl(k, h, -shift))
    # Run lengths are nearly geometric: their deviation is about their mean.
    assert lengths.mean() == pytest.approx(want, abs=4 * lengths.std() / lengths.size**0.5)
    assert lengths.size > 500


@given(st.lists(st.integers(-40, 40), min_size=1, max_size=60), st.sampled_from([0, 0.25, 1]))
def test_a_sum_is_the_largest_of_any_stretch_that_ends_here(values, k):
    x = np.array(values) / 8
    out = feed(runner("cusum", KNOWN | {"k": k, "on_signal": "go_on"}), x)
    for i in range(x.size):
        up = max(0, *(np.sum(x[j : i + 1] - k) for j in range(i + 1)))
        down = max(0, *(np.sum(-x[j : i + 1] - k) for j in range(i + 1)))
        assert tuple(out.fields[i, 2:]) == (up, down)
        assert out.value[i] == (up if up >= down else -down)


def test_learned_from_the_first_samples_and_from_no_later_one():
    x = np.r_[noise(50, 1, 7), 100 + noise(50)]
    out = feed(runner("cusum", {"learn": 50, "on_signal": "go_on"}), x)
    assert np.isnan(out.value[:50]).all()
    np.testing.assert_allclose(out.fields[50:, 1], x[:50].mean())
    z = (x[50] - x[:50].mean()) / x[:50].std(ddof=1)
    np.testing.assert_allclose(out.value[50], z - 0.5)


def test_what_is_given_is_not_learned():
    x = noise(40, 2, 3)
    out = feed(runner("cusum", {"learn": 30, "mean": 0}), x)
    assert (out.fields[30:, 1] == 0).all()
    np.testing.assert_allclose(out.value[30], x[30] / x[:30].std(ddof=1) - 0.5)
    out = feed(runner("cusum", {"learn": 30, "std": 4}), x)
    np.testing.assert_allclose(abs(out.value[30]), max(abs(x[30] - x[:30].mean()) / 4 - 0.5, 0))


def test_both_directions_and_the_default_condition():
    for shift in (2, -2):
        out = feed(runner("cusum", KNOWN), np.full(4, shift))
        np.testing.assert_array_equal(out.value, np.sign(shift) * np.array([1.5, 3, 4.5, 6]))
    assert OPERATOR.condition(OPERATOR.params(h=5)).outside == (-5, 5)


def test_a_lasting_shift_signals_again_once_or_all_the_time():
    x = np.r_[noise(100), 5 + noise(400, 1)]
    signals = {}
    for how in ("restart", "relearn", "go_on"):
        out = feed(runner("cusum", {"learn": 100, "h": 8, "on_signal": how}), x)
        signals[how] = int((np.abs(out.value) > 8).sum())
    assert signals["relearn"] == 1
    assert 100 < signals["restart"] < 210
    assert signals["go_on"] >= 397


def test_a_sum_of_just_h_does_not_signal():
    out = feed(runner("cusum", KNOWN | {"k": 0, "h": 2}), [1, 1, 1, 1])
    assert list(out.value) == [1, 2, 3, 1]


def test_a_standing_value_scores_zero_and_moves_by_its_floor():
    out = feed(runner("cusum", {"learn": 10, "min_std": 0.1, "k": 0}), [0] * 20 + [0.2])
    assert (out.value[10:20] == 0).all()
    np.testing.assert_allclose(out.value[20], 2)


def test_a_given_mean_cannot_be_learned_again():
    with pytest.raises(ValidationError, match="leave out `mean`"):
        OPERATOR.params.model_validate({"mean": 3, "on_signal": "relearn"})
