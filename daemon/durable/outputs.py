"""Outputs as bytes: what shall be published, in a log and in a checkpoint.

The payloads as they are, behind one JSON text that says of each what belongs to it.
"""

import json
from collections.abc import Sequence

from daemon.messages import DROP_ORDER, Outgoing
from daemon.outbox import Parcel


def pack_outputs(parcels: Sequence[Parcel]) -> list[bytes]:
    """Pieces of bytes, none for nothing."""
    if not parcels:
        return []
    told = [
        [
            token,
            out.topic,
            out.qos,
            out.retain,
            out.kind,
            out.properties,
            out.content_type,
            out.expiry_s,
            out.correlation.hex(),
        ]
        for token, out in parcels
    ]
    # ASCII with escapes: a topic may hold what no UTF-8 can say, and is refused only later.
    return [json.dumps(told).encode(), *(out.payload for _, out in parcels)]


def outputs_of(pieces: Sequence[bytes]) -> list[Parcel]:
    """The way back. Raises ValueError for pieces that do not come from `pack_outputs`."""
    if not pieces:
        return []
    try:
        told = json.loads(pieces[0])
        return [
            Parcel(
                int(token),
                Outgoing(
                    topic,
                    payload,
                    qos,
                    retain,
                    DROP_ORDER[DROP_ORDER.index(kind)],
                    tuple([(name, value) for name, value in properties]),
                    content_type,
                    expiry_s,
                    bytes.fromhex(correlation),
                ),
            )
            for (
                token,
                topic,
                qos,
                retain,
                kind,
                properties,
                content_type,
                expiry_s,
                correlation,
            ), payload in zip(told, pieces[1:], strict=True)
        ]
    except (TypeError, AttributeError) as error:
        raise ValueError(f"outputs of another form: {error}") from None
