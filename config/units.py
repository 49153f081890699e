"""Quantities as people write them: '30s', '1h30m', '5MiB', '1/30d', to whole numbers."""

import re
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

_NS: Final = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "min": 60_000_000_000,
    "h": 3_600_000_000_000,
    "d": 86_400_000_000_000,
    "w": 604_800_000_000_000,
}
_BYTES: Final = {
    "B": 1,
    "kB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "KiB": 1024,
    "MiB": 1024**2,
    "GiB": 1024**3,
}
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-zµ]+)")
_DURATION_PATTERN: Final = r"^(\d+(\.\d+)?\s*(ns|us|µs|ms|s|min|m|h|d|w)\s*)+$"
_BUDGET: Final = re.compile(r"(\d{1,9})\s*/\s*(.+)")
_NS_MAX: Final = 100 * 365 * _NS["d"]


def duration_ns(value: Any) -> int:
    """'1h30m' → nanoseconds. Raises ValueError naming what was expected."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(  # noqa: TRY004 - pydantic turns only ValueError into a problem
            f"expected a duration such as 30s, 5m or 1h30m, got {value!r}"
        )
    if value in {0, "0"}:
        return 0
    text = str(value).strip()
    if re.fullmatch(r"[\d.]+", text):
        raise ValueError(f"a duration needs a unit: did you mean {text}s or {text}ms?")
    total, end = 0.0, 0
    for part in _PART.finditer(text):
        if text[end : part.start()].strip() or part[2] not in _NS:
            break
        total, end = total + float(part[1]) * _NS[part[2]], part.end()
    if text[end:].strip() or end == 0:
        raise ValueError(f"expected a duration such as 30s, 5m or 1h30m, got {text!r}")
    if total > _NS_MAX:
        raise ValueError(f"longer than 100 years: {text!r}")
    return round(total)


def duration_text(ns: int) -> str:
    """Nanoseconds → the shortest exact text that `duration_ns` reads back."""
    if ns == 0:
        return "0s"
    for unit in ("w", "d", "h", "m", "s", "ms", "us", "ns"):
        if ns % _NS[unit] == 0:
            return f"{ns // _NS[unit]}{unit}"
    raise AssertionError(ns)


def size_bytes(value: Any) -> int:
    """'5MiB' → bytes. A bare whole number is bytes."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    part = _PART.fullmatch(str(value).strip())
    if part is None or part[2] not in _BYTES:
        raise ValueError(f"expected a size such as 256KiB or 32MiB, got {value!r}")
    return round(float(part[1]) * _BYTES[part[2]])


def budget_ns(value: Any) -> int:
    """'1/30d' → nanoseconds between two events. Raises ValueError naming what was expected."""
    part = _BUDGET.fullmatch(str(value).strip())
    if part is None:
        raise ValueError(f"expected a number per time such as 1/30d or 2/1w, got {value!r}")
    count, time = int(part[1]), duration_ns(part[2])
    if count == 0 or time == 0:
        raise ValueError(f"neither number nor time can be 0, got {value!r}")
    if time < count * _NS["s"]:
        raise ValueError(f"more often than once a second: {value!r}")
    return time // count


def budget_text(ns: int) -> str:
    """Nanoseconds → the shortest text that `budget_ns` reads back."""
    return f"1/{duration_text(ns)}"


Duration = Annotated[
    int,
    BeforeValidator(duration_ns),
    Field(ge=0),
    PlainSerializer(duration_text, return_type=str),
    WithJsonSchema({"type": "string", "pattern": _DURATION_PATTERN, "examples": ["30s", "5m"]}),
]
"""Nanoseconds, written with units."""

Size = Annotated[
    int,
    BeforeValidator(size_bytes),
    Field(ge=0),
    WithJsonSchema({"type": ["string", "integer"], "examples": ["256KiB", "32MiB"]}),
]
"""Bytes, written with or without a unit."""

Budget = Annotated[
    int,
    BeforeValidator(budget_ns),
    Field(ge=1),
    PlainSerializer(budget_text, return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^\d+\s*/", "examples": ["1/30d", "2/1w"]}),
]
"""So many per time, as the nanoseconds from one to the next; no more than one a second."""
