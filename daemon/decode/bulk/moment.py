"""Moment: times as RFC 3339 writes them, read by a kernel."""

from typing import Final

from pipelines.batch import U1
from pipelines.jit import kernel

_DAY_S: Final = 86_400
_NO_OFFSET: Final = 1 << 30
_SHORTEST: Final = len("2023-11-14T22:13:20Z")
_LONGEST: Final = 40
_PLUS, _MINUS, _POINT, _COLON, _T, _Z = 43, 45, 46, 58, 84, 90


@kernel
def digits(text: U1, p: int, n: int) -> int:
    """The number that n digits at p make; -1 when one of them is no digit."""
    m = 0
    for k in range(p, p + n):
        if not 48 <= text[k] <= 57:
            return -1
        m = m * 10 + (int(text[k]) - 48)
    return m


@kernel
def days(year: int, month: int, day: int) -> int:
    """Days since 1970-01-01 of a date of the Gregorian calendar, 1970 to 2200; -1 for any other."""
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    length = 31
    if month in (4, 6, 9, 11):
        length = 30
    elif month == 2:
        length = 29 if leap else 28
    if not 1970 <= year <= 2200 or not 1 <= month <= 12 or not 1 <= day <= length:
        return -1
    # Years that begin in March have their leap day last, and months of a regular length.
    if month <= 2:
        year, month = year - 1, month + 12
    return (
        365 * year
        + year // 4
        - year // 100
        + year // 400
        + (153 * month - 457) // 5
        + day
        - 719_469
    )


@kernel
def offset_s(text: U1, p: int) -> int:
    """Seconds east of UTC that the six bytes at p say, like +01:00; `_NO_OFFSET` for none."""
    hours, minutes = digits(text, p + 1, 2), digits(text, p + 4, 2)
    if text[p + 3] != _COLON or not 0 <= hours <= 23 or not 0 <= minutes <= 59:
        return _NO_OFFSET
    if text[p] != _PLUS and text[p] != _MINUS:
        return _NO_OFFSET
    east_s = int(hours * 3600 + minutes * 60)
    return east_s if text[p] == _PLUS else -east_s


@kernel
def moment_ns(text: U1, p: int, end: int) -> int:
    """Nanoseconds since 1970 UTC of the time of day in the text of bytes [p, end).

    To the microsecond, as by `daemon.decode.times`. -1 for none, and when it is written in any
    other way than 2023-11-14T22:13:20.25Z, or with an offset like +01:00 instead of the Z.
    """
    if end - p < _SHORTEST or end - p > _LONGEST:
        return -1
    hour, minute, second = digits(text, p + 11, 2), digits(text, p + 14, 2), digits(text, p + 17, 2)
    day = days(digits(text, p, 4), digits(text, p + 5, 2), digits(text, p + 8, 2))
    if text[p + 4] != _MINUS or text[p + 7] != _MINUS or text[p + 10] != _T:
        return -1
    if text[p + 13] != _COLON or text[p + 16] != _COLON or day < 0:
        return -1
    if not 0 <= hour <= 23 or not 0 <= minute <= 59 or not 0 <= second <= 59:
        return -1
    p += 19
    us = 0
    if text[p] == _POINT:
        p += 1
        start = p
        while p < end and 48 <= text[p] <= 57:
            if p - start < 6:
                us = us * 10 + (int(text[p]) - 48)
            p += 1
        if p == start:
            return -1
        for _ in range(p - start, 6):
            us *= 10
    east_s = 0
    if end - p == 6:
        east_s = offset_s(text, p)
    elif end - p != 1 or text[p] != _Z:
        return -1
    if east_s == _NO_OFFSET:
        return -1
    s = day * _DAY_S + hour * 3600 + minute * 60 + second - east_s
    return int((s * 1_000_000 + us) * 1000)
