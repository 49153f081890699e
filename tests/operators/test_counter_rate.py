from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.operators.one_step import feed_ns as feed
from tests.operators.one_step import runner
from tests.traffic import SECOND, START_NS


def test_a_wrapping_counter_is_its_unwrapped_self():
    rng = np.random.default_rng(1)
    true = np.cumsum(rng.integers(0, 2**29, 500)).astype(float)
    out = feed(runner("counter_rate", {"max": 2**32}), true % 2**32)
    np.testing.assert_array_equal(out.value[1:], np.diff(true))


@pytest.mark.parametrize(
    ("options", "values", "rates"),
    [
        # Prometheus: a counter that falls was started again.
        ({}, [0, 10, 20, 5, 15], [np.nan, 10, 10, 5, 10]),
        ({}, [100, 0, 0, 3], [np.nan, 0, 0, 3]),
        ({"max": 256}, [250, 4], [np.nan, 10]),
        ({"max": 256}, [190, 4], [np.nan, 4]),  # not in the last quarter: started again
        ({"max": 256}, [192, 4], [np.nan, 4]),
        ({"max": 256}, [300, 4], [np.nan, 4]),  # was never below max: not that counter
        ({"unit": "min"}, [0, 1], [np.nan, 60]),
        ({}, [1, -1, 3], [np.nan, np.nan, 1]),  # no counter is negative
    ],
)
def test_cases(options, values, rates):
    t = START_NS + np.arange(len(values)) * SECOND
    if values == [1, -1, 3]:
        rates = [np.nan, np.nan, 1]  # 2 counts in 2 s
    out = feed(runner("counter_rate", options), np.array(values, float), t)
    np.testing.assert_array_equal(out.value, rates)


@given(st.lists(st.integers(0, 10**12), min_size=2, max_size=50), st.integers(2, 40))
def test_a_window_by_exact_fractions(values, seconds):
    t = START_NS + np.arange(len(values)) * SECOND
    out = feed(runner("counter_rate", {"window": f"{seconds}s"}), np.array(values, float), t)
    for i in range(1, len(values)):
        inside = range(max(0, min(i - seconds + 1, i - 1)), i + 1)
        more = [b - a if (b := values[k + 1]) >= (a := values[k]) else b for k in list(inside)[:-1]]
        wanted = Fraction(sum(more), len(inside) - 1)
        assert abs(Fraction(out.value[i]) - wanted) <= wanted * Fraction(1, 10**12)


def test_a_wild_sample_does_not_cost_the_digits_of_those_after_it():
    x = np.arange(200.0)
    x[50:52] = 1e60, 1e100  # together they take the digits that one alone would leave
    out = feed(runner("counter_rate", {"window": "10s"}), x)
    assert (out.value[80:] == 1.0).all()
