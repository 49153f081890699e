"""Inbox: the bounded queue from the transport to the engine."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress

from daemon.bulk import Bulk, bytes_of, joined
from daemon.ledger import Count, Gauge, Ledger, Reason
from daemon.messages import Message


class Inbox:
    """Messages in order of arrival; one thread at a time puts, one drains, neither blocks the other.

    Our own states of before come from a thread of their own, and are taken before anything else.
    """

    def __init__(self, messages_max: int, bytes_max: int, ledger: Ledger) -> None:
        self.messages_max = messages_max
        self.bytes_max = bytes_max
        self.at_once: Callable[[], bool] = _never
        """Takes some of it in the thread that has put it, or leaves it to whoever waits."""
        self.states_only = False
        """While more of our own states may come: nothing else is taken before them."""
        self._ledger = ledger
        self._queue: deque[Message | Bulk] = deque()
        self._states: deque[Message] = deque()
        # Held but for a moment: whoever waits gets it when something has come.
        self._bell = threading.Lock()
        self._bell.acquire()
        self._waiting = False
        # Each number has one writer: no lock between the threads.
        self._received = self._states_received = 0
        self._put = self._taken = 0
        self._bytes_in = self._bytes_out = 0
        self._states_bytes_in = self._states_bytes_out = 0
        ledger.watch(Count.MESSAGES_RECEIVED, lambda: self._received + self._states_received)
        ledger.watch(Gauge.INBOX_MESSAGES, lambda: len(self))
        ledger.watch(Gauge.INBOX_BYTES, self._bytes)

    def __len__(self) -> int:
        return self._put - self._taken + len(self._states)

    @property
    def has_some(self) -> bool:
        """Whether there is something to drain."""
        return bool(self._states or (self._queue and not self.states_only))

    def has_room(self) -> bool:
        """Would the next message be taken? A transport that can wait asks before it reads."""
        return self.room() > 0

    def room(self) -> int:
        """How many messages would be taken."""
        if self._bytes() >= self.bytes_max:
            return 0
        return max(0, self.messages_max - len(self))

    def put_all(self, messages: Bulk) -> None:
        """Queue some, for which there is `room`; nobody hears of it before `arrived`."""
        self._received += len(messages)
        self._queue_up(messages, len(messages), messages.size_bytes)

    def arrived(self) -> None:
        """Have what was put taken: here and now, or by whoever waits for it."""
        while self._queue:
            if not self.at_once():
                self._ring()
                return

    def put(self, message: Message) -> bool:
        """Queue one message; False, and counted as rejected, when there is no room.

        At most the last message taken reaches beyond `bytes_max`.
        """
        self._received += 1
        if not self.has_room():
            self._ledger.count(Count.MESSAGES_REJECTED, reason=Reason.INBOX_FULL)
            return False
        self._queue_up(message, 1, len(message.payload) + len(message.topic))
        self._ring()
        return True

    def put_state(self, message: Message) -> bool:
        """The same for a state of ours from before, from the thread that alone brings such.

        There is room for them whatever else has come.
        """
        self._states_received += 1
        if len(self._states) >= self.messages_max or self._states_bytes() >= self.bytes_max:
            self._ledger.count(Count.MESSAGES_REJECTED, reason=Reason.INBOX_FULL)
            return False
        self._states_bytes_in += len(message.payload) + len(message.topic)
        self._states.append(message)
        self._ring()
        return True

    def put_own(self, message: Message) -> None:
        """Queue a message of ours that nobody sent: it counts nowhere and always has room."""
        self._queue_up(message, 1, len(message.payload) + len(message.topic))
        self._ring()

    def drain(self, most: int, wait_s: float = 0.0) -> Sequence[Message]:
        """Take up to `most` messages; when there is none, wait up to `wait_s` for the first.

        Those that came in bulk and those that did not are not taken together, nor are states.
        """
        if wait_s > 0:
            self.wait(wait_s)
        if not self.has_some:
            return []
        taken: Sequence[Message]
        if self._states:
            taken = _next_messages(self._states, most)
            self._states_bytes_out += bytes_of(taken)
            return taken
        bulk = isinstance(self._queue[0], Bulk)
        taken = self._next_bulk(most) if bulk else _next_messages(self._queue, most)
        self._taken += len(taken)
        self._bytes_out += bytes_of(taken)
        return taken

    def wait(self, wait_s: float) -> None:
        """Wait until there is something to drain, at most so long."""
        if not self.has_some:
            self._waiting = True
            if not self.has_some:
                self._bell.acquire(timeout=wait_s)
            self._waiting = False

    def wake(self) -> None:
        """End a wait now, though nothing has arrived."""
        with suppress(RuntimeError):  # it has rung, and nobody has heard it yet
            self._bell.release()

    # --- inside --------------------------------------------------------------------------

    def _states_bytes(self) -> int:
        return self._states_bytes_in - self._states_bytes_out

    def _bytes(self) -> int:
        return self._bytes_in - self._bytes_out + self._states_bytes()

    def _queue_up(self, what: Message | Bulk, messages: int, size: int) -> None:
        # First the numbers: who drains must not make them negative.
        self._bytes_in += size
        self._put += messages
        self._queue.append(what)

    def _ring(self) -> None:
        if self._waiting:
            self.wake()

    def _next_bulk(self, most: int) -> Bulk:
        queue = self._queue
        parts, n = list[Bulk](), 0
        while queue and n < most:
            head = queue[0]
            if not isinstance(head, Bulk) or (parts and not head.goes_on(parts[0])):
                break
            parts.append(head)
            n += len(head)
            queue.popleft()
        found = joined(parts)
        if n > most:
            queue.appendleft(found[most:])
            return found[:most]
        return found


def _next_messages(queue: deque[Message] | deque[Message | Bulk], most: int) -> list[Message]:
    found = list[Message]()
    while queue and len(found) < most and not isinstance(head := queue[0], Bulk):
        found.append(head)
        queue.popleft()
    return found


def _never() -> bool:
    return False
