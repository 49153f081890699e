import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from pipelines.operator import load_all
from tests.operators.one_step import feed_ns, runner
from tests.traffic import SECOND

OPERATOR = load_all()["seasonal"]
HOUR = 3600 * SECOND
MONDAY = 1_764_547_200 * SECOND  # 2025-12-01 00:00 UTC
HOURLY = {"bins": 24, "min_mad_share": 0, "on_anomaly": "learn"}


def hours(n):
    return MONDAY + HOUR * np.arange(n)


def daily(n, seed=0, spread=1.0):
    """A value per hour that swings by 20 each day."""
    swing = 20 * np.sin(np.arange(n) * 2 * np.pi / 24)
    return 50 + swing + np.random.default_rng(seed).normal(0, spread, n)


@pytest.mark.parametrize(("period", "hours_of_it"), [("1d", 24), ("1w", 168)])
def test_the_same_hour_of_earlier_days_or_weeks_is_that_of_pandas(period, hours_of_it):
    stats = pytest.importorskip("scipy.stats")
    n = 6 * hours_of_it + 40
    x = pd.Series(daily(n), pd.to_datetime(hours(n)))
    options = HOURLY | {"period": period, "bins": hours_of_it, "neighbours": 0}
    options |= {"periods": 4, "min_samples": 4}
    out = feed_ns(runner("seasonal", options), x, hours(n))
    slot = x.index.hour if period == "1d" else x.index.day_of_week * 24 + x.index.hour
    past = x.groupby(slot).rolling(4).apply(np.median, raw=True).droplevel(0).sort_index()
    expected = past.shift(hours_of_it).to_numpy()
    np.testing.assert_allclose(out.fields[:, 1], expected, rtol=1e-12)
    spread = x.groupby(slot).rolling(4)
    spread = spread.apply(lambda v: stats.median_abs_deviation(v, scale="normal"), raw=True)
    mad = spread.droplevel(0).sort_index().shift(hours_of_it).to_numpy()
    np.testing.assert_allclose(out.value, (x.to_numpy() - expected) / mad, rtol=1e-9)
    assert np.isnan(out.value[: 4 * hours_of_it]).all()
    assert np.isfinite(out.value[4 * hours_of_it :]).all()


def test_neighbours_count_too():
    stats = pytest.importorskip("scipy.stats")
    x = daily(24 * 9)
    out = feed_ns(runner("seasonal", HOURLY | {"periods": 3, "neighbours": 2}), x, hours(x.size))
    for i in range(24 * 3 + 2, x.size):
        past = np.concatenate([x[i - 24 * j - 2 : i - 24 * j + 3] for j in (1, 2, 3)])
        want = (x[i] - np.median(past)) / stats.median_abs_deviation(past, scale="normal")
        np.testing.assert_allclose(out.value[i], want, rtol=1e-9)


def test_a_usual_value_at_an_unusual_hour_is_found():
    x = daily(24 * 10)
    x[24 * 9 + 18] = 70  # what is usual in the morning
    out = feed_ns(runner("seasonal", {"bins": 24, "neighbours": 0, "k": 12}), x, hours(x.size))
    assert out.value[24 * 9 + 18] > 12
    assert x.max() > 70  # so no limit for all hours would have found it
    assert np.sum(np.abs(out.value) > 12) < 4


def test_neighbours_keep_noise_from_looking_odd():
    rng = np.random.default_rng(5)
    x, t = rng.normal(0, 1, 96 * 60), MONDAY + HOUR // 4 * np.arange(96 * 60)
    alone = feed_ns(runner("seasonal", {"neighbours": 0, "min_samples": 7}), x, t)
    near = feed_ns(runner("seasonal", {"min_samples": 21}), x, t)
    shares = [np.mean(np.abs(o.value[96 * 8 :]) > 6) for o in (alone, near)]
    assert shares[0] > 0.003
    assert shares[1] < 0.0012


def test_the_last_value_of_a_bin_stands_for_it():
    t = MONDAY + 24 * HOUR * np.array([0, 0, 0, 1, 1]) + 60 * SECOND * np.array([1, 2, 3, 1, 2])
    options = {"periods": 1, "neighbours": 0, "min_samples": 1, "min_mad": 1, "min_mad_share": 0}
    out = feed_ns(runner("seasonal", options), [1, 9, 4, 6, 5], t)
    assert np.isnan(out.value[:3]).all()
    assert list(out.value[3:]) == [2, 1]


def test_edges_of_a_bin():
    options = {"periods": 1, "neighbours": 0, "min_samples": 1, "min_mad": 1, "min_mad_share": 0}
    quarter = 900 * SECOND
    for back, known in ((0, True), (1, False)):
        t = [MONDAY + quarter - back, MONDAY + 24 * HOUR + quarter]
        out = feed_ns(runner("seasonal", options), [3, 3], t)
        assert np.isfinite(out.value[1]) == known


def test_days_that_are_missing_are_not_compared_with():
    x, t = daily(24 * 10), hours(24 * 10)
    there = np.arange(x.size) // 24 != 5
    out = feed_ns(
        runner("seasonal", HOURLY | {"neighbours": 0, "min_samples": 7}), x[there], t[there]
    )
    day = np.arange(x.size)[there] // 24
    assert np.isnan(out.value).all()
    out = feed_ns(
        runner("seasonal", HOURLY | {"neighbours": 0, "min_samples": 6}), x[there], t[there]
    )
    np.testing.assert_array_equal(np.isfinite(out.value), day >= 7)
    assert np.isfinite(out.value[day == 7]).all()


