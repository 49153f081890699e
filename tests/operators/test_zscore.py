import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.operators.one_step import feed, runner

LEARN = {"on_anomaly": "learn", "min_std": 1e-12, "min_std_share": 0}


def noise(n, seed=0, level=0.0, scale=1.0):
    return np.random.default_rng(seed).normal(level, scale, n)


@pytest.mark.parametrize("window", [5, 16, 17, 64])
def test_a_count_window_is_pandas(window):
    x = pd.Series(noise(700, window, 40, 3))
    past = x.shift(1).rolling(window, min_periods=4)
    want = (x - past.mean()) / past.std()
    out = feed(runner("zscore", {"window": window, "min_samples": 4} | LEARN), x)
    np.testing.assert_allclose(out.value, want, rtol=1e-9, atol=1e-9)


def test_a_time_window_is_pandas():
    rng = np.random.default_rng(3)
    times = np.cumsum(rng.exponential(5, 600).round(3) + 0.001)
    x = pd.Series(noise(600, 4), pd.to_datetime(np.rint(times * 1e9).astype(np.int64)))
    past = x.rolling("60s", min_periods=4, closed="neither")
    want = (x - past.mean()) / past.std()
    out = feed(runner("zscore", {"window": "60s", "min_samples": 4} | LEARN), x, times)
    np.testing.assert_allclose(out.value, want, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(out.fields[:, 1], past.mean(), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(out.fields[:, 3] - out.fields[:, 1], 5 * past.std(), rtol=1e-9)


def test_a_sample_just_a_window_old_has_left():
    options = {"window": "10s", "min_samples": 2} | LEARN
    inside = feed(runner("zscore", options), [1, 3, 2], [0.001, 5, 10])
    left = feed(runner("zscore", options), [1, 3, 2], [0, 5, 10])
    assert inside.value[2] == 0
    assert np.isnan(left.value[2])


def test_no_score_before_min_samples_and_one_with_them():
    out = feed(runner("zscore", {"window": 50, "min_samples": 7}), noise(20))
    assert np.isnan(out.value[:7]).all()
    assert np.isfinite(out.value[7:]).all()
    assert (out.quality == np.where(np.isnan(out.value), 2, 0)).all()


def test_scores_of_noise_are_as_many_as_students_t_says():
    stats = pytest.importorskip("scipy.stats")
    out = feed(runner("zscore", {"window": 20, "min_samples": 20} | LEARN), noise(60_000))
    scores = out.value[20:] / np.sqrt(1 + 1 / 20)
    assert stats.kstest(scores[::21], "t", (19,)).pvalue > 0.01
    assert (np.abs(scores) > 3).mean() == pytest.approx(2 * stats.t.sf(3, 19), rel=0.15)


def test_a_sample_does_not_score_against_itself():
    # Were it part of its own window of n, no score could be beyond (n - 1) / sqrt(n) = 2.85.
    x = noise(11, 1)
    x[-1] = 1000
    out = feed(runner("zscore", {"window": 10, "min_samples": 10} | LEARN), x)
    assert out.value[-1] > 100


def test_a_step_is_learned_slowly_when_clipped_at_once_when_learned_never_when_frozen():
    x = np.r_[noise(60), 50 + noise(300)]
    beyond = {}
    for how in ("learn", "clip", "freeze"):
        out = feed(runner("zscore", {"window": 60, "on_anomaly": how}), x)
        beyond[how] = int((np.abs(out.value[60:]) > 5).sum())
    assert beyond["learn"] < beyond["clip"] < beyond["freeze"] == 300
    assert beyond["learn"] < 5
    assert 10 < beyond["clip"] < 120


def test_a_frozen_time_window_begins_afresh_when_it_has_run_empty():
    x = np.r_[noise(60), 50 + noise(200)]
    out = feed(runner("zscore", {"window": "60s", "on_anomaly": "freeze"}), x)
    assert (out.value[60:80] > 5).all()
    assert np.abs(out.value[-60:]).max() < 5


def test_a_spike_does_not_hide_the_next():
    x = noise(200)
    x[100:200:10] = 40
    for how, found in (("clip", 10), ("freeze", 10)):
        out = feed(runner("zscore", {"window": 60, "on_anomaly": how}), x)
        assert (out.value > 5).sum() == found
    out = feed(runner("zscore", {"window": 60, "on_anomaly": "learn"}), x)
    assert (out.value > 5).sum() < 10


def test_a_score_of_just_k_is_usual():
    past = [0.0, 2.0] * 8  # mean 1, and with n - 1 a deviation of sqrt(16 / 15)
    std = np.sqrt(16 / 15)
    options = {"window": 16, "min_samples": 16, "k": 4, "on_anomaly": "freeze", "min_std": 2.0}
    out = feed(runner("zscore", options), [*past, 9.0, 9.0])  # (9 - 1) / 2 = 4
    assert out.value[16] == 4
    assert out.value[17] < 4  # so the one before was taken in
    assert std < 2


def test_a_standing_value_scores_zero_and_its_floor_decides_what_a_step_is():
    out = feed(runner("zscore", {"min_std": 0.1, "min_std_share": 0}), [20.0] * 40 + [20.4, 20.6])
    assert (out.value[30:40] == 0).all()
    np.testing.assert_allclose(out.value[40], 4, rtol=1e-9)
    assert out.value[41] > 5


def test_the_share_of_the_mean_is_a_floor_too():
    out = feed(runner("zscore", {"min_std_share": 0.01}), [100.0] * 40 + [103])
    np.testing.assert_allclose(out.value[40], 3, rtol=1e-12)


def test_small_noise_on_a_large_level_keeps_its_digits():
    x = noise(20_000, 2, 1e6, 0.01)
    past = (pd.Series(x) - 1e6).shift(1).rolling(64)
    want = (x - 1e6 - past.mean()) / past.std()
    out = feed(runner("zscore", {"window": 64, "min_samples": 64} | LEARN), x)
    np.testing.assert_allclose(out.value[64:], want[64:], rtol=1e-5, atol=1e-5)


def test_a_wild_sample_takes_no_digits_with_it():
    x = noise(400, 5, 1e6, 1)
    x[100] = 1e13
    out = feed(runner("zscore", {"window": 32, "min_samples": 32} | LEARN), x)
    for i in (133, 134, 140, 300):
        past = x[i - 32 : i]
        np.testing.assert_allclose(out.value[i], (x[i] - past.mean()) / past.std(ddof=1), rtol=1e-8)


def test_what_is_too_large_to_square_is_not_known():
    out = feed(runner("zscore", {}), np.r_[noise(40), 1e200, noise(40, 1)])
    assert np.isnan(out.value[40])
    assert np.isfinite(out.value[41:]).all()


@given(
    st.lists(st.integers(-1000, 1000), min_size=12, max_size=60),
    st.integers(-5, 5),
    st.sampled_from([0.25, 2, 64]),
)
def test_shift_and_scale_do_not_change_a_score(values, shift, scale):
    x = np.array(values) / 8
    options = {"window": 9, "min_samples": 3, "min_std_share": 0, "min_std": 1}
    scaled = options | {"min_std": scale}
    a = feed(runner("zscore", options), x).value
    b = feed(runner("zscore", scaled), (x + shift) * scale).value
    np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-8)
