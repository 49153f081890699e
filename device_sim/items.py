"""What a simulation or replay hands to the sender, in order of time."""

from typing import Any, NamedTuple


class Outgoing(NamedTuple):
    """One message to publish."""

    due_ns: int
    """Virtual time at which it leaves, from the beginning of the run."""
    device: str
    topic: str
    qos: int
    payload: dict[str, Any] | bytes
    """Fields of a JSON object, `sent_ns` filled in when it leaves; or bytes as they are."""


class Cut(NamedTuple):
    """The connection breaks here, without a DISCONNECT."""

    due_ns: int


class Note(NamedTuple):
    """A ground truth event: published like a message, and written to the truth file."""

    due_ns: int
    device: str
    event: dict[str, Any]


Item = Outgoing | Cut | Note
