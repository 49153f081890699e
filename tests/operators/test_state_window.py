import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipelines.batch import GOOD, UNCERTAIN
from tests.operators.one_step import feed, runner


@given(st.text("01x", min_size=1, max_size=60))
def test_runs_are_those_that_a_regular_expression_finds(text):
    """One character is a second: 1 on, 0 off, x not known."""
    out = feed(
        runner("state_window", {"equal": 1}),
        [{"0": 0.0, "1": 1.0, "x": np.nan}[c] for c in text],
    )
    runs = list(re.finditer(r"1[1x]*(?=0)", text))
    assert (out.start_ns // 10**9).tolist() == [m.start() for m in runs]
    assert (out.t_ns // 10**9).tolist() == [m.end() for m in runs]
    assert out.value.tolist() == [m.end() - m.start() for m in runs]
    assert out.fields[:, 1].tolist() == [m[0].count("1") for m in runs]


@given(st.text("012x", min_size=1, max_size=60))
def test_runs_of_a_value_are_those_of_a_regular_expression(text):
    out = feed(
        runner("state_window", {"by": "value"}), [np.nan if c == "x" else float(c) for c in text]
    )
    runs = list(re.finditer(r"([012])(?:\1|x)*+(?=[012])", text))
    assert (out.start_ns // 10**9).tolist() == [m.start() for m in runs]
    assert (out.t_ns // 10**9).tolist() == [m.end() for m in runs]
    counts = [m[0].count(m[1]) for m in runs]
    wanted = [[m.end() - m.start(), n, float(m[1])] for m, n in zip(runs, counts, strict=True)]
    assert out.fields.tolist() == wanted
    assert out.quality.tolist() == [UNCERTAIN, *[GOOD] * len(runs)][: len(runs)]


def test_the_runs_of_a_value_leave_no_time_out():
    rng = np.random.default_rng(4)
    t, x = np.cumsum(rng.exponential(3, 900).round(3)), rng.integers(0, 4, 900)
    out = feed(runner("state_window", {"by": "value"}), x, t)
    np.testing.assert_array_equal(out.start_ns[1:], out.t_ns[:-1])
    new = pd.Series(x).ne(pd.Series(x).shift())
    np.testing.assert_array_equal(out.fields[:, 2], x[new][:-1])
    np.testing.assert_array_equal(out.fields[:, 1], new.cumsum().value_counts(sort=False)[:-1])


def test_time_inside_runs_is_what_a_change_list_says():
    rng = np.random.default_rng(4)
    t, x = np.cumsum(rng.exponential(3, 900).round(3)), rng.normal(0, 1, 900)
    out = feed(runner("state_window", {"above": 0.4}), x, t)
    on = np.concatenate(([0], (x > 0.4).astype(int), [0]))
    starts, ends = np.flatnonzero(np.diff(on) == 1), np.flatnonzero(np.diff(on) == -1)
    closed = ends < x.size
    np.testing.assert_allclose(out.value, t[ends[closed]] - t[starts[closed]], rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(out.fields[:, 1], (ends - starts)[closed])


def test_a_value_on_the_limit_is_neither_above_nor_below():
    for side in ("above", "below"):
        assert feed(runner("state_window", {side: 5}), [5, 5, 5, 4, 6]).size <= 1
    out = feed(runner("state_window", {"below": 5}), [6, 4, 5])
    assert out.fields.tolist() == [[1.0, 1.0]]


def test_a_run_that_was_there_before_us_is_uncertain():
    out = feed(runner("state_window", {"above": 5}), [9, 9, 1, 9, 1])
    assert out.quality.tolist() == [UNCERTAIN, GOOD]


@pytest.mark.parametrize("options", [{}, {"above": 1, "below": 0}])
def test_there_is_one_condition(options):
    with pytest.raises(ValidationError, match="expected one of above, below and equal, got"):
        runner("state_window", options)


def test_a_value_needs_no_condition():
    with pytest.raises(ValidationError, match="runs of every value: no above"):
        runner("state_window", {"by": "value", "equal": 1})
