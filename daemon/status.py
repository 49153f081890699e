"""Status: the retained message that says whether this gateway is there, and the will."""

import hashlib
import uuid
from collections.abc import Iterable
from pathlib import Path

import orjson

from config.model import Gateway
from config.topics import TopicTemplate
from daemon import __version__
from daemon.clock import Clock
from daemon.messages import Outgoing
from pipelines.events import rfc3339


class Status:
    """Birth and will of one run of the daemon."""

    def __init__(self, gateway: Gateway, files: Iterable[Path], clock: Clock) -> None:
        self._gateway = gateway.gateway
        self._topic = TopicTemplate.parse(gateway.status_topic).render({"gateway": gateway.gateway})
        self._boot = uuid.uuid4().hex
        self._since = rfc3339(clock.now_ns())
        self._config = digest(files)

    def birth(self) -> Outgoing:
        """'online', with what is running."""
        return self._message("online")

    def will(self) -> Outgoing:
        """'offline': the broker's words when we vanish, ours when we stop."""
        return self._message("offline")

    def _message(self, state: str) -> Outgoing:
        payload = orjson.dumps(
            {
                "gateway": self._gateway,
                "state": state,
                "version": __version__,
                "boot": self._boot,
                "since": self._since,
                "config": self._config,
            }
        )
        return Outgoing(self._topic, payload, 1, True, "status", content_type="application/json")


def digest(files: Iterable[Path]) -> str:
    """12 hex digits that change when any configuration file does."""
    whole = hashlib.blake2b(digest_size=6)
    for path in files:
        whole.update(path.read_bytes())
    return whole.hexdigest()
