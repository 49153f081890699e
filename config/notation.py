"""Series notation: many samples in a few characters, in the spirit of promtool's.

80          one sample            80x60       sixty times 80
20+0.5x10   20, then ten steps of 0.5 up      20-1x5   the same, down
_           no sample             _x3         three times none
nan         a sample that arrives without a known value (nanx3: three)
(5 5.1)x30  what stands in the brackets, thirty times over
"""

import math
import re
from typing import Annotated, Any, Final

from pydantic import PlainValidator, WithJsonSchema

SAMPLES_MAX: Final = 1_000_000
"""Samples of one series, so that a slip such as x1000000000 is an error and not a full memory."""
DEPTH_MAX: Final = 8

_NUMBER: Final = r"(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_ITEM: Final = re.compile(
    rf"(?P<start>_|nan|[-+]?{_NUMBER})(?P<step>[-+]{_NUMBER})?(?:x(?P<count>\d+))?(?![^\s)])"
)
_CLOSE: Final = re.compile(r"\)(?:x(?P<count>\d+))?(?![^\s)])")

Sample = float | None
"""A value, NaN where a sample has no known value, None where there is no sample."""


def samples(text: str) -> tuple[Sample, ...]:
    """Read the notation. Raises ValueError that names the character, counted from 1."""
    groups: list[tuple[int, list[Sample]]] = [(0, [])]
    at = 0
    while at < len(text):
        found: re.Match[str] | None
        if text[at].isspace():
            at += 1
        elif text[at] == "(":
            if len(groups) > DEPTH_MAX:
                raise _wrong(text, at, f"brackets deeper than {DEPTH_MAX}")
            groups.append((at, []))
            at += 1
        elif text[at] == ")":
            found = _CLOSE.match(text, at)
            if found is None:
                raise _wrong(text, at, "expected ) or )x3")
            if len(groups) == 1:
                raise _wrong(text, at, "a ) without its (")
            inner = groups.pop()[1]
            groups[-1][1].extend(inner * _count(text, found, len(inner), len(groups[-1][1])))
            at = found.end()
        else:
            found = _ITEM.match(text, at)
            if found is None:
                raise _wrong(text, at, "expected a number, _ or nan, such as 80, 80x60, 20+0.5x10")
            _extend(groups[-1][1], text, found)
            at = found.end()
    if len(groups) > 1:
        raise _wrong(text, groups[-1][0], "a ( without its )")
    return tuple(groups[0][1])


def _extend(into: list[Sample], text: str, item: re.Match[str]) -> None:
    """Append the samples of one item."""
    start, step = item["start"], item["step"]
    if step is None:
        value = None if start == "_" else float(start)
        if value is not None and math.isinf(value):
            raise _wrong(text, item.start(), "too large a number")
        into.extend([value] * _count(text, item, 1, len(into)))
        return
    if start in ("_", "nan"):
        raise _wrong(text, item.start(), "only a number can rise or fall")
    if item["count"] is None:
        hint = f"how many steps? {item[0]}x10 is {start} and ten steps of {step}"
        raise _wrong(text, item.start(), hint)
    first, by = float(start), float(step)
    steps = _count(text, item, 1, len(into) + 1)
    if not math.isfinite(first + by * steps):
        raise _wrong(text, item.start(), "too large a number")
    into.extend(first + by * i for i in range(steps + 1))


def _count(text: str, item: re.Match[str], each: int, before: int) -> int:
    """How many times, 1 where nothing is said."""
    written = item["count"]
    if written is None:
        return 1
    count = int(written[:9])
    if count == 0:
        raise _wrong(text, item.start(), "x0 is nothing: a count is at least 1")
    if before + each * count > SAMPLES_MAX or len(written) > 9:
        raise _wrong(text, item.start(), f"more than {SAMPLES_MAX} samples")
    return count


def _wrong(text: str, at: int, what: str) -> ValueError:
    word = text[at:].split(maxsplit=1)[0][:40]
    return ValueError(f"character {at + 1}, {word!r}: {what}")


def _read(value: Any) -> tuple[Sample, ...]:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(  # noqa: TRY004 - pydantic turns only ValueError into a problem
            'expected samples such as "80x60 95x100"'
        )
    found = samples(str(value))
    if all(x is None for x in found):
        raise ValueError('no sample at all: expected samples such as "80x60 95x100"')
    return found


Samples = Annotated[
    tuple[Sample, ...],
    PlainValidator(_read),
    WithJsonSchema({"type": ["string", "number"], "examples": ["80x60 95x100", "20+0.5x10 _x3"]}),
]
"""Samples at equal distances, written in the notation."""
