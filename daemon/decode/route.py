"""Router: which sources a message belongs to."""

from collections.abc import Mapping, Sequence
from typing import Final

from config.model import Source
from config.topics import TopicFilter
from daemon.ledger import Count, Ledger, Reason
from daemon.messages import TOPICS_KEPT_MAX, Message

TOPIC_BYTES_MAX: Final = 512
LEVELS_MAX: Final = 16


class Router:
    """Splits messages by source; remembers the answer for each topic."""

    def __init__(self, sources: Mapping[str, Source], ledger: Ledger) -> None:
        self._ledger = ledger
        self._filters = [(name, TopicFilter.parse(s.topic)) for name, s in sources.items()]
        self._known: dict[str, tuple[str, ...] | Reason] = {}

    def of(self, topic: str) -> tuple[str, ...]:
        """The sources that want messages on this topic; none for a topic that is refused."""
        names = self._known.get(topic)
        if names is None:
            names = self._learn(topic)
        return () if isinstance(names, Reason) else names

    def split(self, messages: Sequence[Message]) -> list[tuple[str, list[Message]]]:
        """(source, its messages in order), in the order of the configuration.

        A message that two sources want goes to both, and counts as copied once.
        """
        parts: dict[str, list[Message]] = {name: [] for name, _ in self._filters}
        known, copies = self._known, 0
        rejected: dict[Reason, int] = {}
        for message in messages:
            names = known.get(message[0])
            if names is None:
                names = self._learn(message.topic)
            if isinstance(names, Reason):
                rejected[names] = rejected.get(names, 0) + 1
                continue
            copies += len(names) - 1
            for name in names:
                parts[name].append(message)
        for reason, n in rejected.items():
            self._ledger.count(Count.MESSAGES_REJECTED, n, reason=reason)
        if copies:
            self._ledger.count(Count.MESSAGES_COPIED, copies)
        return [(name, part) for name, part in parts.items() if part]

    def _learn(self, topic: str) -> tuple[str, ...] | Reason:
        if not topic or len(topic.encode()) > TOPIC_BYTES_MAX or topic.count("/") >= LEVELS_MAX:
            return Reason.BAD_TOPIC
        names = tuple(name for name, f in self._filters if f.match(topic) is not None)
        answer = names or Reason.UNKNOWN_TOPIC
        if len(self._known) >= TOPICS_KEPT_MAX:
            self._known.clear()
        self._known[topic] = answer
        return answer
