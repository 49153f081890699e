"""senml: Sensor Measurement Lists in JSON, RFC 8428; base fields hold until they change."""

import math
from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple

import orjson
from pydantic import Field

from config.params import Options
from daemon.decode.contract import (
    Absolute,
    Decode,
    Decoder,
    Reading,
    RejectedError,
    Since,
    Wanted,
    why_not_json,
)
from daemon.ledger import Reason

VERSION: Final = 10
"""Of the format; packs that ask for more cannot be read."""
RELATIVE_BELOW_S: Final = 2**28
"""Times below this are seconds from now (RFC 8428, 4.5.3)."""
_NUMBERS: Final = ("bt", "bv", "bs", "bver", "t", "v", "s")
_KNOWN: Final = frozenset(("bn", "bu", "n", "u", "vs", "vb", "vd", "ut", *_NUMBERS))


class SenmlOptions(Options):
    """Options of `decode: senml`."""

    names: Literal["short", "full"] = Field(
        "short",
        description="short: channels are named by n alone, or by the unit where a record has no n; "
        "full: with the base name, for packs of several devices.",
    )


class _Base(NamedTuple):
    """Base fields as they hold for the records that follow."""

    name: str = ""
    time: float = 0.0
    unit: str = ""
    value: float = 0.0
    sum: float = 0.0


def make(options: SenmlOptions, wanted: Wanted) -> Decode:
    """A decoder that gives each record as a reading of one channel.

    Its time is absolute, or from the time of arrival on. The value is v, or 0 and 1 for vb, or
    the sum s of a record without a value; text and data are no numbers.
    """
    channels = None if wanted.channels is None else {v: k for k, v in wanted.channels.items()}
    full, timed = options.names == "full", wanted.time is not None

    def decode(payload: bytes) -> list[Reading | Reason]:
        try:
            records = orjson.loads(payload)
        except orjson.JSONDecodeError as error:
            raise RejectedError(why_not_json(payload, error)) from None
        if type(records) is not list or not records:
            raise RejectedError(Reason.BAD_SHAPE)
        if len(records) > wanted.readings_max:
            raise RejectedError(Reason.TOO_MANY_READINGS)
        found: list[Reading | Reason] = []
        base = _Base()
        for record in records:
            if type(record) is not dict or not _sound(record):
                found.append(Reason.BAD_SHAPE)
                continue
            if len(record) > wanted.keys_max:
                found.append(Reason.TOO_MANY_KEYS)
                continue
            base = _Base(
                record.get("bn", base.name),
                record.get("bt", base.time),
                record.get("bu", base.unit),
                record.get("bv", base.value),
                record.get("bs", base.sum),
            )
            if len(base.name) + len(record.get("n", "")) > wanted.channel_bytes_max:
                # Not even put together: a base name is named once and would be copied 1,000 times.
                found.append(Reason.KEY_TOO_LONG)
                continue
            name = _name(record, base, full=full)
            if not name:
                found.append(Reason.BAD_SHAPE)
                continue
            channel = name if channels is None else channels.get(name)
            value = _value(record, base)
            pairs: list[tuple[str, Any]] = []
            if channel is not None and (value is not None or channels is not None):
                pairs.append((channel, value))
            found.append((_time(record, base) if timed else None, None, pairs))
        return found

    return decode


def _sound(record: Mapping[str, Any]) -> bool:
    """Whether the fields are of their kinds and none must be understood that is not."""
    return (
        all(type(record.get(name, 0)) in (int, float) for name in _NUMBERS)
        and all(abs(record.get(name, 0)) < math.inf for name in _NUMBERS)
        and all(type(record.get(name, "")) is str for name in ("bn", "bu", "n", "u", "vs", "vd"))
        and type(record.get("vb", False)) is bool
        and record.get("bver", VERSION) <= VERSION
        and not any(name.endswith("_") for name in record if name not in _KNOWN)
    )


def _name(record: Mapping[str, Any], base: _Base, *, full: bool) -> str:
    """What the channel is called; empty when the record has no name at all."""
    name: str = record.get("n", "")
    if full or not base.name:
        return base.name + name
    return name or record.get("u", base.unit) or base.name


def _value(record: Mapping[str, Any], base: _Base) -> float | None:
    if "v" in record or (base.value and not {"vs", "vb", "vd", "s"} & record.keys()):
        return float(record.get("v", 0) + base.value)
    if "vb" in record:
        return float(record["vb"])
    if "vs" in record or "vd" in record or "s" not in record:
        return None
    return float(record["s"] + base.sum)


def _time(record: Mapping[str, Any], base: _Base) -> Absolute | Since:
    """The sum of bt and t, to the nanosecond where both say so."""
    parts = (base.time, record.get("t", 0))
    ns = sum(int(x) * 1_000_000_000 + round((x - int(x)) * 1e9) for x in parts)
    return Since(ns) if sum(parts) < RELATIVE_BELOW_S else Absolute(ns)


DECODER = Decoder(
    name="senml",
    summary="Sensor Measurement Lists in JSON (RFC 8428), with base fields.",
    options=SenmlOptions,
    make=make,
    example="decode: {senml: {names: short}}",
)
