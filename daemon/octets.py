"""Octets: bytes in large arrays, hashed and compared by kernels, eight at a time."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipelines.batch import U1
from pipelines.jit import kernel
from pipelines.primitives import word

U8 = NDArray[np.uint64]

PADDING: Final = 8
"""Bytes of zero behind what is looked at: nothing need ask where it ends."""
SEED: Final = np.uint64(0)
_MIX: Final = np.uint64(0xC6A4A7935BD1E995)
_FOLD: Final = np.uint64(47)


@kernel
def hashed(seed: np.uint64, data: U1, at: int, end: int) -> np.uint64:
    """MurmurHash64A (Appleby, 2008) of the bytes in [at, end).

    The hash of what came before, as the seed, makes it one of both.
    """
    h = seed ^ (np.uint64(end - at) * _MIX)
    while at + 8 <= end:
        k = word(data, at) * _MIX
        h = (h ^ ((k ^ (k >> _FOLD)) * _MIX)) * _MIX
        at += 8
    if at < end:
        k = np.uint64(0)
        while end > at:
            end -= 1
            k = k << np.uint64(8) | np.uint64(data[end])
        h = (h ^ k) * _MIX
    h = (h ^ (h >> _FOLD)) * _MIX
    return h ^ (h >> _FOLD)


@kernel
def same(data: U1, p: int, end: int, others: U1, q: int) -> bool:
    """Whether the bytes in [p, end) are those from q on, of which none is 0.

    So nothing further than `PADDING` behind a 0 is looked at.
    """
    while p + 8 <= end:
        if word(data, p) != word(others, q):
            return False
        p, q = p + 8, q + 8
    while p < end:
        if data[p] != others[q]:
            return False
        p, q = p + 1, q + 1
    return True
