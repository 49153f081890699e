import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.operators.one_step import clock, feed, runner, told

forever = {"max_time": "10000d"}
walks = st.lists(st.tuples(st.integers(1, 20), st.integers(-40, 40)), min_size=2, max_size=80)


def kept_of(x, t, **options):
    step = runner("swinging_door", forever | options)
    return [*told(feed(step, x, t)), *told(clock(step, 10**9 + 1))]


@given(walks, st.sampled_from([0.3, 1, 2.5, 15]))
def test_what_was_left_out_is_found_again_by_np_interp(made, dev):
    t = np.cumsum([gap for gap, _ in made])
    x = np.array([v for _, v in made], float)
    rows = kept_of(x, t, dev=dev)
    at, values = np.transpose(rows)
    assert rows[0] == (t[0], x[0])
    assert rows[-1] == (t[-1], x[-1])
    assert set(rows) <= set(zip(t.tolist(), x.tolist(), strict=True))
    assert np.abs(np.interp(t, at, values) - x).max() <= dev * (1 + 1e-9)


@pytest.mark.parametrize(("level", "dev"), [(20, 0.5), (1e6, 0.05)])
def test_a_noisy_wave_is_within_dev_of_few_samples(level, dev):
    rng = np.random.default_rng(7)
    t = np.cumsum(rng.exponential(3, 5000).round(3))
    x = level + 8 * np.sin(t / 300) + rng.normal(0, dev / 8, t.size)
    rows = kept_of(x, t, dev=dev)
    at, values = np.transpose(rows)
    assert np.abs(np.interp(t, at, values) - x).max() <= dev * (1 + 1e-6)
    assert len(rows) < t.size / 3


@given(walks, st.integers(1, 9))
def test_each_line_is_as_long_as_a_brute_force_finds(made, dev):
    """From each kept sample: the last one before which every chord is within dev of all passed."""
    t = np.cumsum([gap for gap, _ in made])
    x = [v for _, v in made]
    dev += 0.01  # no chord of these whole numbers passes at just dev
    want, a = [0], 0
    while a < len(x) - 1:
        b = a + 1
        while b + 1 < len(x) and all(
            abs(x[a] + (x[b + 1] - x[a]) * (t[k] - t[a]) / (t[b + 1] - t[a]) - x[k]) <= dev
            for k in range(a, b + 2)
        ):
            b += 1
        want.append(b)
        a = b
    assert kept_of(x, t, dev=dev) == [(t[k], x[k]) for k in want]


def test_a_straight_line_needs_its_ends_only():
    assert kept_of([0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5], dev=0.1) == [(0, 0), (5, 5)]


def test_a_sample_that_waits_is_kept_when_max_time_is_over():
    step = runner("swinging_door", {"dev": 1, "max_time": "10s"})
    assert told(feed(step, [5, 5, 5], [0, 4, 8])) == [(0, 5)]
    assert told(clock(step, 10)) == []
    assert told(clock(step, 10.001)) == [(8, 5)]
    assert told(clock(step, 500)) == []
    assert told(feed(step, [5, 5], [501, 520])) == [(501, 5)]


def test_a_jump_within_one_time_is_kept():
    rows = kept_of([1, 1.5, 9, 9.2, 9], [0, 0, 0, 0, 5], dev=1)
    assert rows == [(0, 1), (0, 9), (5, 9)]


def test_unknown_samples_are_left_out():
    assert kept_of([0, np.nan, 1e200, 3], [0, 1, 2, 3], dev=1) == [(0, 0), (3, 3)]
