"""Confluence: alerts of several pipelines as one stream, in which each row says whose it is."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from pipelines.batch import I4, Mask
from pipelines.flow import Flow
from pipelines.history import Rows, together
from pipelines.series import FULL, Labels, SeriesTable, moved_up, numbered

ALERT: Final = "alert"
"""Label that names the pipeline a row came from."""


class _Inlet:
    """Rows of one pipeline's table under the numbers they have in ours."""

    STATE = ("_row", "_known")
    REMADE = ("pipeline",)

    def __init__(self, pipeline: str) -> None:
        self.pipeline = pipeline
        self._row: I4 = np.full(64, FULL, np.int32)
        self._known = 0
        """Of their rows, all before this one have a row of ours."""

    def row(self, theirs: int, upstream: SeriesTable, table: SeriesTable) -> int:
        """Our row of one of theirs, a new one at first sight."""
        while theirs >= self._row.size:
            self._row = np.concatenate((self._row, np.full(self._row.size, FULL, np.int32)))
        if self._row[theirs] == FULL:
            pairs = dict(upstream.labels(theirs)) | {ALERT: self.pipeline}
            self._row[theirs] = table.intern(tuple(sorted(pairs.items())))
        return int(self._row[theirs])

    def rows(self) -> I4:
        """(their rows,) the rows that they have in ours, after `sync`; a view."""
        return self._row[: self._known]

    def renumber(self, theirs: I4 | None, ours: I4) -> None:
        """Follow both tables: the new row of each; theirs: None when nothing changed."""
        row = self.rows()
        row[row != FULL] = ours[row[row != FULL]]
        if theirs is not None:
            kept = np.flatnonzero(theirs != FULL)
            moved_up(self._row, kept, theirs.size, FULL)
            self._known = kept.size

    def sync(self, upstream: SeriesTable, table: SeriesTable) -> None:
        """Meet every series that is new."""
        for theirs in range(self._known, len(upstream)):
            self.row(theirs, upstream, table)
        self._known = len(upstream)

    def tick(self, upstream: SeriesTable, table: SeriesTable) -> None:
        """Meet every series that is new, and let ours come as far in time as theirs."""
        self.sync(upstream, table)
        table.clock_ns[self._row[: self._known]] = upstream.clock_ns[: self._known]


class Confluence:
    """Joins the flows of some pipelines, in the order in which they are listed.

    Rows of one turn come in order of time, those of one time in the order of the list.  Series
    get their row when they are first heard of in that order, or at the next tick: so, as long as
    devices change at different times, nothing depends on how turns cut the stream.
    """

    STATE = ("table", "_inlets")
    REMADE = ("_order",)

    def __init__(self, pipelines: Sequence[str], series_max: int) -> None:
        """`series_max`: of all of them together, so there is always room."""
        self._inlets = [_Inlet(name) for name in pipelines]
        self._order = {name: i for i, name in enumerate(pipelines)}
        self.table = SeriesTable(series_max)

    def sync(self, above: Sequence[SeriesTable]) -> None:
        """Meet every series of the pipelines' tables."""
        for inlet, upstream in zip(self._inlets, above, strict=True):
            inlet.sync(upstream, self.table)

    def leading_to(self, wanted: Mask) -> list[Mask]:
        """Of each pipeline (its rows so far,): whether they stand for rows that are `wanted`."""
        known = [inlet.rows() for inlet in self._inlets]
        return [(rows != FULL) & wanted[rows] for rows in known]

    def renumber(self, theirs: Sequence[I4 | None]) -> I4:
        """Follow the tables of the pipelines: the new row of each, None where nothing changed.

        The new row of each of ours, FULL for those that are forgotten with theirs.
        """
        stays = np.zeros(len(self.table), bool)
        for inlet, moved in zip(self._inlets, theirs, strict=True):
            rows = inlet.rows()
            if moved is not None:
                rows = rows[moved != FULL]
            stays[rows[rows != FULL]] = True
        ours = numbered(stays)
        for inlet, moved in zip(self._inlets, theirs, strict=True):
            inlet.renumber(moved, ours)
        self.table.renumber(ours)
        return ours

    def rank(self, labels: Labels) -> tuple[int, Labels]:
        """What rows of one time are sorted by: the list, then their labels."""
        return self._order[dict(labels)[ALERT]], labels

    def joined(self, flows: Sequence[Flow | None], *, ticking: bool) -> Flow | None:
        """What comes of all of them in one turn, None when none has one."""
        given = [(inlet, flow) for inlet, flow in zip(self._inlets, flows, strict=True) if flow]
        if not given:
            return None
        found = [
            self._merged([(inlet, part(flow), flow.table) for inlet, flow in given])
            for part in (_taken, _gone, _instead)
        ]
        if ticking:
            for inlet, flow in given:
                inlet.tick(flow.table, self.table)
        rows, gone, instead = found
        return Flow(rows.batch, self.table, rows.ids, gone=gone, instead=instead)

    def _merged(self, parts: list[tuple[_Inlet, Rows, SeriesTable]]) -> Rows:
        """Rows of some tables in order of time, numbered as ours."""
        whole = together([rows for _, rows, _ in parts])
        if not whole.batch.size:
            return whole
        which = np.repeat(np.arange(len(parts)), [rows.batch.size for _, rows, _ in parts])
        which = which[np.argsort(whole.batch.t_ns, kind="stable")]
        whole = whole.by_time()
        series = np.zeros(which.size, np.int32)
        for i, theirs in enumerate(whole.batch.series.tolist()):
            inlet, _, upstream = parts[which[i]]
            series[i] = inlet.row(theirs, upstream, self.table)
        return Rows(whole.batch._replace(series=series), whole.ids)


def by_labels(labels: Labels) -> tuple[int, Labels]:
    """`Confluence.rank` for rows of one pipeline."""
    return 0, labels


def _taken(flow: Flow) -> Rows:
    return Rows(flow.batch, flow.ids)


def _gone(flow: Flow) -> Rows:
    return flow.gone


def _instead(flow: Flow) -> Rows:
    return flow.instead
