"""Names: byte strings and their numbers, in arrays: an object for each takes ten times as much."""

from array import array
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

FREE: Final = -1


class Names:
    """Byte strings in the order in which they were met."""

    def __init__(self) -> None:
        self._letters = bytearray()
        self._ends = array("I", [0])
        self._slots = _free(8)
        """Open addressing, by Python's hash: at most three quarters of them are taken."""

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __iter__(self) -> Iterator[bytes]:
        return map(self.__getitem__, range(len(self)))

    def __getitem__(self, number: int) -> bytes:
        return bytes(self._letters[self._ends[number] : self._ends[number + 1]])

    def find(self, name: bytes) -> int | None:
        """The number of a name, None when it was never met."""
        found = self._slots[self._slot(name)]
        return None if found == FREE else found

    def add(self, name: bytes) -> int:
        """The number of a name, the next one at first sight."""
        slot = self._slot(name)
        if self._slots[slot] != FREE:
            return self._slots[slot]
        number = len(self)
        self._letters += name
        self._ends.append(len(self._letters))
        if 4 * (number + 1) > 3 * len(self._slots):
            self._place_all()
        else:
            self._slots[slot] = number
        return number

    def keep(self, numbers: Sequence[int]) -> None:
        """Forget all but these, ascending, which close the gaps."""
        kept = [self[number] for number in numbers]
        self._letters = bytearray(b"".join(kept))
        self._ends = array("I", np.cumsum([0, *map(len, kept)]).tolist())
        self._place_all()

    def packed(self) -> tuple[bytes, bytes]:
        """All letters, and where the first name begins and each ends, as 32 bits."""
        return bytes(self._letters), self._ends.tobytes()

    @classmethod
    def of(cls, letters: bytes, ends: bytes) -> "Names":
        """The names that were `packed` so. Raises ValueError when these do not belong together."""
        found = np.frombuffer(ends, np.uint32).astype(np.int64)
        if found[0] != 0 or found[-1] != len(letters) or (np.diff(found) < 0).any():
            raise ValueError(f"{found.size - 1} names in {len(letters)} bytes")
        made = cls()
        made._letters, made._ends = bytearray(letters), array("I", ends)
        made._place_all()
        return made

    # --- inside --------------------------------------------------------------------------

    def _slot(self, name: bytes) -> int:
        """Where the number of this name stands, or is to stand."""
        slots, letters, ends = self._slots, self._letters, self._ends
        mask = len(slots) - 1
        slot = hash(name) & mask
        while (number := slots[slot]) != FREE and letters[ends[number] : ends[number + 1]] != name:
            slot = (slot + 1) & mask
        return slot

    def _place_all(self) -> None:
        self._slots = slots = _free(max(8, 1 << (4 * len(self) // 3).bit_length()))
        mask = len(slots) - 1
        for number, name in enumerate(self):  # all differ: there is nothing to compare
            slot = hash(name) & mask
            while slots[slot] != FREE:
                slot = (slot + 1) & mask
            slots[slot] = number


def _free(size: int) -> "array[int]":
    return array("i", [FREE]) * size
