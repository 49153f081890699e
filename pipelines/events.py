"""Events: what a pipeline tells the world, as plain values with ids that a replay repeats."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final, Literal

from pipelines.series import Labels, series_key

ACTIVE: Final = "sensorweir.alert.active"
CLEARED: Final = "sensorweir.alert.cleared"
UPDATED: Final = "sensorweir.alert.updated"
WITHHELD: Final = "sensorweir.alert.withheld"
WINDOW: Final = "sensorweir.window"
SAMPLE: Final = "sensorweir.sample"
RETRACTED: Final = {
    ACTIVE: "sensorweir.alert.retracted",
    CLEARED: "sensorweir.alert.retracted",
    UPDATED: "sensorweir.alert.retracted",
    WINDOW: "sensorweir.window.retracted",
    SAMPLE: "sensorweir.sample.retracted",
}
"""By the type of what is taken back."""


@dataclass(frozen=True, slots=True)
class Event:
    """An immutable fact. Equal input gives equal events, whatever the batches and the clock."""

    id: str
    type: str
    pipeline: str
    labels: Labels
    time_ns: int
    data: Mapping[str, Any]
    causes: tuple[str, ...] = ()
    """Ids of events, or names of samples (`sample_name`), that this one was derived from."""
    revision: int = 1
    """Of equal ids the event with the highest revision holds."""
    correction: Literal["", "updated", "retracted"] = ""
    """How the event differs from its revision before, when late samples changed it."""
    standing: "Standing | None" = None
    """Of a correction: what the series' alert is now."""
    hops: int = 0
    """How many daemons, one after the other, derived events that led to this one; at most."""
    withheld: bool = False
    """Of an alert: there was no room for it, and only the retained state is told."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where the alert of a series stands after corrections; None: it is not active."""

    event: Event | None


def retracted(event: Event, revision: int) -> Event:
    """An event that takes another one back: same id, and what it said."""
    return replace(
        event,
        type=RETRACTED[event.type],
        revision=revision,
        correction="retracted",
        data={**event.data, "retracts": event.type},
    )


def event_id(
    gateway: str, pipeline: str, labels: Labels, kind: str, time_ns: int, n: int = 0
) -> str:
    """32 hex digits out of what the event is about; no wall clock, no counter.

    `n`: how many of the same series, kind and time came before it.
    """
    time = f"{time_ns}#{n}" if n else str(time_ns)
    text = "\0".join((gateway, pipeline, series_key(labels), kind, time))
    return blake2b(text.encode(), digest_size=16).hexdigest()


def sample_name(source: str, labels: Labels, time_ns: int) -> str:
    """How a sample that has no id of its own is named as a cause."""
    return f"{source}/{series_key(labels)}@{rfc3339(time_ns)}"


def rfc3339(time_ns: int) -> str:
    """Nanoseconds since 1970 → '2026-11-23T05:00:00.25Z', as many digits as needed."""
    seconds, ns = divmod(time_ns, 1_000_000_000)
    return f"{_second(seconds)}.{ns:09d}".rstrip("0").rstrip(".") + "Z"


@lru_cache(maxsize=4_096)
def _second(seconds: int) -> str:
    """Many events, and several times of each, are of few seconds."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def rfc3339_ns(text: str) -> int:
    """The way back, exact to the nanosecond. Raises ValueError for other texts."""
    whole, _, fraction = text.removesuffix("Z").partition(".")
    seconds = int(datetime.fromisoformat(f"{whole}+00:00").timestamp())
    return seconds * 1_000_000_000 + int(fraction.ljust(9, "0")[:9] or 0)
