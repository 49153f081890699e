"""Recorder: keeps what goes into the engine, on a thread of its own, for `sensorweir replay`.

The engine's thread puts each turn into a queue and goes on; packing, writing and syncing happen
here.  A disk that is full, broken or too slow ends the recording, with an error in the log and
in the metrics, and nothing else.
"""

import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from config.model import Gateway
from config.record import Record
from daemon import __version__
from daemon.bulk import bytes_of
from daemon.clock import Clock
from daemon.durable.blocks import Begins, Block, BlockError, Reload, Start, Stop, Turn, pack
from daemon.durable.local import LocalLog
from daemon.durable.port import Log, LogError
from daemon.durable.stored import stored
from daemon.messages import Message
from pipelines.graph import TICK_NS

log = logging.getLogger(__name__)

WAITING_BYTES_MAX: Final = 64 << 20
"""What may wait for the disk; beyond that it is too slow to be recorded on."""
SOON_BYTES: Final = 4 << 20
"""With so much waiting, it is written before its time."""
MESSAGE_BYTES: Final = 64
"""What a message takes in the queue besides its topic and payload, about."""
SEGMENTS: Final = 16
"""Parts that a recording is made of; the oldest is deleted as a whole."""
CLOSE_S: Final = 5.0


class Recorder:
    """The `Recording` of an engine. `turn`, `adopted`, `flushed` are called by one thread."""

    def __init__(
        self, open_log: Callable[[], Log], clock: Clock, *, delay_ns: int, mark_bytes: int
    ) -> None:
        """`open_log` is called on the recorder's own thread, and may raise LogError or OSError.

        `mark_bytes`: after so much, what a replay must know to begin there is written again.
        """
        self.failed = ""
        """Why the recording has ended, empty while it goes on."""
        self._open_log, self._clock, self._delay_ns = open_log, clock, delay_ns
        self._mark_bytes, self._since_mark = mark_bytes, 0
        self._queue: deque[tuple[Block, int]] = deque()
        # Each number has one writer: no lock between the two threads.
        self._bytes_in = self._bytes_out = 0
        self._here = Start(Begins.FRESH, 0, 0, __version__, b"")
        self._closing = False
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._work, name="recorder", daemon=True)

    @property
    def waiting_bytes(self) -> int:
        """What is not on disk yet."""
        return self._bytes_in - self._bytes_out

    # --- the engine's side -------------------------------------------------------------------

    def start(self, gateway: Gateway, ticked_ns: int, *, resumed: bool = False) -> None:
        """Begin with this configuration; `ticked_ns`: the engine's last tick.

        `resumed`: the engine goes on with the state of another run.
        """
        begins = Begins.RESUMED if resumed else Begins.FRESH
        config = stored(gateway)
        now_ns = self._clock.now_ns()
        self._put(Start(begins, now_ns, ticked_ns, __version__, config), len(config))
        self._thread.start()

    def turn(self, messages: Sequence[Message], until_ns: int) -> None:
        """Take what went into one turn."""
        if not self.failed:
            size = bytes_of(messages) + MESSAGE_BYTES * (len(messages) + 1)
            self._put(Turn(until_ns, messages), size)

    def adopted(self, gateway: Gateway) -> None:
        """Another configuration holds from here on."""
        config = stored(gateway)
        self._put(Reload(config), len(config))

    def flushed(self) -> None:
        """The daemon ends in order."""
        self._put(Stop(), MESSAGE_BYTES)

    def close(self) -> None:
        """Write what is left, within some seconds."""
        self._closing = True
        self._wake.set()
        self._thread.join(CLOSE_S)
        if self._thread.is_alive():
            log.error("The disk is too slow, the end of the recording is missing")

    def _put(self, block: Block, size: int) -> None:
        if self.failed:
            return
        if self.waiting_bytes + size > WAITING_BYTES_MAX:
            self._fail(f"the disk is too slow, {self.waiting_bytes} bytes wait for it")
            return
        self._bytes_in += size
        self._queue.append((block, size))
        if self.waiting_bytes > SOON_BYTES:
            self._wake.set()

    # --- the recorder's side -----------------------------------------------------------------

    def _work(self) -> None:
        """What the thread does."""
        ended = False
        try:
            with contextlib.closing(self._open_log()) as kept:
                while not self.failed and not self._closing:
                    self._clock.wait(self._wake, self._delay_ns)
                    self._wake.clear()
                    self._write(kept)
                self._write(kept)
            ended = True
        except (LogError, OSError, BlockError) as error:
            self._fail(str(error))
        finally:
            if not (ended or self.failed):
                self._fail("a fault of ours, see the traceback")
            self._queue.clear()

    def _write(self, kept: Log) -> None:
        """Bring what has come to the disk."""
        written = 0
        for _ in range(len(self._queue)):
            block, size = self._queue.popleft()
            if isinstance(block, Turn) and self._since_mark >= self._mark_bytes:
                self._append(kept, self._here._replace(begins=Begins.MIDDLE))
            self._append(kept, block)
            self._follow(block)
            written += size
        if written:
            kept.commit(kept.durable)
            self._bytes_out += written

    def _append(self, kept: Log, block: Block) -> None:
        if isinstance(block, Start):
            self._since_mark = 0
        for record in pack(block):
            kept.append(record)
            self._since_mark += len(record)

    def _follow(self, block: Block) -> None:
        """Know what a replay must know that begins behind this block."""
        match block:
            case Start():
                self._here = block
            case Reload(config):
                self._here = self._here._replace(config=config)
            case Turn(until_ns, _):
                ticked_ns = max(self._here.ticked_ns, until_ns // TICK_NS * TICK_NS)
                self._here = self._here._replace(now_ns=until_ns, ticked_ns=ticked_ns)
            case Stop():
                pass

    def _fail(self, why: str) -> None:
        self.failed = why
        log.error("The recording has ended, the daemon goes on", extra={"facts": {"why": why}})


def make_recorder(record: Record, clock: Clock) -> Recorder:
    """A recorder as it is configured, not started yet."""
    segment_bytes = record.size // SEGMENTS

    def open_log() -> Log:
        return LocalLog(Path(record.folder), bytes_max=record.size, segment_bytes=segment_bytes)

    # Two marks in each segment: whatever is deleted, what is left begins with one soon.
    return Recorder(open_log, clock, delay_ns=record.commit_delay, mark_bytes=segment_bytes // 2)
