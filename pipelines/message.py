"""Message: the line of text that tells people what an alert event says."""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final

from config.errors import printable

YES: Final = 0.5
"""Above it is yes: the condition of detectors that give out 1 or 0."""
PLAIN: Final = "{pipeline} {state}: {value} ({limit}), {labels}"
SCORED: Final = "{pipeline} {state}: {detail}, {labels}"


def message(template: str | None, data: Mapping[str, Any]) -> str:
    """What `data` of an event says, in the words of a template; None: in our own."""
    text = template or PLAIN
    if template is None and _yes_or_no(data["limit"]) and _detail(data):
        text = SCORED
    return "".join([made(data) for made in _compiled(text)])


@lru_cache(maxsize=1_024)
def _compiled(text: str) -> tuple[Callable[[Mapping[str, Any]], str], ...]:
    """What to put one after the other: a text between words, and each word."""
    parts = re.split(r"\{(\w+)\}", text)
    return tuple(_word(part) if i % 2 else _text(part) for i, part in enumerate(parts))


def _text(text: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda _: text


def _word(name: str) -> Callable[[Mapping[str, Any]], str]:
    """A number of the event, or the value of the label that is called so."""
    if name == "detail":
        return _detail
    other = _WORDS.get(name, _text(f"{{{name}}}"))

    def word(data: Mapping[str, Any]) -> str:
        label = data["labels"].get(name)
        return other(data) if label is None else printable(label)

    return word


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.6g}"


def _limit(data: Mapping[str, Any]) -> str:
    limit = data["limit"]
    return " / ".join([f"{side} {limit[side]:g}" for side in ("above", "below") if side in limit])


def _labels(data: Mapping[str, Any]) -> str:
    return ", ".join([f"{name}={printable(value)}" for name, value in data["labels"].items()])


def _detail(data: Mapping[str, Any]) -> str:
    known = data.get("detail", {}).items()
    return ", ".join([f"{name} {value:.6g}" for name, value in known if value is not None])


def _yes_or_no(limit: Mapping[str, Any]) -> bool:
    """Whether the last step says 1 or 0, so that its other numbers say more."""
    return limit.get("above") == YES and str(limit.get("from")).startswith("default of")


_WORDS: Final[Mapping[str, Callable[[Mapping[str, Any]], str]]] = {
    "pipeline": lambda data: str(data["pipeline"]),
    "severity": lambda data: str(data["severity"]),
    "state": lambda data: str(data["state"]),
    "level": lambda data: str(data.get("level", "")),
    "value": lambda data: _number(data["value"]),
    "worst": lambda data: _number(data["worst"]),
    "limit": _limit,
    "labels": _labels,
}
