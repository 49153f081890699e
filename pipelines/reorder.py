"""Reorder: the time stage of one source, which keeps what `pipelines.admission` works on."""

from typing import Final, NamedTuple, TypeVar

import numpy as np

from pipelines.admission import admit, advance, release
from pipelines.batch import BAD, GOOD, I4, I8, Batch, Mask, new_batch, rows, samples
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
from pipelines.series import FULL, NEVER, Labels, SeriesTable, moved_up, without_channel

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
    REMADE = ("rules", "_devices", "_known", "_out", "_late", "_notices", "_late_size")

    def __init__(self, table: SeriesTable, rules: Rules, samples_max: int) -> None:
        self.table = table
        self.rules = rules
        self.fate: I8 = np.zeros(5, np.int64)
        """Samples since the start that were USED, LATE, DUPLICATE, FUTURE or FORCED on."""
        self._times = new_times(64)
        self._ahead = new_ahead(64)
        self._devices: dict[Labels, int] = {}
        self._known = 0
        self._pool = new_pool(samples_max)
        self._out = new_batch(ROOM)
        self._late, self._notices = new_arrivals(ROOM), new_notices(ROOM)
        self._late_size = 0

    def remake(self) -> None:
        """Follow from a state that was put in place: devices are numbered anew, as before."""
        self._devices, self._known = {}, 0

    @property
    def held(self) -> int:
        """Samples that wait for their turn."""
        return int(self._pool.held[0])

    @property
    def late(self) -> Late:
        """Samples of the last call that were older than one handed on before; views."""
        n, late = self._late_size, self._late
        batch = samples(late.series[:n], late.t_ns[:n], late.value[:n])
        return Late(batch, late.arrival_ns[:n], late.seq[:n])

    @property
    def notices(self) -> Notices:
        """Devices whose clock the last call saw run ahead, or be well again; views."""
        n = int(self._notices.written[0])
        return Notices._make(c[:n] for c in self._notices)

    def run(self, arrivals: Arrivals) -> Batch:
        """Samples whose turn has come; a view that holds until the next call."""
        self._make_room(arrivals.series.size)
        self._late_size = admit(
            arrivals,
            self._times,
            self._pool,
            self._ahead,
            self.rules,
            self._out,
            self._late,
            self._notices,
            self.fate,
        )
        return self._released()

    def tick(self, now_ns: int) -> Batch:
        """The same for time that passed without samples. `now_ns` is recorded, not read."""
        self._make_room(0)
        advance(now_ns, len(self.table), self._times, self._pool, self.rules, self._out)
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
            size = max(2 * size, used)
            self._times = _grown(self._times, new_times(size))
            self._ahead = _grown(self._ahead, new_ahead(size))
        for row in range(self._known, used):
            device = without_channel(self.table.labels(row))
            self._ahead.device[row] = self._devices.setdefault(device, len(self._devices))
        self._known = used

    def _released(self) -> Batch:
        n = int(self._out.count[0])
        used = len(self.table)
        self.table.clock_ns[:used] = self._times.clock_ns[:used]
        self.fate[USED] += n
        out = rows(self._out, 0, n)
        out.start_ns[:] = out.t_ns
        out.quality[:] = np.where(np.isfinite(out.value), GOOD, BAD)
        return out


def _grown(old: _Kept, new: _Kept) -> _Kept:
    """`new`, with what stands in `old` at its beginning."""
    for name in old._fields:
        before = getattr(old, name)
        getattr(new, name)[: len(before)] = before
    return new
