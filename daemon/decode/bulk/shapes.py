"""Shapes: which fields the payloads of each topic have had, as arrays for the kernel."""

from array import array
from collections.abc import Mapping
from typing import Final

import numpy as np
import orjson

from daemon.decode.bulk.scan import CHANNEL, COUNTER, FIELDS_MAX, OTHER, TIME, Known
from daemon.decode.contract import Wanted
from pipelines.batch import I4

FIELDS_PER_SERIES_MAX: Final = 16
"""Fields of all topics, by the series that a source may have: without a bound, strangers could
fill memory with names that they make up."""
KEYS_MAX: Final = 65_536
"""Keys of a source, for the same reason."""
KEY_BYTES_MAX: Final = 512
_UNFIT: Final = frozenset(map(chr, range(32))) | {'"', "\\"}
"""What JSON writes as an escape; the kernel compares bytes as they stand."""


class Shapes:
    """What has been seen so far; grows by payloads that the plain decoder has read."""

    def __init__(self, wanted: Wanted, series_max: int) -> None:
        self._fields_max = FIELDS_PER_SERIES_MAX * series_max
        self._special = {wanted.time: TIME, wanted.seq: COUNTER}
        self._listed = None if wanted.channels is None else _by_path(wanted.channels)
        self.version = 0
        """One more with each change."""
        self.clear()

    def clear(self) -> None:
        """Forget all of it, topics included."""
        self._known: Known | None = None
        self.version += 1
        self._numbers: dict[str, int] = {}
        self._channels: list[str] = [""]
        # The first of each is no topic, field or key: numpy has no views of nothing.
        self._first, self._count, self._room = array("i"), array("i"), array("i")
        self._key, self._row = array("i", [0]), array("i", [-1])
        self._begin, self._length = array("i", [0]), array("i", [0])
        self._role, self._rank = array("i", [OTHER]), array("i", [0])
        self._letters = bytearray(1)
        self.widest = 1
        """Most fields that a topic has."""

    def add_topic(self) -> None:
        """Know one more topic, of the next number, that has shown nothing yet."""
        self._known = None
        self.version += 1
        for column in (self._first, self._count, self._room):
            column.append(0)

    @property
    def known(self) -> Known:
        """What the kernel needs; only good until something is learnt."""
        if self._known is None:
            self._known = Known(
                first=_view(self._first),
                fields=_view(self._count),
                key=_view(self._key),
                row=_view(self._row),
                begin=_view(self._begin),
                length=_view(self._length),
                role=_view(self._role),
                rank=_view(self._rank),
                letters=np.frombuffer(self._letters, np.uint8),
            )
        return self._known

    def learn(self, topic: int, payload: bytes, rows: Mapping[str, int]) -> bool:
        """Take over the fields of a payload of this topic; whether anything of it was new.

        rows: channel → row of the series, of the topic's device.
        """
        try:
            fields = orjson.loads(payload)
        except orjson.JSONDecodeError:
            return False
        if type(fields) is not dict or len(fields) > FIELDS_MAX:
            return False
        self._known = None
        first, count = self._first[topic], self._count[topic]
        mine = set(self._key[first : first + count])
        keys = [key for key in map(self._number, fields) if key is not None]
        fresh = [key for key in keys if key not in mine]
        if len(keys) < len(fields) or not self._make_room(topic, len(fresh)):
            return False
        first = self._first[topic]
        for at, key in enumerate(fresh, first + count):
            self._key[at], self._row[at] = key, -1
        self._count[topic] = count + len(fresh)
        self.widest = max(self.widest, count + len(fresh))
        found = 0
        for at in range(first, first + count + len(fresh)):
            if self._row[at] < 0 and self._role[self._key[at]] == CHANNEL:
                self._row[at] = rows.get(self._channels[self._key[at]], -1)
                found += self._row[at] >= 0
        self.version += bool(fresh or found)
        return bool(fresh or found)

    def is_bare(self, topic: int) -> bool:
        """Whether the topic has shown nothing yet."""
        return not self._count[topic]

    # --- inside --------------------------------------------------------------------------

    def _number(self, name: str) -> int | None:
        """The key of this name, a new one at first sight; None for one that is not kept."""
        number = self._numbers.get(name)
        if number is not None:
            return number
        letters = name.encode()
        number = len(self._channels)
        if len(letters) > KEY_BYTES_MAX or number > KEYS_MAX or not _UNFIT.isdisjoint(name):
            return None
        role, channel, rank = self._special.get(name, CHANNEL), name, 0
        if role == CHANNEL and self._listed is not None:
            role, channel, rank = self._listed.get(name, (OTHER, "", 0))
        self._numbers[name] = number
        self._channels.append(channel)
        self._begin.append(len(self._letters))
        self._length.append(len(letters))
        self._role.append(role)
        self._rank.append(rank)
        self._letters += letters
        return number

    def _make_room(self, topic: int, more: int) -> bool:
        """Whether the topic has room for more fields; they are moved to the end for it."""
        first, count = self._first[topic], self._count[topic]
        if count + more <= self._room[topic]:
            return True
        room = 1 << (count + more - 1).bit_length()
        if count + more > FIELDS_MAX or len(self._key) + room > self._fields_max:
            return False
        self._first[topic], self._room[topic] = len(self._key), room
        for column in (self._key, self._row):
            column.extend(column[first : first + count])
            column.extend([0] * (room - count))
        return True


def _by_path(channels: Mapping[str, str]) -> dict[str, tuple[int, str, int]]:
    return {path: (CHANNEL, name, rank) for rank, (name, path) in enumerate(channels.items())}


def _view(column: "array[int]") -> I4:
    return np.frombuffer(column, np.int32)
