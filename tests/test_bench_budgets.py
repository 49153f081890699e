"""The budgets of cost: every operator has one, and what is over one is seen. No cost is measured."""

import numpy as np
import pytest

from pipelines.operator import load_all
from tests.bench.budgets import BUDGETS, USUAL_MAX, Budget
from tests.bench.operators import BATCH, KINDS, Result, Stream
from tests.operator_runs import example_options

ALL = [
    pytest.param(name, budget, id=f"{name}-{i}")
    for name, budgets in BUDGETS.items()
    for i, budget in enumerate(budgets)
]


def test_every_operator_has_a_budget():
    assert set(BUDGETS) == set(load_all())
    assert all(BUDGETS.values())


@pytest.mark.parametrize(("name", "budget"), ALL)
def test_a_budget_is_for_options_that_exist_and_usual_or_says_why_not(name, budget):
    operator = load_all()[name]
    operator.params.model_validate(budget.options or example_options(operator))
    assert 0 < budget.ns <= USUAL_MAX or len(budget.heavy) > 20
    assert not budget.heavy or budget.ns > USUAL_MAX
    assert budget.members == 1 or operator.regroup is not None


@pytest.mark.parametrize("kind", KINDS)
def test_the_worst_traffic_counts(kind):
    costs = dict.fromkeys(KINDS, 10.0)
    result = Result("x", costs, costs, 0.0, 20.0, "")
    assert not result.over
    assert result._replace(costs=costs | {kind: 20.5}).over


def batches(kind, n, **budget):
    stream = Stream(kind, Budget(1, **budget), 0)
    return [stream.next() for _ in range(n)]


def test_windows_close_in_every_batch_in_proportion():
    """Of a minute's windows at a sample a second one in 60 closes with each sample."""
    made = batches("noise", 100, stagger=1)
    series = np.concatenate([b.series for b in made])
    minute = np.concatenate([b.t_ns for b in made]) // 60_000_000_000
    last, closed = {}, []
    for s, m in zip(series.tolist(), minute.tolist(), strict=True):
        closed.append(s in last and last[s] != m)
        last[s] = m
    shares = np.array(closed[20_480:]).reshape(-1, BATCH // 2).mean(axis=1)
    assert shares.mean() == pytest.approx(1 / 60, rel=0.02)
    assert shares.max() < 2 / 60


def test_series_reach_a_number_of_samples_one_after_another():
    made = batches("noise", 60, stagger=20)
    seen, tenth = np.zeros(10_000, int), []
    for batch in made:
        np.add.at(seen, batch.series, 1)
        tenth.append(int((seen[batch.series] == 10).sum()))
    assert (np.diff(seen[np.unique(made[-1].series)]) != 0).any()
    assert seen.max() - seen.min() in (19, 20)
    assert max(tenth) < BATCH / 4


def test_members_of_a_group_have_one_time():
    stream = Stream("wild", Budget(1, members=20, stagger=1), 3)
    batch = stream.next()
    assert np.unique(batch.series).size == -(-BATCH // 20)
    for name in ("t_ns", "series"):
        rows = getattr(batch, name)[: BATCH // 20 * 20].reshape(-1, 20)
        assert (rows == rows[:, :1]).all()
    assert set(np.unique(batch.slot)) == {0, 1, 2}
    assert (batch.quality[np.isnan(batch.value)] == 2).all()
    assert np.isnan(batch.value).any()
    assert (batch.value == 1e9).any()
