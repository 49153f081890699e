import numpy as np
import pytest

from pipelines import runlength
from pipelines.runlength import LENGTHS
from tests.operators.charts import cusum_arl, ewma_arl, two_sided


@pytest.mark.parametrize(
    ("h", "published"),
    [(4, 167.7), (4.77, 368.5), (5, 465.4), (8, 9481), (10, 70_104), (12, 517_905)],
)
def test_two_sided_sums_with_slack_a_half(h, published):
    assert runlength.cusum_length(0.5, h) == pytest.approx(published, rel=0.01)


@pytest.mark.parametrize(("k", "h"), [(0.25, 8), (0.25, 15), (1, 2.5), (1, 4), (0.1, 12)])
def test_sums_with_another_slack_are_those_of_the_chain(k, h):
    one = cusum_arl(k, h, cells=400)
    assert runlength.cusum_length(k, h) == pytest.approx(two_sided(one, one), rel=0.07)


def test_sums_without_slack():
    assert runlength.cusum_length(0.0, 20) == pytest.approx(runlength.cusum_length(1e-4, 20), 0.01)


@pytest.mark.parametrize(
    ("weight", "limit", "published"),
    [(0.1, 2.7, 368.9), (0.2, 2.86, 371.0), (0.2, 3, 559.7), (0.05, 2.6, 481.6), (0.1, 4, 26_193)],
)
def test_smoothed_values(weight, limit, published):
    assert runlength.ewma_length(weight, limit) == pytest.approx(published, rel=0.011)


def test_a_smoothed_value_of_weight_one_is_the_sample():
    assert runlength.ewma_length(1.0, 3.0) == pytest.approx(runlength.shewhart_length(3), rel=1e-9)
    assert runlength.shewhart_length(3) == pytest.approx(370.4, abs=0.1)  # the textbooks' number


def test_limits_are_where_the_lengths_are():
    at = slice(6, 13)
    for limits, length in (
        (runlength.shewhart_limits(), runlength.shewhart_length),
        (runlength.cusum_limits(0.5), lambda h: runlength.cusum_length(0.5, h)),
        (runlength.ewma_limits(0.1), lambda x: ewma_arl(0.1, x)),
        (runlength.scan_limits(60, 30), lambda b: runlength.scan_length(60, 30, b)),
    ):
        assert limits.shape == LENGTHS.shape
        assert (np.diff(limits) >= 0).all()
        found = [length(float(x)) for x in limits[at]]
        np.testing.assert_allclose(found, LENGTHS[at], rtol=0.05)


@pytest.mark.parametrize(("before", "after", "limit"), [(60, 60, 3.2), (60, 20, 3.2)])
def test_two_windows_that_move_are_as_simulated(before, after, limit):
    x = np.random.default_rng(3).normal(size=2_000_000)
    total = np.concatenate(([0], np.cumsum(x)))
    n = before + after
    old = (total[before:-after] - total[: -before - after]) / before
    new = (total[n:] - total[before:-after]) / after
    over = np.flatnonzero(np.abs(new - old) / np.sqrt(1 / before + 1 / after) > limit)
    clumps = 1 + np.count_nonzero(np.diff(over) > n)
    assert clumps > 200
    assert x.size / clumps == pytest.approx(runlength.scan_length(before, after, limit), rel=0.25)
