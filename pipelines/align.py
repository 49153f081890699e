"""Align: rows of series that are combined, in order of time across these series.

Each series of a source comes in order by itself, as soon as its own watermark allows.  A step that
combines series needs one order for all members of a group, else a member that is a moment behind
is left out.  So the rows of series that share a group wait here until all of them have come as far
in time.  How far one has come is told by its clock, and for a series of a source also by silence:
of what came nothing waits, and what is still on its way is not older (`Flow.heard_ns`).

A series that is further behind than `PATIENCE` times the lateness has a wrong clock or a backlog,
and is not waited for.  One that is ahead waits for the others, and moves nobody's time.  So what a
device sends is handed on at most 1 + `PATIENCE` times the lateness after its arrival, whatever
the others do, and mostly as soon as the slowest of the others has come as far.

All of it happens at ticks, which are recorded inputs: nothing depends on how turns cut the stream.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipelines.batch import I4, I8
from pipelines.core import Core
from pipelines.history import NO_ROWS, History, Rows, latest
from pipelines.series import NEVER, Labels

PATIENCE: Final = 2
"""In lateness: a member that is late by all of it, and waited for older ones as long."""
_LATEST: Final = np.iinfo(np.int64).max


class Aligner:
    """Holds the rows that one pipeline combines until their turn has come."""

    STATE = ("_held", "hurried")
    REMADE = (
        "lateness_ns",
        "rows_max",
        "_core",
        "_key_of",
        "_chained",
        "_component",
        "_sizes",
        "_keys",
    )

    def __init__(
        self,
        core: Core,
        lateness_ns: int,
        rows_max: int,
        key_of: Callable[[Labels], int],
        *,
        chained: bool,
    ) -> None:
        """`key_of`: what rows of one time are sorted by, from their labels.

        `chained`: rows come from other pipelines, of whose series only clocks are known.
        """
        self.lateness_ns, self.rows_max = lateness_ns, rows_max
        self._core, self._key_of, self._chained = core, key_of, chained
        self.hurried = 0
        """Rows that had no room to wait."""
        self._held = History()
        self._component: I4 = np.zeros(0, np.int32)
        self._sizes: tuple[int, ...] = ()
        self._keys: I8 = np.zeros(0, np.int64)
        """(rows of the table that comes in,)"""

    def remake(self) -> None:
        """Find out anew which series share groups: the state is another, or the rules are."""
        self._sizes, self._keys = (), np.zeros(0, np.int64)

    def waiting(self) -> I4:
        """(n,) the series of the rows that wait."""
        return self._held.rows().batch.series

    def renumber(self, moved: I4) -> None:
        """Follow the table that comes in: the new row of each; none that waits was forgotten."""
        self._held.renumber(moved)
        self.remake()

    def wait(self, rows: Rows) -> Rows:
        """Keep rows until a tick; when there is no room for so many, the earlier half goes on."""
        if rows.batch.size:
            self._held.add(rows)
        if self._held.size <= self.rows_max:
            return NO_ROWS
        self._grow()
        t_ns = self._held.rows().batch.t_ns
        early = t_ns <= np.partition(t_ns, t_ns.size // 2)[t_ns.size // 2]
        self.hurried += int(early.sum())
        return self._go(early)

    def due(self, heard_ns: I8, tick_ns: int) -> tuple[Rows, I8]:
        """Rows whose turn has come; (rows of the table that comes in,) up to where that is.

        `heard_ns`: (rows of the table that comes in,) up to where nothing of each series is
        missing, NEVER for one that was not heard.
        """
        self._grow()
        until_ns = self._until(heard_ns, tick_ns)
        if not self._held.size:
            return NO_ROWS, until_ns
        batch = self._held.rows().batch
        return self._go(batch.t_ns <= until_ns[batch.series]), until_ns

    def rest(self) -> Rows:
        """All that waits, because no more will come."""
        self._grow()
        return self._go(np.ones(self._held.size, bool))

    # --- inside --------------------------------------------------------------------------

    def _until(self, heard_ns: I8, tick_ns: int) -> I8:
        known = heard_ns != NEVER
        lead, heard_ns = self._component[known], heard_ns[known]
        size = self._component.size
        now_ns = tick_ns - self.lateness_ns
        if self._chained:  # a clock stands still while its series is silent
            heard_ns = np.maximum(heard_ns, now_ns - PATIENCE * self.lateness_ns)
        usual_ns = np.minimum(latest(heard_ns, lead, size, NEVER), now_ns)
        in_time = heard_ns >= usual_ns[lead] - PATIENCE * self.lateness_ns
        until_ns = np.full(size, _LATEST, np.int64)
        np.minimum.at(until_ns, lead[in_time], heard_ns[in_time])
        return until_ns[self._component]

    def _go(self, mask: NDArray[np.bool_]) -> Rows:
        if not mask.any():
            return NO_ROWS
        going = self._held.rows().where(mask)
        self._held.keep(~mask)
        return going.by_time(self._keys[going.batch.series])

    def _grow(self) -> None:
        sizes = self._core.sizes()
        if sizes == self._sizes:
            return
        self._component, _ = self._core.components()
        self._sizes = self._core.sizes()
        table = self._core.table_in
        more = [self._key_of(table.labels(row)) for row in range(self._keys.size, len(table))]
        self._keys = np.concatenate((self._keys, np.array(more, np.int64)))
