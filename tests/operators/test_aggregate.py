import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipelines.batch import GOOD, UNCERTAIN
from pipelines.operators.aggregate import Aggregate
from tests.operators.one_step import feed_ns as feed
from tests.operators.one_step import kept, runner
from tests.traffic import SECOND, START_NS, times

MINUTE = 60 * SECOND
ALL = ["mean", "min", "max", "sum", "count", "std", "var", "first", "last"]


def closed(options, x, t):
    """Rows of one series, all windows closed in the end."""
    step = runner("aggregate", options)
    outs = [feed(step, x, t)]
    outs.append(step.tick(np.array([t[-1] + 10**15]), 1))
    return [np.concatenate([getattr(o, f) for o in outs]) for f in outs[0]._fields[:6]]


@pytest.mark.parametrize("offset", ["0s", "17s"])
def test_tumbling_windows_are_pandas_resample(offset):
    rng = np.random.default_rng(6)
    t, x = times(rng, 900), rng.normal(20, 3, 900)
    shift = pd.Timedelta(offset)
    frame = pd.Series(x, index=pd.to_datetime(t)).resample("1min", offset=shift, origin="epoch")
    oracle = frame.agg(ALL)
    oracle = oracle[oracle["count"] > 0]
    options = {"size": "1m", "offset": offset, "stats": ALL}
    _, _, starts, _, _, fields = closed(options, x, t)
    assert list(starts) == list(oracle.index.to_numpy("datetime64[ns]").astype(np.int64))
    np.testing.assert_allclose(fields, oracle.to_numpy(float), rtol=1e-9)


