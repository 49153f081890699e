from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipelines.batch import GOOD, UNCERTAIN
from tests.operators.one_step import clock, feed, feed_ns, runner, told
from tests.traffic import SECOND, START_NS

steps = st.lists(st.tuples(st.integers(0, 40), st.integers(-50, 50)), min_size=1, max_size=40)


def stream(n=400, seed=1):
    rng = np.random.default_rng(seed)
    t = START_NS + np.cumsum(rng.exponential(4, n).round(3) * SECOND + 1000).astype(np.int64)
    return t, rng.normal(20, 3, n)


def grid(t, every):
    return np.arange(-(-t[0] // every) * every, t[-1] + 1, every)


def test_locf_is_pandas_reindex_with_ffill():
    t, x = stream()
    at = grid(t, 5 * SECOND)
    at = at[at < t[-1]]
    series = pd.Series(x, pd.to_datetime(t))
    want = series.reindex(pd.to_datetime(at), method="ffill", tolerance=pd.Timedelta("15s"))
    out = feed_ns(runner("resample", {"every": "5s"}), x, t)
    np.testing.assert_array_equal(out.t_ns, at[want.notna()])
    np.testing.assert_array_equal(out.value, want.dropna())


def test_linear_is_np_interp_and_keeps_out_of_gaps():
    t, x = stream(seed=2)
    out = feed_ns(runner("resample", {"every": "5s", "method": "linear"}), x, t)
    at = grid(t, 5 * SECOND)
    after = np.searchsorted(t, at)
    bridged = (t[after] - t[np.maximum(after - 1, 0)] <= 15 * SECOND) | (t[after] == at)
    np.testing.assert_array_equal(out.t_ns, at[bridged])
    want = np.interp(at - START_NS, t - START_NS, x)
    np.testing.assert_allclose(out.value, want[bridged], rtol=1e-12)


@given(steps, st.integers(1, 12), st.integers(1, 30))
def test_the_mean_is_that_of_a_second_by_second_walk(made, every, gap):
    """Whole seconds: the last value of each second is written down, and the list is averaged."""
    t = np.cumsum([g for g, _ in made]) + 1000
    x = [v for _, v in made]
    gap = min(gap, 100 * every)
    step = runner("resample", {"every": f"{every}s", "method": "mean", "max_gap": f"{gap}s"})
    rows = told(feed(step, x, t)) + told(clock(step, t[-1] + 500))
    walk = {}
    for second in range(t[0], t[-1] + gap + 1):
        last = np.searchsorted(t, second, side="right") - 1
        if second - t[last] < gap:
            walk.setdefault(second // every, []).append(x[last])
    assert [at for at, _ in rows] == [(k + 1) * every for k in walk]
    for (_, value), values in zip(rows, walk.values(), strict=True):
        assert value == pytest.approx(float(Fraction(sum(values), len(values))), abs=1e-12)


@given(steps, st.sampled_from(["locf", "linear", "mean"]))
def test_ticks_only_say_earlier_what_samples_would_say(made, method):
    t = np.cumsum([g for g, _ in made]) + 1000
    x = [v for _, v in made]
    quiet, ticked = (runner("resample", {"every": "4s", "method": method}) for _ in range(2))
    rows = []
    for at, value in zip(t, x, strict=True):
        rows += told(clock(ticked, at)) + told(feed(ticked, [value], [at]))
    assert rows + told(clock(ticked, 9999)) == told(feed(quiet, x, t)) + told(clock(quiet, 9999))


def test_a_sample_may_still_come_just_at_the_time():
    step = runner("resample", {"every": "10s"})
    assert told(feed(step, [1], [4])) == []
    assert told(clock(step, 10)) == []
    assert told(feed(step, [2], [10])) == []
    assert told(clock(step, 10.001)) == [(10, 2)]


@pytest.mark.parametrize(("method", "last"), [("locf", 30), ("mean", 40)])
def test_nothing_is_made_up_beyond_max_gap(method, last):
    step = runner("resample", {"every": "10s", "method": method})
    feed(step, [7], [3])
    rows = told(clock(step, 1000))
    assert rows[-1] == (last, 7)
    assert told(clock(step, 5000)) == []
    assert told(feed(step, [8, 9], [6001, 6011]))[0] == (6010, 8)


def test_a_mean_of_a_part_is_uncertain():
    step = runner("resample", {"every": "10s", "method": "mean"})
    out = feed(step, [1, 2, 3], [5, 10, 20])
    assert told(out) == [(10, 1), (20, 2)]
    assert out.quality.tolist() == [UNCERTAIN, GOOD]


def test_unknown_samples_are_left_out():
    step = runner("resample", {"every": "2s", "method": "linear"})
    assert told(feed(step, [0, np.nan, 1e200, np.inf, 4])) == [(0, 0), (2, 2), (4, 4)]


def test_a_gap_that_would_flood():
    with pytest.raises(ValidationError, match=r"3600 values, at most 100.*max_gap of 100s or less"):
        runner("resample", {"every": "1s", "max_gap": "1h"})
