"""Gaps: what a subscriber would look for in vain, told as an event once there is somebody to tell.

Outputs that had to be given up, a session that the broker has forgotten, a part of the log that
cannot be read: each becomes one event on `sensorweir/<gateway>/gap` with how much, of what, and
from when to when.
"""

import threading
from collections.abc import Callable
from hashlib import blake2b
from typing import Final

import orjson

from config.model import Gateway
from config.topics import TopicTemplate
from daemon.clock import Clock
from daemon.encode import CONTENT_TYPE
from daemon.messages import Outgoing
from pipelines.events import rfc3339

TOPIC: Final = "sensorweir/{gateway}/gap"
TYPE: Final = "sensorweir.gap"


class Gaps:
    """Any thread may note one; the engine's thread tells of them."""

    def __init__(self, gateway: Gateway, clock: Clock) -> None:
        self._gateway, self._clock = gateway.gateway, clock
        self._topic = TopicTemplate.parse(TOPIC).render({"gateway": gateway.gateway})
        self._lock = threading.Lock()
        self._open: dict[tuple[str, str], list[int]] = {}

    def note(self, what: str, reason: str, count: int = 0) -> None:
        """Something is missing now; `count` of it, 0 when nobody knows how many."""
        now_ns = self._clock.now_ns()
        with self._lock:
            gap = self._open.setdefault((what, reason), [0, now_ns, now_ns])
            gap[0] += count
            gap[2] = now_ns

    def tell(self, connected: bool, put: Callable[[list[Outgoing]], None]) -> None:
        """Publish what was noted, once somebody hears it."""
        if not self._open or not connected:
            return
        with self._lock:
            gaps, self._open = self._open, {}
        put([self._event(*key, *gap) for key, gap in gaps.items()])

    def _event(self, what: str, reason: str, count: int, first_ns: int, last_ns: int) -> Outgoing:
        name = f"{self._gateway}\0{TYPE}\0{what}\0{reason}\0{first_ns}"
        data = {
            "what": what,
            "reason": reason,
            "count": count or None,
            "from": rfc3339(first_ns),
            "to": rfc3339(last_ns),
        }
        payload = orjson.dumps(
            {
                "specversion": "1.0",
                "id": blake2b(name.encode(), digest_size=16).hexdigest(),
                "source": f"/sensorweir/{self._gateway}",
                "type": TYPE,
                "time": rfc3339(last_ns),
                "datacontenttype": "application/json",
                "data": data,
            }
        )
        return Outgoing(self._topic, payload, 1, False, "status", content_type=CONTENT_TYPE)
