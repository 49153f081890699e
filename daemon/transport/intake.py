"""Intake: packets that a lane has found, as messages for the inbox."""

import numpy as np

from daemon.bulk import Bulk, Origin
from daemon.messages import NUMBER, PAYLOAD, PROPERTIES, TOPICS_KEPT_MAX
from daemon.topics import Topics
from daemon.transport.packets import asked
from daemon.transport.port import Wiring
from pipelines.batch import I4, U1


class Intake:
    """Used by the connection's thread."""

    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring
        self._topics, self._canary, self._full = Topics(), -1, 0  # no kernel is called before `put`
        self._last_ns = 0

    def put(self, data: U1, rows: I4, origin: Origin) -> None:
        """Queue the messages of these PUBLISH packets of QoS 0 and 1.

        Raises ConnectionError behind the messages before one whose properties are malformed.
        """
        if len(self._topics) >= self._full:
            self._topics, self._canary = self._fresh()
            self._full = TOPICS_KEPT_MAX
        error, answers, n = self._asked(data, rows)
        rows = rows[:n].copy()
        self._topics.number(data, rows)
        messages = Bulk(data, rows, self._arrivals(n), self._topics, origin, answers)
        self._hand_on(messages)
        if error:
            raise ConnectionError(f"malformed: {error}")

    def _hand_on(self, messages: Bulk) -> None:
        inbox = self._wiring.inbox
        first = 0
        if self._canary >= 0:
            own = np.flatnonzero(messages.rows[:, NUMBER] == self._canary)
            for at in own.tolist():  # in order: it tells that all before it have come
                if at > first:
                    inbox.put_all(messages[first:at])
                inbox.put_own(messages[at])
                first = at + 1
        if first < len(messages):
            inbox.put_all(messages[first:] if first else messages)

    def _asked(self, data: U1, rows: I4) -> tuple[str, dict[int, tuple[str, bytes]], int]:
        """(What is wrong with a row, {row: where an answer is wanted}, how many rows are good)."""
        found: dict[int, tuple[str, bytes]] = {}
        for i in np.flatnonzero(rows[:, PROPERTIES] < rows[:, PAYLOAD]).tolist():
            try:
                answer = asked(data[rows[i, PROPERTIES] : rows[i, PAYLOAD]].tobytes())
            except ValueError as error:
                return str(error), found, i
            if answer[0] or answer[1]:
                found[i] = answer
        return "", found, len(rows)

    def _arrivals(self, n: int) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
        """Times of arrival, of which no two are the same: it may be all that tells samples apart."""
        first = max(self._wiring.clock.now_ns(), self._last_ns + 1)
        self._last_ns = first + n - 1
        return np.arange(first, first + n, dtype=np.int64)

    def _fresh(self) -> tuple[Topics, int]:
        """No topic, and the number of the canary's."""
        topics, name = Topics(), self._wiring.canary_topic
        return topics, topics.add(name) if name else -1
