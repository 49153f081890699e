"""Local time for kernels: how far the clocks of a time zone are ahead of UTC, as tables."""

from bisect import bisect_right
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import cache
from itertools import pairwise
from typing import Annotated, Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
from pydantic import AfterValidator

from config.model import SECOND
from pipelines.batch import I8
from pipelines.jit import kernel

HOUR: Final = 3600 * SECOND
DAY: Final = 24 * HOUR
ZONE_ROWS: Final = ("zone_at", "zone_ahead")
"""Names of the arrays that `tables` returns, for an operator's EXTRA_ROWS."""

_FOREVER: Final = np.iinfo(np.int64).max
_YEAR_FIRST, _YEAR_LAST = 1970, 2262  # all that 64 bits of nanoseconds since 1970 can say
_YEAR_OF_RULES: Final = 2040
"""From here on zones change by yearly rules or known dates, all more than ten days apart."""


def zone(name: str) -> tzinfo:
    """The time zone of an IANA name. Raises ValueError where there is none."""
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            f"unknown time zone {name!r}; expected a name such as Europe/Berlin or UTC, and tzdata "
            "on this machine"
        ) from None


def _known(name: str) -> str:
    zone(name)
    return name


Zone = Annotated[str, AfterValidator(_known)]
"""IANA name of a time zone; 'UTC' needs no database."""


@cache
def changes(name: str) -> tuple[list[int], list[int]]:
    """Seconds since 1970 UTC at which local clocks change, and from then on are ahead by so many.

    From 1970 to 2262; the first entry is the beginning of 1970.
    """
    where = zone(name)
    at: list[int] = []
    ahead: list[int] = []
    known: timedelta | None = None
    before = now = datetime(_YEAR_FIRST, 1, 1, tzinfo=UTC)
    while now.year < _YEAR_LAST and (where is not UTC or not at):
        offset = now.astimezone(where).utcoffset() or timedelta()
        if offset != known:
            low, high = before, now
            while high - low > timedelta(seconds=1):
                middle = low + (high - low) // 2
                middle = middle.replace(microsecond=0)
                if middle.astimezone(where).utcoffset() == known:
                    low = middle
                else:
                    high = middle
            at.append(round(high.timestamp()))
            ahead.append(round((high.astimezone(where).utcoffset() or timedelta()).total_seconds()))
            known, now = high.astimezone(where).utcoffset(), high
        before = now
        now += timedelta(days=1 if now.year < _YEAR_OF_RULES else 10)
    return at, ahead


def _as_sundays(name: str, holidays: Sequence[date]) -> tuple[list[int], list[int]]:
    """`changes` of clocks that show the coming Sunday on holidays."""
    at, ahead = changes(name)
    where, days = zone(name), timedelta(days=1)
    shift: dict[int, int] = {}
    for day in sorted(set(holidays)):
        midnights = [datetime(d.year, d.month, d.day, tzinfo=where) for d in (day, day + days)]
        begin, end = (round(m.timestamp()) for m in midnights)
        shift[begin], shift[end] = (6 - day.weekday()) * 86_400, shift.get(end, 0)
    edges = sorted(shift)
    points = sorted({*at, *edges})
    moved = []
    for point in points:
        k = bisect_right(edges, point)
        moved.append(ahead[max(0, bisect_right(at, point) - 1)] + (shift[edges[k - 1]] if k else 0))
    return points, moved


def setback(name: str, holidays: Sequence[date] = ()) -> int:
    """How far local time goes back at most, at once, in ns."""
    _, ahead = _as_sundays(name, holidays) if holidays else changes(name)
    return max(0, *(a - b for a, b in pairwise((*ahead, ahead[-1])))) * SECOND


def tables(zones: Sequence[str], holidays: Sequence[Sequence[date]] | None = None) -> dict[str, I8]:
    """zone_at, zone_ahead (R, n) in ns, for the `ZONE_ROWS` of R sets of parameters.

    `zone_ahead[r, k]` holds from `zone_at[r, k]` on, the first since ever. On `holidays` of a set
    local time is that of the Sunday at the end of their week.
    """
    free = holidays or [()] * len(zones)
    made = [_as_sundays(z, h) if h else changes(z) for z, h in zip(zones, free, strict=True)]
    shape = (len(made), max(len(at) for at, _ in made))
    zone_at, zone_ahead = np.full(shape, _FOREVER, np.int64), np.zeros(shape, np.int64)
    for r, (at, ahead) in enumerate(made):
        zone_at[r, : len(at)] = np.array(at, np.int64) * SECOND
        zone_ahead[r, : len(at)] = np.array(ahead, np.int64) * SECOND
    zone_at[:, 0] = np.iinfo(np.int64).min
    return {"zone_at": zone_at, "zone_ahead": zone_ahead}


@kernel
def entry(t: int, p: int, zone_at: Any) -> int:
    """Which entry of the tables of set `p` holds at `t`."""
    low, high = 0, zone_at.shape[1]
    while high - low > 1:
        middle = (low + high) >> 1
        if zone_at[p, middle] <= t:
            low = middle
        else:
            high = middle
    return low


@kernel
def local(t: int, p: int, zone_at: Any, zone_ahead: Any) -> int:
    """What local clocks show at `t`, as nanoseconds since they showed the beginning of 1970."""
    return int(t + zone_ahead[p, entry(t, p, zone_at)])


@kernel
def reached(shown: int, p: int, zone_at: Any, zone_ahead: Any) -> int:
    """When local clocks first show `shown`, or more where they leave that out."""
    k, n = max(0, entry(shown - 2 * DAY, p, zone_at)), zone_at.shape[1]
    t = int(max(zone_at[p, k], shown - zone_ahead[p, k]))
    while k + 1 < n and t >= zone_at[p, k + 1]:
        k += 1
        t = int(max(zone_at[p, k], shown - zone_ahead[p, k]))
    return t


@kernel
def span_of(t: int, size: int, p: int, zone_at: Any, zone_ahead: Any) -> tuple[int, int, int]:
    """Which part of `size` of local time `t` is in, and from when to when (UTC) that part lasts.

    A part that clocks go back to, when they are set back, lasts so much longer.
    """
    k, n = entry(t, p, zone_at), zone_at.shape[1]
    number = (t + zone_ahead[p, k]) // size
    begin, since = k, number * size
    while since - zone_ahead[p, begin] <= zone_at[p, begin]:
        if begin == 0 or (zone_at[p, begin] - 1 + zone_ahead[p, begin - 1]) // size != number:
            break
        begin -= 1
    start = max(zone_at[p, begin], since - zone_ahead[p, begin])
    last, until = k, since + size
    while last + 1 < n and until - zone_ahead[p, last] >= zone_at[p, last + 1]:
        if (zone_at[p, last + 1] + zone_ahead[p, last + 1]) // size != number:
            break
        last += 1
    end = until - zone_ahead[p, last]
    if last + 1 < n:
        end = min(end, zone_at[p, last + 1])
    return number, start, end
