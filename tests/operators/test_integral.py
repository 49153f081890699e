from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.integrate import cumulative_trapezoid

from pipelines.batch import BAD, GOOD, UNCERTAIN
from tests.operators.one_step import feed, feed_ns, runner
from tests.traffic import SECOND, START_NS

steps = st.lists(
    st.tuples(st.integers(0, 10**10), st.integers(-(10**6), 10**6)), min_size=1, max_size=50
)


@pytest.mark.parametrize(("unit", "seconds"), [("s", 1), ("min", 60), ("h", 3600)])
def test_the_trapezoid_is_scipys(unit, seconds):
    rng = np.random.default_rng(3)
    t, x = np.cumsum(rng.exponential(9, 500).round(3)), rng.normal(1500, 300, 500)
    out = feed(runner("integral", {"unit": unit}), x, t)
    want = cumulative_trapezoid(x, t, initial=0) / seconds
    np.testing.assert_allclose(out.value, want, rtol=1e-12)


@given(steps, st.sampled_from(["trapezoid", "step"]), st.integers(1, 10))
def test_it_is_the_exact_fraction(made, method, gap_s):
    t = np.cumsum([g for g, _ in made])
    x = [v for _, v in made]
    options = {"method": method, "unit": "h", "max_gap": f"{gap_s}s"}
    out = feed_ns(runner("integral", options), x, START_NS + t)
    exact, at = Fraction(0), [0.0]
    for k in range(1, len(x)):
        span = int(t[k] - t[k - 1])
        height = Fraction(x[k - 1]) if method == "step" else Fraction(x[k - 1] + x[k], 2)
        exact += height * span if span <= gap_s * SECOND else 0
        at.append(float(exact / (3600 * SECOND)))
    np.testing.assert_allclose(out.value, at, rtol=1e-13, atol=1e-12)


def test_a_kilowatt_for_an_hour_is_a_kilowatt_hour():
    out = feed(runner("integral", {}), np.full(61, 1000.0), 60 * np.arange(61))
    assert out.value[-1] == 1000


def test_years_of_small_steps_lose_nothing():
    x = np.full(400_000, 0.1)
    x[7] = 1e12
    out = feed(runner("integral", {"method": "step", "unit": "s"}), x)
    assert out.value[-1] == float(Fraction(0.1) * (x.size - 2) + 10**12)


def test_a_gap_adds_nothing_and_is_reported():
    step = runner("integral", {"unit": "s", "max_gap": "10s"})
    out = feed(step, [2, 2, 2, 2], [0, 10, 20.001, 21.001])
    np.testing.assert_allclose(out.value, [0, 20, 20, 22])
    assert out.quality.tolist() == [GOOD, GOOD, UNCERTAIN, GOOD]
    assert step.counters() == {"gaps": 1}


def test_unknown_samples_are_bridged():
    out = feed(runner("integral", {"unit": "s"}), [1, np.nan, 1e200, 3])
    np.testing.assert_array_equal(out.value, [0, np.nan, np.nan, 6])
    assert out.quality.tolist() == [GOOD, BAD, BAD, GOOD]


@pytest.mark.parametrize(
    ("begin", "tz", "hours"),
    [
        ("2026-03-27", "Europe/Berlin", [24, 24, 23, 24]),
        ("2026-10-23", "Europe/Berlin", [24, 24, 25, 24]),
        ("2018-02-16", "America/Sao_Paulo", [24, 25, 24, 24]),  # set back at midnight
        ("2025-12-30", "UTC", [24, 24, 24, 24]),
    ],
)
def test_days_are_those_of_the_clocks_on_the_wall(begin, tz, hours):
    """One kilowatt all the time: a day's energy is the hours that pandas gives the day."""
    days = pd.date_range(begin, periods=5, tz=tz).as_unit("ns").asi8
    assert (np.diff(days) / (3600 * SECOND)).tolist() == hours
    t = np.arange(days[0] - SECOND, days[-1] + SECOND, 7 * 60 * SECOND)
    out = feed_ns(runner("integral", {"reset": "1d", "tz": tz}), np.ones(t.size), t)
    day = np.searchsorted(days, t, "right") - 1
    since = np.where(day < 0, t[0], days[day])
    np.testing.assert_allclose(out.value, (t - since) / (3600 * SECOND), rtol=1e-12)
    before = np.where(day < 1, np.nan, np.array([*hours, np.nan])[day - 1])
    np.testing.assert_allclose(out.fields[:, 0], before, rtol=1e-12)


