import numpy as np
import pytest
from pydantic import ValidationError

from pipelines.operator import load_all
from tests.operators.one_step import clock, feed, runner, told

OPERATOR = load_all()["rate_limit"]


def condition(**options):
    return OPERATOR.condition(OPERATOR.params.model_validate(options))


def test_the_limits_that_are_given_are_the_condition():
    assert condition(max_up=2).above == 2
    assert condition(max_down=3).below == -3
    assert condition(max_up=2, max_down=3).outside == (-3, 2)


def test_without_a_window_it_is_the_difference_quotient():
    rng = np.random.default_rng(1)
    t, x = np.cumsum(rng.integers(1, 9, 50)), rng.normal(0, 1, 50)
    out = feed(runner("rate_limit", {"max_up": 1, "unit": "min"}), x, t)
    np.testing.assert_allclose(out.value[1:], np.diff(x) / np.diff(t) * 60, rtol=1e-9)
    assert np.isnan(out.value[0])


def test_with_a_window_it_is_the_slope_of_linregress():
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(2)
    t = np.cumsum(rng.exponential(3, 200).round(3) + 0.001)
    x = np.cumsum(rng.normal(0, 1, 200))
    out = feed(runner("rate_limit", {"max_down": 1, "unit": "h", "window": "60s"}), x, t)
    for i in range(40, 200):
        there = (t > t[i] - 60) & (t <= t[i])
        if there.sum() >= 2:
            want = stats.linregress(t[there] - t[i], x[there]).slope * 3600
            np.testing.assert_allclose(out.value[i], want, rtol=1e-6, atol=1e-6)


def test_one_jump_counts_less_in_a_window():
    x = np.r_[np.zeros(30), np.full(30, 10.0)]
    jump = feed(runner("rate_limit", {"max_up": 5}), x)
    calm = feed(runner("rate_limit", {"max_up": 5, "window": "20s"}), x)
    assert np.nanmax(jump.value) == 10
    assert np.nanmax(calm.value) < 1


def test_silence_is_no_rest_unless_somebody_says_so():
    step = runner("rate_limit", {"max_up": 1})
    feed(step, [0, 5], [0, 1])
    assert told(clock(step, 1000)) == []
    step = runner("rate_limit", {"max_up": 1, "hold": "10s"})
    feed(step, [0, 5], [0, 1])
    assert told(clock(step, 1000)) == [(11, 0)]


def test_a_limit_is_needed():
    with pytest.raises(ValidationError, match="give a limit"):
        OPERATOR.params.model_validate({"window": "10s"})
