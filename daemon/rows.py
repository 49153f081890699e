"""Rows: retained messages that fill the tables of the configuration."""

from collections.abc import Mapping
from typing import Any

import orjson

from config.tables import Cells, Table
from config.topics import TopicFilter
from daemon.messages import Message


class RowReader:
    """Which topics fill which table, and what a message says about a row."""

    def __init__(self, tables: Mapping[str, Table]) -> None:
        self._tables = {
            name: (TopicFilter.parse(table.topic), table.key)
            for name, table in tables.items()
            if table.topic is not None
        }

    def filters(self) -> dict[str, int]:
        """What to subscribe to, {MQTT filter: QoS}."""
        return {topic.subscription: 1 for topic, _ in self._tables.values()}

    def takes(self, topic: str) -> bool:
        """Whether messages on this topic are rows."""
        return any(taken.match(topic) is not None for taken, _ in self._tables.values())

    def read(self, message: Message) -> tuple[str, str, Cells | None]:
        """(table, key, row); row None: it is gone.

        Raises ValueError or TypeError for a payload that is no JSON object of single values, and
        LookupError for a topic that is not one of ours.
        """
        for name, (taken, key) in self._tables.items():
            levels = taken.match(message.topic)
            if levels is not None:
                row = {**_cells(message.payload), **levels} if message.payload else None
                return name, levels[key], row
        raise LookupError(message.topic)


def _cells(payload: bytes) -> dict[str, Any]:
    row = orjson.loads(payload)
    if not isinstance(row, dict):
        raise TypeError("expected a JSON object with the columns of the row")
    if any(isinstance(cell, dict | list) for cell in row.values()):
        raise ValueError("expected text and numbers in the columns of the row")
    return row
