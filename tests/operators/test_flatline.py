import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.operators.one_step import feed, runner


def test_flat_for_just_the_window_is_flat():
    out = feed(runner("flatline", {"window": "10s"}), [7] * 13)
    np.testing.assert_array_equal(out.value, [np.nan] * 10 + [1] * 3)


def test_the_window_begins_after_the_sample_that_is_a_window_old():
    x = [1, *[7] * 12]
    out = feed(runner("flatline", {"window": "10s"}), x)
    # At 9 s the 1 is 9 s old and inside; at 10 s it has just left, and the rest stood still.
    np.testing.assert_array_equal(out.value, [np.nan] + [0] * 9 + [1] * 3)
    np.testing.assert_array_equal(out.fields[:, 0], [0] + [6] * 9 + [0] * 3)


def test_epsilon_itself_is_no_movement():
    still = feed(runner("flatline", {"window": "5s", "epsilon": 0.5}), [1, 1.5] * 6)
    moving = feed(runner("flatline", {"window": "5s", "epsilon": 0.49}), [1, 1.5] * 6)
    assert still.value[-1] == 1
    assert moving.value[-1] == 0


def test_movement_ends_it_at_once():
    out = feed(runner("flatline", {"window": "5s"}), [7] * 8 + [8])
    assert out.value.tolist()[-2:] == [1, 0]


def test_fewer_than_min_samples_say_nothing():
    sparse = np.arange(10) * 4.0
    assert np.isnan(feed(runner("flatline", {"window": "10s"}), [7] * 10, sparse).value).all()
    enough = feed(runner("flatline", {"window": "10s", "min_samples": 3}), [7] * 10, sparse)
    assert enough.value[-1] == 1


def test_after_a_silence_the_window_must_fill_again():
    times = [*range(12), *range(100, 112)]
    out = feed(runner("flatline", {"window": "10s"}), [7] * 24, times)
    np.testing.assert_array_equal(out.value[12:], [np.nan] * 10 + [1, 1])


def test_unknown_samples_are_no_samples():
    x = np.full(24, 7.0)
    x[1::2] = np.nan
    out = feed(runner("flatline", {"window": "10s", "min_samples": 6}), x)
    assert np.isnan(out.value).all()  # five known ones in any 10 s
    assert (out.quality == 2).all()


@pytest.mark.parametrize("epsilon", [0, 1, 3])
def test_the_range_is_pandas(epsilon):
    rng = np.random.default_rng(epsilon)
    times = np.cumsum(rng.exponential(2, 3000).round(3) + 0.001)
    values = np.repeat(rng.integers(0, 9, 100), 30).astype(float) + rng.integers(0, 2, 3000)
    x = pd.Series(values, pd.to_datetime(np.rint(times * 1e9).astype(np.int64)))
    spread = x.rolling("30s").max() - x.rolling("30s").min()
    out = feed(runner("flatline", {"window": "30s", "epsilon": epsilon}), x, times)
    np.testing.assert_array_equal(out.fields[:, 0], spread)
    np.testing.assert_array_equal(out.value == 0, spread > epsilon)
    sure = (spread <= epsilon) & (x.rolling("30s").count() >= 5) & (times - times[0] >= 30)
    gaps = np.diff(times, prepend=times[0]) >= 30
    assert not gaps.any()
    np.testing.assert_array_equal(out.value == 1, sure)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 3)), min_size=1, max_size=80))
def test_the_range_is_that_of_a_slice(samples):
    times = np.cumsum([gap for gap, _ in samples])
    x = np.array([value for _, value in samples], float)
    out = feed(runner("flatline", {"window": "7s", "min_samples": 2}), x, times)
    for i, t in enumerate(times):
        inside = x[: i + 1][times[: i + 1] > t - 7]
        assert out.fields[i, 0] == inside.max() - inside.min()
