"""Canary: a message of ours that goes to the broker and must come back.

It says two things that nothing in MQTT says.  What the broker had kept for us has come, because a
session is in order and the canary was last: only then does time go on for silent series.  And our
subscriptions are alive: a broker may grant one and then, by its access rules, deliver nothing.
"""

import logging
from collections.abc import Callable
from typing import Final

from config.model import Gateway
from config.topics import TopicTemplate
from daemon.clock import SECOND, Clock

log = logging.getLogger(__name__)

EVERY_NS: Final = 10 * SECOND
LOST_NS: Final = 30 * SECOND
"""So long without an answer while connected means that there will be none."""


def canary_topic(gateway: Gateway) -> str:
    """Where it flies: sensorweir/<gateway>/canary."""
    return TopicTemplate.parse("sensorweir/{gateway}/canary").render({"gateway": gateway.gateway})


class Canary:
    """Used by the engine's thread."""

    def __init__(self, send: Callable[[bytes], None], clock: Clock) -> None:
        """`send` publishes on the topic that comes back to us."""
        self._send, self._clock = send, clock
        self._number = 0
        self._connected = False
        self._sent_ns = self._heard_ns = clock.monotonic_ns()
        self.held = True
        """Whether something may still come that was sent before now."""
        self.lost = False
        """Whether we are connected and hear nothing of ourselves."""

    def look(self, connected: bool) -> None:
        """Now and then, at least ten times a second."""
        now_ns = self._clock.monotonic_ns()
        if not connected:
            self._connected, self.held = False, True
            return
        if not self._connected:
            self._connected, self._heard_ns = True, now_ns
            self._ask(now_ns)
        elif now_ns - self._sent_ns >= EVERY_NS:
            self._ask(now_ns)
        if now_ns - self._heard_ns > LOST_NS and not self.lost:
            self.lost, self.held = True, False
            log.error(
                "Our own canary does not come back, the broker seems to keep messages from us",
                extra={"facts": {"hint": "let both connections use the topic, see deploy/"}},
            )

    def heard(self, payload: bytes) -> None:
        """It came back; those of earlier connections do not count."""
        if payload != b"%d" % self._number or not self._connected:
            return
        self._heard_ns = self._clock.monotonic_ns()
        if self.lost:
            self.lost = False
            log.warning("Our canary comes back again")
        self.held = False

    def _ask(self, now_ns: int) -> None:
        self._sent_ns = now_ns
        self._number += 1
        self._send(b"%d" % self._number)
