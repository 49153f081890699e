from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipelines.operators.rolling import Rolling
from tests.operators.one_step import feed_ns as feed
from tests.operators.one_step import runner
from tests.traffic import SECOND, START_NS, times

STATS = {
    "mean": lambda r: r.mean(),
    "sum": lambda r: r.sum(),
    "min": lambda r: r.min(),
    "max": lambda r: r.max(),
    "std": lambda r: r.std(),
    "var": lambda r: r.var(),
    "median": lambda r: r.median(),
    "range": lambda r: r.max() - r.min(),
    "count": lambda r: r.count(),
    "first": lambda r: r.apply(lambda x: x[0], raw=True),
}


def irregular(n, seed):
    rng = np.random.default_rng(seed)
    return times(rng, n), rng.normal(20, 3, n)


@pytest.mark.parametrize("stat", STATS)
@pytest.mark.parametrize("window", ["20s", "5m", 1, 17, 100])
def test_is_pandas(stat, window):
    t, x = irregular(800, 3)
    series = pd.Series(x, index=pd.to_datetime(t))
    oracle = STATS[stat](
        series.rolling(pd.Timedelta(window) if isinstance(window, str) else window, min_periods=1)
    )
    out = feed(runner("rolling", {"stat": stat, "window": window}), x, t)
    np.testing.assert_allclose(out.value, oracle, rtol=1e-10, atol=1e-7)


@pytest.mark.parametrize("q", [0, 0.05, 0.5, 0.9, 1])
def test_quantile_is_numpys_linear_one(q):
    x = np.random.default_rng(1).normal(0, 1, 300).round(1)
    out = feed(runner("rolling", {"stat": "quantile", "q": q, "window": 40}), x)
    wanted = [np.quantile(x[max(0, i - 39) : i + 1], q) for i in range(300)]
    np.testing.assert_allclose(out.value, wanted, rtol=1e-14, atol=1e-15)


def test_slope_is_scipys():
    t, x = irregular(400, 5)
    out = feed(runner("rolling", {"stat": "slope", "window": "90s"}), x, t)
    for i in range(400):
        inside = (t > t[i] - 90 * SECOND) & (np.arange(400) <= i)
        seconds = (t[inside] - t[i]) / 1e9
        if np.ptp(seconds) > 0:
            slope = scipy.stats.linregress(seconds, x[inside]).slope
            np.testing.assert_allclose(out.value[i], slope, rtol=1e-7, atol=1e-8)
        else:
            assert np.isnan(out.value[i])


@pytest.mark.parametrize("window", ["20s", "5m", "1h"])
def test_linear_weights_are_numpys_trapezoid(window):
    t, x = irregular(400, 6)
    t[200:] += 7000 * SECOND
    out = feed(
        runner("rolling", {"stat": "mean", "window": window, "weight": "linear"}), x, t
    ).value
    reach = pd.Timedelta(window).value
    for i in range(400):
        begins = 200 if i >= 200 else 0  # nothing is drawn over the long gap
        since = max(t[i] - reach, t[begins])
        # np.interp of numbers this close would lose their digits: seconds before sample i.
        back = (t[begins : i + 1] - t[i]) / 1e9
        grid = np.append((since - t[i]) / 1e9, back[t[begins : i + 1] > since])
        drawn = np.append(
            np.interp(grid[0], back, x[begins : i + 1]), x[i + 1 - grid.size + 1 : i + 1]
        )
        gap = np.diff(t[begins : i + 1]).max(initial=0) > reach
        if grid[0] < 0 and not gap:
            np.testing.assert_allclose(
                out[i], np.trapezoid(drawn, grid) / -grid[0], rtol=1e-12, err_msg=str(i)
            )
        elif grid[0] == 0:
            assert out[i] == x[i]


@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.sampled_from([0.0, 1.0, -3.5, 1e9, 0.1])),
        min_size=1,
        max_size=50,
    )
)
def test_step_weights_are_the_mean_of_what_a_display_shows(moves):
    # Each millisecond of the last 12 of them, what the last sample so far said.
    millisecond = 1_000_000
    at = np.cumsum([gap for gap, _ in moves])
    out = feed(
        runner("rolling", {"stat": "mean", "window": "12ms", "weight": "step"}),
        [x for _, x in moves],
        START_NS + at * millisecond,
    ).value
    for i, now in enumerate(at):
        shown = [
            moves[np.searchsorted(at[: i + 1], moment, "right") - 1][1]
            for moment in range(max(at[0], now - 12), now)
        ]
        mean = sum(map(Fraction, shown)) / len(shown) if shown else moves[i][1]
        assert out[i] == pytest.approx(float(mean), rel=1e-14, abs=1e-7)


def test_a_value_that_holds_for_longer_weighs_more():
    t = START_NS + np.array([0, 1, 59, 60]) * SECOND
    of = {"stat": "mean", "window": "1m"}
    values = [10.0, 0.0, 0.0, 0.0]
    assert feed(runner("rolling", of), values, t).value[3] == 0  # three samples: (t - 60 s, t]
    step = feed(runner("rolling", of | {"weight": "step"}), values, t)
    np.testing.assert_allclose(step.value, [10, 10, 10 / 59, 10 / 60])
    linear = feed(runner("rolling", of | {"weight": "linear"}), values, t)
    np.testing.assert_allclose(linear.value, [10, 5, 5 / 59, 5 / 60])


