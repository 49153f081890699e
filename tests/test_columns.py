"""Messages by column are the messages that they stand for, whatever is done with them."""

import random

import numpy as np
import pytest

from config.model import Limits
from daemon.bulk import Bulk, Origin, joined
from daemon.decode.reader import MESSAGES_MIN
from daemon.durable.blocks import Turn, Unpacker, pack
from daemon.durable.duplicates import Duplicates
from daemon.inbox import Inbox
from daemon.ledger import Gauge, Ledger
from daemon.messages import COLUMNS, END, NUMBER, TOPIC, TOPIC_END, Message
from daemon.topics import ByTopic, Topics
from daemon.transport import frames
from daemon.transport.intake import Intake
from tests.bulk_rig import ARRIVAL, Pair, Side
from tests.bulks import bulk
from tests.test_lane import V5, packet, published, text
from tests.wires import wiring


def read(data, origin=Origin(3, 2, resumed=True), canary=""):  # noqa: B008 - a tuple
    """What an intake makes of these packets, as one."""
    w = wiring("mqtt://x", "x", inbox_max=100_000)
    object.__setattr__(w, "canary_topic", canary)
    made = as_array(data)
    out = np.zeros((10_000, COLUMNS), np.int32)
    found = frames.scan(made, 0, len(data), 10_000, out, v5=True)
    assert found.at == len(data)
    Intake(w).put(made, out[: found.rows], origin)
    return w.inbox


def as_array(data):
    return np.frombuffer(bytearray(data + b"\0"), np.uint8)


def some(seed, n):
    rng = random.Random(seed)
    return read(b"".join(published(rng, V5, i) for i in range(n))).drain(n)


def test_a_part_is_the_same_part_of_the_messages():
    whole = some(1, 300)
    plain = list(some(1, 300))
    strip = [m._replace(arrival_ns=0) for m in plain]
    rng = random.Random(2)
    for _ in range(200):
        a, b = sorted((rng.randrange(301), rng.randrange(301)))
        part = whole[a:b]
        assert [m._replace(arrival_ns=0) for m in part] == strip[a:b]
        assert part.arrival_ns.tolist() == whole.arrival_ns[a:b].tolist()
        if part:
            at = rng.randrange(-len(part), len(part))
            assert part[at]._replace(arrival_ns=0) == strip[a:b][at]
            chosen = np.array([rng.random() < 0.5 for _ in part])
            some_of_it = [m for m, c in zip(part, chosen, strict=True) if c]
            assert list(part.where(chosen)) == some_of_it
        cut = sorted(rng.randrange(a, b + 1) for _ in range(3))
        parts = [whole[i:j] for i, j in zip([a, *cut], [*cut, b], strict=True)]
        assert all(x.goes_on(parts[0]) for x in parts)
        again = joined(parts)
        assert list(again) == list(part)
        assert again.asked == part.asked
        assert again.size_bytes == sum(len(m.topic.encode()) + len(m.payload) for m in part)
    assert whole.asked
    assert any(m.again for m in plain)


def test_messages_one_by_one_become_columns_and_stay_what_they_are():
    plain = [m._replace(epoch=i, session=-i) for i, m in enumerate(some(3, 100))]
    made = bulk(*plain)
    assert list(made) == plain
    assert list(made[7:20]) == plain[7:20]
    bare = Bulk(made.data, made.rows, made.arrival_ns, made.topics, Origin(0, 0, resumed=True))
    for a, b in zip(bare, plain, strict=True):
        assert a == b._replace(epoch=0, session=0, response_topic="", correlation=b"")


def test_a_name_has_one_number_for_ever_however_many_there_are():
    rng = random.Random(4)
    names = ["a", "aa", "ab", "", "é/ü", "x" * 300, *(f"plant/{i}/{i % 7}" for i in range(5000))]
    raw = [name.encode() for name in names] + [b"\xff", b"\xff\xfe"]
    topics, seen = Topics(), {}
    for _ in range(300):
        part = [rng.choice(raw) for _ in range(rng.randrange(1, 60))]
        rows = np.zeros((len(part), COLUMNS), np.int32)
        rows[:, TOPIC_END] = np.cumsum([len(x) for x in part])
        rows[:, TOPIC] = rows[:, TOPIC_END] - [len(x) for x in part]
        topics.number(np.frombuffer(bytearray(b"".join(part) + b"\0"), np.uint8), rows)
        for name, number in zip(part, rows[:, NUMBER].tolist(), strict=True):
            assert seen.setdefault(name, number) == number
            assert topics.name(number).encode() == (b"" if b"\xff" in name else name)
    assert len(set(seen.values())) == len(seen) == len(topics) > 3000


def test_names_of_equal_hash_are_told_apart(monkeypatch):
    topics = Topics()
    for name in ("b", "c", "d"):
        topics.add(name)
    topics._hashes[:] = topics._hashes[0]  # as if they were
    rows = np.zeros((1, COLUMNS), np.int32)
    rows[0, TOPIC_END] = 1
    topics.number(np.frombuffer(bytearray(b"b\0"), np.uint8), rows)
    assert rows[0, NUMBER] == 0
    slot = int(topics._hashes[0]) & (topics._slots.size - 1)
    topics._slots[slot] = 2  # "d" stands first in the way of "b"
    topics._slots[(slot + 1) & (topics._slots.size - 1)] = 0
    topics.number(np.frombuffer(bytearray(b"b\0"), np.uint8), rows)
    assert rows[0, NUMBER] == 0


