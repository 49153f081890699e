import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.operators.one_step import feed, runner

numbers = st.lists(st.floats(width=32), min_size=1, max_size=60)


def test_a_value_on_a_limit_is_valid():
    out = feed(runner("validate", {"min": -40, "max": 200}), [-40, 200, -40.001, 200.001])
    np.testing.assert_array_equal(out.value, [-40, 200, np.nan, np.nan])
    assert out.quality.tolist() == [0, 0, 2, 2]


def test_a_step_of_just_max_step_is_valid_and_counts_from_the_last_valid_value():
    out = feed(runner("validate", {"max_step": 2}), [10, 12, 15, 14.5, 13, np.nan, 15, 17.5])
    np.testing.assert_array_equal(out.value, [10, 12, np.nan, np.nan, 13, np.nan, 15, np.nan])


def test_the_first_value_has_no_step():
    out = feed(runner("validate", {"max_step": 1}), [np.nan, 1e6, 1e6 + 1])
    np.testing.assert_array_equal(out.value, [np.nan, 1e6, 1e6 + 1])


def test_clip_moves_to_the_limit_but_not_what_is_not_finite():
    step = runner("validate", {"min": 0, "max": 10, "action": "clip"})
    out = feed(step, [-1, 11, 5, np.inf, -np.inf, np.nan])
    np.testing.assert_array_equal(out.value, [0, 10, 5, np.nan, np.nan, np.nan])


def test_clip_with_one_limit_leaves_the_other_side_alone():
    out = feed(runner("validate", {"max": 10, "action": "clip"}), [-1e9, 11])
    np.testing.assert_array_equal(out.value, [-1e9, 10])


def test_a_clipped_value_that_is_still_a_step_too_far_is_marked():
    out = feed(runner("validate", {"max": 10, "max_step": 3, "action": "clip"}), [1, 12, 3])
    np.testing.assert_array_equal(out.value, [1, np.nan, 3])


@given(numbers, st.floats(-100, 0), st.floats(0, 100))
def test_drop_leaves_what_a_mask_leaves(values, low, high):
    x = np.array(values)
    out = feed(runner("validate", {"min": low, "max": high, "action": "drop"}), x)
    np.testing.assert_array_equal(out.value, x[(x >= low) & (x <= high)])
    np.testing.assert_array_equal(out.t_ns // 10**9, np.flatnonzero((x >= low) & (x <= high)))


@given(numbers, st.floats(-100, 0), st.floats(0, 100))
def test_clip_is_numpys(values, low, high):
    x = np.array(values)
    out = feed(runner("validate", {"min": low, "max": high, "action": "clip"}), x)
    np.testing.assert_array_equal(
        out.value, np.where(np.isfinite(x), np.clip(x, low, high), np.nan)
    )
