import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.numerics import after, exchange
from pipelines.operators.mad import NORMAL_SCALE, middle_and_spread
from tests.operators.one_step import feed, runner

LEARN = {"on_anomaly": "learn", "min_mad": 1e-12, "min_mad_share": 0}


def noise(n, seed=0, level=0.0, scale=1.0):
    return np.random.default_rng(seed).normal(level, scale, n)


def scipys(past):
    """Median and scaled deviation of a window by scipy."""
    deviation = pytest.importorskip("scipy.stats").median_abs_deviation(past, scale="normal")
    return np.median(past), deviation


@pytest.mark.parametrize("window", [3, 4, 16, 17, 63, 64])
@pytest.mark.parametrize("digits", [0, 1, 9])
def test_a_count_window_is_scipys(window, digits):
    x = noise(300, window, 40, 3).round(digits)
    floor = 0.5
    out = feed(
        runner(
            "mad",
            {"window": window, "min_samples": window, "min_mad": floor}
            | {"on_anomaly": "learn", "min_mad_share": 0},
        ),
        x,
    )
    assert np.isnan(out.value[:window]).all()
    for i in range(window, 300):
        median, mad = scipys(x[i - window : i])
        assert out.fields[i, 1] == median
        np.testing.assert_allclose(out.value[i], (x[i] - median) / max(mad, floor), rtol=1e-12)


def test_a_time_window_is_pandas():
    rng = np.random.default_rng(3)
    times = np.cumsum(rng.exponential(5, 600).round(3) + 0.001)
    x = pd.Series(noise(600, 4), pd.to_datetime(np.rint(times * 1e9).astype(np.int64)))
    past = x.rolling("60s", min_periods=4, closed="neither")
    mad = past.apply(lambda v: scipys(v)[1], raw=True)
    out = feed(runner("mad", {"window": "60s", "min_samples": 4} | LEARN), x, times)
    np.testing.assert_array_equal(out.fields[:, 1], past.median())
    np.testing.assert_allclose(out.value, (x - past.median()) / mad, rtol=1e-9)
    np.testing.assert_allclose(out.fields[:, 2], past.median() - 6 * mad, rtol=1e-9, atol=1e-9)


@given(st.lists(st.integers(-3, 3), min_size=2, max_size=40))
def test_ties_and_odd_and_even_counts(values):
    x = np.array(values, float)
    out = feed(
        runner(
            "mad",
            {"window": 7, "min_samples": 1, "min_mad": 1}
            | {"on_anomaly": "learn", "min_mad_share": 0},
        ),
        x,
    )
    for i in range(1, x.size):
        median, mad = scipys(x[max(0, i - 7) : i])
        np.testing.assert_allclose(out.value[i], (x[i] - median) / max(mad, 1), rtol=1e-12)


def test_scores_of_noise_are_standard_deviations():
    out = feed(runner("mad", {"window": 501, "min_samples": 501} | LEARN), noise(30_000, 1, 7, 4))
    assert out.value[501:].std() == pytest.approx(1, rel=0.02)


def test_a_third_of_wild_samples_does_not_move_it():
    x = noise(400)
    x[::3] = 1e6
    out = feed(runner("mad", {"window": 90, "min_samples": 90, "on_anomaly": "learn"}), x)
    assert (out.value[90:][np.arange(90, 400) % 3 == 0] > 1e5).all()
    assert np.abs(out.value[90:][np.arange(90, 400) % 3 != 0]).max() < 4


def test_a_step_is_the_new_normal_after_half_a_window_or_never_when_frozen():
    x = np.r_[noise(60), 50 + noise(120)]
    beyond = {}
    for how in ("learn", "clip", "freeze"):
        out = feed(runner("mad", {"window": 60, "on_anomaly": how}), x)
        beyond[how] = int((out.value[60:] > 6).sum())
    assert 25 <= beyond["learn"] <= 35
    assert beyond["learn"] <= beyond["clip"] < beyond["freeze"] == 120


def test_a_score_of_just_k_is_usual():
    options = {"window": 3, "min_samples": 3, "k": 4, "min_mad": 2, "on_anomaly": "freeze"}
    out = feed(runner("mad", options), [1, 2, 3, 10.1, 10, 10])
    assert out.value[3] > 4  # not taken in, so the next is compared with 1, 2, 3 as well
    assert out.value[4] == 4
    assert out.value[5] == 3.5  # compared with 2, 3, 10


def test_a_standing_value_scores_zero_and_its_floor_decides_what_a_step_is():
    out = feed(runner("mad", {"min_mad": 0.1, "min_mad_share": 0}), [20.0] * 40 + [20.5, 20.7, 20])
    assert (out.value[30:40] == 0).all()
    np.testing.assert_allclose(out.value[40:42], [5, 7], rtol=1e-12)
    assert out.value[42] == 0


def test_what_is_too_large_is_not_known():
    out = feed(runner("mad", {}), np.r_[noise(40), 1e200, noise(40, 1)])
    assert np.isnan(out.value[40])
    assert np.isfinite(out.value[41:]).all()


@given(
    st.lists(st.integers(-1000, 1000), min_size=12, max_size=60),
    st.integers(-5, 5),
    st.sampled_from([-1, 0.25, 2, 64]),
)
def test_shift_scale_and_sign_come_out_as_they_should(values, shift, scale):
    x = np.array(values) / 8  # exact in binary, like the scales: equal, not close
    options = {"window": 9, "min_samples": 3, "min_mad_share": 0, "min_mad": 1}
    options |= {"on_anomaly": "learn"}
    a = feed(runner("mad", options), x).value
    b = feed(runner("mad", options | {"min_mad": abs(scale)}), (x + shift) * scale).value
    np.testing.assert_array_equal(a * np.sign(scale), b)


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=12), st.data())
def test_one_value_takes_the_place_of_another_in_order(values, data):
    n = len(values) - data.draw(st.integers(0, 1), "one leaves")
    row = np.array([*sorted(values), 99.0])
    gap = n  # nobody leaves: the slot behind the last is free
    if n < len(values):
        gap = data.draw(st.integers(0, n), "slot of the one that leaves")
    rest = np.delete(row, gap)[:n] if n < len(values) else row[:n].copy()
    if n:
        got = middle_and_spread(row, n, gap)
        spread = np.median(np.abs(rest - np.median(rest))) * NORMAL_SCALE
        assert got == pytest.approx((np.median(rest), spread))
    x = data.draw(st.integers(-4, 4), "comes")
    low = after(row, n + 1 if gap < n else n, float(x))
    exchange(row, gap, low, float(x))
    assert row[: n + 1].tolist() == sorted([*rest, x])
