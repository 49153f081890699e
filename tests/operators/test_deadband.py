import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.operators.one_step import clock, feed, runner, told

never = {"max_time": 0}
values = st.lists(st.integers(-20, 20).map(lambda n: n / 4), min_size=1, max_size=80)


def test_a_change_of_just_the_band_is_sent():
    out = feed(runner("deadband", {"band": 0.5} | never), [1, 1.25, 1.5, 1.0, 1.49, 0.5])
    assert told(out) == [(0, 1), (2, 1.5), (3, 1.0), (5, 0.5)]


def test_without_a_band_only_repeats_are_held_back():
    out = feed(runner("deadband", never), [1, 1, 1.0000001, 1, np.nan, 1, 1])
    assert told(out)[:3] == [(0, 1), (2, 1.0000001), (3, 1)]
    assert out.t_ns.size == 4
    assert np.isnan(out.value[3])


def test_against_the_last_input_a_creeping_change_is_never_sent():
    creeping = np.arange(50) * 0.4
    against_input = {"band": 0.5, "ref": "input"} | never
    assert feed(runner("deadband", against_input), creeping).value.size == 1
    assert feed(runner("deadband", {"band": 0.5} | never), creeping).value.size == 25


def test_percent_is_of_the_value_compared_with():
    out = feed(runner("deadband", {"band": 10, "mode": "pct"} | never), [100, 109, 110, 100, 99])
    assert told(out) == [(0, 100), (2, 110), (4, 99)]


def test_percent_of_the_span_does_not_depend_on_the_value():
    options = {"band": 10, "mode": "span", "span": 40} | never
    assert told(feed(runner("deadband", options), [100, 103, 104])) == [(0, 100), (2, 104)]


def test_span_must_be_given():
    with pytest.raises(ValidationError, match="needs the sensor's measuring range"):
        runner("deadband", {"mode": "span"})


def test_a_held_value_is_sent_when_due_and_not_again():
    step = runner("deadband", {"band": 5, "max_time": "10s"})
    assert told(feed(step, [1, 2, 3], [0, 4, 8])) == [(0, 1)]
    assert told(clock(step, 10)) == []  # a sample may still come at this very time
    assert told(clock(step, 10.001)) == [(10, 3)]
    assert told(clock(step, 500)) == []  # the sensor is silent: nothing is made up


def test_a_sample_that_comes_just_when_due_is_sent_itself():
    step = runner("deadband", {"band": 5, "max_time": "10s"})
    assert told(feed(step, [1, 2, 3], [0, 4, 10])) == [(0, 1), (10, 3)]


def test_a_late_sample_comes_after_the_held_one():
    step = runner("deadband", {"band": 5, "max_time": "10s"})
    assert told(feed(step, [1, 2, 9], [0, 4, 13])) == [(0, 1), (10, 2), (13, 9)]
    step = runner("deadband", {"band": 5, "max_time": "10s"})
    assert told(feed(step, [1, 2, 3], [0, 4, 13])) == [(0, 1), (10, 2)]


@given(values, st.sampled_from([0.25, 0.5, 1, 3]))
def test_between_two_sent_values_all_are_closer_than_the_band(x, band):
    out = feed(runner("deadband", {"band": band} | never), x)
    at = out.t_ns // 10**9
    held = np.asarray(out.value)[np.searchsorted(at, np.arange(len(x)), side="right") - 1]
    assert (np.abs(np.asarray(x) - held) < band).all()
    assert (np.abs(np.diff(out.value)) >= band).all()


@given(values, st.lists(st.integers(1, 30), min_size=80, max_size=80))
def test_while_samples_come_nothing_is_unsaid_for_longer_than_max_time(x, gaps):
    times = np.cumsum(gaps[: len(x)])
    step = runner("deadband", {"band": 2, "max_time": "20s"})
    sent = feed(step, x, times).t_ns // 10**9
    for t in times:
        last = sent[sent <= t].max()
        assert t - last < 20 or t == last
