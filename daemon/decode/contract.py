"""What a payload format declares, and what it hands on."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

import orjson
from pydantic import Field

from config.model import Limits, Source
from config.params import Options
from daemon.ledger import Reason

DEPTH_MAX: Final = 4

Path = Annotated[str, Field(pattern=r"^[^.]+(\.[^.]+){0,3}$", max_length=512)]
"""Dotted path to a field, at most `DEPTH_MAX` levels deep."""


class Absolute(int):
    """A time that is nanoseconds since 1970 UTC, whatever unit the source was given."""


class Since(int):
    """A time in nanoseconds from the arrival of the message on; mostly negative."""


Reading = tuple[Any, Any, Iterable[tuple[str, Any]]]
"""(time or None, counter or None, (channel, value) pairs), all as they stand in the payload."""
Decode = Callable[[bytes], Sequence[Reading | Reason]]
"""One payload → its readings; a reading that cannot be used is the reason why. Raises Rejected."""
Write = Callable[[Any, int, Mapping[str, float]], bytes]
"""(time as the source writes it, counter, {channel: value}) → a payload that decodes to just that;
NaN is a value that is not known. Raises ValueError for what the format cannot say."""


class RejectedError(ValueError):
    """The whole payload cannot be read. Caught by `SourceReader`, which counts the reason."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(str(reason))
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a source asks of the payload, whatever its format."""

    time: str | None
    seq: str | None
    channels: dict[str, str] | None
    """channel → path; None is every numeric field."""
    readings_max: int
    keys_max: int
    """Fields of one reading."""
    channel_bytes_max: int
    """Name of a channel."""

    @classmethod
    def of(cls, source: Source, limits: Limits) -> "Wanted":
        """Read it from the configuration."""
        channels = source.channels
        if channels is not None and not isinstance(channels, dict):
            channels = {name: name for name in channels}
        return cls(
            source.time.field if source.time else None,
            source.seq,
            channels,
            limits.readings_per_message_max,
            limits.keys_per_reading_max,
            limits.channel_bytes_max,
        )


@dataclass(frozen=True, slots=True)
class Decoder:
    """One payload format."""

    name: str
    summary: str
    options: type[Options]
    make: Callable[[Any, Wanted], Decode]
    """(validated options, what the source wants) → the function that decodes."""
    example: str
    writer: Callable[[Any, Wanted], Write] | None = None
    """The way back, by which tests of users make payloads; None when there is none."""


def why_not_json(payload: bytes, error: orjson.JSONDecodeError) -> Reason:
    """The reason for which orjson did not read a payload."""
    if "depth limit" in error.msg or "ecursion limit" in error.msg:  # of newer and older orjson
        return Reason.TOO_DEEP
    try:
        payload.decode()
    except UnicodeDecodeError:
        return Reason.BAD_UTF8
    return Reason.BAD_JSON
