"""Inbox: the bounded queue from the transport's thread to the engine's."""

import threading
from collections import deque
from collections.abc import Sequence

from daemon.ledger import Count, Gauge, Ledger, Reason
from daemon.messages import Message


class Inbox:
    """Messages in order of arrival; one thread puts, one drains, neither blocks the other."""

    def __init__(self, messages_max: int, bytes_max: int, ledger: Ledger) -> None:
        self.messages_max = messages_max
        self.bytes_max = bytes_max
        self._ledger = ledger
        self._queue: deque[Message] = deque()
        self._arrived = threading.Event()
        self._waiting = False
        # Each number has one writer: no lock between the two threads.
        self._received = 0
        self._bytes_in = 0
        self._bytes_out = 0
        ledger.watch(Count.MESSAGES_RECEIVED, lambda: self._received)
        ledger.watch(Gauge.INBOX_MESSAGES, lambda: len(self._queue))
        ledger.watch(Gauge.INBOX_BYTES, lambda: self._bytes_in - self._bytes_out)

    def __len__(self) -> int:
        return len(self._queue)

    def has_room(self) -> bool:
        """Would the next message be taken? A transport that can wait asks before it reads."""
        return self.room() > 0

    def room(self) -> int:
        """How many messages would be taken."""
        if self._bytes_in - self._bytes_out >= self.bytes_max:
            return 0
        return max(0, self.messages_max - len(self._queue))

    def put_all(self, messages: Sequence[Message]) -> None:
        """Queue as many as there is `room` for."""
        self._received += len(messages)
        self._bytes_in += sum([len(m[1]) + len(m[0]) for m in messages])
        self._queue.extend(messages)
        if self._waiting:
            self._arrived.set()

    def put(self, message: Message) -> bool:
        """Queue one message; False, and counted as rejected, when there is no room.

        At most the last message taken reaches beyond `bytes_max`.
        """
        self._received += 1
        if not self.has_room():
            self._ledger.count(Count.MESSAGES_REJECTED, reason=Reason.INBOX_FULL)
            return False
        self._bytes_in += len(message.payload) + len(message.topic)
        self._queue.append(message)
        if self._waiting:
            self._arrived.set()
        return True

    def put_own(self, message: Message) -> None:
        """Queue a message of ours that nobody sent: it counts nowhere and always has room."""
        self._bytes_in += len(message.payload) + len(message.topic)
        self._queue.append(message)
        if self._waiting:
            self._arrived.set()

    def drain(self, most: int, wait_s: float = 0.0) -> list[Message]:
        """Take up to `most` messages; when there is none, wait up to `wait_s` for the first."""
        queue = self._queue
        if not queue and wait_s > 0:
            self._waiting = True
            if not queue:
                self._arrived.wait(wait_s)
            self._waiting = False
            self._arrived.clear()
        n = min(len(queue), most)
        take = queue.popleft
        messages = [take() for _ in range(n)]
        self._bytes_out += sum([len(m[1]) + len(m[0]) for m in messages])
        return messages

    def wake(self) -> None:
        """End a wait of `drain` now, though nothing has arrived."""
        self._arrived.set()
