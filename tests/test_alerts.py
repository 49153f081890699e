"""The alert state machine: drawn in time, against a run-length oracle, cut and interpreted."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.model import When
from pipelines.alerts import (
    CLEARED,
    FLAPPING,
    KIND,
    LEVEL,
    LEVELLED,
    OPERATOR,
    RAISED,
    STEADY,
    WORSENED,
    WORST,
    Level,
    Limits,
)
from pipelines.batch import samples, take
from pipelines.runner import StepRunner
from tests.operator_runs import assert_same, interpreted, joined, part

S = 1_000_000_000
LETTER = {RAISED: "A", CLEARED: "c", WORSENED: "u", LEVELLED: "l", FLAPPING: "f", STEADY: "s"}
OF_LEVEL = {"low", "high", "deadband", "on_delay_ns"}


def limits_of(levels=None, **given):
    """Limits with these levels, or with one level made of the options that are a level's."""
    one = {k: given.pop(k) for k in OF_LEVEL & set(given)}
    made = tuple(Level(**(one | level)) for level in levels or [{}])
    return Limits(levels=made, slots=len(made), **given)


def told(values, cuts=(), until=None, times=None, **limits):
    """[(second, letter)] of every transition; None in `values` is an unknown sample."""
    runner = StepRunner(OPERATOR, [limits_of(**limits)], 8, 1 << 20)
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


KAPACITOR = [
    {"name": "info", "high": 60, "deadband": 10},
    {"name": "warn", "high": 70, "deadband": 10},
    {"name": "crit", "high": 80, "deadband": 10},
]


def levels_of(out):
    """Letter of the level that each row tells, '-' for the end."""
    kinds = out.fields[:, KIND].tolist()
    return [
        "-" if kind == CLEARED else "IWC"[int(at)]
        for kind, at in zip(kinds, out.fields[:, LEVEL].tolist(), strict=True)
    ]


def test_levels_follow_the_documented_sequence_of_kapacitor():
    """With resets: 61 73 64 85 62 56 47 is INFO WARNING WARNING CRITICAL INFO INFO OK."""
    out = told([61, 73, 64, 85, 62, 56, 47], levels=KAPACITOR)
    assert levels_of(out) == ["I", "W", "C", "I", "-"]
    assert [t // S for t in out.t_ns.tolist()] == [0, 1, 3, 4, 6]
    assert set(out.start_ns.tolist()) == {0}, "one alert from the first onset to the end"


def test_the_order_in_which_levels_are_written_does_not_matter():
    out = told([61, 73, 64, 85, 62, 56, 47], levels=KAPACITOR[::-1])
    assert [2 - int(at) for at in out.fields[:, LEVEL]] == [0, 1, 2, 0, 0]


FOUR = [
    {"low": 5, "deadband": 1},
    {"low": 10, "deadband": 2},
    {"high": 80, "deadband": 2},
    {"high": 90, "deadband": 2, "on_delay_ns": 2 * S},
]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([85, 50], [(0, "A", 2), (1, "c", 2)]),
        # high_high must be passed for 2 s; a spike does not reach it
        ([85, 95, 85, 95, 95, 95, 85, 50], [(0, "A", 2), (5, "l", 3), (6, "l", 2), (7, "c", 2)]),
        # from one side to the other: still one alert
        ([85, 8, 3, 8, 50], [(0, "A", 2), (1, "l", 1), (2, "l", 0), (3, "l", 1), (4, "c", 1)]),
        ([3, 5.5, 6.5, 11, 12], [(0, "A", 0), (2, "l", 1), (4, "c", 1)]),
        # down past the level below, whose deadband alone still holds it
        ([85, 95, 95, 95, 79, 78], [(0, "A", 2), (3, "l", 3), (4, "l", 2), (5, "c", 2)]),
    ],
)
def test_levels_drawn_in_time(values, expected):
    out = told(values, levels=FOUR)
    levels = out.fields[:, LEVEL].astype(int).tolist()
    assert [(*at, k) for at, k in zip(seconds(out), levels, strict=True)] == expected


