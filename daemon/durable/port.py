"""The log as its users see it: append, commit, read; and the ways in which it can refuse.

LogError
├── LogFull        no space; nothing is lost, `commit` may be called again once there is some
├── LogFailed      the disk broke a promise; this log takes nothing any more: end the process
├── LogFenced      somebody else has made it longer; this one has no right to it any more: end
├── LogLocked      another process has the folder; tell the operator
├── LogForeign     written by another format version; tell the operator
└── LogUnreadable  a record became unreadable while the log was open; reading stops
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

RECORD_BYTES_MAX: Final = 16 * 1024 * 1024
SNAPSHOTS_KEPT: Final = 2

Pieces = Iterable[bytes | memoryview]
"""One section of a state, in parts that belong one after the other."""


class LogError(Exception):
    """Whatever keeps a log from doing what it was asked; caught where the log is owned."""


class LogFull(LogError):  # noqa: N818 - named by what became of the log
    """No space: what was appended before is kept, and `commit` may succeed later."""


class LogFailed(LogError):  # noqa: N818 - named by what became of the log
    """A write or fsync failed: what it covered may be anywhere.  Never tried again."""


class LogFenced(LogError):  # noqa: N818 - named by what became of the log
    """The log does not end where this user left it.  Nothing was made durable."""


class LogLocked(LogError):  # noqa: N818 - named by what became of the log
    """Another process, or another log of this one, has the folder."""


class LogForeign(LogError):  # noqa: N818 - named by what became of the log
    """The folder holds a log of a format that this version does not read."""


class LogUnreadable(LogError):  # noqa: N818 - named by what became of the log
    """A committed record is not what was written any more."""


@dataclass(frozen=True, slots=True)
class LogDamaged:
    """What was found broken among committed records when the log was opened."""

    file: Path
    offset: int
    """First byte of `file` that could not be used."""
    reason: str
    """`header`, `record`, or `gap`: the file does not follow the one before it."""
    missing: tuple[int, int]
    """Numbers of the first and the last record that cannot be read any more."""
    kept_at: tuple[Path, ...]
    """Where the bytes are now that the log does not use any more."""


class Log(Protocol):
    """Numbered records, in the order in which they were appended.

    Used by one thread.  Numbers count from 1 and never go back, also when damaged records had to
    be given up: `read` then jumps over their numbers.
    """

    @property
    def first(self) -> int:
        """Number of the oldest record still kept; `head + 1` when there is none."""

    @property
    def head(self) -> int:
        """Number of the newest record appended, 0 before the first one."""

    @property
    def durable(self) -> int:
        """Number of the newest record that was durable when the log was opened or committed."""

    def append(self, record: bytes) -> int:
        """Take a record and return its number; it is durable after the next `commit`.

        Raises `ValueError` above `RECORD_BYTES_MAX`, `LogFull` (this record was not taken) and
        `LogFailed`.
        """

    def commit(self, expected: int) -> int:
        """Make all records appended so far durable; the number of the newest of them.

        `expected`: number of the newest durable record as this user knows it, so that of two who
        take a log for theirs only one can go on.  Raises `LogFenced` when it is another.

        Raises `LogFull`: nothing new is promised, all that was appended still waits, call again
        when there is space.  Raises `LogFailed`: nothing new is promised, and the log takes
        nothing any more.
        """

    def read(self, after: int = 0) -> Iterator[tuple[int, bytes]]:
        """Committed records with numbers above `after`, in order.

        May run while others are appended; what is committed meanwhile is read too, what is
        deleted meanwhile is not.  Raises `LogUnreadable` rather than give a wrong record.
        """

    def give_up(self, before: int) -> bool:
        """Let go of some records older than that, to make room; whether there were any."""

    def skip(self, number: int) -> None:
        """Give no number up to this one again: who asks knows of records that are gone.

        The log cannot know by itself that its newest files are missing, or all of them.  To be
        called before anything is appended.  It writes nothing: what is appended shows it.
        """

    def close(self) -> None:
        """Let go of the folder; what was not committed is forgotten."""


class Snapshots(Protocol):
    """Whole states, each of which is there as a whole or not at all; used beside one log.

    A state that cannot even be tried, because whoever loads it dies, is put aside after some
    starts: `load` counts them, `well` begins anew.
    """

    put_aside: list[str]
    """What `load` could not use, and why."""
    hopeless: bool
    """After `load` gave nothing: whether the starts without a state have failed too."""

    def load(self) -> Mapping[str, memoryview] | None:
        """The newest state that can be read, None without any. Raises OSError."""

    def refuse(self, why: str) -> None:
        """What `load` has given cannot be used after all; it gives the one before it next."""

    def well(self) -> None:
        """What was loaded has done no harm, or is not the newest one any more."""

    @property
    def covered(self) -> int:
        """The last record that any state is known to cover, those that were put aside included."""

    def write(self, sections: Mapping[str, Pieces], covers: int) -> int:
        """Make a state durable, of records up to `covers`; its size in bytes.

        Raises OSError and `LogError`.
        """

    def close(self) -> None:
        """Let go of where they are kept."""
