"""Intake: packets that a lane has found, as messages for the inbox."""

from typing import Final

import numpy as np

from daemon.bulk import Bulk, Origin, bytes_
from daemon.messages import FIRST, NUMBER, PAYLOAD, PROPERTIES, TOPICS_KEPT_MAX
from daemon.topics import Topics
from daemon.transport.frames import PUBACK, is_among, size_
from daemon.transport.packets import asked
from daemon.transport.port import Wiring
from pipelines.batch import I4, U1

_NOTHING: Final[dict[int, tuple[str, bytes]]] = {}


class Intake:
    """Used by the connection's thread."""

    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring
        self._topics, self._canary, self._full = Topics(), -1, 0  # no kernel is called before `put`
        self._last_ns = 0

    @property
    def topics(self) -> Topics:
        """By what its messages are numbered at present."""
        return self._topics

    def put(self, data: U1, rows: I4, origin: Origin) -> None:
        """Queue the messages of these PUBLISH packets of QoS 0 and 1; PUBACKs are left out.

        We have published nothing on this connection. Raises ConnectionError behind the messages
        before one whose properties are malformed.
        """
        if len(self._topics) >= self._full:
            self._topics, self._canary = self._fresh()
            self._full = TOPICS_KEPT_MAX
        error, answers, size = "", _NOTHING, size_(rows)
        if size < 0:
            error, answers, rows = self._asked(data, rows[rows[:, FIRST] != PUBACK])
            size = int(bytes_(rows))
        else:
            rows = rows.copy()
        self._topics.number(data, rows)
        arrival_ns = self._arrivals(len(rows))
        self._hand_on(Bulk(data, rows, arrival_ns, self._topics, origin, answers, size=size))
        if error:
            raise ConnectionError(f"malformed: {error}")

    def _hand_on(self, messages: Bulk) -> None:
        inbox = self._wiring.inbox
        first = 0
        if self._canary >= 0 and is_among(messages.rows, self._canary):
            own = np.flatnonzero(messages.rows[:, NUMBER] == self._canary)
            for at in own.tolist():  # in order: it tells that all before it have come
                if at > first:
                    inbox.put_all(messages[first:at])
                inbox.put_own(messages[at])
                first = at + 1
        if first < len(messages):
            inbox.put_all(messages[first:] if first else messages)

    def _asked(self, data: U1, rows: I4) -> tuple[str, dict[int, tuple[str, bytes]], I4]:
        """(What is wrong with a row, {row: where an answer is wanted}, the rows before it)."""
        found: dict[int, tuple[str, bytes]] = {}
        for i in np.flatnonzero(rows[:, PROPERTIES] < rows[:, PAYLOAD]).tolist():
            try:
                answer = asked(data[rows[i, PROPERTIES] : rows[i, PAYLOAD]].tobytes())
            except ValueError as error:
                return str(error), found, rows[:i]
            if answer[0] or answer[1]:
                found[i] = answer
        return "", found, rows

    def _arrivals(self, n: int) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
        """Times of arrival, of which no two are the same: it may be all that tells samples apart."""
        first = max(self._wiring.clock.now_ns(), self._last_ns + 1)
        self._last_ns = first + n - 1
        return np.arange(first, first + n, dtype=np.int64)

    def _fresh(self) -> tuple[Topics, int]:
        """No topic, and the number of the canary's."""
        topics, name = Topics(), self._wiring.canary_topic
        return topics, topics.add(name) if name else -1
