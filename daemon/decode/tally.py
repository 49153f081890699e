"""Tally: what one batch of a source came to, for the ledger and the log."""

import logging
from typing import Any, Final

from daemon.ledger import Count, Ledger, Reason
from daemon.messages import Message

log = logging.getLogger(__name__)

EXCERPT_MAX: Final = 120


class Tally:
    """Counts by reason; an example of each goes into the log."""

    def __init__(self, source: str, ledger: Ledger) -> None:
        self._source, self._ledger = source, ledger
        self._accepted = ledger.counter(Count.MESSAGES_ACCEPTED, source=source)
        self._decoded = ledger.counter(Count.SAMPLES_DECODED, source=source)
        self.unknown = 0
        """Samples without a number."""
        self._rejected: dict[Reason, int] = {}
        self._example: dict[Reason, Message] = {}
        self._refused: dict[Reason, int] = {}
        self._dropped: dict[Reason, int] = {}

    def reject(self, reason: Reason, message: Message) -> None:
        """A whole message."""
        self._rejected[reason] = self._rejected.get(reason, 0) + 1
        self._example.setdefault(reason, message)

    def refuse(self, reason: Reason) -> None:
        """A reading within a message."""
        self._refused[reason] = self._refused.get(reason, 0) + 1

    def drop(self, reason: Reason) -> None:
        """A sample of a series that cannot be had."""
        self._dropped[reason] = self._dropped.get(reason, 0) + 1

    def close(self, messages: int, samples: int) -> None:
        """Tell the ledger about one batch, and the log about what was not used."""
        self._accepted.n += messages
        self._decoded.n += samples
        if self.unknown:
            self._ledger.count(Count.SAMPLES_UNKNOWN, self.unknown, source=self._source)
            self.unknown = 0
        if self._rejected or self._refused or self._dropped:
            self._accepted.n -= sum(self._rejected.values())
            self._decoded.n += sum(self._dropped.values())
            self._tell()

    def _tell(self) -> None:
        for counts, what in (
            (self._rejected, Count.MESSAGES_REJECTED),
            (self._refused, Count.READINGS_REJECTED),
            (self._dropped, Count.SAMPLES_DROPPED),
        ):
            for reason, n in counts.items():
                self._ledger.count(what, n, reason=reason, source=self._source)
                facts: dict[str, Any] = {"reason": str(reason), "source": self._source, "count": n}
                example = self._example.get(reason)
                if what is Count.MESSAGES_REJECTED and example is not None:
                    facts |= {"topic": example.topic, "payload": example.payload[:EXCERPT_MAX]}
                log.warning(_SENTENCES[what], extra={"facts": facts})
            counts.clear()
        self._example.clear()


_SENTENCES: Final = {
    Count.MESSAGES_REJECTED: "Messages are rejected",
    Count.READINGS_REJECTED: "Readings within messages are rejected",
    Count.SAMPLES_DROPPED: "Samples of new series are dropped",
}
