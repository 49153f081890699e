"""Control: messages that are no samples, namely our own retained states after a start, and commands.

A daemon that starts finds the retained states of alerts that were active when it stopped, and
goes on with them: the next samples then clear them, so that none stays active for ever.
"""

import logging
import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import orjson

from config.model import Gateway
from config.topics import TopicFilter, TopicTemplate
from daemon.ledger import Count, Ledger, Reason
from daemon.messages import Message
from pipelines.events import Event, rfc3339_ns
from pipelines.graph import Graph
from pipelines.series import make_labels

log = logging.getLogger(__name__)

SOURCE: Final = "control"
"""Stands for the source in the ledger."""


class Control:
    """Takes control messages out of the stream and applies them."""

    def __init__(self, gateway: Gateway, state_filters: Sequence[str], ledger: Ledger) -> None:
        self._ledger = ledger
        self._origin = f"/sensorweir/{gateway.gateway}/"
        self._states = {text: TopicFilter.parse(text) for text in state_filters}
        self._command = None
        if gateway.command_topic is not None:
            template = TopicTemplate.parse(gateway.command_topic)
            self._command = template.render({"gateway": gateway.gateway})
        self._known: dict[str, bool] = {}

    def filters(self) -> dict[str, int]:
        """What to subscribe to for commands."""
        return {self._command: 1} if self._command else {}

    @property
    def states(self) -> tuple[str, ...]:
        """Filters of the retained states that we left before a restart."""
        return tuple(self._states)

    def sort(self, messages: Sequence[Message]) -> tuple[list[Message], list[Message]]:
        """(samples, control messages), each in order."""
        samples: list[Message] = []
        ours: list[Message] = []
        for message in messages:
            known = self._known.get(message[0])
            if known is None:
                known = self._is_ours(message.topic)
                if len(self._known) > 100_000:
                    self._known.clear()
                self._known[message.topic] = known
            (ours if known else samples).append(message)
        return samples, ours

    def apply(self, message: Message, graph: Graph) -> list[Event]:
        """Do what the message says; what cannot be understood is counted and has no effect."""
        try:
            told = (
                self._obey(message, graph)
                if message.topic == self._command
                else self._recall(message, graph)
            )
        except (ValueError, TypeError, KeyError) as error:
            reason = (
                Reason.BAD_JSON if isinstance(error, orjson.JSONDecodeError) else Reason.BAD_SHAPE
            )
            self._ledger.count(Count.MESSAGES_REJECTED, reason=reason, source=SOURCE)
            log.warning(
                "Control message is not understood",
                extra={"facts": {"reason": reason, "topic": message.topic}},
            )
            return []
        self._ledger.count(Count.MESSAGES_ACCEPTED, source=SOURCE)
        return told

    def _is_ours(self, topic: str) -> bool:
        return topic == self._command or any(
            f.match(topic) is not None for f in self._states.values()
        )

    def _recall(self, message: Message, graph: Graph) -> list[Event]:
        if not message.retain or not message.payload:
            return []  # our own words, as they come back while we listen
        event = orjson.loads(message.payload)
        origin, data = str(event["source"]), event["data"]
        if not origin.startswith(self._origin):
            return []
        labels = make_labels({str(k): str(v) for k, v in data["labels"].items()})
        return graph.recall(
            origin.removeprefix(self._origin),
            labels,
            rfc3339_ns(data["since"]),
            _number(data["value"]),
            _number(data["worst"]),
        )

    def _obey(self, message: Message, graph: Graph) -> list[Event]:
        command = orjson.loads(message.payload)
        obey: dict[str, Callable[[str], list[Event]]] = {"reset": graph.reset}
        [(verb, what)] = command.items() if isinstance(command, dict) else [("", "")]
        if verb not in obey or not isinstance(what, str):
            raise ValueError('expected {"reset": "<id of the alert>"}')
        told = obey[verb](what)
        log.info("Command", extra={"facts": {"command": verb, "alert": what, "done": len(told)}})
        return told


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)
