"""Intake: packets that a lane has found, as messages for the inbox."""

from functools import partial
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from daemon.messages import TOPICS_KEPT_MAX, Message
from daemon.transport.frames import END, FIRST, PACKET_ID, PAYLOAD, PROPERTIES, TOPIC, TOPIC_END
from daemon.transport.packets import asked
from daemon.transport.port import Wiring

_AGAIN, _RETAIN = 8, 1
_make = partial(tuple.__new__, Message)


class Intake:
    """Used by the connection's thread."""

    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring
        self._topics: dict[bytes, str] = {}
        self._last_ns = 0

    def put(
        self, data: bytes, rows: NDArray[np.int32], epoch: int, session: int, *, known: bool
    ) -> None:
        """Queue the messages of these PUBLISH packets of QoS 0 and 1.

        `known`: the broker knows our session, so what it marks as sent again may be known to us.
        Raises ConnectionError behind the messages before one whose properties are malformed.
        """
        wiring = self._wiring
        error, extras = self._asked(data, rows)
        if error:
            rows = rows[: len(extras)]
        first = rows[:, FIRST]
        columns = rows.T.tolist()
        ends = zip(columns[TOPIC], columns[TOPIC_END], strict=True)
        topics = [self._topics.get(data[a:b]) or self._topic(data[a:b]) for a, b in ends]
        bodies = zip(columns[PAYLOAD], columns[END], strict=True)
        made = zip(
            topics,
            [data[a:b] for a, b in bodies],
            (first >> 1 & 3).tolist(),
            columns[PACKET_ID],
            self._arrivals(len(rows)),
            (first & _RETAIN > 0).tolist(),
            repeat(epoch),
            [response for response, _ in extras] if extras else repeat(""),
            [correlation for _, correlation in extras] if extras else repeat(b""),
            ((first & _AGAIN > 0) & known).tolist(),
            repeat(session),
        )
        messages: list[Message] = list(map(_make, made))
        if wiring.canary_topic and wiring.canary_topic in topics:
            for message in messages:  # in order: it tells that all before it have come
                if message.topic == wiring.canary_topic:
                    wiring.inbox.put_own(message)
                else:
                    wiring.inbox.put_all([message])
        else:
            wiring.inbox.put_all(messages)
        if error:
            raise ConnectionError(f"malformed: {error}")

    def _asked(self, data: bytes, rows: NDArray[np.int32]) -> tuple[str, list[tuple[str, bytes]]]:
        """(What is wrong with the row behind these, of each row where an answer is wanted)."""
        some = rows[:, PROPERTIES] < rows[:, PAYLOAD]
        if not some.any():
            return "", []
        found: list[tuple[str, bytes]] = []
        for a, b in rows[:, PROPERTIES : PAYLOAD + 1].tolist():
            try:
                found.append(asked(data[a:b]) if a < b else ("", b""))
            except ValueError as error:
                return str(error), found
        return "", found

    def _arrivals(self, n: int) -> range:
        """Times of arrival, of which no two are the same: it may be all that tells samples apart."""
        first = max(self._wiring.clock.now_ns(), self._last_ns + 1)
        self._last_ns = first + n - 1
        return range(first, first + n)

    def _topic(self, raw: bytes) -> str:
        """A topic not met before; empty, which no source wants, when it is not UTF-8."""
        try:
            text = raw.decode()
        except UnicodeDecodeError:
            return ""
        if len(self._topics) >= TOPICS_KEPT_MAX:
            self._topics.clear()
        self._topics[raw] = text
        return text
