"""Feed: hands batches of messages to the kernel, where that is worth while."""

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np

from config.model import Limits, Source
from daemon.bulk import Bulk
from daemon.decode.bulk.scan import LEFT, READ, REFUSED, Terms, scan
from daemon.decode.bulk.shapes import Shapes
from daemon.decode.contract import Wanted
from daemon.decode.times import SCALE
from daemon.messages import FIRST, RETAIN
from pipelines.batch import I4, I8, U1
from pipelines.order import Arrivals
from pipelines.quota import FAR_NS

PAUSE: Final = 16
"""When most of a batch was not for the kernel, so many times as many messages go without it."""


class Found(NamedTuple):
    """What came of a batch."""

    samples: Arrivals
    """Of the messages that were read, in their order."""
    upto: I4
    """(n,) end of the samples of each message."""
    fate: U1
    """(n,) what became of each message, see `scan`."""
    odd: int
    """Messages among them that were not read."""
    unknown: int
    """Samples among them that hold no number."""


class Feed:
    """The kernel for one source."""

    def __init__(self, source: Source, wanted: Wanted, limits: Limits) -> None:
        self.shapes = Shapes(wanted, limits.series_max)
        unit = source.time.unit if source.time else "ns"
        self._timed = source.time is not None
        self._terms = Terms(
            listed=wanted.channels is not None,
            timed=self._timed,
            iso=unit == "iso",
            scale=SCALE[unit],
            past_ns=FAR_NS if source.past_max is None else source.past_max,
            keys_max=wanted.keys_max,
            bytes_max=limits.message_bytes_max,
        )
        self._pause = 0
        self._scan: Callable[..., tuple[int, int]] | None = None

    @property
    def terms(self) -> I8:
        """(7,) what the source says of its payloads, as numbers."""
        return np.array(self._terms, np.int64)

    @property
    def paused(self) -> bool:
        """Whether batches go without it at present."""
        return self._pause > 0

    def takes(self, messages: int) -> bool:
        """Whether a batch of so many is to be read here; what is not counts against the pause."""
        self._pause = max(0, self._pause - messages)
        return self._pause == 0

    def tell(self, messages: int, left: int) -> None:
        """So many of a batch were left to the plain decoder, though nothing was new in them."""
        if 2 * left > messages:
            self._pause = PAUSE * messages

    def read(self, messages: Bulk, topic: I4, refused: U1) -> Found:
        """Read what can be read here of the messages that are not refused.

        topic, refused (n,): of each message.
        """
        rows, n = messages.rows, len(messages)
        fate = np.where(refused, np.uint8(REFUSED), np.uint8(READ))
        if not self._timed:  # kept by the broker, nobody knows since when
            fate[(rows[:, FIRST] & RETAIN > 0) & (fate == READ)] = LEFT
        upto = np.empty(n, np.int32)
        out = _room(n * self.shapes.widest)
        columns = messages.data, rows, topic, messages.arrival_ns
        args = (*columns, self.shapes.known, self._terms, fate, upto, out)
        if self._scan is None:
            self._scan = scan.only(*args)
        unknown, odd = self._scan(*args)
        last = int(upto[-1])
        samples = Arrivals(*[column[:last] for column in out])  # type: ignore[arg-type]  # mypy sees columns of one type
        return Found(samples, upto, fate, odd, unknown)


def feed_of(source: Source, wanted: Wanted, limits: Limits) -> Feed | None:
    """The kernel for a source; None when its payloads are read in a way that the kernel is not."""
    spec = source.decode
    plain = spec == "json" or (isinstance(spec, dict) and spec in ({"json": None}, {"json": {}}))
    fields = [wanted.time, wanted.seq, *(wanted.channels or {}).values()]
    given = [field for field in fields if field is not None]
    if not plain or len(set(given)) < len(given):
        return None
    return Feed(source, wanted, limits)


def _room(size: int) -> Arrivals:
    numbers = [np.empty(size, np.int64) for _ in range(3)]
    return Arrivals(np.empty(size, np.int32), numbers[0], np.empty(size), *numbers[1:])
