"""Sparse: copies of arrays without the blocks that are all zero.

State arrays are much wider than what is used of them: rows that no device has touched, rings that
one fast series made wide for all.  Untouched memory costs nothing as long as nobody writes to it,
so a copy writes only what holds something.
"""

import re
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from pipelines.batch import I4, U1
from pipelines.jit import kernel

BLOCK: Final = 4096
"""Bytes: a page of memory."""


class Sparse(NamedTuple):
    """An array as the blocks of it that are not all zero."""

    dtype: str
    shape: tuple[int, ...]
    blocks: I4  # (n,) their numbers, ascending
    data: U1  # their bytes, one after the other


class Buffers:
    """Memory for copies, used again: fresh pages cost more than what is copied into them."""

    def __init__(self) -> None:
        self._made: list[tuple[U1, I4]] = []
        self._taken = 0

    def again(self) -> None:
        """Give out everything once more; nobody uses what was given before."""
        self._taken = 0

    def take(self, size: int) -> tuple[U1, I4]:
        """Room for `size` bytes, and for the numbers of their blocks."""
        if self._taken == len(self._made):
            self._made.append((np.empty(0, np.uint8), np.empty(0, np.int32)))
        room = self._made[self._taken]
        if room[0].size < size:
            room = np.empty(size, np.uint8), np.empty(_blocks(size), np.int32)
            self._made[self._taken] = room
        self._taken += 1
        return room


def sparse(array: Any, buffers: Buffers) -> Sparse:
    """A copy of any array, in memory of `buffers`."""
    flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    data, blocks = buffers.take(flat.size)
    count, size = _packed(flat, data, blocks)
    return Sparse(array.dtype.str, array.shape, blocks[:count], data[:size])


def dense(dtype: str, shape: Sequence[int], blocks: I4, data: U1) -> Any:
    """The array itself. Raises ValueError or TypeError when these do not belong together."""
    made = np.zeros(tuple(shape), kind(dtype))
    flat = made.reshape(-1).view(np.uint8)
    if blocks.size and not (blocks[0] >= 0 and blocks[-1] < _blocks(flat.size)):
        raise ValueError(f"block {blocks[-1]} of an array of {flat.size} bytes")
    if (blocks[1:] <= blocks[:-1]).any() or data.size != size_of(blocks, flat.size):
        raise ValueError(f"{data.size} bytes in {blocks.size} blocks of {flat.size} bytes")
    whole = flat.size // BLOCK
    full = blocks[blocks < whole]
    filled = full.size * BLOCK
    flat[: whole * BLOCK].reshape(whole, BLOCK)[full] = data[:filled].reshape(-1, BLOCK)
    if full.size < blocks.size:
        flat[whole * BLOCK :] = data[filled:]
    return made


def kind(dtype: str) -> np.dtype[Any]:
    """Of numbers and truths. Raises ValueError for others: numpy takes a whole language for one."""
    if not re.fullmatch(r"[<|][biuf][1248]", dtype):
        raise ValueError(f"{dtype!r} is no kind of number")
    return np.dtype(dtype)


def size_of(blocks: I4, size: int) -> int:
    """Bytes in these blocks of an array of `size` bytes."""
    short = blocks.size > 0 and (int(blocks[-1]) + 1) * BLOCK > size
    return blocks.size * BLOCK - (-size % BLOCK if short else 0)


def _blocks(size: int) -> int:
    return -(-size // BLOCK)


@kernel
def _packed(flat: U1, data: U1, blocks: I4) -> tuple[int, int]:
    """Copy the blocks of `flat` that are not all zero to `data`; (blocks, bytes)."""
    count, size = 0, 0
    for first in range(0, flat.size, BLOCK):
        last = min(first + BLOCK, flat.size)
        some = 0
        for i in range(first, last):
            some |= flat[i]
        if some:
            blocks[count] = first // BLOCK
            for i in range(first, last):
                data[size + i - first] = flat[i]
            count += 1
            size += last - first
    return count, size
