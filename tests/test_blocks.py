"""Blocks: what is packed comes back, and any other bytes are refused in words."""

import re
import struct
import zlib

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from daemon.durable import blocks
from daemon.durable.blocks import Begins, BlockError, Reload, Start, Stop, Turn, Unpacker, pack
from daemon.messages import DROP_ORDER, Message, Outgoing
from daemon.outbox import Parcel

I8 = st.integers(-(2**63), 2**63 - 1)
MESSAGES = st.builds(
    Message,
    topic=st.text(max_size=8) | st.sampled_from(["plant/n/b1", "plant/n/b2", ""]),
    payload=st.binary(max_size=60),
    qos=st.integers(0, 2),
    mid=st.integers(0, 65_535),
    arrival_ns=I8,
    retain=st.booleans(),
    epoch=st.integers(0, 2**32 - 1),
    again=st.just(False),  # those that come again are not in the log
    session=st.integers(0, 2**32 - 1),
    response_topic=st.just("") | st.text(max_size=8),
    correlation=st.just(b"") | st.binary(max_size=8),
)
TEXTS = st.text(max_size=8)
OUTPUTS = st.builds(
    Outgoing,
    TEXTS,
    st.binary(max_size=60),
    st.integers(0, 2),
    st.booleans(),
    st.sampled_from(DROP_ORDER),
    st.lists(st.tuples(TEXTS, TEXTS), max_size=3).map(tuple),
    TEXTS,
    st.integers(0, 2**31),
    st.binary(max_size=8),
)
U8 = st.integers(0, 2**63)
BLOCKS = st.one_of(
    st.builds(
        Turn,
        I8,
        st.lists(MESSAGES, max_size=12),
        st.lists(st.builds(Parcel, U8, OUTPUTS), max_size=3).map(tuple),
        st.lists(U8, max_size=3).map(tuple),
        st.lists(I8, max_size=3).map(tuple),
    ),
    st.builds(
        Start, st.sampled_from(Begins), I8, I8, st.text(max_size=12), st.binary(max_size=500)
    ),
    st.builds(Reload, st.binary(max_size=500)),
    st.just(Stop()),
)


NUMBER = bytes(8)


def unpacked(records):
    """Blocks in these records."""
    unpacker = Unpacker()
    return [block for record in records if (block := unpacker.feed(record)) is not None]


def tried(raw):
    """Blocks in a record that may be anything; none when it is refused, in words."""
    try:
        return unpacked([raw])
    except BlockError as error:
        return [] if re.search("block|record|turn", str(error)) else [error]


@given(st.lists(BLOCKS, max_size=4))
def test_what_is_packed_comes_back(given_blocks):
    assert unpacked([r for block in given_blocks for r in pack(block)]) == given_blocks


@given(BLOCKS, st.data())
def test_a_changed_or_shortened_block_is_another_one_or_refused(block, data):
    [record] = pack(block)
    at = data.draw(st.integers(0, len(record) - 1))
    changed = bytearray(record)
    changed[at] ^= data.draw(st.integers(1, 255))
    for raw in (bytes(changed), record[:at]):
        found = tried(raw)
        assert all(isinstance(b, Start | Turn | Reload | Stop) for b in found)


@given(st.binary(max_size=200), st.sampled_from([0, 4]), st.integers(1, 4))
@example(b"", 0, 2)
@example(struct.pack("<qIIIIII", 0, 2**32 - 1, 0, 0, 0, 0, 0), 0, 2)
@example(struct.pack("<qIIIIII", 0, 0, 0, 2**32 - 1, 0, 0, 0), 0, 2)
@example(struct.pack("<qIIIIII", 0, 0, 0, 0, 2**32 - 1, 0, 0), 0, 2)
@example(struct.pack("<qIIIIII", 0, 0, 0, 0, 0, 2**32 - 1, 0), 0, 2)
def test_any_bytes_are_a_block_or_refused(body, flags, kind):
    found = tried(bytes((blocks.VERSION, kind, flags)) + NUMBER + body)
    assert all(isinstance(b, Start | Turn | Reload | Stop) for b in found)


