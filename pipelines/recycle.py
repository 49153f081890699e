"""Recycle: where series come and go, the rows of those that are gone for good are used again.

Only when a source is about to have no room for new series: then those that were silent for
`limits.series_idle_min` are forgotten, as if they had never been, unless something of them still
stands (an alert that is not at rest or shelved, rows that wait or may be amended, a group that
others are in and whose alert stands).  The rows that stay close the gaps in their order, in every
table on the way, so nothing but the numbers of rows changes for them.

It happens at ticks, which are recorded inputs, so a replay repeats it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np

from pipelines.batch import I4, Mask
from pipelines.pipeline import Pipeline
from pipelines.reorder import Reorder
from pipelines.series import SeriesTable, numbered

Upstream = tuple[str, str]
"""('source' or one of KINDS; its name)."""

SPARE: Final = 16
"""Rows are given back when fewer than one of so many is free,"""
LEAST: Final = 64
"""and one of so many at least can be: all state is copied for it."""
KINDS: Final = ("alerts", "samples", "windows")
"""What pipelines take from each other; all of it has one table."""


def sweep(
    sources: Mapping[str, Reorder],
    pipelines: Mapping[str, Pipeline],
    before_ns: int,
    settle: Callable[[], None],
) -> None:
    """Forget series of which nothing has come since `before_ns`, where room is needed.

    `settle` is called before tables are looked at.
    """
    for name, source in sources.items():
        table = source.table
        if (table.rows_max - len(table)) * SPARE > table.rows_max:
            continue
        least = max(1, table.rows_max // LEAST)
        gone = source.silent(before_ns)
        if np.count_nonzero(gone) >= least:
            settle()
            gone &= ~_wanted(sources, pipelines)["source", name]
        if np.count_nonzero(gone) >= least:
            _forget(name, source, pipelines, numbered(~gone))


def _wanted(
    sources: Mapping[str, Reorder], pipelines: Mapping[str, Pipeline]
) -> dict[Upstream, Mask]:
    """By part, (its rows,) the series of which something still stands below."""
    tables = {("source", name): source.table for name, source in sources.items()}
    tables |= {(kind, name): p.table for name, p in pipelines.items() for kind in KINDS}
    for pipeline in pipelines.values():  # whoever is new above is known below
        _sync(pipeline, [tables[upstream] for upstream in pipeline.upstreams])
    wanted = {upstream: np.zeros(len(table), bool) for upstream, table in tables.items()}
    for name, pipeline in reversed(list(pipelines.items())):
        below = [wanted[kind, name] for kind in KINDS]
        above = _wanted_above(pipeline, np.logical_or.reduce(below))
        for upstream, mask in zip(pipeline.upstreams, above, strict=True):
            wanted[upstream][: mask.size] |= mask
    return wanted


def _forget(name: str, source: Reorder, pipelines: Mapping[str, Pipeline], moved: I4) -> None:
    """Forget series of a source everywhere. moved (its rows,): the new row, FULL: forgotten."""
    source.table.renumber(moved)
    source.renumber(moved)
    of: dict[Upstream, I4] = {("source", name): moved}
    for below, pipeline in pipelines.items():
        theirs = [of.get(upstream) for upstream in pipeline.upstreams]
        if any(each is not None for each in theirs):
            out = _renumber(pipeline, theirs)
            of |= {(kind, below): out for kind in KINDS}


# --- one pipeline ------------------------------------------------------------------------


def _sync(pipeline: Pipeline, above: Sequence[SeriesTable]) -> None:
    """Let a pipeline meet every series that is known above."""
    if pipeline.confluence is not None:
        pipeline.confluence.sync(above)
    pipeline.selection.sync(pipeline.confluence.table if pipeline.confluence else above[0])
    pipeline.core.sync()


def _wanted_above(pipeline: Pipeline, out: Mask) -> list[Mask]:
    """For each upstream (its rows,) the series that may not be forgotten.

    out (rows that come out,): those that pipelines below need.
    """
    if pipeline.alerting is not None:
        out = out | pipeline.alerting.busy()
    wanted = pipeline.core.leading_to(out)
    for keeper in (pipeline.aligner, pipeline.amender):
        if keeper is not None:
            wanted[keeper.waiting()] = True
    above = pipeline.selection.leading_to(wanted)
    return pipeline.confluence.leading_to(above) if pipeline.confluence else [above]


def _renumber(pipeline: Pipeline, above: Sequence[I4 | None]) -> I4:
    """Follow the tables above, see `Selection.renumber`; the new row of each that comes out."""
    # Recalled alerts that stand stay though nothing above leads to them.
    stands = pipeline.alerting.busy() if pipeline.alerting else np.zeros(len(pipeline.table), bool)

    def held(table: SeriesTable) -> Mask:
        return stands if table is pipeline.table else np.zeros(len(table), bool)

    theirs = pipeline.confluence.renumber(above) if pipeline.confluence else above[0]
    assert theirs is not None, "else nothing changed"
    first = members = pipeline.selection.renumber(theirs, held(pipeline.selection.table))
    steps = []
    for stage in pipeline.stages:
        groups = members
        if stage.operator.regroup is not None:
            groups = stage.places.renumber(members, held(stage.places.groups))
        steps.append((members, groups))
        members = members if stage.operator.per_member else groups
    pipeline.core.renumber(steps, members)
    if pipeline.alerting is not None:
        pipeline.alerting.announcer.renumber(members)
    if pipeline.amender is not None:
        pipeline.amender.renumber(steps, members, first)
    if pipeline.aligner is not None:
        pipeline.aligner.renumber(first)
    return members