@given(steps, st.sampled_from(["trapezoid", "step"]), st.integers(1, 9), st.integers(0, 12))
def test_periods_together_are_the_whole(made, method, reset_s, offset_s):
    """What the last period and the one under way gain is what the sum without periods gains."""
    t = START_NS + np.cumsum([g for g, _ in made])
    x = [v for _, v in made]
    of = {"method": method, "unit": "s", "max_gap": f"{reset_s}s"}
    whole = feed_ns(runner("integral", of), x, t).value
    periods = of | {"reset": f"{reset_s}s", "offset": f"{offset_s}s"}
    out = feed_ns(runner("integral", periods), x, t)
    number = (t - offset_s * SECOND) // (reset_s * SECOND)
    for k in range(1, len(x)):
        gained = out.value[k] - out.value[k - 1]
        if number[k] == number[k - 1] + 1 and number[k - 1] > number[0]:
            gained = out.value[k] + out.fields[k, 0] - out.value[k - 1]
        elif number[k] != number[k - 1]:
            assert np.isnan(out.fields[k, 0])
            continue
        assert gained == pytest.approx(whole[k] - whole[k - 1], rel=1e-9, abs=1e-3)


def test_a_day_that_clocks_show_twice_begins_once():
    """In St. John's clocks went from 00:01 back to 23:01, in 2010 on the seventh of November."""
    t = pd.to_datetime([
        "2010-11-07T02:29:00", "2010-11-07T02:30:30", "2010-11-07T02:45:00", "2010-11-08T03:30:00",
    ]).as_unit("ns").asi8  # fmt: skip
    of = {"reset": "1d", "tz": "America/St_Johns", "unit": "s", "max_gap": "2d"}
    out = feed_ns(runner("integral", of), np.ones(4), t)
    assert out.value.tolist() == [0, 30, 900, 0]
    np.testing.assert_array_equal(out.fields[:, 0], [np.nan, np.nan, np.nan, 25 * 3600])


def test_a_sample_at_midnight_begins_a_day_and_ends_none_twice():
    step = runner("integral", {"unit": "s", "reset": "10s"})
    out = feed(step, [1, 1, 1, 1, 1], [0, 10, 19, 20, 30])
    assert out.value.tolist() == [0, 0, 9, 0, 0]
    np.testing.assert_array_equal(out.fields[:, 0], [np.nan, np.nan, np.nan, 10, 10])


def test_a_period_in_a_gap_is_not_known_and_one_between_two_samples_is():
    step = runner("integral", {"unit": "s", "reset": "10s", "max_gap": "25s"})
    out = feed(step, [4, 4, 4, 4, 4], [1, 12, 35, 68, 72])
    np.testing.assert_allclose(out.value, [0, 8, 20, 0, 8])
    np.testing.assert_allclose(out.fields[:, 0], [np.nan, np.nan, 40, np.nan, 8])
    assert step.counters() == {"gaps": 1}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tz": "Europe/Berlin"}, "give `reset`"),
        ({"offset": "6h"}, "give `reset`"),
        ({"tz": "Europe/Berlin", "reset": "1h"}, "whole days"),
    ],
)
def test_when_periods_begin_needs_periods(options, message):
    with pytest.raises(ValidationError, match=message):
        runner("integral", options)
