"""Reorder: the time stage of one source, which keeps what `pipelines.admission` works on."""

from collections.abc import Callable
from typing import Final, NamedTuple, TypeVar

import numpy as np

from pipelines.admission import admit, advance, release
from pipelines.batch import I4, I8, Batch, Mask, new_batch, rows, samples
from pipelines.order import (
    NONE,
    USED,
    Ahead,
    Arrivals,
    Notices,
    Rules,
    Times,
    new_ahead,
    new_arrivals,
    new_notices,
    new_pool,
    new_times,
)
from pipelines.series import FULL, NEVER, SeriesTable, moved_up

ROOM: Final = 1024
"""Samples of one call for which there is room at first."""

_Kept = TypeVar("_Kept", Times, Ahead)


class Late(NamedTuple):
    """Samples that came too late, in order of arrival."""

    batch: Batch
    arrival_ns: I8  # (n,)
    seq: I8  # (n,)


class Reorder:
    """The time stage of one source."""

    STATE = ("table", "fate", "_times", "_ahead", "_pool")
    REMADE = (
        "rules",
        "_known",
        "_out",
        "_late",
        "_notices",
        "_late_size",
        "_admit",
        "_advance",
    )

    def __init__(self, table: SeriesTable, rules: Rules, samples_max: int) -> None:
        self.table = table
        self.rules = rules
        self.fate: I8 = np.zeros(5, np.int64)
        """Samples since the start that were USED, LATE, DUPLICATE, FUTURE or FORCED on."""
        self._times = new_times(64)
        self._ahead = new_ahead(64)
        self._known = 0
        self._pool = new_pool(samples_max)
        self._out = new_batch(ROOM)
        self._late, self._notices = new_arrivals(ROOM), new_notices(ROOM)
        self._late_size = 0
        self._admit: Callable[..., int] | None = None
        self._advance: Callable[..., None] | None = None

    def remake(self) -> None:
        """Follow from a state that was put in place: devices are numbered anew, as before."""
        self._known = 0

    @property
    def held(self) -> int:
        """Samples that wait for their turn."""
        return int(self._pool.held[0])

    @property
    def late(self) -> Late:
        """Samples of the last call that were older than one handed on before; views."""
        n, late = self._late_size, self._late
        if not n:
            return _NONE_LATE
        batch = samples(late.series[:n], late.t_ns[:n], late.value[:n])
        return Late(batch, late.arrival_ns[:n], late.seq[:n])

    @property
    def notices(self) -> Notices:
        """Devices whose clock the last call saw run ahead, or be well again; views."""
        n = int(self._notices.written[0])
        if not n:
            return _NO_NOTICES
        return Notices._make(c[:n] for c in self._notices)

    def run(self, arrivals: Arrivals) -> Batch:
        """Samples whose turn has come; a view that holds until the next call."""
        self._make_room(arrivals.series.size)
        args = (
            arrivals,
            self._times,
            self._pool,
            self._ahead,
            self.rules,
            self._out,
            self._late,
            self._notices,
            self.fate,
            self.table.clock_ns,
        )
        if self._admit is None:
            self._admit = admit.only(*args)
        self._late_size = self._admit(*args)
        return self._released()

    def tick(self, now_ns: int) -> Batch:
        """The same for time that passed without samples. `now_ns` is recorded, not read."""
        self._make_room(0)
        size, clock_ns = len(self.table), self.table.clock_ns
        args = (now_ns, size, self._times, self._pool, self.rules, self._out, clock_ns)
        if self._advance is None:
            self._advance = advance.only(*args)
        self._advance(*args)
        return self._released()

    def heard_ns(self, now_ns: int) -> I8:
        """(S,) event time up to which each series misses nothing, as far as can be known now.

        Its clock, or further: as far as it lags behind ours, what comes from now on is later than
        `now_ns` - lateness, and what came and waits is known. NEVER for one not heard yet.
        """
        n, times = len(self.table), self._times
        head_ns, first = times.head_ns[:n], times.first[:n]
        seen = times.seen[:n] > 0
        quiet_ns = np.where(seen, head_ns, 0) + now_ns - times.arrival_ns[:n]
        quiet_ns -= self.rules.lateness_ns
        waits_ns = np.where(first != NONE, self._pool.t_ns[first] - 1, quiet_ns)
        heard_ns = np.maximum(times.clock_ns[:n], np.minimum(quiet_ns, waits_ns))
        return np.where(seen, heard_ns, NEVER)

    def silent(self, before_ns: int) -> Mask:
        """(S,) the series of which nothing has come since `before_ns`, and nothing waits."""
        n, times = len(self.table), self._times
        self._make_room(0)
        silent: Mask = (times.arrival_ns[:n] < before_ns) & (times.first[:n] == NONE)
        return silent

    def renumber(self, moved: I4) -> None:
        """Follow the table, some of whose series were forgotten; see `SeriesTable.renumber`."""
        kept = np.flatnonzero(moved != FULL)
        fresh = new_times(1)
        for name in Times._fields:
            empty = getattr(fresh, name)[0]
            moved_up(getattr(self._times, name), kept, moved.size, empty)
        _, first = np.unique(self._ahead.device[kept], return_index=True)
        devices = self._ahead.device[kept][np.sort(first)]
        for name in Ahead._fields[1:]:
            moved_up(getattr(self._ahead, name), devices, moved.size)
        self.remake()

    def flush(self) -> Batch:
        """All samples that wait, in order, because no more will come."""
        self._make_room(0)
        for s in range(len(self.table)):
            until = int(self._times.head_ns[s])
            release(s, until, until, self._times, self._pool, self.rules, self._out)
        return self._released()

    def _make_room(self, more: int) -> None:
        need = self.held + more
        if self._out.size < need:
            self._out = new_batch(2 * need)
        if self._late.series.size < more:
            self._late, self._notices = new_arrivals(2 * more), new_notices(2 * more)
        self._out.count[0] = self._notices.written[0] = self._late_size = 0
        used, size = len(self.table), self._times.seen.size
        if size < used:
            size = max(min(2 * size, self.table.rows_max), used)
            self._times = _grown(self._times, new_times(size))
            self._ahead = _grown(self._ahead, new_ahead(size))
        for row in range(self._known, used):
            self._ahead.device[row] = self.table.device(row)
        self._known = used

    def _released(self) -> Batch:
        n = int(self._out.count[0])
        self.fate[USED] += n
        return rows(self._out, 0, n)


_NONE_LATE: Final = Late(samples(*new_arrivals(0)[:3]), *new_arrivals(0)[3:])
_NO_NOTICES: Final = new_notices(0)


def _grown(old: _Kept, new: _Kept) -> _Kept:
    """`new`, with what stands in `old` at its beginning."""
    for name in old._fields:
        before = getattr(old, name)
        getattr(new, name)[: len(before)] = before
    return new
