"""Tape: a recording as a replay reads it, without a lock: a daemon may be writing it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from daemon.durable.checkpoint import CheckpointDamaged, unpacked
from daemon.durable.segments import first_of, look, run

HINT: Final = "name the folder of state: or record: in gateway.yaml, or a copy of it"
LOG: Final = "log"
"""Where the log lies within the folder of state:."""


class TapeError(Exception):
    """There is no recording; the text says where and what was found."""


class Tape:
    """The records of a folder, as many as are good when they are read."""

    def __init__(self, folder: Path) -> None:
        """Raises TapeError where there is no recording, OSError where it cannot be read."""
        if not folder.is_dir():
            raise TapeError(f"{folder} is no folder: {HINT}")
        self.state = oldest_state(folder)
        """Sections of the oldest checkpoint beside the log, where there is one."""
        if (folder / LOG).is_dir():
            folder /= LOG
        self._segments = {
            first: path for path in folder.iterdir() if (first := first_of(path.name)) is not None
        }
        if not self._segments:
            raise TapeError(f"there is no recording in {folder}: {HINT}")
        self.size = sum(path.stat().st_size for path in self._segments.values())
        """Bytes, when it was opened."""
        self.read = 0
        """Bytes behind us."""

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        """(number, record) in order; a number is left out where a record is missing or broken.

        Raises LogForeign for a log of another version.
        """
        for first, path in sorted(self._segments.items()):
            try:
                data = path.read_bytes()
            except FileNotFoundError:  # the daemon makes room
                continue
            look(path, data[:64], first)  # refuses another version
            before = self.read
            for record in run(data, first):
                self.read = before + record.end
                yield record.number, data[record.start : record.end]
            self.read = before + len(data)


def oldest_state(folder: Path) -> dict[str, memoryview] | None:
    """Sections of the oldest checkpoint that can be read; a daemon may be writing others."""
    for path in sorted(folder.glob("*.state")):
        try:
            return unpacked(path.read_bytes())
        except (CheckpointDamaged, FileNotFoundError):
            continue
    return None
