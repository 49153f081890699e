import numpy as np
import pytest

from pipelines.batch import UNCERTAIN
from tests.operators.one_step import feed_ns as feed
from tests.operators.one_step import runner
from tests.traffic import SECOND, START_NS, times


def test_two_points_are_numpys_diff():
    rng = np.random.default_rng(1)
    t = START_NS + np.cumsum(rng.integers(1, 20, 200)) * SECOND
    x = rng.normal(0, 5, 200)
    out = feed(runner("derivative", {"unit": "min"}), x, t)
    np.testing.assert_allclose(out.value[1:], np.diff(x) / np.diff(t) * 60e9, rtol=1e-9)
    assert np.isnan(out.value[0])


def test_a_window_is_numpys_polyfit():
    rng = np.random.default_rng(2)
    t, x = times(rng, 300), rng.normal(0, 5, 300)
    out = feed(runner("derivative", {"window": "1m", "hold": "0s"}), x, t)
    for i in range(2, 300):
        inside = (t > t[i] - 60 * SECOND) & (np.arange(300) <= i)
        if np.unique(t[inside]).size > 1:
            slope = np.polyfit((t[inside] - t[i]) / 1e9, x[inside], 1)[0]
            np.testing.assert_allclose(out.value[i], slope, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("unit", [("s", 1), ("min", 60), ("h", 3600)])
def test_a_straight_line_has_its_slope_whatever_the_offset(unit):
    name, seconds = unit
    t = START_NS + np.arange(5000) * SECOND
    x = 1e6 + 0.25 * np.arange(5000)
    out = feed(runner("derivative", {"window": "5m", "unit": name}), x, t)
    np.testing.assert_allclose(out.value[1:], 0.25 * seconds, rtol=1e-9)


def test_equal_times_go_back_to_an_earlier_one():
    t = START_NS + np.array([0, 10, 10, 20]) * SECOND
    out = feed(runner("derivative", {}), [0.0, 10.0, 20.0, 30.0], t)
    np.testing.assert_allclose(out.value, [np.nan, 1, 2, 1])


def test_silence_means_no_change_once_and_uncertain():
    step = runner("derivative", {"hold": "1m"})
    t = START_NS + np.array([0, 10]) * SECOND
    feed(step, [0.0, 10.0], t)
    held = t[1] + 60 * SECOND
    assert step.tick(np.array([held]), 1).size == 0  # a sample at that very time may still come
    out = step.tick(np.array([held + 1]), 1)
    assert (list(out.value), list(out.t_ns), list(out.quality)) == ([0.0], [held], [UNCERTAIN])
    assert step.tick(np.array([held + 10 * SECOND]), 1).size == 0


def test_a_late_sample_brings_the_silence_before_it():
    t = START_NS + np.array([0, 10, 110]) * SECOND
    out = feed(runner("derivative", {"hold": "1m"}), [0.0, 10.0, 210.0], t)
    assert list(out.value[1:]) == [1.0, 0.0, 2.0]
    assert list(out.t_ns[1:] - START_NS) == [10 * SECOND, 70 * SECOND, 110 * SECOND]
