import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipelines.batch import GOOD, UNCERTAIN
from pipelines.operators.distinct import Distinct
from tests.operators.one_step import feed, feed_ns, kept, runner
from tests.traffic import SECOND, START_NS

HOUR = 3600 * SECOND
BEGIN = START_NS // HOUR * HOUR
THEORY = 1.04 / math.sqrt(4096)


def counted(step, x):
    """(distinct, samples, error) of one window that holds all of x."""
    feed_ns(step, x, BEGIN + np.arange(len(x)))
    [fields] = kept(step.tick(np.array([BEGIN + HOUR]), 1)).fields
    return fields.tolist()


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=256))
def test_up_to_exact_max_it_is_the_size_of_a_set(x):
    step = runner("distinct", {"window": "1h"})
    assert counted(step, x) == [len(set(x)), len(x), 0]  # a set knows that 0.0 == -0.0


@pytest.mark.parametrize("exact_max", [16, 64, 256, 4096])
def test_one_value_more_than_exact_max_is_estimated(exact_max):
    x = np.random.default_rng(0).normal(20, 1, exact_max + 1)
    options = {"window": "1h", "exact_max": exact_max}
    assert counted(runner("distinct", options), x[:-1].repeat(2)) == [exact_max, 2 * exact_max, 0]
    distinct, _, error = counted(runner("distinct", options), x)
    assert error == pytest.approx(THEORY)
    assert distinct == pytest.approx(exact_max + 1, rel=5 * THEORY, abs=1)


def sensors(rng, n):
    """Values as sensors send them: neighbouring floats, decimals, whole numbers, noise."""
    kind = rng.integers(0, 4)
    if kind == 0:
        return 1e6 + np.arange(n) * 2.0**-20
    if kind == 1:
        return np.round(rng.permutation(n) * 0.01 + 15, 2)
    return np.arange(n) - n // 2.0 if kind == 2 else rng.normal(0, 1, n)


@pytest.mark.parametrize("n", [300, 3000, 10_000, 40_000])
def test_estimates_are_as_good_as_theory_over_many_seeds(n):
    errors = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        x = sensors(rng, n) + (0 if seed < 8 else round(rng.normal(0, 1e4), 2))
        true = len(set(x.tolist()))
        step = runner("distinct", {"window": "1h"})
        distinct, _, _ = counted(step, np.append(x, x[:100]))
        errors.append(distinct / true - 1)
    rms = math.sqrt(np.mean(np.square(errors)))
    # Of 40 errors the rms is within 30 % of theirs, the mean within 4 deviations of 0.
    assert rms < 1.3 * THEORY
    assert abs(np.mean(errors)) < 4 * THEORY / math.sqrt(40)
    assert np.abs(errors).max() < 4.5 * THEORY


def test_memory_is_touched_only_where_values_are_many():
    step = runner("distinct", {"window": "1h"})
    feed_ns(step, np.arange(256.0), BEGIN + np.arange(256), series=0)
    feed_ns(step, np.arange(257.0), BEGIN + np.arange(257), series=1)
    assert not step.state.registers[0].any()
    assert step.state.registers[1].any()
    assert not step.state.hashes[1].any()


def test_each_window_starts_afresh():
    step = runner("distinct", {"window": "1m", "exact_max": 16})
    t = BEGIN / SECOND + np.array([30, 31, 32, 33, 60, 61, 121, 200])
    out = feed(step, [1, 2, 3, np.nan, 7, 7, 8, 9], t)
    assert [(e - BEGIN) // SECOND for e in out.t_ns] == [60, 120, 180]
    assert out.value.tolist() == [3, 1, 1]
    assert out.fields[:, 1].tolist() == [3, 2, 1]
    assert out.quality.tolist() == [UNCERTAIN, GOOD, GOOD]


def test_a_sample_of_a_closed_window_is_counted_as_late():
    step = runner("distinct", {"window": "1h"})
    feed_ns(step, [1.0], [BEGIN])
    assert step.tick(np.array([BEGIN + HOUR - 1]), 1).size == 0
    assert step.tick(np.array([BEGIN + HOUR]), 1).size == 1
    assert feed_ns(step, [1.0], [BEGIN + 1]).size == 0
    assert step.counters() == {"late": 1}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": "0s"}, "greater than 0"),
        ({"window": "1m", "exact_max": 100}, "16, 64, 256, 1024 or 4096"),
        ({}, "window"),
    ],
)
def test_what_cannot_be_asked_for(options, message):
    with pytest.raises(ValidationError, match=message):
        Distinct.model_validate(options)
