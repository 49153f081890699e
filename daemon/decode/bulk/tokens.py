"""Tokens: values of JSON (RFC 8259) as a kernel reads them, or the word that it is not sure.

`text` ends with `PADDING` NULs. JSON allows none anywhere, and nothing here
goes past a byte that it has not recognised: so nothing needs to look where a payload ends.
"""

from typing import Final

import numpy as np

from pipelines.batch import F8, U1
from pipelines.jit import kernel
from pipelines.primitives import word

UNSURE, WORD, TEXT, DECIMAL, WHOLE = range(5)
"""Kinds of values: not for us; true, false and null; text; numbers with a point or an exponent;
numbers without."""

EXACT: Final = 2**53
"""Up to here floats hold every whole number. With a power of ten up to 1e22, which floats hold,
too, one multiplication or division rounds once, so right (Clinger 1990): the fast path of all who
read numbers, and the only one that is taken here."""
EXPONENT_MAX: Final = 22
_POWERS: Final[F8] = np.array([10.0**e for e in range(EXPONENT_MAX + 1)])
_ROOM: Final = (2**63 - 10) // 10
"""A number up to this one has room for one more digit."""
_ROOM_FOR_EIGHT: Final = 10**10
"""A number up to this one has room for eight more."""
_ZEROS: Final = np.uint64(0x3030303030303030)
_SIXES: Final = np.uint64(0x0606060606060606)
_UPPER: Final = np.uint64(0xF0F0F0F0F0F0F0F0)
_LOWER_HALVES: Final = np.uint64(0x0F0F0F0F0F0F0F0F)
_PAIRS: Final = np.uint64(0x00FF00FF00FF00FF)
_FOURS: Final = np.uint64(0x0000FFFF0000FFFF)
_DIGITS_MAX: Final = 1000
"""Exponents do not count on from here; zeros without end would make them overflow."""

QUOTE, COMMA, COLON, OPEN, CLOSE = 34, 44, 58, 123, 125
_MINUS, _PLUS, _POINT, _ZERO, _NINE, _BACKSLASH, _LOWER, _E = 45, 43, 46, 48, 57, 92, 32, 101


@kernel
def after_space(text: U1, p: int) -> int:
    """Where white space that begins at p ends."""
    while text[p] == 32 or text[p] == 10 or text[p] == 13 or text[p] == 9:
        p += 1
    return p


@kernel
def eight_digits(w: np.uint64) -> bool:
    """Whether all of these bytes are digits, 48 to 57."""
    return bool(w & _UPPER == _ZEROS and (w + _SIXES) & _UPPER == _ZEROS)


@kernel
def eight(w: np.uint64) -> np.int64:
    """The number that these digits write, the first one in the lowest byte.

    Neighbours are put together, then pairs, then both halves (Lemire 2018, "Quickly parsing eight
    digits").
    """
    w = (w & _LOWER_HALVES) * np.uint64(2561) >> np.uint64(8)
    w = (w & _PAIRS) * np.uint64(6553601) >> np.uint64(16)
    return np.int64((w & _FOURS) * np.uint64(42949672960001) >> np.uint64(32))


@kernel
def number(text: U1, p: int) -> tuple[int, int, int, float]:
    """(kind, end, value of a whole number, value) of the number at p."""
    negative = text[p] == _MINUS
    if negative:
        p += 1
    start, m, e = p, 0, 0
    w = word(text, p)
    while m <= _ROOM_FOR_EIGHT and eight_digits(w):
        m, p = m * 100_000_000 + eight(w), p + 8
        w = word(text, p)
    while _ZERO <= text[p] <= _NINE:
        if m > _ROOM:
            return UNSURE, p, 0, 0.0
        m = m * 10 + (int(text[p]) - _ZERO)
        p += 1
    if p == start or (text[start] == _ZERO and p > start + 1):
        return UNSURE, p, 0, 0.0
    if text[p] != _POINT and text[p] | _LOWER != _E:
        if negative and m == 0:  # whether -0 is a whole number is up to who reads it
            return UNSURE, p, 0, 0.0
        m = -m if negative else m
        return WHOLE, p, m, float(m)
    if text[p] == _POINT:
        p += 1
        start = p
        while _ZERO <= text[p] <= _NINE:
            if m > _ROOM:
                return UNSURE, p, 0, 0.0
            m = m * 10 + (int(text[p]) - _ZERO)
            p += 1
        if p == start:
            return UNSURE, p, 0, 0.0
        e = start - p
    if text[p] | _LOWER == _E:
        p += 1
        down = text[p] == _MINUS
        if down or text[p] == _PLUS:
            p += 1
        start, digits = p, 0
        while _ZERO <= text[p] <= _NINE:
            digits = min(digits * 10 + (int(text[p]) - _ZERO), _DIGITS_MAX)
            p += 1
        if p == start:
            return UNSURE, p, 0, 0.0
        e += -digits if down else digits
    if m > EXACT or e > EXPONENT_MAX or e < -EXPONENT_MAX:
        return UNSURE, p, 0, 0.0
    x = m / _POWERS[-e] if e < 0 else m * _POWERS[e]
    return DECIMAL, p, 0, -x if negative else x


@kernel
def after_rune(text: U1, p: int) -> int:
    """Where the UTF-8 sequence at p ends, which is not ASCII; -1 when it is none (RFC 3629)."""
    b, c = text[p], text[p + 1]
    low, high = 0x80, 0xBF
    if 0xC2 <= b <= 0xDF:
        more = 1
    elif 0xE0 <= b <= 0xEF:
        more = 2
        if b == 0xE0:  # shorter ones for the same character are wrong
            low = 0xA0
        elif b == 0xED:  # so are halves of characters
            high = 0x9F
    elif 0xF0 <= b <= 0xF4:
        more = 3
        if b == 0xF0:
            low = 0x90
        elif b == 0xF4:  # the last character there is
            high = 0x8F
    else:
        return -1
    if not low <= c <= high:
        return -1
    for k in range(2, more + 1):
        if text[p + k] & 0xC0 != 0x80:
            return -1
    return p + more + 1


@kernel
def after_text(text: U1, p: int) -> int:
    """Where the text ends whose first byte is at p; -1 when it holds an escape or is wrong."""
    while text[p] != QUOTE:
        if text[p] < 32 or text[p] == _BACKSLASH:
            return -1
        if text[p] < 128:
            p += 1
        else:
            p = after_rune(text, p)
            if p < 0:
                return -1
    return p + 1


@kernel
def after_word(text: U1, p: int) -> int:
    """Where true, false or null at p ends; -1 when it is none of them."""
    if text[p] == 116:
        found = text[p + 1] == 114 and text[p + 2] == 117 and text[p + 3] == 101
        return p + 4 if found else -1
    if text[p] == 110:
        found = text[p + 1] == 117 and text[p + 2] == 108 and text[p + 3] == 108
        return p + 4 if found else -1
    if text[p] == 102 and text[p + 1] == 97 and text[p + 2] == 108:
        return p + 5 if text[p + 3] == 115 and text[p + 4] == 101 else -1
    return -1


@kernel
def value(text: U1, p: int) -> tuple[int, int, int, float]:
    """(kind, end, value of a whole number, value of a number) of what begins at p."""
    if text[p] == QUOTE:
        end = after_text(text, p + 1)
        return (TEXT if end >= 0 else UNSURE), end, 0, np.nan
    if text[p] == _MINUS or _ZERO <= text[p] <= _NINE:
        kind, end, whole, x = number(text, p)
        return kind, end, whole, x
    end = after_word(text, p)
    return (WORD if end >= 0 else UNSURE), end, 0, np.nan
