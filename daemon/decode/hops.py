"""Hops: what an event of another daemon says of how it came about.

It stands in the payload and not in a property of MQTT 5, so that MQTT 3.1.1 ends a loop, too, and a
recording holds all that a replay needs.
"""

from typing import Final

import orjson

OURS: Final = "sensorweir."
"""How the types of our events begin."""


def hops_of(payload: bytes) -> int:
    """Hops of what is derived from this payload: 0 unless it is an event of a sensorweir."""
    if b'"specversion"' not in payload:
        return 0
    try:
        event = orjson.loads(payload)
    except orjson.JSONDecodeError:
        return 0
    if type(event) is not dict or "specversion" not in event:
        return 0
    kind, hops = event.get("type"), event.get("hops")
    if type(kind) is not str or not kind.startswith(OURS):
        return 0
    return hops + 1 if type(hops) is int and hops >= 0 else 1
