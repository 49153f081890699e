"""Replays a table of samples as the messages of one device."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from device_sim.items import Outgoing
from device_sim.times import column_ns

SHOWN_MAX: Final = 5


class Columns(NamedTuple):
    """Where time and value stand, and what numbers in the time column mean."""

    time: str = "timestamp"
    value: str = "value"
    unit: str = "ms"
    """s, ms, us or ns since 1970; text is ISO 8601, in UTC without a zone."""


class Target(NamedTuple):
    """What the messages are."""

    topic: str
    channel: str = "value"
    device: str = "device"
    qos: int = 1


class ReplayError(Exception):
    """A table that cannot be replayed at all; the user's input is wrong."""


class Replay:
    """Rows of a CSV file as messages; rows that make no sense are counted in `skipped`."""

    def __init__(self, path: Path, columns: Columns, target: Target) -> None:
        self.skipped = 0
        self.problems: list[str] = []
        """The first few reasons, with their lines."""
        self._path = path
        self._columns = columns
        self._target = target

    def messages(self) -> Iterator[Outgoing]:
        """Yield one message per row, due when its time has come since the first row.

        A row from before its predecessor leaves at once, so disorder of the table stays.
        Raises ReplayError for a file or column that is not there.
        """
        try:
            with self._path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
                yield from self._rows(csv.reader(file))
        except OSError as error:
            raise ReplayError(f"cannot read {self._path}: {error.strerror}") from None
        except csv.Error as error:
            raise ReplayError(f"{self._path} is not a CSV file: {error}") from None

    def _rows(self, rows: Any) -> Iterator[Outgoing]:
        header: list[str] = next(rows, [])
        for name in (self._columns.time, self._columns.value):
            if name not in header:
                known = ", ".join(header) or "no columns at all"
                raise ReplayError(f"{self._path} has no column {name!r}; it has {known}")
        time_at, value_at = header.index(self._columns.time), header.index(self._columns.value)
        target, seq, due_ns = self._target, 0, 0
        first_ns: int | None = None
        for row in rows:
            try:
                t_ns = column_ns(row[time_at], self._columns.unit)
                value = float(row[value_at])
                if value - value != 0:  # inf and nan have no JSON
                    raise ValueError(f"{row[value_at]} is no finite number")
            except (ValueError, IndexError, OverflowError) as error:
                self.skipped += 1
                if len(self.problems) < SHOWN_MAX:
                    self.problems.append(f"{self._path}:{rows.line_num}: {error}")
                continue
            first_ns = t_ns if first_ns is None else first_ns
            due_ns = max(due_ns, t_ns - first_ns)
            fields = {"ts": t_ns // 1_000_000, "seq": seq, target.channel: value}
            yield Outgoing(due_ns, target.device, target.topic, target.qos, fields)
            seq += 1


def fill_topic(pattern: str, device: str, labels: dict[str, str]) -> str:
    """Fill {device}, {id} and labels into a topic. Raises ReplayError for what is not known."""
    try:
        topic = pattern.format(**{**labels, "device": device, "id": device})
    except (KeyError, IndexError, ValueError, AttributeError) as error:
        known = ", ".join(f"{{{name}}}" for name in ("device", "id", *labels))
        raise ReplayError(
            f"topic {pattern!r} cannot be filled in: {error}; known are {known} "
            "(more with --label name=value)"
        ) from None
    if not topic or any(c in topic for c in "+#\0"):
        raise ReplayError(f"cannot publish to topic {topic!r}")
    return topic