def test_what_is_older_than_the_periods_is_forgotten():
    t = np.r_[hours(24 * 3), hours(24) + 24 * HOUR * 8]
    out = feed_ns(runner("seasonal", HOURLY | {"min_samples": 3}), daily(t.size), t)
    assert np.isfinite(out.value[-24:]).any()
    t = np.r_[hours(24 * 3), hours(24) + 24 * HOUR * 12]
    out = feed_ns(runner("seasonal", HOURLY | {"min_samples": 3}), daily(t.size), t)
    assert np.isnan(out.value[-24:]).all()


def test_a_lasting_change_is_learned_slowly_when_clipped_never_when_frozen():
    x = np.r_[daily(24 * 14), 40 + daily(24 * 14, 1)]
    beyond = {}
    for how in ("learn", "clip", "freeze"):
        options = {"bins": 24, "neighbours": 0, "k": 8, "on_anomaly": how, "min_mad": 1.0}
        out = feed_ns(runner("seasonal", options | {"min_samples": 4}), x, hours(x.size))
        beyond[how] = int((np.abs(out.value[24 * 14 :]) > 8).sum())
    assert 24 * 3 <= beyond["learn"] <= 24 * 5
    assert beyond["learn"] <= beyond["clip"]
    assert beyond["freeze"] >= 24 * 3  # then its days have run empty and it begins afresh


def test_the_default_condition():
    assert OPERATOR.condition(OPERATOR.params(k=7)).outside == (-7, 7)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bins": 7}, "do not divide 1d"),
        ({"periods": 1, "neighbours": 1}, "more than the 3 bins"),
        ({"bins": 2, "neighbours": 1}, "need more than 2"),
    ],
)
def test_what_does_not_fit_together(options, message):
    with pytest.raises(ValidationError, match=message):
        OPERATOR.params.model_validate(options)


def half_hours(start, days, tz="Europe/Berlin"):
    """(t_ns, time on local clocks) each half an hour."""
    begin = pd.Timestamp(start, tz=tz)
    here = pd.date_range(begin, begin + pd.Timedelta(days=days), freq="30min")
    return np.array([t.value for t in here]), here


@pytest.mark.parametrize("start", ["2024-03-25", "2024-10-21"])
def test_habits_by_the_clock_are_no_surprise_when_clocks_change(start):
    t, here = half_hours(start, 14)
    busy = np.where((here.hour >= 8) & (here.hour < 17), 80.0, 20.0)
    options = {"bins": 48, "neighbours": 0, "min_samples": 3, "min_mad": 1, "periods": 3}
    local = feed_ns(runner("seasonal", options | {"tz": "Europe/Berlin"}), busy, t)
    utc = feed_ns(runner("seasonal", options), busy, t)
    assert np.isfinite(local.value).sum() > 10 * 48
    assert np.nanmax(np.abs(local.value)) == 0
    assert np.nansum(np.abs(utc.value) > 6) >= 4


@pytest.mark.parametrize(
    ("tz", "start"),
    [
        ("Europe/Berlin", "2024-03-01"),
        ("Europe/Berlin", "2024-10-01"),
        ("Antarctica/Troll", "2024-10-01"),
        ("Australia/Lord_Howe", "2024-03-01"),
    ],
)
def test_bins_of_local_time_are_groups_of_pandas(tz, start):
    t, here = half_hours(start, 60, tz)
    x = np.random.default_rng(2).normal(0, 1, t.size)
    options = {"bins": 48, "neighbours": 0, "periods": 4, "min_samples": 1, "on_anomaly": "learn"}
    out = feed_ns(runner("seasonal", options | {"tz": tz}), x, t)
    naive = here.tz_localize(None)
    last = pd.Series(x, naive).groupby(level=0).last()  # of an hour that comes twice
    earlier = [last.reindex(naive - pd.Timedelta(days=d)).to_numpy() for d in range(1, 5)]
    known = np.isfinite(earlier).any(0)
    want = np.nanmedian(np.array(earlier)[:, known], axis=0)
    np.testing.assert_allclose(out.fields[known, 1], want, rtol=1e-12)
    assert np.isnan(out.fields[~known, 1]).all()


def test_holidays_pass_like_sundays():
    t, here = half_hours("2025-11-03", 7 * 9)
    free = (here.day_of_week == 6) | (here.strftime("%m-%d").isin(["12-25", "12-26"]))
    busy = np.where((here.hour >= 8) & (here.hour < 17) & ~free, 80.0, 20.0)
    options = {"period": "1w", "bins": 336, "neighbours": 0, "min_samples": 3, "min_mad": 1}
    options |= {"tz": "Europe/Berlin", "periods": 3}
    days = ["2025-12-25", "2025-12-26"]
    told = feed_ns(runner("seasonal", options | {"holidays": days}), busy, t)
    untold = feed_ns(runner("seasonal", options), busy, t)
    assert np.nanmax(np.abs(told.value)) == 0
    odd = here[np.abs(untold.value) > 6]
    assert set(odd.strftime("%Y-%m-%d")) == set(days)
    day_after = here.strftime("%Y-%m-%d") == "2025-12-27"
    assert np.isfinite(told.value[day_after]).all()
    week_after = here.strftime("%Y-%m-%d") == "2026-01-01"
    assert np.isnan(told.value[week_after]).all()  # one of its three Thursdays was no such day


@pytest.mark.parametrize(
    "options",
    [
        {"tz": "Berlin"},
        {"holidays": ["2025-12-25"]},
        {"period": "1w", "holidays": ["25.12."]},
    ],
)
def test_zones_and_holidays_that_cannot_be_meant_are_refused(options):
    with pytest.raises(ValidationError):
        OPERATOR.params.model_validate(options)
