import numpy as np
import pandas as pd
import pytest

from tests.operators.one_step import feed, runner


def stream(n, seed):
    rng = np.random.default_rng(seed)
    return np.cumsum(rng.exponential(2, n).round(3) + 0.1), rng.normal(20, 3, n)


def test_without_drift_the_level_is_the_mean_of_all():
    t, x = stream(300, 1)
    out = feed(runner("kalman", {"q": 0, "r": 7}), x, t)
    np.testing.assert_allclose(out.value, pd.Series(x).expanding().mean(), rtol=1e-12)


def test_without_drift_the_trend_is_the_straight_line_through_all():
    t, x = stream(120, 2)
    out = feed(runner("kalman", {"q": 0, "r": 7, "model": "trend"}), x, t)
    want = [np.polyval(np.polyfit(t[:k], x[:k], 1), t[k - 1]) for k in range(2, 121)]
    np.testing.assert_allclose(out.value[1:], want, rtol=1e-8)


@pytest.mark.parametrize(("q", "r"), [(0.1, 1), (4, 0.5), (1e-2, 9)])
def test_in_the_end_a_level_is_an_exponential_mean_with_the_gain_of_riccati(q, r):
    x = np.random.default_rng(3).normal(0, 1, 6000)
    ahead = (q + np.sqrt(q * q + 4 * q * r)) / 2  # p = p r / (p + r) + q
    out = feed(runner("kalman", {"q": q, "r": r}), x)
    want = pd.Series(x).ewm(alpha=ahead / (ahead + r), adjust=False).mean()
    np.testing.assert_allclose(out.value[5000:], want[5000:], atol=1e-9)


@pytest.mark.parametrize("model", ["level", "trend"])
def test_it_is_the_mean_of_the_last_state_given_all_samples(model):
    """Covariances of a random walk written down as they are, and one Gaussian conditioned."""
    t, x = stream(40, 4)
    q, r = 0.3, 2.0
    out = feed(runner("kalman", {"q": q, "r": r, "model": model}), x, t)
    since = t - t[0]
    early, late = np.minimum.outer(since, since), np.maximum.outer(since, since)
    walk = q * early if model == "level" else q * early**2 * (3 * late - early) / 6
    design = np.vander(since, 2 if model == "trend" else 1, increasing=True)
    for k in (2, 3, 10, 40):
        inverse = np.linalg.inv(walk[:k, :k] + r * np.eye(k))
        base = np.linalg.solve(design[:k].T @ inverse @ design[:k], design[:k].T @ inverse @ x[:k])
        level = design[k - 1] @ base + walk[k - 1, :k] @ inverse @ (x[:k] - design[:k] @ base)
        np.testing.assert_allclose(out.value[k - 1], level, rtol=1e-9)


def test_it_is_nearer_to_the_truth_than_the_samples():
    rng = np.random.default_rng(5)
    truth = np.cumsum(rng.normal(0, 0.1, 4000))
    out = feed(runner("kalman", {"q": 0.01, "r": 1}), truth + rng.normal(0, 1, 4000))
    error = np.sqrt(np.mean((out.value - truth)[100:] ** 2))
    assert error == pytest.approx(np.sqrt(0.0951), rel=0.1)  # p r / (p + r) of Riccati's p


def test_samples_of_one_time_are_averaged_and_show_no_slope():
    step = runner("kalman", {"q": 1, "r": 1, "model": "trend"})
    np.testing.assert_allclose(feed(step, [2, 4, 9], [0, 0, 0]).value, [2, 3, 5])
    assert feed(step, [7], [1]).value[0] == 7


def test_a_sample_counts_less_soon_after_another_than_later():
    options = {"q": 0.01, "r": 1}
    gains = [feed(runner("kalman", options), [0, 1], [0, gap]).value[1] for gap in (1, 100)]
    np.testing.assert_allclose(gains, [1.01 / 2.01, 2 / 3])


def test_unknown_samples_change_nothing():
    out = feed(runner("kalman", {"q": 0, "r": 1}), [2, np.nan, 1e200, 4])
    np.testing.assert_array_equal(out.value, [2, np.nan, np.nan, 3])
