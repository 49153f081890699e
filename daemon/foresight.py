"""Foresight: what a connection is told, so that it knows which messages may wait for others.

It is told anew after turns, and only what did not change in the one before: while topics, fields and
series are being met nothing waits.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np

from daemon.decode.bulk.glance import PRESSES, Sights, unsighted
from daemon.decode.reader import SourceReader
from daemon.topics import ByTopic, Topics
from pipelines.batch import I8
from pipelines.foresight import Bounds
from pipelines.foresight import Foresight as OfSource
from pipelines.primitives import placed

_ALL: Final = OfSource((), ())
"""Of a source of which nothing is told at once."""
_BLIND: Final = unsighted().like
"""Of one of which nothing may wait."""


class Seen(NamedTuple):
    """What holds for one `Topics`, with the memory it rests on."""

    topics: Topics
    sights: Sights
    kept: tuple[object, ...]


class Foresight:
    """Written by whoever makes turns; `seen` may be read by any thread."""

    def __init__(self) -> None:
        self.seen: Seen | None = None
        self._readers: Sequence[SourceReader] = ()
        self._near: Sequence[OfSource] = ()
        self._quiet = np.zeros(0, np.uint8)
        self._source = ByTopic(_never)
        self._was: tuple[object, ...] = ()
        self._bounds: list[Bounds] = []
        """Of `_was`: kept, so that no other has their ids."""

    def adopt(
        self,
        readers: Mapping[str, SourceReader],
        near: Mapping[str, OfSource],
        quiet: set[str],
        wanted: Callable[[str], tuple[str, ...]],
    ) -> None:
        """`near`, `quiet`: see `Graph`; `wanted`: which sources want a topic."""
        names = [name for name, reader in readers.items() if reader.sighted]

        def source(topic: str) -> int:
            found = wanted(topic)
            return 1 + names.index(found[0]) if len(found) == 1 and found[0] in names else PRESSES

        self.seen, self._was = None, ()
        self._readers = [readers[name] for name in names]
        self._near = [near.get(name, _ALL) for name in names]
        self._quiet = np.array([name in quiet for name in names], np.uint8)
        self._source = ByTopic(source)

    def turned(self, topics: Topics) -> None:
        """A turn has been made of messages on these topics."""
        if not self._readers:
            return
        versions = [reader.version for reader in self._readers]
        bounds = [near.of for near in self._near]
        now = (topics, len(topics), *versions, *map(id, bounds))
        if now != self._was:
            self._was, self._bounds, self.seen = now, bounds, None  # it may change again
        elif self.seen is None:
            self.seen = self._look(topics)

    def _look(self, topics: Topics) -> Seen:
        found = [
            _BLIND if reader.version is None else reader.sight(topics, near.of)
            for reader, near in zip(self._readers, self._near, strict=True)
        ]
        placed_ = [np.array(placed(sight), np.int64) for sight in found]
        addresses: I8 = np.array([block.ctypes.data for block in placed_], np.int64)
        sights = Sights(self._source.table(topics), addresses, self._quiet, _BLIND)
        return Seen(topics, sights, (found, placed_))


def _never(_topic: str) -> int:
    return PRESSES
