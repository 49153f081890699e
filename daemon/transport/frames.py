"""Frames: where PUBLISH and PUBACK packets begin and end in what a socket gave, many at once.

MQTT 3.1.1 and 5, section 2 (fixed header, packet id, properties) and 3.3, 3.4.  Whatever else comes
is left to paho, and so is a PUBLISH of QoS 2 or one that is malformed: nothing here judges.
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from daemon.bulk import row_bytes_
from daemon.messages import (
    COLUMNS,
    END,
    FIRST,
    NUMBER,
    PACKET_ID,
    PAYLOAD,
    PROPERTIES,
    QOS,
    TOPIC,
    TOPIC_END,
)
from pipelines.jit import kernel, settled

MORE, FULL, OTHER = 0, 1, 2
"""Why a scan has ended: the next packet is not whole, there is no room, it is not for us."""
HEADER_BYTES_MAX: Final = 5
PUBACK: Final = 0x40


class Scan(NamedTuple):
    """What one scan has found."""

    rows: int
    at: int
    """Offset of the first packet that was not taken."""
    why: int
    size: int
    """Of that packet as far as its header says, 0 while the header is not whole."""


@kernel
def length_(data: NDArray[np.uint8], at: int, end: int) -> tuple[int, int]:
    """A variable byte integer (1.5.5) at `at`, and where it ends; -1 when it does not by `end`."""
    value, shift = 0, 0
    while at < end and shift < 28:
        byte = int(data[at])
        value |= (byte & 127) << shift
        shift += 7
        at += 1
        if byte < 128:
            return value, at
    return -1, at


@kernel
def puback_(data: NDArray[np.uint8], body: int, stop: int, out: NDArray[np.int32]) -> bool:
    """Put a PUBACK whose variable header is at `body` into a row; False when it is malformed."""
    if stop - body < 2:
        return False
    out[PACKET_ID] = int(data[body]) << 8 | int(data[body + 1])
    out[TOPIC] = int(data[body + 2]) if stop - body > 2 else 0
    return True


@kernel
def publish_(
    data: NDArray[np.uint8], body: int, stop: int, v5: int, out: NDArray[np.int32]
) -> bool:
    """Put a PUBLISH into a row, of which `FIRST` is there; False when it is malformed."""
    if stop - body < 3:
        return False
    topic = body + 2
    topic_end = topic + (int(data[body]) << 8 | int(data[body + 1]))
    payload, packet_id = topic_end, 0
    if out[FIRST] & QOS:
        if payload + 2 > stop:
            return False
        packet_id = int(data[payload]) << 8 | int(data[payload + 1])
        payload += 2
    properties = payload
    if v5:
        size, properties = length_(data, payload, stop)
        if size < 0:
            return False
        payload = properties + size
    if payload > stop or topic_end == topic:
        return False
    out[PACKET_ID], out[TOPIC], out[TOPIC_END] = packet_id, topic, topic_end
    out[PROPERTIES], out[PAYLOAD], out[END] = properties, payload, stop
    return True


@settled
def scan_(
    data: NDArray[np.uint8], at: int, end: int, v5: int, most: int, out: NDArray[np.int32]
) -> tuple[int, int, int, int]:
    """`Scan` of data[at:end], at most `most` packets, into rows of `out`: (most, COLUMNS)."""
    row = 0
    while True:
        if end - at < 2:
            return row, at, MORE, 0
        first = int(data[at])
        size, body = length_(data, at + 1, end)
        if size < 0:
            if body < at + HEADER_BYTES_MAX:
                return row, at, MORE, 0
            return row, at, OTHER, HEADER_BYTES_MAX + 1
        stop = body + size
        # PUBLISH of QoS 0 and 1, and PUBACK.
        if (first >> 4 != 3 or (first >> 1) & 3 > 1) and first != PUBACK:
            return row, at, OTHER, stop - at
        if stop > end:
            return row, at, MORE, stop - at
        if row >= most:
            return row, at, FULL, stop - at
        out[row, FIRST] = first
        if first == PUBACK:
            good = puback_(data, body, stop, out[row])
        else:
            good = publish_(data, body, stop, v5, out[row])
        if not good:
            return row, at, OTHER, stop - at
        row += 1
        at = stop


def scan(
    data: NDArray[np.uint8], at: int, end: int, most: int, out: NDArray[np.int32], *, v5: bool
) -> Scan:
    """Find the packets in data[at:end], at most `most` of them."""
    return Scan(*scan_(data, at, end, int(v5), most, out))


@settled
def size_(rows: NDArray[np.int32]) -> int:
    """Bytes of topics and payloads; -1 when a row is no PUBLISH packet, or has properties."""
    n = 0
    for i in range(rows.shape[0]):
        if rows[i, FIRST] == PUBACK or rows[i, PROPERTIES] < rows[i, PAYLOAD]:
            return -1
        n += row_bytes_(rows, i)
    return n


@settled
def is_among(rows: NDArray[np.int32], number: int) -> bool:
    """Whether any row is of the topic with this number."""
    found = False
    for i in range(rows.shape[0]):
        found = found or rows[i, NUMBER] == number
    return found


def warm_up() -> None:
    """Compile what the check of the lane does not call."""
    rows = np.zeros((2, COLUMNS), np.int32)
    rows[:, TOPIC_END], rows[:, END] = 3, 5
    size_(rows)
    is_among(rows, 1)
