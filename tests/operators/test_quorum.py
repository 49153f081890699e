import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipelines.operator import load_all
from pipelines.series import make_labels
from tests.operators.one_step import SECOND, clock, feed, runner, told

OPERATOR = load_all()["quorum"]
NOW = {"of": "device", "at_least": 2, "within": 0}
LATER = {"of": "device", "at_least": 2, "within": "10s"}


def say(step, t, member, value, slot=None):
    return told(feed(step, [value], [t], member=member, slot=member if slot is None else slot))


def test_each_change_is_told_once():
    step = runner("quorum", NOW)
    assert say(step, 0, 1, 0) == []
    assert say(step, 1, 1, 1) == [(1, 1)]
    assert say(step, 2, 1, 1) == []
    assert say(step, 3, 2, 1) == [(3, 2)]
    assert say(step, 4, 1, 0) == [(4, 1)]
    assert say(step, 5, 2, 0) == [(5, 0)]


def test_one_that_has_cleared_counts_until_within_has_passed():
    step = runner("quorum", LATER)
    say(step, 0, 1, 1)
    assert say(step, 3, 1, 0) == []
    assert say(step, 8, 2, 1) == [(8, 2)]
    assert told(clock(step, 10)) == []  # a row may still come at this very time
    assert told(clock(step, 11)) == [(10, 1)]
    assert told(clock(step, 100)) == []  # the second one is still active


def test_one_that_stays_active_counts_however_long():
    step = runner("quorum", LATER)
    say(step, 0, 1, 1)
    assert told(clock(step, 1e6)) == []
    assert say(step, 1e6, 1, 0) == [(1e6, 0)]


def test_rising_again_begins_a_new_within():
    step = runner("quorum", LATER)
    for t, value in ((0, 1), (1, 0), (6, 1), (7, 0)):
        say(step, t, 1, value)
    assert told(clock(step, 100)) == [(16, 0)]


def test_ends_come_in_their_order_before_a_later_row():
    step = runner("quorum", LATER)
    for member, t in ((1, 0), (2, 2), (3, 5), (4, 5)):
        say(step, t, member, 1)
    for member in (1, 2, 3, 4):
        say(step, 6, member, 0)
    assert say(step, 30, 5, 1) == [(10, 3), (12, 2), (15, 0), (30, 1)]


def test_two_series_of_one_device_are_one_member():
    step = runner("quorum", NOW)
    assert say(step, 0, 1, 1, slot=77) == [(0, 1)]
    assert say(step, 1, 2, 1, slot=77) == []
    assert say(step, 2, 1, 0, slot=77) == []
    assert say(step, 3, 2, 0, slot=77) == [(3, 0)]


def test_what_is_not_known_changes_nobody():
    step = runner("quorum", NOW)
    say(step, 0, 1, 1)
    assert say(step, 1, 1, np.nan) == []
    assert say(step, 2, 1, 0) == [(2, 0)]


def test_a_row_from_the_past_is_taken_now():
    step = runner("quorum", NOW)
    say(step, 10, 1, 1)
    assert say(step, 7, 2, 1) == [(10, 2)]


def test_groups_do_not_mix():
    step = runner("quorum", NOW)
    feed(step, [1], [0], series=0, member=1, slot=1)
    assert told(feed(step, [1], [0], series=1, member=2, slot=2)) == [(0, 1)]


def test_slots_are_used_again_and_more_than_there_are_is_counted():
    step = runner("quorum", NOW | {"active_max": 2})
    for member in range(50):
        say(step, member, member, 1)
        say(step, member, member, 0)
    assert step.counters() == {"not_counted": 0}
    assert [say(step, 60, m, 1) for m in (1, 2, 3)] == [[(60, 1)], [(60, 2)], []]
    assert step.counters() == {"not_counted": 1}
    assert say(step, 61, 3, 0) == []
    assert say(step, 62, 1, 0) == [(62, 1)]


@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.integers(0, 5), st.booleans()), min_size=1, max_size=50
    ),
    st.sampled_from([0, 4, 25]),
)
def test_at_any_time_the_last_number_told_is_right(rows, within):
    """Members as intervals on a line, looked at in the middle of every second."""
    step = runner("quorum", {"of": "device", "at_least": 1, "within": f"{within}s"})
    out, t, spans, rise = [], 0, [], {}
    for gap, member, active in rows:
        t += gap
        out += say(step, t, member, float(active))
        if active:
            rise.setdefault(member, t)
        elif member in rise:
            begin = rise.pop(member)
            spans.append((begin, max(t, begin + within), member))
    spans += [(begin, np.inf, member) for member, begin in rise.items()]
    out += told(clock(step, t + 50))
    for at in np.arange(0.5, t + 50, 1):
        want = len({m for begin, end, m in spans if begin <= at < end})
        assert next((v for u, v in reversed(out) if u <= at), 0) == want
    values = [0, *(v for _, v in out)]
    assert all(a != b for a, b in itertools.pairwise(values))


def test_the_group_is_what_group_by_names():
    params = OPERATOR.params.model_validate(LATER)
    labels = make_labels({"site": "north", "device": "b7", "channel": "t", "line": "2"})
    north = make_labels({"site": "north"})
    assert OPERATOR.regroup(params, labels, ("site",))[0] == north
    assert OPERATOR.regroup(params, labels, ())[0] == make_labels({"site": "north", "line": "2"})
    assert OPERATOR.regroup(params, north, ("site",)) is None
    other = make_labels({"site": "north", "device": "b8", "channel": "t"})
    assert OPERATOR.regroup(params, other, ())[1] != OPERATOR.regroup(params, labels, ())[1]
    assert 0 <= OPERATOR.regroup(params, other, ())[1] < 1 << 31


@pytest.mark.parametrize(
    ("options", "limit"),
    [
        ({"at_least": 3}, 2.5),
        ({"fraction": 0.5, "members": 5}, 2.5),
        ({"fraction": 0.07, "members": 100}, 6.5),
        ({"fraction": 0.01, "members": 3}, 0.5),
        ({"fraction": 1, "members": 12}, 11.5),
    ],
)
def test_enough_members_raise_the_alert(options, limit):
    params = OPERATOR.params.model_validate({"of": "device"} | options)
    assert OPERATOR.condition(params).above == limit


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"at_least": 2, "fraction": 0.5, "members": 4},
        {"fraction": 0.5},
        {"at_least": 2, "members": 4},
        {"at_least": 20, "active_max": 10},
    ],
)
def test_what_cannot_be_meant_is_refused(options):
    with pytest.raises(ValidationError):
        OPERATOR.params.model_validate({"of": "device"} | options)


def test_seconds_are_seconds():
    assert OPERATOR.params.model_validate(LATER).within == 10 * SECOND
