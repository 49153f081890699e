"""Transport: how messages come in and go out, whatever carries them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from config.model import Broker
from daemon.clock import Clock
from daemon.foresight import Seen
from daemon.inbox import Inbox
from daemon.ledger import Ledger
from daemon.messages import Message, Outgoing
from daemon.outbox import Outbox


def _ignore() -> None:
    return None


def _unseen() -> None:
    return None


@dataclass(frozen=True, slots=True)
class Wiring:
    """What every transport is made from."""

    broker: Broker
    client_id: str
    """Base of the client ids on the broker; must be unique there."""
    inbox: Inbox
    outbox: Outbox
    ledger: Ledger
    clock: Clock
    birth: Outgoing
    """Published retained after each connect."""
    will: Outgoing
    """Published by the broker when we vanish, and by us when we stop; on the topic of `birth`."""
    canary_topic: str = ""
    """Subscribed besides what is asked for; what `ask_canary` sends comes back on it."""
    commit_delay_ns: int | None = None
    """How long acknowledgements wait for the disk; None: for nothing. With a number, nothing is
    subscribed to in a new session before `Transport.note_session`."""
    packet_bytes_max: int = 256 * 1024
    """Largest packet that the broker may send us; it drops larger ones."""
    on_session_lost: Callable[[], None] = field(default=_ignore)
    """Called when the broker has forgotten our session; messages may be missing."""
    foreseen: Callable[[], Seen | None] = field(default=_unseen)
    """What is known of messages on present topics, so that some may wait for others."""


class Transport(Protocol):
    """Messages from subscriptions go into the inbox; what lies in the outbox goes out.

    No method raises because of the network: a broker that is away shows in `connected`, and the
    transport goes on trying for ever.
    """

    @property
    def connected(self) -> bool:
        """True when all is up: connected both ways, every subscription answered."""
        ...

    @property
    def publishing(self) -> bool:
        """True when what lies in the outbox goes out."""
        ...

    @property
    def recalled(self) -> bool:
        """True when what `recall` asked for has come, as far as can be known."""
        ...

    def recall(self, filters: Sequence[str]) -> None:
        """Before `start`: fetch these retained messages, for `Inbox.put_state`.

        What is subscribed to may come meanwhile, and is stamped later than all of them. A broker
        that has kept messages for our session sends them at once: they have to wait in the inbox
        for the states that they are to be judged by.
        """
        ...

    def end_recall(self) -> None:
        """Take no more of what `recall` asked for."""
        ...

    def start(self) -> None:
        """Begin to connect; returns at once."""
        ...

    def subscribe(self, filters: Mapping[str, int]) -> None:
        """Replace the whole set of subscriptions {MQTT filter: QoS}; others are unsubscribed."""
        ...

    def ask_canary(self, payload: bytes) -> None:
        """Publish this on the topic of the canary, if there is one and we are connected."""
        ...

    @property
    def session(self) -> int:
        """Number of the broker's session with us, see `Message.session`."""
        ...

    def note_session(self, number: int) -> None:
        """It is on disk that this session is a new one: messages of it may come."""
        ...

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Tell the broker that these need not come again.

        In order of arrival.  Messages of an earlier connection are skipped: their packet ids may
        stand for something else by now.
        """
        ...

    @property
    def beats(self) -> Mapping[str, Callable[[], int]]:
        """{thread: when it last was at work, nanoseconds of the steady clock}, for the watchdog."""
        ...

    def status(self) -> dict[str, Any]:
        """What is known of each connection, for people and for `/readyz`; JSON types only."""
        ...

    def stop(self, drain_s: float) -> None:
        """Publish what still waits for up to `drain_s` seconds, say good-bye, end all threads."""
        ...
