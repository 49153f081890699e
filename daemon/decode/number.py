"""number: the payload is one number as text, such as `21.5`."""

import math
import re
from collections.abc import Mapping
from typing import Any, Final

from pydantic import Field

from config.params import Options
from daemon.decode.contract import Decode, Decoder, Reading, RejectedError, Wanted, Write
from daemon.ledger import Reason

# Python's float() also takes 'nan', '1_000' and digits of other scripts; a device means none.
_NUMBER: Final = re.compile(rb"\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*", re.ASCII)
_BYTES_MAX: Final = 64


class NumberOptions(Options):
    """Options of `decode: number`."""

    channel: str = Field("value", min_length=1, max_length=128, description="Channel it becomes.")


def make(options: NumberOptions, wanted: Wanted) -> Decode:
    """A decoder that gives every payload as this channel."""
    channel = _channel(options, wanted)

    def decode(payload: bytes) -> list[Reading]:
        if len(payload) > _BYTES_MAX:
            raise RejectedError(Reason.TOO_BIG)
        if _NUMBER.fullmatch(payload) is None:
            raise RejectedError(Reason.NO_VALUES if not payload.strip() else Reason.BAD_NUMBER)
        value = float(payload)
        if not math.isfinite(value):
            raise RejectedError(Reason.BAD_NUMBER)
        return [(None, None, ((channel, value),))]

    return decode


def writer(options: NumberOptions, wanted: Wanted) -> Write:
    """Payloads with one number."""
    channel = _channel(options, wanted)

    def write(time: Any, seq: int, values: Mapping[str, float]) -> bytes:  # noqa: ARG001 - neither fits in
        if set(values) != {channel}:
            raise ValueError(f"a payload of this source holds {channel!r} alone")
        if math.isnan(values[channel]):
            raise ValueError("decode: number cannot say that a value is not known")
        return repr(values[channel]).encode()

    return write


def _channel(options: NumberOptions, wanted: Wanted) -> str:
    return next(iter(wanted.channels)) if wanted.channels else options.channel


DECODER = Decoder(
    name="number",
    summary="One number as text.",
    options=NumberOptions,
    make=make,
    writer=writer,
    example="decode: {number: {channel: temperature}}",
)
