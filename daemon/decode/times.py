"""Times of day as devices write them, to nanoseconds since 1970 UTC."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

Unit = Literal["ns", "us", "ms", "s", "iso"]

SCALE: Final = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000, "iso": 1}
T_MAX_NS: Final = 7_258_118_400 * 1_000_000_000
"""Start of the year 2200: beyond it, a time is a fault and would overflow sums of times."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def time_ns(value: Any, unit: Unit) -> int | None:
    """Nanoseconds since 1970 UTC; None when the value is no time between 1970 and 2200."""
    if unit == "iso":
        return _iso_ns(value)
    scale = SCALE[unit]
    if type(value) is int:
        ns = value * scale
        return ns if 0 <= ns < T_MAX_NS else None
    if type(value) is float and 0 <= value < T_MAX_NS / scale:
        # Split first: the product of a large float would lose the digits below 256 ns.
        whole = int(value)
        return whole * scale + round((value - whole) * scale)
    return None


def _iso_ns(value: Any) -> int | None:
    """RFC 3339, to the microsecond. None without an offset: whose time would it be."""
    if type(value) is not str or len(value) > 40:
        return None
    try:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            return None
        ns = (moment - _EPOCH) // _MICROSECOND * 1000
    except (ValueError, OverflowError):
        return None
    return ns if 0 <= ns < T_MAX_NS else None
