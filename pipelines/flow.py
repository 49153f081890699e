"""Flow: what one part of the graph hands to the next in one turn."""

from dataclasses import dataclass, field
from typing import NamedTuple

from pipelines.batch import I8, Batch
from pipelines.core import NOTHING
from pipelines.events import Event
from pipelines.history import NO_ROWS, Rows
from pipelines.series import SeriesTable


class Flow(NamedTuple):
    """Rows that one part of the graph hands to the next, valid until its next turn."""

    batch: Batch
    table: SeriesTable
    ids: tuple[str, ...] = ()
    """(n,) id of the event that each row came with; empty when rows have none."""
    late: Batch = NOTHING
    """Rows of a source that are older than what it handed on before."""
    gone: Rows = NO_ROWS
    """Rows handed on before that hold no more."""
    instead: Rows = NO_ROWS
    """Rows that hold in their place, or were missing."""
    heard_ns: I8 | None = None
    """(S,) at a tick, of a source with lateness: see `Reorder.heard_ns`."""

    @property
    def empty(self) -> bool:
        """Whether there is nothing in it."""
        parts = (self.batch, self.late, self.gone.batch, self.instead.batch)
        return not any(part.size for part in parts)


@dataclass(slots=True)
class Made:
    """What one turn of a pipeline brings."""

    rows: list[Batch] = field(default_factory=list)
    alerts: list[Rows] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
