from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from pipelines.operator import load_all
from tests.operators.one_step import feed_ns, kept, runner
from tests.traffic import SECOND

OPERATOR = load_all()["time_profile"]
HOUR = 3600 * SECOND
MINUTE = 60 * SECOND
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Sao_Paulo")


def at(*when, tz="Europe/Berlin"):
    return int(datetime(*when, tzinfo=ZoneInfo(tz)).timestamp()) * SECOND


def year(seed=0):
    """Twenty months with a leap day and three changes of clocks, a sample each half an hour or so."""
    rng = np.random.default_rng(seed)
    t = 1_697_000_000 * SECOND + np.cumsum(rng.integers(20, 40, 29_000)) * MINUTE
    hours = t // HOUR
    return t, 20 + 5 * np.sin(hours * 2 * np.pi / 24) + rng.normal(0, 1, t.size)


def slots(t, tz, by):
    """Slot of each sample by pandas, and the number of its local hour or date."""
    here = pd.to_datetime(t, utc=True).tz_convert(tz)
    slot = {
        "hour_of_day": here.hour,
        "day_of_week": here.day_of_week,
        "hour_of_week": here.day_of_week * 24 + here.hour,
    }[by]
    floor = here.tz_localize(None).floor("D" if by == "day_of_week" else "h")
    return np.asarray(slot), floor


@pytest.mark.parametrize("tz", ZONES)
@pytest.mark.parametrize("by", ["hour_of_day", "day_of_week", "hour_of_week"])
def test_profiles_are_groups_of_pandas(by, tz):
    t, x = year()
    stats = ["mean", "std", "min", "max", "sum", "var", "count"]
    out = feed_ns(runner("time_profile", {"by": by, "tz": tz, "stats": stats}), x, t)
    slot, floor = slots(t, tz, by)
    over = floor < floor[-1]  # the last one is under way
    want = pd.Series(x[over]).groupby(slot[over]).agg(stats)
    newest = {int(s): f for s, f in zip(out.fields[:, 7], out.fields[:, :7], strict=True)}
    got = np.array([newest[s] for s in want.index])
    np.testing.assert_allclose(got, want.to_numpy(), rtol=1e-10)
    assert out.value.size == floor[over].unique().size
    assert out.fields[-1, 8] == floor[over][slot[over] == out.fields[-1, 7]].unique().size


@pytest.mark.parametrize("tz", ZONES)
def test_the_last_occurrences_are_those_of_a_rolling_window(tz):
    t, x = year(3)
    options = {"by": "hour_of_week", "tz": tz, "stats": ["sum", "count"], "last": 3}
    out = feed_ns(runner("time_profile", options), x, t)
    slot, floor = slots(t, tz, "hour_of_week")
    by_hour = pd.Series(x).groupby(floor).agg(["sum", "count"])
    of = pd.Series(slot).groupby(floor).first()
    want = by_hour.groupby(of).rolling(3, min_periods=1).sum().droplevel(0).sort_index()
    np.testing.assert_allclose(out.fields[:, :2], want.to_numpy()[:-1], rtol=1e-9)
    assert out.fields[:, 3].max() == 3


def windows(out):
    return [
        (int(s), int(e - b) // MINUTE)
        for b, e, s in zip(out.start_ns, out.t_ns, out.fields[:, -2], strict=True)
    ]


def test_days_of_23_and_25_hours():
    for day, hours in (((2024, 3, 31), 23), ((2024, 10, 27), 25), ((2024, 2, 29), 24)):
        start = at(*day)
        t = start + HOUR * np.arange(hours + 1)
        step = runner(
            "time_profile", {"by": "day_of_week", "tz": "Europe/Berlin", "stats": ["count"]}
        )
        out = feed_ns(step, np.ones(t.size), t)
        assert out.value.tolist() == [hours]
        assert (out.start_ns[0], out.t_ns[0]) == (start, start + hours * HOUR)
        assert out.quality[0] == 0


def test_the_hour_that_comes_twice_is_one_and_the_one_left_out_is_none():
    half = 30 * MINUTE * np.arange(14)
    step = runner("time_profile", {"tz": "Europe/Berlin"})
    out = feed_ns(step, np.ones(14), at(2024, 10, 27, 0) + half)
    assert windows(out) == [(0, 60), (1, 60), (2, 120), (3, 60), (4, 60)]
    step = runner("time_profile", {"tz": "Europe/Berlin"})
    out = feed_ns(step, np.ones(14), at(2024, 3, 31, 0) + half)
    assert windows(out) == [(h, 60) for h in (0, 1, 3, 4, 5, 6)]
    step = runner("time_profile", {"tz": "Australia/Lord_Howe"})
    out = feed_ns(step, np.ones(14), at(2024, 4, 7, 0, tz="Australia/Lord_Howe") + half)
    assert windows(out)[:3] == [(0, 60), (1, 90), (2, 60)]


def test_an_hour_is_told_at_its_end_by_the_clock():
    step = runner("time_profile", {})
    assert feed_ns(step, [1, 3], [HOUR, HOUR + MINUTE]).size == 0
    assert kept(step.tick(np.array([2 * HOUR - 1]), 1)).size == 0
    out = kept(step.tick(np.array([2 * HOUR]), 1))
    assert (out.start_ns[0], out.t_ns[0], out.value[0]) == (HOUR, 2 * HOUR, 2)
    assert kept(step.tick(np.array([50 * HOUR]), 1)).size == 0
    assert feed_ns(step, [5], [2 * HOUR - 1]).size == 0
    assert step.counters() == {"late": 1}


def test_a_first_hour_that_is_not_whole_is_uncertain():
    out = feed_ns(runner("time_profile", {}), [1, 1, 1], [MINUTE, HOUR, 2 * HOUR])
    assert out.quality.tolist() == [1, 0]
    out = feed_ns(runner("time_profile", {"stats": ["std"]}), [1, 1], [0, HOUR])
    assert out.quality.tolist() == [2]


def test_digits_survive_large_values():
    rng = np.random.default_rng(5)
    x = 1e9 + rng.normal(0, 1e-3, 2000)
    out = feed_ns(runner("time_profile", {"stats": ["std"]}), x, np.arange(2000) * 30 * MINUTE)
    hours = np.arange(2000) // 2
    last = hours[-1] - 1
    want = np.std(x[(hours % 24 == last % 24) & (hours <= last)] - 1e9, ddof=1)
    np.testing.assert_allclose(out.value[-1], want, rtol=1e-5)


@pytest.mark.parametrize(
    "options", [{"tz": "Mars"}, {"stats": ["mean", "mean"]}, {"last": 0}, {"by": "year"}]
)
def test_what_cannot_be_meant_is_refused(options):
    with pytest.raises(ValidationError):
        OPERATOR.params.model_validate(options)
