import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipelines.operator import load_all
from tests.operators.one_step import feed, runner

OPERATOR = load_all()["forecast"]
RISE = {"above": 90, "horizon": "100s", "window": 50}


def ramp(n, slope, start=0.0, spread=0.0, seed=0):
    return start + slope * np.arange(n) + np.random.default_rng(seed).normal(0, spread, n)


def test_a_straight_line_reaches_its_limit_on_time():
    out = feed(runner("forecast", RISE), ramp(80, 0.5, 20))
    assert np.isnan(out.value[:9]).all()
    at = np.arange(9, 80)
    np.testing.assert_allclose(out.value[9:], (90 - 20) / 0.5 - at, rtol=1e-9)
    np.testing.assert_allclose(out.fields[9:, 1], 20 + 0.5 * (at + 100), rtol=1e-12)
    np.testing.assert_allclose(out.fields[9:, 3], 1, rtol=1e-12)
    assert OPERATOR.condition(OPERATOR.params.model_validate(RISE)).below == 100


def test_falling_to_a_lower_limit_is_the_mirror():
    x = ramp(120, 0.3, 10, 2)
    up = feed(runner("forecast", RISE), x)
    down = feed(runner("forecast", {"below": -90, "horizon": "100s", "window": 50}), -x)
    np.testing.assert_array_equal(up.value, down.value)


@pytest.mark.parametrize("window", [10, 16, 17, 45])
def test_the_line_is_that_of_scipy(window):
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(window)
    t = np.cumsum(rng.exponential(3, 250).round(3) + 0.001)
    x = 1e4 + np.cumsum(rng.normal(0, 1, 250))
    options = {"above": 10_020, "horizon": "60s", "window": window, "min_r2": 0.5}
    out = feed(runner("forecast", options), x, t)
    for i in range(window, 250):
        there = slice(i + 1 - window, i + 1)
        line = stats.linregress(t[there] - t[i], x[there])
        want = [line.intercept + 60 * line.slope, line.slope, line.rvalue**2]
        np.testing.assert_allclose(out.fields[i, 1:], want, rtol=1e-6, atol=1e-9)
        time = (10_020 - line.intercept) / line.slope
        if line.intercept >= 10_020:
            time = 0
        elif line.slope <= 0 or line.rvalue**2 < 0.5:
            time = 600
        np.testing.assert_allclose(out.value[i], min(time, 600), rtol=1e-6)


def test_a_time_window_is_polyfit():
    rng = np.random.default_rng(2)
    t = np.cumsum(rng.exponential(3, 300).round(3) + 0.001)
    x = 0.1 * t + rng.normal(0, 2, 300)
    out = feed(runner("forecast", {"above": 1e6, "horizon": "1h", "window": "60s"}), x, t)
    for i in range(60, 300):
        there = (t > t[i] - 60) & (t <= t[i])
        if there.sum() >= 10:
            slope, now = np.polyfit(t[there] - t[i], x[there], 1)
            np.testing.assert_allclose(out.fields[i, 1:3], [now + 3600 * slope, slope], rtol=1e-6)


def test_noise_leads_nowhere_and_a_slow_rise_leads_far():
    noise = np.random.default_rng(3).normal(50, 5, 300)
    assert (feed(runner("forecast", RISE), noise).value[60:] == 1000).all()
    slow = feed(runner("forecast", RISE), ramp(60, 0.001))
    assert (slow.value[9:] == 1000).all()


def test_a_standing_value_leads_nowhere_but_beyond_the_limit_it_is_there():
    assert (feed(runner("forecast", RISE), np.full(30, 89.9)).value[9:] == 1000).all()
    assert (feed(runner("forecast", RISE), np.full(30, 90.0)).value[9:] == 0).all()
    assert (feed(runner("forecast", RISE), np.full(30, 95.0)).value[9:] == 0).all()


def test_of_two_limits_the_sooner_counts():
    both = RISE | {"below": 10}
    np.testing.assert_allclose(feed(runner("forecast", both), ramp(20, -1, 60)).value[-1], 31)
    np.testing.assert_allclose(feed(runner("forecast", both), ramp(20, 2, 40)).value[-1], 6)


def test_the_fit_decides_whether_the_line_counts():
    x = ramp(50, 0.5, 0, 6, 4)
    r2 = feed(runner("forecast", RISE), x).fields[-1, 3]
    assert 0.3 < r2 < 0.9
    stricter = feed(runner("forecast", RISE | {"min_r2": r2 + 0.01}), x)
    looser = feed(runner("forecast", RISE | {"min_r2": r2 - 0.01}), x)
    assert stricter.value[-1] == 1000 > looser.value[-1]


@given(st.integers(-50, 50), st.sampled_from([0.25, 8]))
def test_level_and_unit_do_not_matter(shift, scale):
    x = ramp(40, 0.4, 5, 1, 7)
    a = feed(runner("forecast", RISE), x).value
    moved = RISE | {"above": (90 + shift) * scale}
    b = feed(runner("forecast", moved), (x + shift) * scale).value
    np.testing.assert_allclose(a, b, rtol=1e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give a limit"),
        ({"above": 3, "below": 4}, "must be less than"),
        ({"above": 3, "window": 5}, "more than the window's 5"),
    ],
)
def test_what_does_not_fit_together(options, message):
    with pytest.raises(ValidationError, match=message):
        OPERATOR.params.model_validate({"horizon": "1h", "window": "1h"} | options)
