import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.stats import median_abs_deviation

from pipelines.batch import BAD, GOOD, UNCERTAIN
from tests.operators.one_step import feed, runner

BARE = {"min_mad": 1e-12, "min_mad_share": 0}


@pytest.mark.parametrize("n", [5, 8, 31])
def test_it_is_pandas_rolling_median_and_scipys_deviation(n):
    rng = np.random.default_rng(n)
    x = pd.Series(rng.normal(20, 1, 900))
    x[rng.random(900) < 0.03] += 30
    past = x.shift(1).rolling(n)
    mad = past.apply(lambda w: median_abs_deviation(w, scale="normal"), raw=True)
    far = (x - past.median()).abs() > 4 * mad
    options = {"n": n, "k": 4, "min_samples": n} | BARE
    out = feed(runner("hampel", options), x)
    np.testing.assert_array_equal(out.value, x.where(~far, past.median()))
    np.testing.assert_array_equal(out.quality, np.where(far, UNCERTAIN, GOOD))
    out = feed(runner("hampel", options | {"replace": "null"}), x)
    np.testing.assert_array_equal(out.value, x.where(~far))
    np.testing.assert_array_equal(out.quality, np.where(far, BAD, GOOD))


@given(
    st.lists(st.integers(-50, 50), min_size=1, max_size=60),
    st.integers(-5, 5),
    st.sampled_from([-2, 0.25, 8]),
)
def test_shift_and_scale_go_through(values, shift, scale):
    x = np.array(values, float)
    options = {"n": 7, "k": 3, "min_samples": 3, "min_mad_share": 0}
    plain = feed(runner("hampel", options | {"min_mad": 0.5}), x)
    moved = feed(runner("hampel", options | {"min_mad": 0.5 * abs(scale)}), (x + shift) * scale)
    np.testing.assert_array_equal(moved.value, (plain.value + shift) * scale)


def test_a_spike_goes_and_a_step_stays():
    x = 20 + np.random.default_rng(1).normal(0, 0.1, 120)
    x[50] = 85
    x[80:] += 5
    step = runner("hampel", {"n": 21, "k": 6})
    y = feed(step, x).value
    assert y[50] == np.median(x[29:50])
    assert (y[80:90] < 21).all()
    np.testing.assert_array_equal(y[92:], x[92:])
    changed = int((y != x).sum())
    assert step.counters() == {"replaced": changed}


def test_a_value_just_k_deviations_off_passes():
    options = {"n": 4, "k": 3, "min_samples": 4, "min_mad": 2, "min_mad_share": 0}
    assert feed(runner("hampel", options), [5, 5, 5, 5, 11]).value[-1] == 11
    assert feed(runner("hampel", options), [5, 5, 5, 5, 11.001]).value[-1] == 5


def test_unknown_samples_enter_no_past():
    options = {"n": 3, "min_samples": 3, "min_mad": 1}
    out = feed(runner("hampel", options), [1, np.nan, 2, 1e200, 3, 90])
    np.testing.assert_array_equal(out.value, [1, np.nan, 2, np.nan, 3, 2])


def test_more_needed_than_there_will_be():
    with pytest.raises(ValidationError, match="min_samples 10 is more than n 5"):
        runner("hampel", {"n": 5})
