"""The alert state machine: drawn in time, against a run-length oracle, cut and interpreted."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.alerts import CLEARED, KIND, OPERATOR, RAISED, UPDATED, WORST, Limits
from pipelines.batch import samples, take
from pipelines.runner import StepRunner
from tests.operator_runs import assert_same, interpreted, joined, part

S = 1_000_000_000
LETTER = {RAISED: "A", CLEARED: "c", UPDATED: "u"}


def told(values, cuts=(), until=None, times=None, **limits):
    """[(second, letter)] of every transition; None in `values` is an unknown sample."""
    runner = StepRunner(OPERATOR, [Limits(**limits)], 8, 1 << 20)
    x = np.array([np.nan if v is None else v for v in values], np.float64)
    t = np.array(times if times is not None else range(len(x)), np.int64) * S
    batch = samples(np.zeros(len(x), np.int32), t, x)
    edges = sorted({0, *cuts, len(x)})
    outs = [
        take(out, np.arange(out.size))
        for a, b in itertools.pairwise(edges)
        for out in [runner.run(part(batch, a, b))]
    ]
    if until is not None:
        out = runner.tick(np.array([until * S]), 1)
        outs.append(take(out, np.arange(out.size)))
    return joined(outs)


def drawn(values, **limits):
    return seconds(told(values, **limits))


def seconds(out):
    return [
        (t // S, LETTER[k]) for t, k in zip(out.t_ns.tolist(), out.fields[:, KIND], strict=True)
    ]


@pytest.mark.parametrize(
    ("values", "limits", "expected"),
    [
        # holds:  .##...  raised at once, cleared at once
        ([1, 9, 9, 1, 1], {"high": 5}, [(1, "A"), (3, "c")]),
        ([5, 5.0001], {"high": 5}, [(1, "A")]),  # above means above, not at
        ([5, 4.9999], {"low": 5}, [(1, "A")]),
        ([0, 3, -3, 0], {"low": -2, "high": 2}, [(1, "A"), (3, "c")]),  # outside stays one alert
        # deadband: 4.5 is not back far enough, 4 is
        ([9, 4.5, 4, 4], {"high": 5, "deadband": 1}, [(0, "A"), (2, "c")]),
        ([0, 5.5, 6], {"low": 5, "deadband": 1}, [(0, "A"), (2, "c")]),
        # on_delay: a dip to the limit starts it afresh
        ([9, 9, 5, 9, 9, 9, 9], {"high": 5, "on_delay_ns": 3 * S}, [(6, "A")]),
        # off_delay: a rise above the band starts it afresh
        ([9, 1, 1, 9, 1, 1, 1, 1], {"high": 5, "off_delay_ns": 2 * S}, [(0, "A"), (6, "c")]),
        # unknown holds: neither raises nor clears, and no delay runs out meanwhile
        ([9, None, None, None, 1], {"high": 5, "on_delay_ns": 2 * S}, []),
        ([9, None, None, 9], {"high": 5, "on_delay_ns": 2 * S}, [(3, "A")]),
        ([9, 1, None, None, None, 9], {"high": 5, "off_delay_ns": 2 * S}, [(0, "A")]),
        ([9, None, None, None], {"high": 5}, [(0, "A")]),
        # latch: stays, however long it is back
        ([9, 1, 1, 1], {"high": 5, "latch": True}, [(0, "A")]),
        # each time the value got worse by 2 or more since it was last told
        (
            [9, 10, 11, 12, 13, 3],
            {"high": 5, "update_by": 2},
            [(0, "A"), (2, "u"), (4, "u"), (5, "c")],
        ),
        ([9, 9], {}, []),  # no limit, no alert
    ],
)
def test_drawn_in_time(values, limits, expected):
    assert drawn(values, **limits) == expected


def test_delay_runs_out_at_its_own_time_not_at_the_next_sample():
    out = told([9, 9], times=[0, 100], high=5, on_delay_ns=30 * S)
    assert out.t_ns.tolist() == [30 * S]
    assert out.start_ns.tolist() == [0]


def test_delay_of_a_silent_series_runs_out_with_its_clock():
    assert told([9], until=29, high=5, on_delay_ns=30 * S).size == 0
    assert told([9], until=31, high=5, on_delay_ns=30 * S).t_ns.tolist() == [30 * S]
    cleared = told([9, 1], until=60, high=5, off_delay_ns=10 * S)
    assert cleared.t_ns.tolist() == [0, 11 * S]


def test_unknown_then_silent_clears_nothing():
    assert told([9, 1, None], until=1000, high=5, off_delay_ns=10 * S).t_ns.tolist() == [0]


def test_worst_value_is_the_one_furthest_out():
    out = told([6, 9, 7, 1], high=5)
    assert out.fields[:, WORST].tolist() == [6, 9]


def run_lengths(values, limits):
    """Transitions by looking at each second anew, from the definition and not from a state."""
    on, off = limits["on_delay_ns"] // S, limits["off_delay_ns"] // S
    high, band = limits["high"], limits["deadband"]
    found = []
    for now in range(len(values)):
        active = bool(found) and found[-1][1] == "A"
        if not active and now >= on and min(values[now - on : now + 1]) > high:
            found.append((now, "A"))
        elif active and now >= off and max(values[now - off : now + 1]) <= high - band:
            found.append((now, "c"))
    return found


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.integers(0, 12), min_size=1, max_size=60),
    st.integers(0, 4),
    st.integers(0, 4),
    st.integers(0, 3),
    st.lists(st.integers(0, 60), max_size=4),
)
def test_equals_the_run_length_definition(values, on, off, band, cuts):
    limits = {"high": 6, "deadband": band, "on_delay_ns": on * S, "off_delay_ns": off * S}
    whole = told(values, **limits)
    assert seconds(whole) == run_lengths(values, limits)
    assert_same(told(values, cuts=[c for c in cuts if c < len(values)], **limits), whole)


def test_compiled_equals_interpreted():
    rng = np.random.default_rng(5)
    values = [None if v > 11.5 else v for v in rng.uniform(0, 12, 400).round(1)]
    limits = {
        "low": 2,
        "high": 7,
        "deadband": 1,
        "on_delay_ns": 2 * S,
        "off_delay_ns": S,
        "update_by": 1,
    }
    compiled = told(values, **limits)
    with interpreted():
        assert_same(told(values, **limits), compiled)
    assert compiled.size > 20
