"""Warm-up: compile every kernel that a graph will call, before the first message waits for it."""

from collections.abc import Callable, Iterable, Iterator
from typing import Final

import numpy as np

from config.params import Params
from config.terms import SECOND
from pipelines import alerts, order
from pipelines.batch import BAD, UNCERTAIN, Batch, GroupedBatch, new_batch
from pipelines.calm import Calm
from pipelines.each import Each
from pipelines.foresight import Foresight
from pipelines.graph import Graph
from pipelines.links import Links
from pipelines.operator import Operator, new_state, pack
from pipelines.pipeline import Pipeline
from pipelines.reorder import Reorder
from pipelines.runner import StepRunner, rows_needed
from pipelines.series import SeriesTable
from pipelines.stage import Selection

Step = tuple[str, Callable[[], object]]
"""Name for people, and what compiles it (or loads it from the cache) when called."""


def steps(graph: Graph) -> Iterator[Step]:
    """What there is to compile for this graph, one entry an operator; calls change no state."""
    yield "reorder", _reorder
    yield "rows", lambda: rows_needed(np.zeros(1, np.int32))
    pipelines = graph.pipelines.values()
    if not all(p.alone for p in pipelines):
        yield "links", _links
    alone, banked = (_operators(p for p in pipelines if p.alone is kind) for kind in (True, False))
    for name, found in alone.items():
        yield name, _caller(*found)
    for name, found in banked.items():
        yield f"{name}_each", _bank_caller(*found)


def _operators(pipelines: Iterable[Pipeline]) -> dict[str, tuple[Operator, Params]]:
    """By name, every operator in use, with parameters of a step that uses it."""
    found: dict[str, tuple[Operator, Params]] = {}
    for pipeline in pipelines:
        for stage in pipeline.stages:
            found.setdefault(stage.operator.name, (stage.operator, stage.sets.sets[0]))
        if pipeline.alerting is not None:
            found.setdefault("alert", (alerts.OPERATOR, alerts.Limits()))
    return found


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


def _bank_caller(operator: Operator, params: Params) -> Callable[[], object]:
    def call() -> None:
        each = Each(operator, [StepRunner(operator, [params], 1, 0)], 1)
        none = np.zeros(0, np.int64)
        each.run(new_batch(0), none, none, (0, 0, 0), 0)

    return call


def _links() -> None:
    calm = Calm([StepRunner(alerts.OPERATOR, [alerts.Limits()], 1, 0)], 0)
    links = Links(SeriesTable(1), [Selection({}, 1)], calm)
    links.again()
    links.deal(new_batch(0))
    none, some = np.zeros(0, np.int64), np.zeros(0, np.int32)
    least, dirty = np.zeros(0), np.zeros(0, np.uint8)
    calm.look(none, 0, (none, none, some, some), least, least, dirty)
    Foresight((), ()).look(new_batch(0), none, some, some)


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
