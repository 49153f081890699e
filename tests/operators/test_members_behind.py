"""Operators over several series of a group, when one of them comes behind the others."""

import numpy as np
import pytest

from tests.operator_runs import by_series, cases, rows_of, run
from tests.test_operator_contract import assert_matches_twin
from tests.traffic import SECOND, Traffic, pick

BEHIND = {"peer": "member", "topk": "member", "correlate": "slot", "mahalanobis": "slot"}
CASES = [p for p in cases() if p.values[0].operator.name in BEHIND]


def late(case, seed):
    """Traffic in which every fourth member, or slot, is as it was; the others are late."""
    made = case.traffic(seed, n=800)
    batch = made.batch
    lag = np.array([0, 3, 7, 1])[getattr(batch, BEHIND[case.operator.name]) % 4] * SECOND
    order = np.lexsort((np.arange(batch.series.size), batch.t_ns + lag))
    end = made.ticks[-1][1] + 100 * SECOND
    return Traffic(pick(batch, order), ((batch.series.size, end),), made.series)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("seed", [1, 2])
def test_it_still_matches_the_naive_version(case, seed):
    made = late(case, seed)
    assert_matches_twin(case, run(case, made), made)


@pytest.mark.parametrize("case", CASES)
def test_time_does_not_go_back_within_a_series(case):
    out = by_series(run(case, late(case, 3)))
    same = out.series[1:] == out.series[:-1]
    assert (np.diff(out.t_ns)[same] >= 0).all()


@pytest.mark.parametrize("case", CASES)
def test_a_tick_tells_nothing_that_the_next_sample_would_not(case):
    made = case.traffic(5)
    with_ticks, without = run(case, made), run(case, made._replace(ticks=made.ticks[-1:]))
    for s in range(made.series):
        got, want = rows_of(case, made, with_ticks, s), rows_of(case, made, without, s)
        np.testing.assert_array_equal(got.t_ns, want.t_ns)
        np.testing.assert_array_equal(got.series, want.series)
        np.testing.assert_array_equal(got.value, want.value)
