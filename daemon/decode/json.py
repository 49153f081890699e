"""json: an object, an array of objects, or an object that holds them, in any nesting."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import orjson
from pydantic import Field, model_validator

from config.params import Options
from daemon.decode.contract import (
    Decode,
    Decoder,
    Path,
    Reading,
    RejectedError,
    Wanted,
    Write,
    why_not_json,
)
from daemon.ledger import Reason

_MISSING: Final = object()
_Pick = Callable[[dict[str, Any]], Iterable[tuple[str, Any]] | None]


class JsonOptions(Options):
    """Options of `decode: json`."""

    each: Path | None = Field(
        None, description="Path of a list of readings; what they lack is taken from around it."
    )
    values: Path | None = Field(
        None, description="Path of the object that holds the channels; default: the reading."
    )
    name: Path | None = Field(
        None, description='Field with the channel\'s name, for readings like {"n": .., "v": ..}.'
    )
    value: Path | None = Field(None, description="Field with the value; goes with `name`.")

    @model_validator(mode="after")
    def _pair(self) -> "JsonOptions":
        if (self.name is None) != (self.value is None):
            raise ValueError("name and value go together: {name: n, value: v}")
        if self.name is not None and self.values is not None:
            raise ValueError("give either values, or name and value")
        return self


def make(options: JsonOptions, wanted: Wanted) -> Decode:
    """A decoder for payloads of this shape."""
    pick = _pick(options, wanted)
    time, seq, keys_max = wanted.time, wanted.seq, wanted.keys_max

    def read(item: Any, around: Any) -> Reading | Reason:
        if type(item) is not dict:
            return Reason.BAD_SHAPE
        if len(item) > keys_max:
            return Reason.TOO_MANY_KEYS
        values = pick(item)
        if values is None:
            return Reason.NO_VALUES
        return (
            None if time is None else _either(item, around, time),
            None if seq is None else _either(item, around, seq),
            values,
        )

    def decode(payload: bytes) -> list[Reading | Reason]:
        try:
            data = orjson.loads(payload)
        except orjson.JSONDecodeError as error:
            raise RejectedError(why_not_json(payload, error)) from None
        if type(data) is dict and options.each is None:
            return [read(data, None)]
        items = data if options.each is None else get(data, options.each)
        if type(items) is not list:
            raise RejectedError(Reason.BAD_SHAPE)
        if len(items) > wanted.readings_max:
            raise RejectedError(Reason.TOO_MANY_READINGS)
        around = data if options.each is not None else None
        return [read(item, around) for item in items]

    return decode


def get(data: Any, path: str) -> Any:
    """The field at a dotted path, None where there is none; a key with dots in it comes first."""
    if type(data) is not dict:
        return None
    found = data.get(path, _MISSING)
    if found is not _MISSING:
        return found
    for part in path.split("."):
        if type(data) is not dict:
            return None
        data = data.get(part)
    return data


def _either(item: Any, around: Any, path: str) -> Any:
    found = item.get(path)
    if found is None:
        found = get(item, path)
        if found is None and around is not None:
            found = get(around, path)
    return found


def _pick(options: JsonOptions, wanted: Wanted) -> _Pick:
    """How the (channel, value) pairs are found in one reading; None when there are none."""
    if options.name is not None and options.value is not None:
        return _named(options.name, options.value, wanted.channels)
    where = options.values
    inner = _every(wanted) if wanted.channels is None else _listed(wanted.channels)
    if where is None:
        return inner

    def nested(item: dict[str, Any]) -> Iterable[tuple[str, Any]] | None:
        holder = get(item, where)
        return inner(holder) if type(holder) is dict and len(holder) <= wanted.keys_max else None

    return nested


def _every(wanted: Wanted) -> _Pick:
    """Every numeric field but those that mean something else."""
    other = {wanted.time, wanted.seq}

    def every(item: dict[str, Any]) -> Iterable[tuple[str, Any]] | None:
        return [
            pair
            for pair in item.items()
            if (type(pair[1]) is float or type(pair[1]) is int) and pair[0] not in other
        ] or None

    return every


def _listed(channels: dict[str, str]) -> _Pick:
    """The channels that the source lists; one that is there but no number is not known."""
    pairs = tuple(channels.items())

    def listed(item: dict[str, Any]) -> Iterable[tuple[str, Any]] | None:
        found = []
        for channel, path in pairs:
            value = item.get(path, _MISSING)
            if value is _MISSING:
                if "." not in path or _holder(item, path) is None:
                    continue
                value = get(item, path)
            found.append((channel, value))
        return found or None

    return listed


def _holder(item: dict[str, Any], path: str) -> dict[str, Any] | None:
    """The object in which the last part of a path stands, None when it does not."""
    parent, _, last = path.rpartition(".")
    holder = get(item, parent)
    return holder if type(holder) is dict and last in holder else None


def _named(name: str, value: str, channels: dict[str, str] | None) -> _Pick:
    known = None if channels is None else {path: channel for channel, path in channels.items()}

    def named(item: dict[str, Any]) -> Iterable[tuple[str, Any]] | None:
        channel = get(item, name)
        if type(channel) is not str or not channel:
            return None
        if known is not None:
            channel = known.get(channel)
            if channel is None:
                return None
        return ((channel, get(item, value)),)

    return named


def writer(options: JsonOptions, wanted: Wanted) -> Write:
    """Payloads of the shape that these options read."""
    names = wanted.channels
    listed = names is not None or options.name is not None

    def write(time: Any, seq: int, values: Mapping[str, float]) -> bytes:
        fields: dict[str, float | None] = {}
        for channel, value in values.items():
            if math.isnan(value) and not listed:
                raise ValueError("only a source that lists its channels can have values not known")
            if names is not None and channel not in names:
                raise ValueError(f"this source has no channel {channel!r}")
            path = channel if names is None else names[channel]
            fields[path] = None if math.isnan(value) else value
        readings = [fields]
        if options.name is not None and options.value is not None:
            readings = [{options.name: n, options.value: v} for n, v in fields.items()]  # type: ignore[dict-item]  # a name
        made = [_reading(r, options.values, split=listed) for r in readings]
        for reading in made:
            for known, said in ((wanted.time, time), (wanted.seq, seq)):
                if known is not None:
                    _put(reading, known, said)
        if options.each is not None:
            return orjson.dumps(_put({}, options.each, made))
        return orjson.dumps(made if options.name is not None else made[0])

    return write


def _reading(fields: Mapping[str, Any], where: str | None, *, split: bool) -> dict[str, Any]:
    """One object with these fields; `split`: their names are paths."""
    holder: dict[str, Any] = {}
    for path, value in fields.items():
        if split:
            _put(holder, path, value)
        else:
            holder[path] = value
    return holder if where is None else _put({}, where, holder)


def _put(into: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """`into`, in which `get` now finds the value at the path."""
    *above, last = path.split(".")
    inner = into
    for part in above:
        inner = inner.setdefault(part, {})
    inner[last] = value
    return into


DECODER = Decoder(
    name="json",
    summary="JSON: an object, an array of objects, or an object that holds them.",
    options=JsonOptions,
    make=make,
    writer=writer,
    example="decode: {json: {each: readings, values: data.sensors}}",
)
