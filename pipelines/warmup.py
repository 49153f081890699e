"""Warm-up: compile every kernel that a graph will call, before the first message waits for it."""

from collections.abc import Callable, Iterator

import numpy as np

from config.params import Params
from pipelines import alerts, order
from pipelines.batch import Batch, GroupedBatch, new_batch
from pipelines.graph import Graph
from pipelines.operator import Operator, new_state, pack
from pipelines.reorder import Reorder
from pipelines.series import SeriesTable
from pipelines.stage import Stage

Step = tuple[str, Callable[[], object]]
"""Name for people, and what compiles it (or loads it from the cache) when called."""


def steps(graph: Graph) -> Iterator[Step]:
    """What there is to compile for this graph, one entry an operator; calls change no state."""
    yield "reorder", _reorder
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


def _caller(operator: Operator, params: Params) -> Callable[[], object]:
    def call() -> None:
        packed = pack(operator, [params], 1)
        state = new_state(operator.state, 1, packed)
        out = new_batch(1, len(operator.fields(params)))
        empty = new_batch(0)
        batch: Batch | GroupedBatch = empty
        if operator.regroup is not None:
            none = np.zeros(0, np.int32)
            batch = GroupedBatch(*empty, none, none)
        operator.step(batch, 0, state, packed, out)
        if operator.tick is not None:
            operator.tick(np.zeros(1, np.int64), 0, 0, state, packed, out)

    return call


def _reorder() -> None:
    stage = Reorder(SeriesTable(1), order.Rules(0, 0, 0), 1)
    stage.run(order.new_arrivals(0))
    stage.tick(0)
    stage.flush()
