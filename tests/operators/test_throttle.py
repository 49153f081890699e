import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.operators.one_step import clock, feed, feed_ns, runner, told
from tests.traffic import SECOND, times


@pytest.mark.parametrize("pick", ["first", "last"])
def test_it_is_pandas_groupby_of_the_floor(pick):
    rng = np.random.default_rng(5)
    t, x = times(rng, 800), rng.normal(0, 3, 800)
    step = runner("throttle", {"every": "10s", "pick": pick})
    got = feed_ns(step, x, t).value.tolist()
    got += step.tick(t[-1:] + 10**12, 1).value.tolist()
    assert got == list(getattr(pd.Series(x).groupby(t // (10 * SECOND)), pick)())


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(-9, 9)), min_size=1, max_size=60),
    st.integers(1, 12),
    st.sampled_from(["first", "last", "max_abs"]),
)
def test_one_of_each_period_and_it_was_there(steps, every, pick):
    t = np.cumsum([gap for gap, _ in steps])
    x = np.array([value for _, value in steps], float)
    step = runner("throttle", {"every": f"{every}s", "pick": pick})
    rows = told(feed(step, x, t)) + told(clock(step, t[-1] + 100))
    # The end of a period belongs to the next one.
    at = [int(s) // every if pick == "first" else int(s) // every - 1 for s, _ in rows]
    assert at == sorted(set((t // every).tolist()))
    for k, (_, value) in zip(at, rows, strict=True):
        inside = x[t // every == k]
        assert value in inside
        assert pick != "max_abs" or abs(value) == np.abs(inside).max()


def test_the_first_passes_at_once_and_the_last_at_the_end_of_its_period():
    assert told(feed(runner("throttle", {"every": "10s"}), [1, 2, 3], [3, 9, 10])) == [
        (3, 1),
        (10, 3),
    ]
    step = runner("throttle", {"every": "10s", "pick": "last"})
    assert told(feed(step, [1, 2, 3], [3, 9, 10])) == [(10, 2)]
    assert told(clock(step, 19.999)) == []
    assert told(clock(step, 20)) == [(20, 3)]
    assert told(clock(step, 500)) == []


def test_the_largest_keeps_its_sign_and_the_earliest_of_equals_wins():
    step = runner("throttle", {"every": "10s", "pick": "max_abs"})
    assert told(feed(step, [2, -7, 7, 0], [0, 1, 2, 10])) == [(10, -7)]


def test_unknown_samples_take_no_place():
    assert told(feed(runner("throttle", {"every": "10s"}), [np.nan, np.inf, 4, 5])) == [(2, 4)]


def test_a_sample_of_a_period_that_is_over_is_counted():
    step = runner("throttle", {"every": "10s", "pick": "last"})
    feed(step, [1], [3])
    clock(step, 10)
    assert told(feed(step, [9], [9.5])) == []
    assert step.counters() == {"late": 1}