def by_definition(t, x, size, hop):
    """Every window with a sample in it, by looking at all of them."""
    starts = range((t[0] - size) // hop * hop, t[-1] + hop, hop)
    found = [(s, [v for u, v in zip(t, x, strict=True) if s <= u < s + size]) for s in starts]
    return [(s, values) for s, values in found if values]


@given(
    st.lists(st.tuples(st.integers(0, 40), st.floats(-1e6, 1e6)), min_size=1, max_size=60),
    st.integers(1, 30),
    st.integers(1, 30),
)
def test_hopping_windows_by_definition(steps, size, hop):
    size, hop = max(size, hop), min(size, hop)
    t = [int(v) for v in START_NS + np.cumsum([gap for gap, _ in steps]) * SECOND]
    x = [value for _, value in steps]
    options = {"size": f"{size}s", "hop": f"{hop}s", "stats": ["sum", "count", "min"]}
    _, ends, starts, _, _, fields = closed(options, np.array(x), np.array(t))
    wanted = by_definition(t, x, size * SECOND, hop * SECOND)
    assert list(starts) == [s for s, _ in wanted]
    assert list(ends) == [s + size * SECOND for s, _ in wanted]
    for row, (_, values) in zip(fields, wanted, strict=True):
        assert row[0] == math.fsum(values) or row[0] == pytest.approx(math.fsum(values), rel=1e-14)
        assert (row[1], row[2]) == (len(values), min(values))


def test_a_window_closes_when_its_time_is_over_and_not_before():
    begin = START_NS // MINUTE * MINUTE
    step = runner("aggregate", {"size": "1m", "stats": ["count"]})
    assert feed(step, [1.0], [begin]).size == 0
    assert step.tick(np.array([begin + MINUTE - 1]), 1).size == 0
    assert list(step.tick(np.array([begin + MINUTE]), 1).value) == [1.0]
    assert step.tick(np.array([begin + 2 * MINUTE]), 1).size == 0


def test_only_the_window_that_began_before_the_series_is_uncertain():
    begin = START_NS // MINUTE * MINUTE
    t = begin + np.array([30, 61, 130]) * SECOND
    _, _, _, _, quality, _ = closed({"size": "1m"}, np.ones(3), t)
    assert list(quality) == [UNCERTAIN, GOOD, GOOD]
    _, _, _, _, quality, _ = closed({"size": "1m"}, np.ones(1), np.array([begin]))
    assert list(quality) == [GOOD]


def test_a_sample_of_a_closed_window_is_counted_as_late():
    begin = START_NS // MINUTE * MINUTE
    step = runner("aggregate", {"size": "1m", "stats": ["count"]})
    feed(step, [1.0], [begin])
    step.tick(np.array([begin + MINUTE]), 1)
    assert feed(step, [1.0], [begin + 1]).size == 0
    assert step.counters() == {"late": 1}
    assert step.tick(np.array([begin + MINUTE + 1]), 1).size == 0
    feed(step, [1.0], [begin + MINUTE + 2])
    assert list(step.tick(np.array([begin + 9 * MINUTE]), 1).value) == [1.0]


def test_unknown_samples_count_nowhere_and_close_nothing():
    begin = START_NS // MINUTE * MINUTE
    step = runner("aggregate", {"size": "1m", "stats": ["count"]})
    t = begin + np.array([0, 1, 70]) * SECOND
    assert feed(step, [1.0, np.nan, np.inf], t).size == 0
    assert list(step.tick(np.array([begin + MINUTE]), 1).value) == [1.0]


@pytest.mark.parametrize(
    "tz", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Sao_Paulo"]
)
@pytest.mark.parametrize("begin", [0, 6])
def test_days_of_local_clocks_are_those_of_pandas(tz, begin):
    rng = np.random.default_rng(4)
    t = (1_697_000_000 + np.cumsum(rng.integers(600, 2400, 29_000))) * SECOND
    x = rng.normal(5, 1, t.size)
    options = {"size": "1d", "offset": f"{begin}h", "tz": tz, "stats": ["sum", "count", "max"]}
    out = feed(runner("aggregate", options), x, t)
    here = pd.to_datetime(t, utc=True).tz_convert(tz).tz_localize(None)
    day = (here - pd.Timedelta(hours=begin)).normalize()
    want = pd.Series(x).groupby(day).agg(["sum", "count", "max"])
    np.testing.assert_allclose(out.fields, want[:-1], rtol=1e-12)
    edges = (want.index + pd.Timedelta(hours=begin)).tz_localize(tz, nonexistent="shift_forward")
    assert out.start_ns.tolist() == edges[:-1].asi8.tolist()
    assert out.t_ns.tolist() == edges[1:].asi8.tolist()
    assert set((out.t_ns - out.start_ns) // SECOND / 3600) >= {24.0}
    assert len(set(out.t_ns - out.start_ns)) == (1 if tz == "America/Sao_Paulo" else 3)


def test_weeks_that_slide_by_a_day_across_a_change_of_clocks():
    tz, day = "Europe/Berlin", 24 * 3600 * SECOND
    start = pd.Timestamp("2024-03-18", tz=tz).value
    t = start + np.arange(20 * 24) * day // 24
    options = {"size": "1w", "hop": "1d", "tz": tz, "stats": ["count"]}
    out = feed(runner("aggregate", options), np.ones(t.size), t)
    whole = out.quality == 0
    hours = (out.t_ns - out.start_ns)[whole] // (3600 * SECOND)
    assert hours.tolist() == out.value[whole].tolist()
    assert set(hours) == {167, 168}


def test_a_local_day_is_told_at_its_end_by_the_clock():
    step = runner("aggregate", {"size": "1d", "tz": "Europe/Berlin", "stats": ["count"]})
    end = pd.Timestamp("2024-10-28", tz="Europe/Berlin").value
    feed(step, np.ones(3), [end - 25 * 3600 * SECOND, end - 5, end - 1])
    assert kept(step.tick(np.array([end - 1]), 1)).size == 0
    out = kept(step.tick(np.array([end]), 1))
    assert (out.t_ns[0] - out.start_ns[0], out.value[0]) == (25 * 3600 * SECOND, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": "1h", "hop": "59s"}, "62 windows, at most 60.*a hop of 1m or more"),
        ({"size": "1m", "hop": "2m"}, "hop 2m is longer than size 1m"),
        ({"size": "1m", "stats": ["mean", "mean"]}, "names one number twice"),
        ({"size": "1m", "stats": []}, "at least 1"),
        ({"size": "0s"}, "greater than 0"),
        ({"size": "1h", "tz": "Europe/Berlin"}, "whole days"),
        ({"size": "1d", "hop": "1h", "tz": "Europe/Berlin"}, "whole days"),
        ({"size": "1d", "tz": "Berlin"}, "unknown time zone"),
    ],
)
def test_what_cannot_be_asked_for(options, message):
    with pytest.raises(ValidationError, match=message):
        Aggregate.model_validate(options)
