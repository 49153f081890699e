"""Warm-up: compile every kernel that a graph will call, before the first message waits for it."""

from collections.abc import Callable, Iterator
from typing import Final

import numpy as np

from config.params import Params
from config.terms import SECOND
from pipelines import alerts, order
from pipelines.batch import BAD, UNCERTAIN, Batch, GroupedBatch, new_batch
from pipelines.graph import Graph
from pipelines.operator import Operator, new_state, pack
from pipelines.reorder import Reorder
from pipelines.runner import rows_needed
from pipelines.series import SeriesTable
from pipelines.stage import Stage

Step = tuple[str, Callable[[], object]]
"""Name for people, and what compiles it (or loads it from the cache) when called."""


def steps(graph: Graph) -> Iterator[Step]:
    """What there is to compile for this graph, one entry an operator; calls change no state."""
    yield "reorder", _reorder
    yield "rows", lambda: rows_needed(np.zeros(1, np.int32))
    operators = {stage.operator.name: stage.operator for stage in _stages(graph)}
    if any(p.alerting for p in graph.pipelines.values()):
        operators["alert"] = alerts.OPERATOR
    for name, operator in operators.items():
        params = next(
            (s.sets.sets[0] for s in _stages(graph) if s.operator.name == name), alerts.Limits()
        )
        yield name, _caller(operator, params)


def _stages(graph: Graph) -> Iterator[Stage]:
    for pipeline in graph.pipelines.values():
        yield from pipeline.stages


ROWS: Final = 40
"""Rows that a step takes: more than a ring has room for at first."""


def _caller(operator: Operator, params: Params) -> Callable[[], object]:
    def call() -> None:
        packed = pack(operator, [params], 1)
        state = new_state(operator.state, 1, packed)
        out = new_batch(ROWS * operator.fanout(params), len(operator.fields(params)))
        some = _some_rows()
        batch: Batch | GroupedBatch = some
        if operator.regroup is not None:
            same = np.zeros(ROWS, np.int32)
            batch = GroupedBatch(*some, same, same)
        operator.step(batch, 0, state, packed, out)
        if operator.tick is not None:
            operator.tick(some.t_ns[-1:] + SECOND, 0, 1, state, packed, _emptied(out))

    return call


def _some_rows() -> Batch:
    """Samples of one series: a walk with jumps, a value that is not known, a flat stretch.

    They show whether a compiled kernel still gives what it gave when it was compiled, so it is to
    go through many of its lines.
    """
    batch, at = new_batch(ROWS), np.arange(ROWS)
    batch.t_ns[:] = batch.start_ns[:] = 1_000 * SECOND + at * SECOND
    batch.value[:] = 20 + at * 37 % 11 / 7 + np.where(at % 13 == 12, 50.0, 0.0)
    batch.value[at // 5 == 4] = 20.0
    batch.value[7], batch.quality[7] = np.nan, BAD
    batch.quality[9] = UNCERTAIN
    return batch


def _emptied(out: Batch) -> Batch:
    out.count[0] = 0
    return out


def _reorder() -> None:
    table = SeriesTable(1)
    table.intern((("device", "warm"),))
    stage = Reorder(table, order.Rules(2 * SECOND, 60 * SECOND, -1), 1)
    some = order.new_arrivals(6)
    some.t_ns[:] = np.array([3, 1, 5, 1, 9, 900]) * SECOND  # late, twice the same, in the future
    some.arrival_ns[:] = 10 * SECOND
    stage.run(some)
    stage.tick(0)
    stage.flush()