def test_nothing_is_held_over_a_gap_longer_than_the_window():
    t = START_NS + np.array([0, 10, 71, 81]) * SECOND
    for weight in ("step", "linear"):
        out = feed(
            runner("rolling", {"stat": "mean", "window": "1m", "weight": weight}), [5, 5, 9, 9], t
        )
        assert list(out.value) == [5, 5, 9, 9]
    t[2:] -= SECOND
    out = feed(
        runner("rolling", {"stat": "mean", "window": "1m", "weight": "step", "min_samples": 2}),
        [5, 5, 9, 9],
        t,
    )
    # The sample that still holds is none of the window's.
    np.testing.assert_allclose(out.value, [np.nan, 5, np.nan, (50 * 5 + 10 * 9) / 60])


finite = st.floats(-1e9, 1e9, width=32)


@given(st.lists(finite, min_size=1, max_size=60), st.integers(1, 20))
def test_sum_and_mean_are_exact_to_the_last_digits(values, n):
    total = feed(runner("rolling", {"stat": "sum", "window": n}), values).value
    mean = feed(runner("rolling", {"stat": "mean", "window": n}), values).value
    for i in range(len(values)):
        window = [Fraction(v) for v in values[max(0, i + 1 - n) : i + 1]]
        scale = 1e-15 * float(max(map(abs, window))) * len(window) + 1e-20
        # Digits that the largest sample ever in the sums may have cost.
        scale += 1e-22 * max(map(abs, values))
        assert abs(Fraction(total[i]) - sum(window)) <= scale
        assert abs(Fraction(mean[i]) - sum(window) / len(window)) <= scale


@given(st.lists(st.sampled_from([0.0, 1.0, 2.0, -1.0, 5.5]), min_size=1, max_size=80))
def test_extremes_and_order_with_ties_are_exact(values):
    for stat, of in (("min", min), ("max", max), ("median", np.median), ("range", np.ptp)):
        out = feed(runner("rolling", {"stat": stat, "window": 7}), values).value
        assert list(out) == [of(values[max(0, i - 6) : i + 1]) for i in range(len(values))]


def test_variance_keeps_its_digits_over_a_million_samples():
    # A running sum of squares says 0.25 here, where 0.01 is right.
    x = np.random.default_rng(0).normal(1e6, 0.01, 1_000_000)
    x[500_000] = 1e9
    out = feed(runner("rolling", {"stat": "std", "window": 64}), x)
    for i in (400_000, 500_064, 500_070, 999_999):
        window = x[i - 63 : i + 1]
        assert out.value[i] == pytest.approx((window - window[0]).std(ddof=1), rel=1e-6)


@pytest.mark.parametrize("level", [0.0, 21.7, 1e6 + 0.1, -1e-9])
def test_a_window_that_went_flat_has_exactly_no_spread(level):
    x = np.concatenate([np.random.default_rng(1).normal(level, 5, 100), np.full(60, level)])
    out = feed(runner("rolling", {"stat": "std", "window": 30}), x)
    assert (out.value[130:] == 0).all()
    assert out.value[128] > 0


def test_a_wild_sample_leaves_no_trace_when_it_has_left():
    x = np.full(100, 7.25)
    x[40] = 1e100
    for stat in ("mean", "sum", "std", "var", "median", "max", "slope"):
        out = feed(runner("rolling", {"stat": stat, "window": 10}), x).value
        np.testing.assert_array_equal(out[50:], out[30])
    for weight in ("step", "linear"):
        weighted = {"stat": "mean", "window": "10s", "weight": weight}
        out = feed(runner("rolling", weighted), x).value
        np.testing.assert_array_equal(out[52:], 7.25)


def test_edges_of_a_time_window():
    t = START_NS + np.array([0, 1, 10, 11]) * SECOND
    out = feed(runner("rolling", {"stat": "count", "window": "10s"}), np.ones(4), t)
    assert list(out.value) == [1, 2, 2, 2]  # (t - 10 s, t]: what is 10 s old has left


def test_unknown_samples_stay_out():
    out = feed(runner("rolling", {"stat": "mean", "window": 2}), [1, np.nan, 1e200, 3, np.inf, 5])
    np.testing.assert_array_equal(out.value, [1, np.nan, np.nan, 2, np.nan, 4])
    assert list(out.quality) == [0, 2, 2, 0, 2, 0]


def test_min_samples():
    out = feed(runner("rolling", {"stat": "mean", "window": 3, "min_samples": 3}), [3, 6, 9, 12])
    np.testing.assert_array_equal(out.value, [np.nan, np.nan, 6, 9])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stat": "quantile", "window": 9}, "q: 0.9"),
        ({"stat": "mean", "q": 0.5, "window": 9}, "belongs to `stat: quantile`"),
        ({"stat": "mean", "window": 3, "min_samples": 4}, "more than the window's 3"),
        ({"stat": "mean", "window": 3, "weight": "step"}, "belongs to the mean over a window of"),
        ({"stat": "max", "window": "3s", "weight": "linear"}, "belongs to the mean over a window"),
    ],
)
def test_what_does_not_fit_together(options, message):
    with pytest.raises(ValidationError, match=message):
        Rolling.model_validate(options)
