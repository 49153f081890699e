"""Order: what the time stage of a source keeps, as arrays; `pipelines.admission` works on it."""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.batch import F8, I4, I8, U1
from pipelines.series import NEVER

U8 = NDArray[np.uint64]

NONE: Final = -1
TWICE: Final = -2
USED, LATE, DUPLICATE, FUTURE, FORCED = range(5)
IDLE_GAPS: Final = 5
IDLE_FIRST_NS: Final = 10_000_000_000
IDLE_MIN_NS: Final = 1_000_000_000
RECENT: Final = 32
"""Samples per series, handed on and as many late ones, among which one that comes again is recognised: what is
sent again was in flight, and a device has few messages in flight."""
CALM_NS: Final = 60_000_000_000
"""A device whose clock ran ahead is well again with the first plausible sample this long after
its last future one: a device that goes to and fro is told of twice a minute at most."""


class Arrivals(NamedTuple):
    """Decoded samples in the order of their arrival.

    Columns are contiguous: kernels are called without a look at that.
    """

    series: I4  # (n,) row of the source's series table
    t_ns: I8  # (n,) event time
    value: F8  # (n,) NaN where the device sent none
    arrival_ns: I8  # (n,) when our socket had the message
    seq: I8  # (n,) the device's counter, -1 where it sent none


class Times(NamedTuple):
    """(S,) what is known of each series' time."""

    head_ns: I8  # greatest event time accepted
    released_ns: I8  # event time of the last sample handed on
    arrival_ns: I8  # arrival of the newest sample
    gap_ns: F8  # usual distance of samples, exponentially smoothed
    seen: I8  # samples accepted
    first: I4  # waiting sample with the smallest time, NONE
    last: I4  # with the greatest
    oldest: I4  # that arrived first
    newest: I4  # that arrived last
    clock_ns: I8  # complete up to here
    past: U8  # (S, RECENT) marks of the last samples that were handed on, see `admission.mark`
    passed: I8  # how many there were
    past_late: U8  # (S, RECENT) of those that came too late, which shall not drive out the others
    passed_late: I8


class Pool(NamedTuple):
    """(P,) waiting samples of all series: per series one list by time and one by arrival."""

    t_ns: I8
    value: F8
    arrival_ns: I8
    seq: I8
    after: I4  # next by time, or next free place
    before: I4  # previous by time
    younger: I4  # next by arrival
    older: I4  # previous by arrival
    free: I4  # (1,) first free place, NONE when full
    held: I8  # (1,) samples waiting


class Ahead(NamedTuple):
    """Devices whose clock runs ahead: (S,) the device of each series, then (D,) by device."""

    device: I4
    future: I8  # future samples since it began, 0 while all is well
    most_ns: I8  # how far ahead of its arrival the worst of them was
    since_ns: I8  # arrival of the first
    last_ns: I8  # arrival of the last


class Notices(NamedTuple):
    """(n,) devices whose clock began to run ahead, or is well again, in order of arrival."""

    series: I4  # one of the device's series
    ended: U1
    arrival_ns: I8  # of the sample that showed it
    ahead_ns: I8
    future: I8  # samples that were
    since_ns: I8
    written: I8  # (1,) rows so far


class Rules(NamedTuple):
    """How long to wait, in nanoseconds; idle_ns < 0 is learned from the series' own gaps."""

    lateness_ns: int
    future_ns: int
    idle_ns: int
    timed: bool = True
    """False: event time is time of arrival, so a sample sent again has another one."""


def new_times(size: int) -> Times:
    """Nothing known of `size` series."""
    return Times(
        head_ns=np.full(size, NEVER, np.int64),
        released_ns=np.full(size, NEVER, np.int64),
        arrival_ns=np.zeros(size, np.int64),
        gap_ns=np.zeros(size, np.float64),
        seen=np.zeros(size, np.int64),
        first=np.full(size, NONE, np.int32),
        last=np.full(size, NONE, np.int32),
        oldest=np.full(size, NONE, np.int32),
        newest=np.full(size, NONE, np.int32),
        clock_ns=np.full(size, NEVER, np.int64),
        past=np.zeros((size, RECENT), np.uint64),
        passed=np.zeros(size, np.int64),
        past_late=np.zeros((size, RECENT), np.uint64),
        passed_late=np.zeros(size, np.int64),
    )


def new_pool(size: int) -> Pool:
    """Room for `size` waiting samples, all of it free."""
    after = np.arange(1, size + 1, dtype=np.int32)
    after[-1] = NONE
    return Pool(
        t_ns=np.zeros(size, np.int64),
        value=np.zeros(size, np.float64),
        arrival_ns=np.zeros(size, np.int64),
        seq=np.zeros(size, np.int64),
        after=after,
        before=np.zeros(size, np.int32),
        younger=np.zeros(size, np.int32),
        older=np.zeros(size, np.int32),
        free=np.zeros(1, np.int32),
        held=np.zeros(1, np.int64),
    )


def new_ahead(size: int) -> Ahead:
    """No clock of `size` devices runs ahead."""
    device = np.zeros(size, np.int32)
    return Ahead(device, *(np.zeros(size, np.int64) for _ in Ahead._fields[1:]))


def new_arrivals(size: int) -> Arrivals:
    """Room for `size` samples."""
    numbers = [np.zeros(size, np.int64) for _ in range(3)]
    return Arrivals(np.zeros(size, np.int32), numbers[0], np.zeros(size), *numbers[1:])


def new_notices(size: int) -> Notices:
    """Room for `size` notices."""
    return Notices(
        series=np.zeros(size, np.int32),
        ended=np.zeros(size, np.uint8),
        arrival_ns=np.zeros(size, np.int64),
        ahead_ns=np.zeros(size, np.int64),
        future=np.zeros(size, np.int64),
        since_ns=np.zeros(size, np.int64),
        written=np.zeros(1, np.int64),
    )