def test_delays_of_levels_run_out_in_silence_each_at_its_time():
    levels = [{"high": 5, "on_delay_ns": 2 * S}, {"high": 7, "on_delay_ns": 5 * S}]
    out = told([9], until=60, levels=levels)
    assert [(t // S, int(k)) for t, k in zip(out.t_ns, out.fields[:, LEVEL], strict=True)] == [
        (2, 0),
        (5, 1),
    ]
    assert out.fields[:, KIND].tolist() == [RAISED, LEVELLED]
    nothing_due = told([9, 8], times=[0, 1], until=60, levels=levels)
    assert nothing_due.t_ns.tolist() == [2 * S, 5 * S]


def levels_by_definition(values, levels):
    """[(second, level or None)] of every change, looking back over the values at each second."""
    found, now = [], None
    for n, x in enumerate(values):
        passed = [k for k, (high, _, _) in enumerate(levels) if x > high]
        held = [
            k
            for k, (high, _, on) in enumerate(levels)
            if n >= on and min(values[n - on : n + 1]) > high
        ]
        if now is None:
            after = max(held, default=None)
        elif x > levels[now][0] - levels[now][1]:
            after = max([now, *held])
        elif passed:
            after = max([k for k in passed if k < now or k in held], default=passed[0])
        else:
            holding = [k for k in range(now) if x > levels[k][0] - levels[k][1]]
            after = holding[0] if holding else None
        if after != now:
            found.append((n, after))
        now = after
    return found


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.integers(0, 12), min_size=1, max_size=60),
    st.tuples(*[st.tuples(st.integers(0, 3), st.integers(0, 3))] * 3),
    st.lists(st.integers(0, 60), max_size=4),
)
def test_levels_equal_their_definition(values, chosen, cuts):
    plain = [(high, *more) for high, more in zip((4, 6, 8), chosen, strict=True)]
    levels = [{"high": h, "deadband": b, "on_delay_ns": on * S} for h, b, on in plain]
    out = told(values, cuts=[c for c in cuts if c < len(values)], levels=levels)
    ends = out.fields[:, KIND] == CLEARED
    at = [None if end else int(k) for end, k in zip(ends, out.fields[:, LEVEL], strict=True)]
    assert list(zip((out.t_ns // S).tolist(), at, strict=True)) == levels_by_definition(
        values, plain
    )


def kapacitor_score(states):
    """Percentage of changes among the newest 21 states, as Kapacitor defines it."""
    newest = states[-21:]
    changed = [a != b for a, b in itertools.pairwise([False] * (21 - len(newest)) + newest)]
    return sum((0.8 + 0.02 * i) * c for i, c in enumerate(changed)) / 20


def test_flapping_is_held_back_from_the_score_of_kapacitor_on_until_it_is_low():
    values = [9, 1] * 20 + [9] * 30
    states = [v > 5 for v in values]
    scores = [kapacitor_score(states[: n + 1]) for n in range(len(states))]
    assert max(scores) == pytest.approx(0.99)
    begins = next(n for n, x in enumerate(scores) if x > 0.5 and states[n])
    ends = next(n for n, x in enumerate(scores) if n > begins and x < 0.25)
    told_of = drawn(values, high=5, flapping=True)
    turns = [(n, "Ac"[n % 2]) for n in range(begins)] + [(begins, "A")]
    assert told_of == [*turns, (begins, "f"), (ends, "s")]


def test_flapping_that_ends_in_calm_clears_the_alert_it_began_in():
    out = told([9, 1] * 20 + [1] * 30, high=5, flapping=True)
    assert seconds(out)[-2][1] == "f"
    assert seconds(out)[-1][1] == "c"
    assert out.start_ns[-1] == out.start_ns[-2]
    again = told([9, 1] * 20 + [1] * 30 + [9], high=5, flapping=True)
    assert seconds(again)[-1] == (70, "A")
    assert again.start_ns[-1] == 70 * S


def test_levels_and_flapping_compiled_equal_interpreted():
    rng = np.random.default_rng(6)
    values = [None if v > 95 else v for v in rng.uniform(0, 100, 400).round(1)]
    limits = {"levels": FOUR, "off_delay_ns": S, "flapping": True, "update_by": 3}
    compiled = told(values, **limits)
    with interpreted():
        assert_same(told(values, **limits), compiled)
    assert {RAISED, CLEARED, LEVELLED, FLAPPING} <= set(compiled.fields[:, KIND].tolist())


def test_a_profile_gives_what_is_not_given():
    when = When.model_validate({"above": 80, "profile": "level", "span": [0, 200]})
    assert (when.deadband, when.on_delay, when.off_delay) == (10, 60 * S, 60 * S)
    own = {"above": 80, "profile": "temperature", "span": [-50, 150], "on_delay": "5s"}
    when = When.model_validate(own)
    assert (when.deadband, when.on_delay, when.off_delay) == (2, 5 * S, 60 * S)
    assert When.model_validate(when.model_dump()) == when


@pytest.mark.parametrize("span", [{}, {"span": [1]}, {"span": [5, 5]}, {"span": ["a", "b"]}])
def test_a_profile_needs_a_span(span):
    with pytest.raises(ValueError, match="span"):
        When.model_validate({"above": 80, "profile": "flow", **span})
