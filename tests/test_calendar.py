from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipelines.calendar import DAY, HOUR, changes, local, reached, setback, span_of, tables, zone
from tests.traffic import SECOND

ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/Sao_Paulo",  # its summer began at midnight
    "Australia/Lord_Howe",  # clocks move by half an hour
    "Africa/Casablanca",  # set back for Ramadan
    "Asia/Kathmandu",  # 5:45 ahead
    "Pacific/Apia",  # left out 2011-12-30
    "America/Scoresbysund",
    "Antarctica/Troll",  # clocks move by two hours
)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ROWS = {name: tables([name]) for name in ZONES}
LAST = 9_214_000_000  # late in 2261
any_zone = st.sampled_from(ZONES)
near_a_change = st.builds(
    lambda name, k, seconds: (name, changes(name)[0][k % len(changes(name)[0])] + seconds),
    any_zone,
    st.integers(1, 600),
    st.integers(-90_000, 90_000),
).filter(lambda pair: 0 <= pair[1] <= LAST)
anywhere = st.tuples(any_zone, st.integers(0, LAST))


def shown(name, second):
    """What clocks show, as a datetime without zone."""
    where = UTC if name == "UTC" else ZoneInfo(name)
    return (EPOCH + timedelta(seconds=second)).astimezone(where).replace(tzinfo=None)


@given(st.one_of(near_a_change, anywhere))
@example(("Pacific/Apia", 1_325_239_200))
def test_local_time_is_that_of_zoneinfo(pair):
    name, second = pair
    got = local(second * SECOND, 0, *ROWS[name].values())
    assert datetime(1970, 1, 1) + timedelta(seconds=got // SECOND) == shown(name, second)  # noqa: DTZ001 - what a clock shows


@given(st.one_of(near_a_change, anywhere), st.sampled_from([HOUR, DAY]))
@example(("Pacific/Apia", 1_325_239_200), DAY)
def test_a_span_is_all_the_time_that_clocks_show_one_hour_or_date(pair, size):
    name, second = pair
    number, start, end = span_of(second * SECOND, size, 0, *ROWS[name].values())
    assert start <= second * SECOND < end
    assert start % SECOND == end % SECOND == 0
    keep = "%Y-%m-%d %H" if size == HOUR else "%Y-%m-%d"
    here = shown(name, second).strftime(keep)
    inside = np.linspace(start // SECOND, end // SECOND - 1, 9).astype(int).tolist()
    assert {shown(name, at).strftime(keep) for at in inside} == {here}
    assert shown(name, end // SECOND).strftime(keep) != here
    if start > 0:
        assert shown(name, start // SECOND - 1).strftime(keep) != here
    since = datetime(1970, 1, 1) + timedelta(seconds=number * size // SECOND)  # noqa: DTZ001 - what a clock shows
    assert since.strftime(keep) == here


@given(st.one_of(near_a_change, anywhere), st.sampled_from([HOUR, DAY]))
def test_a_time_that_clocks_show_is_reached_when_they_first_do(pair, size):
    name, second = pair
    rows = ROWS[name].values()
    shown_ns = local(second * SECOND, 0, *rows) // size * size
    t = reached(shown_ns, 0, *rows)
    assert local(t, 0, *rows) >= shown_ns > local(t - 1, 0, *rows)


@pytest.mark.parametrize(
    ("name", "day", "hours"),
    [
        ("Europe/Berlin", (2024, 3, 31), 23),
        ("Europe/Berlin", (2024, 10, 27), 25),
        ("Europe/Berlin", (2024, 2, 29), 24),
        ("America/Sao_Paulo", (2018, 11, 4), 23),
        ("America/Sao_Paulo", (2018, 2, 17), 25),
        ("Australia/Lord_Howe", (2024, 4, 7), 24.5),
        ("Antarctica/Troll", (2024, 3, 31), 22),
        ("Europe/Berlin", (2250, 3, 31), 23),
        ("UTC", (2024, 3, 31), 24),
    ],
)
def test_lengths_of_days(name, day, hours):
    noon = datetime(*day, 12, tzinfo=zone(name)).timestamp()
    _, start, end = span_of(int(noon) * SECOND, DAY, 0, *ROWS[name].values())
    assert (end - start) / HOUR == hours


def test_a_date_that_was_left_out_lies_between_two_spans():
    noon = int(datetime(2011, 12, 29, 12, tzinfo=zone("Pacific/Apia")).timestamp())
    number, _, end = span_of(noon * SECOND, DAY, 0, *ROWS["Pacific/Apia"].values())
    after, start, _ = span_of(end, DAY, 0, *ROWS["Pacific/Apia"].values())
    assert (after, start) == (number + 2, end)


@given(any_zone, st.dates(date(1975, 1, 1), date(2200, 1, 1)), st.integers(0, 23))
def test_holidays_are_the_sunday_of_their_week(name, day, hour):
    holidays = [day, day + timedelta(days=1), date(2024, 12, 25)]
    rows = tables([name, "UTC"], [holidays, []])
    moment = int(datetime(day.year, day.month, day.day, hour, tzinfo=zone(name)).timestamp())
    for later in range(-3, 4):
        second = moment + later * 86_400
        clock = shown(name, second)
        if clock.date() in holidays:
            clock += timedelta(days=6 - clock.weekday())
        got = local(second * SECOND, 0, *rows.values()) // SECOND
        assert datetime(1970, 1, 1) + timedelta(seconds=got) == clock  # noqa: DTZ001 - what a clock shows


def test_how_far_clocks_go_back():
    assert setback("UTC") == setback("Asia/Kathmandu") == 0
    assert setback("Europe/Berlin") == HOUR
    assert setback("Antarctica/Troll") == 2 * HOUR
    assert setback("UTC", [date(2025, 12, 22)]) == 6 * DAY  # a Monday
    assert setback("UTC", [date(2025, 12, 21)]) == 0  # is a Sunday


def test_before_1970_and_after_the_tables():
    assert local(-HOUR, 0, *ROWS["Asia/Kathmandu"].values()) == -HOUR + 5.5 * HOUR
    assert local(9_220_000_000 * SECOND, 0, *ROWS["UTC"].values()) == 9_220_000_000 * SECOND


@pytest.mark.parametrize(
    "name", ["Mars/Olympus", "Europe", "", "/etc/passwd", "../x", "Europe/Berlin\0"]
)
def test_unknown_zones_are_refused(name):
    with pytest.raises(ValueError, match="unknown time zone"):
        zone(name)
