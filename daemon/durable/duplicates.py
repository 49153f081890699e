"""Duplicates: messages that the broker sends again though their effects are in the state.

MQTT's flag for this means only that the packet was sent before, perhaps to nobody.  A message is
left out when the broker says that it may come again, within a session that lives on, and the last
message with the same packet id had the same topic and payload.  That is exact where payloads tell
messages apart, by a time or a counter of the device; of others (`identified`) it is not asked.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

import numpy as np

from daemon.bulk import Bulk
from daemon.messages import (
    AGAIN,
    END,
    FIRST,
    NUMBER,
    PACKET_ID,
    PAYLOAD,
    QOS,
    TOPIC,
    TOPIC_END,
    Message,
)
from daemon.octets import SEED, U8, hashed
from daemon.topics import ByTopic
from pipelines.batch import I4, U1
from pipelines.jit import kernel

MIDS: Final = 65_536
_COLUMNS: Final = np.dtype([("mid", "<u2"), ("digest", "<u8")])


@kernel
def compare_(
    data: U1, rows: I4, asked: I4, resumed: int, digests: U8, known: U1, repeated: U1
) -> int:
    """Mark those that are the last one of their packet id once more; keep the digests of others.

    rows (n, columns): see `daemon.messages`. asked: by topic, 0 for those of which it is not asked.
    digests, known (MIDS,): of the last one under each packet id. Returns how many are marked.
    A digest is the hash of topic and payload, one after the other.
    """
    found = 0
    for i in range(rows.shape[0]):
        first, mid = rows[i, FIRST], rows[i, PACKET_ID]
        if first & QOS == 0 or mid == 0 or asked[rows[i, NUMBER]] == 0:
            continue
        h = hashed(SEED, data, rows[i, TOPIC], rows[i, TOPIC_END])
        h = hashed(h, data, rows[i, PAYLOAD], rows[i, END])
        if first & AGAIN != 0 and resumed != 0 and known[mid] != 0 and digests[mid] == h:
            repeated[i] = 1
            found += 1
        else:
            digests[mid], known[mid] = h, 1
    return found


class Duplicates:
    """The last message taken under each packet id of the present session."""

    def __init__(self) -> None:
        self.session = 0
        self._digests = np.zeros(MIDS, np.uint64)
        self._known = np.zeros(MIDS, np.uint8)
        self.identified = _all

    @property
    def identified(self) -> Callable[[str], bool]:
        """Whether payloads on a topic tell messages apart."""
        return self._identified

    @identified.setter
    def identified(self, ask: Callable[[str], bool]) -> None:
        self._identified = ask
        self.anew()

    def anew(self) -> None:
        """Ask anew of each topic whether its payloads tell messages apart."""
        self._asked = ByTopic(lambda topic: int(self._identified(topic)))

    def fresh(self, messages: Sequence[Message]) -> Sequence[Message]:
        """Those that have not been taken yet, in order; they count as taken from here on."""
        if isinstance(messages, Bulk):
            return self._fresh_of(messages)
        kept = [m for m in messages if not self._had(m)]
        return messages if len(kept) == len(messages) else kept

    def note(self, messages: Iterable[Message]) -> None:
        """These have been taken before."""
        for message in messages:
            self._had(message._replace(again=False))

    def turn_to(self, session: int) -> None:
        """Packet ids mean nothing any more that were given in another session."""
        if session != self.session:
            self.session = session
            self._known[:] = 0

    def _fresh_of(self, messages: Bulk) -> Bulk:
        if not messages.qos.any():
            return messages
        self.turn_to(messages.origin.session)
        repeated = np.zeros(len(messages), np.uint8)
        asked, again = self._asked.table(messages.topics), int(messages.origin.resumed)
        data, rows = messages.data, messages.rows
        found = compare_(data, rows, asked, again, self._digests, self._known, repeated)
        return messages.where(repeated == 0) if found else messages

    def _had(self, message: Message) -> bool:
        """Whether this is one that was taken before, and comes again; else it is the last one."""
        mid = message.mid
        if not (message.qos and mid and self._identified(message.topic)):
            return False
        self.turn_to(message.session)
        topic = message.topic.encode("utf-8", "surrogatepass")
        text = np.frombuffer(bytearray(topic + message.payload), np.uint8)
        digest = hashed(np.uint64(hashed(SEED, text, 0, len(topic))), text, len(topic), text.size)
        if message.again and self._known[mid] and int(self._digests[mid]) == digest:
            return True
        self._digests[mid], self._known[mid] = digest, 1
        return False

    def pack(self) -> bytes:
        """All of it."""
        mids = np.flatnonzero(self._known.view(np.bool_))
        rows = np.zeros(mids.size, _COLUMNS)
        rows["mid"], rows["digest"] = mids, self._digests[mids]
        return self.session.to_bytes(4, "little") + rows.tobytes()

    def unpack(self, data: bytes | memoryview) -> None:
        """Go on from what `pack` has given. Raises ValueError."""
        self.session = int.from_bytes(data[:4], "little")
        rows = np.frombuffer(data[4:], _COLUMNS)
        self._known[:] = 0
        self._digests[rows["mid"]], self._known[rows["mid"]] = rows["digest"], 1


def _all(_topic: str) -> bool:
    return True


def warm_up() -> None:
    """Compile what is needed."""
    some, flags = np.zeros(1, np.int32), np.zeros(1, np.uint8)
    rows, digests = np.zeros((0, NUMBER + 1), np.int32), np.zeros(1, np.uint64)
    compare_(flags, rows, some, 0, digests, flags, flags)