def test_a_topic_is_asked_about_once():
    asked = []
    of = ByTopic(lambda topic: asked.append(topic) or len(topic))
    for topics in (["a", "bb", "a"], ["a"], ["ccc", "bb", "a"]):
        made = bulk(*[Message(t, b"", 0, 0, 0) for t in topics])
        assert of.of(made.topics, made.rows).tolist() == [len(t) for t in topics]
        assert of.only(made.topics, made.rows) == (1 if topics == ["a"] else -1)
        kept = ByTopic(lambda topic: topic == "a")
        assert [m.topic for m in made.kept(kept)] == ["a"] * topics.count("a")
    assert len(asked) == len(set(asked))


def test_the_inbox_gives_what_came_in_order_whatever_it_came_as():
    ledger, rng, sent, got = Ledger(), random.Random(5), [], []
    box, n = Inbox(10**6, 10**9, ledger), 0
    whole = some(6, 2000)
    while n < 2000 or len(box):
        if rng.random() < 0.5 and n < 2000:
            part = whole[n : n + rng.choice((1, 3, 100))]
            n += len(part)
            sent += list(part)
            if rng.random() < 0.3:
                for message in part:
                    box.put(message)
            else:
                box.put_all(part)
        else:
            taken = box.drain(rng.choice((1, 7, 500)))
            got += list(taken)
        assert len(box) == len(sent) - len(got) == ledger.value(Gauge.INBOX_MESSAGES)
    assert got == sent
    assert ledger.value(Gauge.INBOX_BYTES) == 0


def test_our_own_canary_comes_in_its_place_and_counts_nowhere():
    packets = [published(random.Random(7), V5, i) for i in range(10)]
    canary = b"\x30\x05\x00\x01c\x00!"
    box = read(b"".join([canary, *packets[:4], canary, canary, *packets[4:], canary]), canary="c")
    found = []
    while len(box):
        found += list(box.drain(100))
    assert [i for i, m in enumerate(found) if m.topic == "c"] == [0, 5, 6, 13]
    assert box._received == 10


def test_a_turn_is_stored_the_same_whatever_its_messages_came_as():
    turn = Turn(7, some(8, 300), ticks=(5, 6))
    assert turn.messages.asked
    for part in (turn.messages, turn.messages[40:41], turn.messages[:0]):
        [record] = pack(turn._replace(messages=part))
        assert pack(turn._replace(messages=list(part))) == [record]
        found = Unpacker().feed(record)
        assert found.messages == [m._replace(again=False) for m in part]


def test_what_comes_twice_is_told_the_same_whatever_it_came_as():
    rng, sides = random.Random(9), [Duplicates(), Duplicates()]
    for side in sides:
        side.identified = lambda topic: topic != "plant/b"
    left_out = 0
    for session in (1, 1, 1, 2, 2):
        data = b""
        for _ in range(400):
            kind, mid = rng.choice([0, 2, 2, 10, 10]), rng.randrange(5)
            body = text(rng.choice([b"plant/a", b"plant/b"]))
            body += (bytes((0, mid)) if kind else b"") + b"\x00" + rng.choice([b"1", b"2"])
            data += packet(0x30 | kind, body)
        part = read(data, Origin(1, session, resumed=session == 1)).drain(400)
        assert len(part) == 400
        plain = list(part)
        found = [side.fresh(some) for side, some in zip(sides, (part, plain), strict=True)]
        assert list(found[0]) == list(found[1])
        left_out += 400 - len(found[0])
        assert sides[0].pack() == sides[1].pack()
        sides[0].unpack(sides[0].pack())
        sides[1].note(plain[:100])
        sides[0].note(part[:100])
    assert 50 < left_out < 1000


WHOLE = b'{"ts":1800000000000,"n":12,"a":1.5e1,"b":-0.25,"unit":"x"}'


@pytest.mark.parametrize("behind", [b"}", b"2}", b'"}', b" }", b"5e1}", b'":1}', b"\0", b" ", b"0"])
def test_what_stands_behind_a_payload_is_not_read(behind):
    """Every beginning of a payload, with the rest of it, or something else, behind its end."""
    source = {"time": {"field": "ts", "unit": "ms"}, "seq": "n"}
    pair = Pair(Limits(device_messages_per_s_max=1_000_000), **source)
    pair.learn(WHOLE)
    for more in (b"", behind):
        payloads, data = [WHOLE[:end] + more for end in range(len(WHOLE) + 1)], b""
        made = [Message("plant/n/d/x", p, 1, 1, ARRIVAL + i) for i, p in enumerate(payloads)]
        for message in made:  # as they would lie in a buffer, each with the rest behind it
            data += b"plant/n/d/x" + message.payload + (WHOLE[len(message.payload) :] or behind)
        columns = bulk(*made)
        rows, at = columns.rows.copy(), 0
        for i, message in enumerate(made):
            size = len(message.payload)
            rows[i, TOPIC : END + 1] = at, at + 11, at + 11, at + 11, at + 11 + size
            at += 11 + size + (len(WHOLE) - size if size < len(WHOLE) else len(behind))
        raw = Bulk(as_array(data), rows, columns.arrival_ns, columns.topics, Origin())
        assert [m.payload for m in raw] == [m.payload for m in made]
        sides = [Side(pair.bulk.source, pair.bulk.limits, 100) for _ in range(2)]
        sides[1].reader._read_many = sides[1].reader._read_few
        for side in sides:
            first = [Message("plant/n/d/x", WHOLE, 1, 1, ARRIVAL - 100 + i) for i in range(40)]
            side.read(first, backlog=False)
        assert sides[0].read_raw(raw) == sides[1].read(made, backlog=False)
        assert len(made) > MESSAGES_MIN
