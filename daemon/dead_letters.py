"""Dead letters: outputs that can never be published, kept for somebody to look at.

One JSON object a line, in the folder of `state:`.  Two files take turns: when the newer one is full
it takes the place of the older, so the last ones are always there and disk is bounded.
"""

import logging
from pathlib import Path
from typing import Final

import orjson

from daemon.clock import Clock
from daemon.messages import Outgoing
from pipelines.events import rfc3339

log = logging.getLogger(__name__)

NAME: Final = "dead-letters.jsonl"
BYTES_MAX: Final = 8 << 20
"""Of each of the two files."""


class DeadLetters:
    """Called by the thread that publishes."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._path, self._clock = folder / NAME, clock
        self.failed = False

    def put(self, outgoing: Outgoing, reason: str, detail: str) -> None:
        """Keep one; a disk that cannot is told of once and costs nothing else."""
        line = orjson.dumps(
            {
                "time": rfc3339(self._clock.now_ns()),
                "reason": reason,
                "detail": detail,
                "topic": ascii(outgoing.topic)[1:-1],
                "qos": outgoing.qos,
                "retain": outgoing.retain,
                "kind": outgoing.kind,
                "payload": outgoing.payload.decode("utf-8", "replace"),
            }
        )
        try:
            if self._path.exists() and self._path.stat().st_size + len(line) > BYTES_MAX:
                self._path.replace(self._path.with_suffix(".old.jsonl"))
            with self._path.open("ab") as file:
                file.write(line + b"\n")
        except OSError as error:
            if not self.failed:
                log.error("Dead letters cannot be kept", extra={"facts": {"why": str(error)}})
            self.failed = True
