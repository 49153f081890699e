import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.operators.one_step import clock, feed, feed_ns, kept, runner, told
from tests.traffic import SECOND, times

ALL = ["mean", "min", "max", "sum", "count", "std", "var", "first", "last"]


def test_sessions_are_pandas_groups_of_cumulated_gaps():
    rng = np.random.default_rng(8)
    t, x = times(rng, 900), rng.normal(20, 3, 900)
    step = runner("session", {"gap": "4s", "stats": ALL})
    outs = [feed_ns(step, x, t), kept(step.tick(t[-1:] + 10**12, 1))]
    frame = pd.DataFrame({"t": t, "x": x})
    grouped = frame.groupby((frame.t.diff() > 4 * SECOND).cumsum())
    got = np.concatenate([o.fields for o in outs])
    np.testing.assert_allclose(got, grouped.x.agg(ALL).to_numpy(float), rtol=1e-9)
    assert np.concatenate([o.start_ns for o in outs]).tolist() == grouped.t.min().tolist()
    ends = (grouped.t.max() + 4 * SECOND).tolist()
    assert np.concatenate([o.t_ns for o in outs]).tolist() == ends


@given(
    st.lists(st.integers(0, 12), min_size=1, max_size=60), st.integers(1, 10), st.integers(1, 40)
)
def test_every_sample_is_in_one_session_and_none_is_older_than_max(gaps, gap, oldest):
    t = np.cumsum(gaps)
    step = runner("session", {"gap": f"{gap}s", "max": f"{oldest}s", "stats": ["count"]})
    outs = [feed(step, np.ones(t.size), t), clock(step, t[-1] + 100)]
    starts = np.concatenate([o.start_ns for o in outs]) // SECOND
    ends = np.concatenate([o.t_ns for o in outs]) // SECOND
    counts = np.concatenate([o.value for o in outs])
    assert counts.sum() == t.size
    assert (ends - starts <= oldest).all()
    assert (starts[1:] >= ends[:-1]).all()
    edges = np.append(starts, 10**6)
    for k, count in enumerate(counts):
        inside = t[(t >= edges[k]) & (t < edges[k + 1])]
        assert inside.size == count
        assert (np.diff(inside) <= gap).all()


def test_a_sample_just_after_the_gap_still_belongs():
    step = runner("session", {"gap": "10s"})
    assert told(feed(step, [1, 1], [0, 10])) == []
    assert told(clock(step, 20)) == []
    assert told(clock(step, 20.001)) == [(20, 2)]
    assert told(clock(step, 99)) == []


def test_a_sample_at_the_age_of_max_begins_the_next():
    step = runner("session", {"gap": "10s", "max": "15s"})
    assert told(feed(step, [1, 1, 1], [0, 8, 15])) == [(15, 2)]
    assert told(clock(step, 26)) == [(25, 1)]
    assert told(feed(step, [1, 1], [100, 109])) == []
    assert told(clock(step, 115)) == [(115, 2)]


def test_unknown_samples_prolong_nothing():
    step = runner("session", {"gap": "2s"})
    assert told(feed(step, [1, np.nan, np.inf, 1], [0, 1, 2, 3])) == [(2, 1)]


def test_a_number_named_twice():
    with pytest.raises(ValidationError, match="names one number twice"):
        runner("session", {"gap": "2s", "stats": ["mean", "mean"]})
