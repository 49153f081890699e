"""Streams of random numbers: one per device and use, all from the scenario's seed."""

from zlib import crc32

import numpy as np
from numpy.typing import NDArray

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]


def stream(seed: int, *key: str | int) -> np.random.Generator:
    """Make the generator that belongs to `key`, the same for each run with this seed.

    Keys are names, not order of creation: a channel or fault that is added leaves the numbers
    of all others as they were.
    """
    words = tuple(crc32(part.encode()) if isinstance(part, str) else part for part in key)
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=words))


class Streams:
    """One generator per device of a fleet, for one use such as a part of a signal."""

    def __init__(self, seed: int, count: int, *key: str | int) -> None:
        self.count = count
        self._seed = seed
        self._key = key
        self._generators: list[np.random.Generator] = []

    def _all(self) -> list[np.random.Generator]:
        if not self._generators:
            devices = range(self.count)
            self._generators = [stream(self._seed, *self._key, device) for device in devices]
        return self._generators

    def normal(self, n: int) -> F8:
        """(devices, n) standard normal; two calls of n/2 draw what one call of n would."""
        out = np.empty((self.count, n))
        for row, generator in zip(out, self._all(), strict=True):
            generator.standard_normal(out=row)
        return out

    def uniform(self, n: int) -> F8:
        """(devices, n) uniform in [0, 1)."""
        out = np.empty((self.count, n))
        for row, generator in zip(out, self._all(), strict=True):
            generator.random(out=row)
        return out

    def of(self, device: int) -> np.random.Generator:
        """Give the generator of one device."""
        return self._all()[device]
