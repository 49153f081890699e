"""Control: messages that are no samples, namely our own retained states after a start, and commands.

A daemon that starts finds the retained states of alerts that were active when it stopped, and
goes on with them: the next samples then clear them, so that none stays active for ever.
"""

import logging
from collections.abc import Iterator
from typing import Final

import numpy as np
import orjson

from config.errors import printable
from config.model import Gateway
from config.topics import TopicFilter, TopicIndex, TopicTemplate
from daemon.bulk import Bulk
from daemon.commands import answer, parse
from daemon.encode import Encoder
from daemon.ledger import Count, Ledger, Reason
from daemon.messages import Message, Outgoing
from daemon.retained import read
from daemon.rows import RowReader
from daemon.topics import ByTopic
from pipelines.events import Event
from pipelines.graph import Graph
from pipelines.occurrence import Refused

log = logging.getLogger(__name__)

SOURCE: Final = "control"
"""Stands for the source in the ledger."""


class Control:
    """Takes control messages out of the stream and applies them."""

    def __init__(self, gateway: Gateway, encoder: Encoder, ledger: Ledger) -> None:
        self._ledger = ledger
        self._taken = [TopicFilter.parse(source.topic) for source in gateway.sources.values()]
        self._origin = f"/sensorweir/{gateway.gateway}/"
        self._state_topic = encoder.state_topic
        self._states = tuple(encoder.state_filters())
        self._among_states = TopicIndex(map(TopicFilter.parse, self._states))
        self._command = None
        if gateway.command_topic is not None:
            template = TopicTemplate.parse(gateway.command_topic)
            self._command = template.render({"gateway": gateway.gateway})
        self._rows = RowReader(gateway.tables)
        self._ours = ByTopic(self._is_ours)

    def filters(self) -> dict[str, int]:
        """What to subscribe to for commands and for rows of tables."""
        return ({self._command: 1} if self._command else {}) | self._rows.filters()

    @property
    def states(self) -> tuple[str, ...]:
        """Filters of the retained states that we left before a restart."""
        return self._states

    def takes(self, topic: str) -> bool:
        """Whether messages on this topic are ours."""
        return self._is_ours(topic)

    def runs(self, messages: Bulk) -> Iterator[tuple[bool, Bulk]]:
        """(are they control messages, the messages), in order and as long as may be."""
        if self._ours.only(messages.topics, messages.rows) == 0:
            yield False, messages
            return
        ours = self._ours.of(messages.topics, messages.rows)
        ends = [*(np.flatnonzero(np.diff(ours)) + 1).tolist(), len(messages)]
        first = 0
        for last in ends:
            yield bool(ours[first]), messages[first:last]
            first = last

    def apply(self, message: Message, graph: Graph) -> tuple[list[Event], list[Outgoing]]:
        """Do what the message says: the events of it, and the answer when it is a command.

        What cannot be understood is counted and has no effect.
        """
        asking = message.topic == self._command
        topic, answers = self._answer_topic(message), list[Outgoing]()
        told: list[Event] = []
        try:
            if self._rows.takes(message.topic):
                graph.tables.change(*self._rows.read(message))
                return [], []  # counted once it is known whether the tables can have it
            if not asking:
                told, answers = self._recall(message, graph)
            elif topic is None:
                raise ValueError("the response topic is one that this daemon listens to")
            else:
                told, error, facts = self._obey(message, graph)
                answers.append(answer(message, topic, error, facts))
        except (ValueError, TypeError, KeyError) as error:
            self._reject(message, error)
            if asking:
                answers.append(answer(message, topic or self._default_topic, str(error), {}))
            return [], answers
        self._ledger.count(Count.MESSAGES_ACCEPTED, source=SOURCE)
        return told, answers

    def settle(self, graph: Graph) -> None:
        """Let changed rows of tables count from here on."""
        taken, refused = graph.settle_tables()
        self._ledger.count(Count.MESSAGES_ACCEPTED, taken, source=SOURCE)
        if refused:
            self._ledger.count(
                Count.MESSAGES_REJECTED, refused, reason=Reason.BAD_SHAPE, source=SOURCE
            )
            log.warning("Rows that no table can have", extra={"facts": {"rows": refused}})

    # --- inside --------------------------------------------------------------------------

    @property
    def _default_topic(self) -> str:
        return f"{self._command}/response"

    def _answer_topic(self, message: Message) -> str | None:
        """Where an answer goes; None when nothing may be published there on somebody's behalf."""
        topic = message.response_topic or self._default_topic
        ours = topic.startswith("$") or self._is_ours(topic)
        return None if ours or any(f.match(topic) is not None for f in self._taken) else topic

    def _reject(self, message: Message, error: Exception) -> None:
        wrong_json = isinstance(error, orjson.JSONDecodeError)
        reason = Reason.BAD_JSON if wrong_json else Reason.BAD_SHAPE
        self._ledger.count(Count.MESSAGES_REJECTED, reason=reason, source=SOURCE)
        log.warning(
            "Control message is not understood",
            extra={"facts": {"reason": reason, "topic": message.topic}},
        )

    def _is_ours(self, topic: str) -> bool:
        return (
            topic == self._command or self._rows.takes(topic) or self._among_states.matches(topic)
        )

    def _recall(self, message: Message, graph: Graph) -> tuple[list[Event], list[Outgoing]]:
        """What goes on of it; and its end, where our own state knows that it has ended."""
        if not message.retain or not message.payload:
            return [], []  # our own words, as they come back while we listen
        origin, labels, past = read(message)
        if not origin.startswith(self._origin):
            return [], []
        pipeline = origin.removeprefix(self._origin)
        topic = self._state_topic(pipeline, labels)
        if topic is None:
            return [], []
        if topic != message.topic:
            raise ValueError("these labels have another topic")
        if graph.outlived(pipeline, labels, past):
            return [], [Outgoing(message.topic, b"", 1, True, "state")]
        return graph.recall(pipeline, labels, past), []

    def _obey(
        self, message: Message, graph: Graph
    ) -> tuple[list[Event], str | None, dict[str, str]]:
        """(events, why it was refused, facts for the answer)."""
        alert, order = parse(message)
        facts = {"command": str(order.given), "alert": alert}
        told: list[Event] = []
        refused = None
        try:
            told = graph.obey(alert, order)
        except Refused as why:
            refused = str(why)
        log.info(
            "Command",
            extra={"facts": {**facts, "by": printable(order.by or ""), "done": refused is None}},
        )
        return told, refused, facts
