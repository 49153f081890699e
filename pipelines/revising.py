"""Revising: which revision of an event is told, and what corrections mean to pipelines below."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from pipelines.amend import Correction
from pipelines.batch import samples
from pipelines.core import NOTHING, Core
from pipelines.events import ACTIVE, Event, Standing, retracted
from pipelines.flow import Flow
from pipelines.history import NO_ROWS, Rows
from pipelines.series import SeriesTable
from pipelines.telling import Teller, as_batch

REVISIONS_MAX: Final = 100_000
"""Corrected events whose revision is remembered."""


class Reviser:
    """Remembers the revisions of one pipeline's events, so that no two are alike."""

    STATE = ("_newest",)
    REMADE = ()

    def __init__(self) -> None:
        self._newest: dict[str, int] = {}
        """By id of an event that was corrected; of others it is 1."""

    def held(self, event: Event, *, again: bool = False) -> Event:
        """The event as it is told; one that was told before, or taken back, with a revision."""
        if not again and event.id not in self._newest:
            return event
        return replace(event, revision=self._following(event.id), correction="updated")

    def alerts(self, found: Correction) -> list[Event]:
        """Corrections of an alert's events."""
        return self._told(found.old.events, found.new.events)

    def rows(self, found: Correction, teller: Teller, core: Core) -> list[Event]:
        """Corrections of published rows, each with the newest row of its series: see `Standing`."""
        old, new = (
            {e.id: e for e in (teller.event(core, *item) for item in told.items.items())}
            for told in (found.old, found.new)
        )
        told = self._told(old, new)
        revised = {e.id: e for e in told if e.correction != "retracted"}
        newest = [teller.event(core, *item) for item in found.newest.values()]
        stands = {e.labels: revised.get(e.id, e) for e in newest}
        return [replace(e, standing=Standing(stands.get(e.labels))) for e in told]

    def _told(self, old: Mapping[str, Event], new: Mapping[str, Event]) -> list[Event]:
        """What is taken back, then what holds, each in order of time."""
        gone = [retracted(e, self._following(e.id)) for e in old.values() if e.id not in new]
        held = [self.held(event, again=event.id in old) for event in new.values()]
        return [*sorted(gone, key=_time), *sorted(held, key=_time)]

    def _following(self, event: str) -> int:
        """The next revision of an event that was told before."""
        if event not in self._newest and len(self._newest) >= REVISIONS_MAX:
            del self._newest[next(iter(self._newest))]
        self._newest[event] = self._newest.get(event, 1) + 1
        return self._newest[event]


def below(found: Correction, table: SeriesTable) -> tuple[Flow, Flow]:
    """What a correction means to pipelines below: rows and alerts that hold no more, or instead."""
    gone, instead = (Rows(as_batch(list(t.items.items()))) for t in (found.old, found.new))
    rows = Flow(NOTHING, table, gone=gone, instead=instead)
    gone, instead = turns(found.gone, table), turns(found.instead, table)
    return rows, Flow(NOTHING, table, gone=gone, instead=instead)


def turns(turned: Sequence[Event], table: SeriesTable) -> Rows:
    """Rows of alerts that were raised or cleared."""
    if not turned:
        return NO_ROWS
    row = np.array([table.find(e.labels) for e in turned], np.int32)
    t_ns = np.array([e.time_ns for e in turned], np.int64)
    value = np.array([float(e.type == ACTIVE) for e in turned])
    return Rows(samples(row, t_ns, value), tuple(e.id for e in turned))


def _time(event: Event) -> int:
    return event.time_ns
