"""Samples and windows on their way through the engine: one array per field."""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.jit import inlined, kernel

I4 = NDArray[np.int32]
I8 = NDArray[np.int64]
F8 = NDArray[np.float64]
U1 = NDArray[np.uint8]
Mask = NDArray[np.bool_]

GOOD: Final = 0
UNCERTAIN: Final = 1
BAD: Final = 2


class Batch(NamedTuple):
    """Rows in the order of their processing, both what a step reads and what it writes.

    A value that is not known is NaN with quality `BAD`: it goes through every step as such a
    row, changes no state, and neither raises nor clears an alert.  Columns are contiguous: kernels
    are called without a look at that.
    """

    series: I4  # (n,) row of the series table
    t_ns: I8  # (n,) event time, nanoseconds since 1970 UTC; of a window: its end
    start_ns: I8  # (n,) start of the window; equal to t_ns for a sample
    value: F8  # (n,) in the unit of the series
    quality: U1  # (n,) GOOD, UNCERTAIN, BAD
    fields: F8  # (n, k) further numbers of the row, named by the operator's `fields`
    count: I8  # type: ignore[assignment] # (1,) rows written so far; nobody needs tuple.count

    @property
    def size(self) -> int:
        """Rows in this batch."""
        return self.series.size


class GroupedBatch(NamedTuple):
    """A `Batch` whose series are groups: each row also says which member it came from."""

    series: I4  # (n,) row of the group
    t_ns: I8
    start_ns: I8
    value: F8
    quality: U1
    fields: F8
    count: I8  # type: ignore[assignment]
    member: I4  # (n,) row of the series that the sample belongs to
    slot: I4  # (n,) what the operator's `regroup` returned for that series


def new_batch(capacity: int, width: int = 0) -> Batch:
    """Room for `capacity` rows with `width` further numbers each; nothing written yet."""
    return Batch(
        series=np.zeros(capacity, np.int32),
        t_ns=np.zeros(capacity, np.int64),
        start_ns=np.zeros(capacity, np.int64),
        value=np.zeros(capacity, np.float64),
        quality=np.zeros(capacity, np.uint8),
        fields=np.zeros((capacity, width), np.float64),
        count=np.zeros(1, np.int64),
    )


def roomy(batch: Batch, capacity: int) -> Batch:
    """A batch with room for `capacity` rows in all, in which those written so far stand."""
    if capacity <= batch.size:
        return batch
    made, n = new_batch(max(capacity, 2 * batch.size), batch.fields.shape[1]), int(batch.count[0])
    made.count[0] = n
    for name in ("series", "t_ns", "start_ns", "value", "quality", "fields"):
        getattr(made, name)[:n] = getattr(batch, name)[:n]
    return made


def rows(batch: Batch, first: int, last: int) -> Batch:
    """The rows [first, last) as views."""
    some = slice(first, last)
    series, t_ns, start_ns, value, quality, fields, count = batch
    return Batch(
        series[some], t_ns[some], start_ns[some], value[some], quality[some], fields[some], count
    )


def take(batch: Batch, index: NDArray[np.int64] | NDArray[np.bool_]) -> Batch:
    """The rows that `index` (positions or a mask) picks, copied."""
    return Batch(
        series=batch.series[index],
        t_ns=batch.t_ns[index],
        start_ns=batch.start_ns[index],
        value=batch.value[index],
        quality=batch.quality[index],
        fields=batch.fields[index],
        count=batch.count,
    )


def copied(batch: Batch) -> Batch:
    """The same rows in arrays of their own."""
    return Batch._make(column.copy() for column in batch)


def joined(batches: list[Batch]) -> Batch:
    """All rows of some batches of equal width, in order; nothing of none."""
    if not batches:
        return new_batch(0)
    width = max(b.fields.shape[1] for b in batches)
    some = [b for b in batches if b.size] or [new_batch(0, width)]
    return Batch._make(np.concatenate(columns) for columns in zip(*some, strict=True))


def samples(series: I4, t_ns: I8, value: F8, quality: U1 | None = None) -> Batch:
    """A batch of plain samples; values that are not finite get quality `BAD`."""
    if quality is None:
        quality = np.where(np.isfinite(value), GOOD, BAD).astype(np.uint8)
    n = series.size
    return Batch(
        series, t_ns, t_ns, value, quality, np.zeros((n, 0), np.float64), np.zeros(1, np.int64)
    )


@inlined
def handed_on(batch: Batch, first: int, last: int, out: Batch, n: int) -> None:
    """Copy whose the rows [first, last) are, and of when, to `out` from its row `n` on.

    A column at a time: several rows at once, and no store waits for a load of another column.
    """
    for i in range(first, last):
        out.series[n + i - first] = batch.series[i]
    for i in range(first, last):
        out.t_ns[n + i - first] = batch.t_ns[i]
    for i in range(first, last):
        out.start_ns[n + i - first] = batch.start_ns[i]


@kernel
def clocks(clock_ns: I8, out: Batch) -> GroupedBatch:
    """A batch whose times are clocks, for a kernel that steps and ticks in one loop.

    Its other columns have the types of a batch and no meaning.
    """
    return GroupedBatch(
        out.series,
        clock_ns,
        clock_ns,
        out.value,
        out.quality,
        out.fields,
        out.count,
        out.series,
        out.series,
    )
