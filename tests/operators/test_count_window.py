import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.operators.one_step import feed, feed_ns, runner, told
from tests.traffic import times


@pytest.mark.parametrize(("n", "hop"), [(5, 5), (12, 5), (60, 1), (1, 1)])
def test_windows_are_numpys_sliding_windows(n, hop):
    rng = np.random.default_rng(n)
    t, x = times(rng, 500), rng.normal(1e6, 2, 500)
    stats = ["mean", "min", "max", "range", "first", "last", "count", "std", "var"]
    out = feed_ns(runner("count_window", {"n": n, "step": hop, "stats": stats}), x, t)
    view = np.lib.stride_tricks.sliding_window_view(x, n)[::hop]
    near = view - 1e6
    want = [
        view.mean(1), view.min(1), view.max(1), np.ptp(view, 1), view[:, 0], view[:, -1],
        np.full(len(view), n), near.std(1, ddof=1) if n > 1 else np.full(len(view), np.nan),
        near.var(1, ddof=1) if n > 1 else np.full(len(view), np.nan),
    ]  # fmt: skip
    np.testing.assert_allclose(out.fields, np.transpose(want), rtol=1e-8)
    at = np.lib.stride_tricks.sliding_window_view(t, n)[::hop]
    np.testing.assert_array_equal(np.c_[out.start_ns, out.t_ns], at[:, [0, -1]])


@given(
    st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=80), st.integers(1, 20), st.integers(1, 20)
)
def test_sums_are_fsums_of_slices(x, n, hop):
    n, hop = max(n, hop), min(n, hop)
    out = feed(runner("count_window", {"n": n, "step": hop, "stats": ["sum"]}), x)
    want = [math.fsum(x[a : a + n]) for a in range(0, len(x) - n + 1, hop)]
    np.testing.assert_allclose(out.value, want, rtol=1e-14, atol=1e-300)


def test_an_unfinished_window_is_not_told():
    step = runner("count_window", {"n": 3, "stats": ["sum"]})
    assert told(feed(step, [1, 2])) == []
    assert told(feed(step, [4], [2])) == [(2, 7)]


def test_unknown_samples_count_nowhere():
    step = runner("count_window", {"n": 2, "stats": ["sum"]})
    assert told(feed(step, [1, np.nan, 1e200, np.inf, 2])) == [(4, 3)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 3, "step": 4}, "step 4 is more than n 3"),
        ({"n": 121, "step": 2}, "61 windows, at most 60.*a step of 3 or more"),
        ({"n": 3, "stats": ["mean", "mean"]}, "names one number twice"),
        ({"n": 0}, "greater than or equal to 1"),
    ],
)
def test_what_cannot_be_asked_for(options, message):
    with pytest.raises(ValidationError, match=message):
        runner("count_window", options)
