"""Occurrence: one alert from its onset to its end, and what people ask for about it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, get_args

from config.model import Severity
from pipelines.events import Event, rfc3339
from pipelines.lifecycle import Given, Place
from pipelines.series import Labels

COMMENTS_MAX: Final = 8
SEVERITIES: Final[tuple[str, ...]] = get_args(Severity)


class Order(NamedTuple):
    """What somebody asked for, by the command topic."""

    given: Given
    at_ns: int  # when the command came
    by: str | None = None
    comment: str | None = None
    for_ns: int = 0

    def note(self) -> dict[str, Any]:
        """Who, when and why, for the record."""
        asked = {"by": self.by, "at": rfc3339(self.at_ns), "comment": self.comment}
        return {k: v for k, v in asked.items() if v is not None}


class Refused(Exception):  # noqa: N818 - it is an answer to somebody, not a fault
    """A command that cannot be obeyed; the text says why."""


@dataclass(slots=True)
class Occurrence:
    """An alert that is not normal, or whose series is shelved."""

    alert: str
    raised: Event
    event: Event
    """The newest event of the condition."""
    place: Place = field(default_factory=Place)
    acknowledged: dict[str, Any] | None = None
    comments: list[dict[str, Any]] = field(default_factory=list)
    shelved: dict[str, Any] | None = None
    escalated: bool = False
    silenced: bool = False
    """It was not told when it was raised, but is news when that is over."""
    first_out: bool | None = None
    due_ns: dict[Given, int] = field(default_factory=dict)
    decide_at: int = 0
    """Number of the first tick that may release it from being inhibited."""
    ids: list[str] = field(default_factory=list)

    def added(self) -> dict[str, Any]:
        """What the life cycle adds to the data of every event."""
        found = {
            "acknowledged": self.acknowledged,
            "comments": list(self.comments) or None,
            "shelved": self.shelved,
            "escalated": self.escalated or None,
            "first_out": self.first_out,
        }
        return {k: v for k, v in found.items() if v is not None}


def values_of(labels: Labels, names: Sequence[str]) -> tuple[str | None, ...]:
    """Values that these labels have for some names."""
    known = dict(labels)
    return tuple(known.get(name) for name in names)
