"""Messages by column, for what takes them only so."""

from daemon.bulk import Bulk
from daemon.topics import Topics

TOPICS = Topics()


def bulk(*messages):
    """These messages, as the engine hands them on."""
    return Bulk.of(messages, TOPICS)
