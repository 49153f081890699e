"""Duplicates: messages that the broker sends again though their effects are in the state.

MQTT's flag for this means only that the packet was sent before, perhaps to nobody.  A message is
left out when the broker says that it may come again, within a session that lives on, and the last
message with the same packet id had the same topic and payload.  That is exact where payloads tell
messages apart, by a time or a counter of the device; of others (`identified`) it is not asked.
"""

from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from typing import Final

import numpy as np

from daemon.messages import Message

_COLUMNS: Final = np.dtype([("mid", "<u2"), ("digest", "<u8")])


class Duplicates:
    """The last message taken under each packet id of the present session."""

    def __init__(self) -> None:
        self.session = 0
        self._digests: dict[int, int] = {}
        self.identified: Callable[[str], bool] = _all
        """Whether payloads on a topic tell messages apart."""

    def fresh(self, messages: Sequence[Message]) -> Sequence[Message]:
        """Those that have not been taken yet, in order; they count as taken from here on."""
        kept = []
        for message in messages:
            if message.qos and message.mid and self.identified(message.topic):
                digest = self._turn_to(message)
                if message.again and self._digests.get(message.mid) == digest:
                    continue
                self._digests[message.mid] = digest
            kept.append(message)
        return messages if len(kept) == len(messages) else kept

    def note(self, messages: Iterable[Message]) -> None:
        """These have been taken before."""
        for message in messages:
            if message.qos and message.mid and self.identified(message.topic):
                digest = self._turn_to(message)
                self._digests[message.mid] = digest

    def turn_to(self, session: int) -> None:
        """Packet ids mean nothing any more that were given in another session."""
        if session != self.session:
            self.session = session
            self._digests.clear()

    def _turn_to(self, message: Message) -> int:
        self.turn_to(message.session)
        digest = blake2b(message.topic.encode("utf-8", "surrogatepass"), digest_size=8)
        digest.update(b"\0")
        digest.update(message.payload)
        return int.from_bytes(digest.digest(), "little")

    def pack(self) -> bytes:
        """All of it."""
        rows = np.fromiter(self._digests.items(), _COLUMNS, len(self._digests))
        return self.session.to_bytes(4, "little") + rows.tobytes()

    def unpack(self, data: bytes | memoryview) -> None:
        """Go on from what `pack` has given. Raises ValueError."""
        self.session = int.from_bytes(data[:4], "little")
        rows = np.frombuffer(data[4:], _COLUMNS)
        self._digests = dict(zip(rows["mid"].tolist(), rows["digest"].tolist(), strict=True))


def _all(_topic: str) -> bool:
    return True
