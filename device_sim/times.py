"""Event times as text: RFC 3339, ISO 8601 and numbers since 1970, to whole nanoseconds."""

import re
from datetime import UTC, datetime
from typing import Final

SECOND: Final = 1_000_000_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FRACTION: Final = re.compile(r"[.,](\d+)")
_NUMBER: Final = re.compile(r"-?\d+(\.\d*)?")
_UNITS_NS: Final = {"s": SECOND, "ms": 1_000_000, "us": 1_000, "ns": 1}


def rfc3339(t_ns: int) -> str:
    """Nanoseconds since 1970 UTC → RFC 3339 in UTC, with as many digits as are needed."""
    seconds, fraction = divmod(t_ns, SECOND)
    whole = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    digits = f".{fraction:09d}".rstrip("0") if fraction else ""
    return f"{whole}{digits}Z"


def iso_ns(text: str) -> int:
    """RFC 3339 or ISO 8601 text → nanoseconds; without a zone it is UTC. Raises ValueError."""
    text = text.strip()
    fraction = _FRACTION.search(text)
    if fraction:
        text = text[: fraction.start()] + text[fraction.end() :]
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    past = moment - _EPOCH
    whole = (past.days * 86_400 + past.seconds) * SECOND + past.microseconds * 1_000
    return whole + (int(fraction[1][:9].ljust(9, "0")) if fraction else 0)


def column_ns(text: str, unit: str) -> int:
    """One cell of a time column → nanoseconds: a number is in `unit`, else ISO text.

    Raises ValueError for anything else.
    """
    if _NUMBER.fullmatch(text.strip()):
        whole, _, fraction = text.strip().partition(".")
        scale = _UNITS_NS[unit]
        part = round(float(f"0.{fraction}") * scale) if fraction else 0
        return int(whole) * scale + (-part if whole.startswith("-") else part)
    return iso_ns(text)
