"""Hashes and comparisons of bytes, against what is known of them and what Python says."""

import random

import numpy as np
import pytest

from daemon.octets import PADDING, SEED, hashed, same

KNOWN = 0x1F0D3804
"""What SMHasher (Appleby) expects of MurmurHash64A: of the hashes of 0, 1, ... 255 bytes."""


def octets(data):
    return np.frombuffer(bytearray(data + bytes(PADDING)), np.uint8)


def test_the_hash_is_the_one_that_is_published():
    keys = octets(bytes(range(256)))
    hashes = b"".join(
        int(hashed(np.uint64(256 - n), keys, 0, n)).to_bytes(8, "little") for n in range(256)
    )
    assert hashed(SEED, octets(hashes), 0, len(hashes)) & 0xFFFFFFFF == KNOWN


def test_where_bytes_stand_does_not_matter_and_what_came_before_does():
    text = octets(b"xxplant/north/b7/temperature")
    other = octets(b"plant/north/b7/temperature")
    assert hashed(SEED, text, 2, 28) == hashed(SEED, other, 0, 26)
    assert hashed(np.uint64(1), other, 0, 26) != hashed(SEED, other, 0, 26)


@pytest.mark.parametrize("seed", range(3))
def test_the_same_bytes_are_the_same_and_no_others(seed):
    rng = random.Random(seed)
    for _ in range(2000):
        a = bytes(rng.choices(b"ab", k=rng.randrange(20)))
        b = a if rng.random() < 0.5 else bytes(rng.choices(b"ab", k=len(a)))
        before = rng.randrange(9)
        data, others = octets(bytes(before) + a + b"c"), octets(b + b"d")
        assert same(data, before, before + len(a), others, 0) == (a == b)
