from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
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