def test_a_block_knows_its_number():
    unpacker = Unpacker()
    for record in pack(Reload(b"x"), 2**40):
        unpacker.feed(record)
    assert unpacker.number == 2**40


def test_every_cut_of_a_turn_is_refused():
    messages = [Message(f"t/{i % 3}", b'{"x": 1}', 1, i, 10**18 + i, i == 2) for i in range(4)]
    messages.append(Message("c", b"{}", 1, 9, 10**18, response_topic="a/b", correlation=b"\0\1"))
    [record] = pack(Turn(10**18, messages))
    assert unpacked([record]) == [Turn(10**18, messages)]
    for end in range(len(record)):
        with pytest.raises(BlockError):
            unpacked([record[:end]])


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (b"\1", "1 bytes, expected at least 11"),
        (b"\2\2\0" + NUMBER, "version 2, this program knows 1; use the version"),
        (b"\1\2\x80" + NUMBER, "unknown flags"),
        (b"\1\x09\0" + NUMBER, "unknown kind 9"),
        (b"\1\1\0" + NUMBER + b"\4" + bytes(20), "unknown kind of start 4"),
        (b"\1\2\4" + NUMBER + b"\1", "without its length"),
        (b"\1\2\4" + NUMBER + struct.pack("<I", 2**32 - 1), "at most"),
        (
            b"\1\2\4" + NUMBER + struct.pack("<I", 5) + zlib.compress(b"123456"),
            "not of the 5 bytes",
        ),
        (
            b"\1\2\4" + NUMBER + struct.pack("<I", 7) + zlib.compress(b"123456"),
            "not of the 7 bytes",
        ),
        (b"\1\2\4" + NUMBER + struct.pack("<I", 5) + b"rubbish", "does not inflate"),
    ],
)
def test_what_is_wrong_is_said(record, words):
    with pytest.raises(BlockError, match=words):
        unpacked([record])


def test_a_bomb_is_not_inflated():
    bomb = zlib.compress(bytes(400 << 20), 9)
    record = b"\1\2\4" + NUMBER + struct.pack("<I", 100) + bomb
    with pytest.raises(BlockError, match="not of the 100 bytes"):
        unpacked([record])


def test_a_large_block_is_cut_and_joined():
    noise = np.random.default_rng(3).bytes(20 << 20)
    block = Turn(7, [Message("a", noise, 0, 0, 6), Message("b", b"", 0, 0, 7)])
    records = pack(block)
    assert len(records) == 3
    assert max(map(len, records)) <= blocks.RECORD_BYTES_MAX + 11
    assert unpacked(records) == [block]
    whole = pack(Stop())
    assert unpacked([*records[1:], *whole]) == [Stop()]  # its beginning was deleted
    assert unpacked([*records[:2], *whole, records[2]]) == [Stop()]  # written only partly
    with pytest.raises(BlockError, match="another block"):
        unpacked([records[0], bytes((1, 3, 2)) + NUMBER])


def test_more_than_can_be_kept_is_refused(monkeypatch):
    monkeypatch.setattr(blocks, "BODY_BYTES_MAX", 1000)
    with pytest.raises(BlockError, match="at most 1000 can be kept"):
        pack(Reload(bytes(1001)))


def test_a_turn_of_one_fleet_takes_little():
    """What a message costs on disk; the figure that the size of a recording is chosen by."""
    rng = np.random.default_rng(5)
    messages = [
        Message(
            f"plant/site{i % 4}/boiler/b{i % 40}/telemetry",
            b'{"ts": %d, "temperature": %.2f, "pressure": %.3f}'
            % (1_764_000_000_000 + i * 7, rng.normal(80, 2), rng.normal(3, 0.1)),
            1,
            i % 65_535,
            1_764_000_000_000_000_000 + i * 7_000_000 + int(rng.integers(1_000_000)),
            False,
            1,
        )
        for i in range(1000)
    ]
    raw = sum(len(m.topic) + len(m.payload) for m in messages) / len(messages)
    for n in (1, 10, 100, 1000):
        size = sum(len(r) for r in pack(Turn(0, messages[:n]))) / n
        print(f"{n:5} messages of {raw:.0f} bytes: {size:.0f} bytes each")
        assert size < raw + 80
    assert size < raw / 2
