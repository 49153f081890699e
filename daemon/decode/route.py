"""Router: which sources a message belongs to."""

from collections.abc import Mapping
from typing import Final

import numpy as np

from config.model import Source
from config.topics import TopicFilter
from daemon.bulk import Bulk
from daemon.ledger import Count, Ledger, Reason
from daemon.topics import ByTopic

TOPIC_BYTES_MAX: Final = 512
LEVELS_MAX: Final = 16

_Answer = tuple[str, ...] | Reason


class Router:
    """Splits messages by source; remembers the answer for each topic."""

    def __init__(self, sources: Mapping[str, Source], ledger: Ledger) -> None:
        self._ledger = ledger
        self._filters = [(name, TopicFilter.parse(s.topic)) for name, s in sources.items()]
        self._answers: list[_Answer] = []
        """The distinct ones."""
        self._numbers: dict[_Answer, int] = {}
        self._wanted = ByTopic(self.number)

    def of(self, topic: str) -> tuple[str, ...]:
        """The sources that want messages on this topic; none for a topic that is refused."""
        names = self._answer(topic)
        return () if isinstance(names, Reason) else names

    def split(self, messages: Bulk) -> list[tuple[str, Bulk]]:
        """(source, its messages in order), in the order of the configuration.

        A message that two sources want goes to both, and counts as copied once.
        """
        if not len(messages):
            return []
        only = self._wanted.only(messages.topics, messages.rows)
        if only >= 0:
            names = self.counted(only, len(messages))
            return [(name, messages) for name in names]
        number = self._wanted.of(messages.topics, messages.rows)
        present = np.bincount(number)
        wanted = {i: self.counted(i, int(n)) for i, n in enumerate(present) if n}
        parts = []
        for name, _ in self._filters:
            mine = [i for i, names in wanted.items() if name in names]
            if mine:
                chosen = np.zeros(present.size, np.bool_)
                chosen[mine] = True
                parts.append((name, messages.where(chosen[number])))
        return parts

    def counted(self, number: int, messages: int) -> tuple[str, ...]:
        """Who wants so many messages with this `number`."""
        answer = self._answers[number]
        if isinstance(answer, Reason):
            self._ledger.count(Count.MESSAGES_REJECTED, messages, reason=answer)
            return ()
        if len(answer) > 1:
            self._ledger.count(Count.MESSAGES_COPIED, messages * (len(answer) - 1))
        return answer

    def number(self, topic: str) -> int:
        """What tells apart who wants messages on a topic; see `counted`."""
        answer = self._answer(topic)
        number = self._numbers.get(answer)
        if number is None:
            number = self._numbers[answer] = len(self._answers)
            self._answers.append(answer)
        return number

    def _answer(self, topic: str) -> _Answer:
        if not topic or len(topic.encode()) > TOPIC_BYTES_MAX or topic.count("/") >= LEVELS_MAX:
            return Reason.BAD_TOPIC
        names = tuple(name for name, f in self._filters if f.match(topic) is not None)
        return names or Reason.UNKNOWN_TOPIC
