"""Lanes against paho: the same bytes, however they are cut, give the same messages in one order."""

import random
import struct
from itertools import pairwise

import numpy as np
import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from daemon.bulk import Origin
from daemon.messages import COLUMNS, END, FIRST, Outgoing
from daemon.transport import frames, lane, lane_check
from daemon.transport.intake import Intake
from daemon.transport.lane import LaneClient
from daemon.transport.packets import asked, pubacks, publish
from tests.wires import wiring

V5, V311 = MQTTProtocolVersion.MQTTv5, MQTTProtocolVersion.MQTTv311
CONNACK = {V5: b"\x20\x03\x00\x00\x00", V311: b"\x20\x02\x00\x00"}
FRAMES = 60_000
PER_STREAM = 400


class Wire:
    """A socket from which what was sent comes in pieces; it may end."""

    def __init__(self, pieces, *, into=True):
        self.pieces, self.written = list(pieces), bytearray()
        if into:
            self.recv_into = self._recv_into

    def recv(self, most):
        if not self.pieces:
            return b""
        if self.pieces[0] is None:
            self.pieces.pop(0)
            raise BlockingIOError
        piece, rest = self.pieces[0][:most], self.pieces[0][most:]
        self.pieces[:1] = [rest] if rest else []
        return piece

    def _recv_into(self, buffer, most):
        piece = self.recv(most)
        buffer[: len(piece)] = piece
        return len(piece)

    def send(self, data):
        self.written += data
        return len(data)

    def fileno(self):
        return -1

    def setblocking(self, flag):
        pass

    def close(self):
        pass


def cut(rng, data):
    """Pieces of any size, with silence between some."""
    pieces, at = [], 0
    while at < len(data):
        size = rng.choice([1, 2, 3, 7, 50, 1_000, 20_000])
        pieces += [data[at : at + size], *([None] if rng.random() < 0.5 else [])]
        at += size
    return pieces


def connected(kind, wire, protocol):
    """A client of that class at the end of a wire; what it hears, in order."""

    class Wired(kind):
        def _create_socket_connection(self):
            return wire

    heard = []
    client = Wired(CallbackAPIVersion.VERSION2, "x", protocol=protocol, manual_ack=True)
    client.on_connect = lambda *_: heard.append("connected")
    client.on_subscribe = lambda _c, _u, mid, codes, _p: heard.append(
        (mid, [c.value for c in codes])
    )
    client.on_message = lambda _c, _u, m: heard.append(
        (m.topic, bytes(m.payload), m.qos, m.mid, m.retain, m.dup, *answer(m.properties))
    )
    client.on_disconnect = lambda _c, _u, _f, code, _p: heard.append(code.getName())
    client.on_socket_register_write = lambda *_: None
    client.connect("localhost")
    return client, heard


def answer(properties):
    given = vars(properties) if properties else {}
    return given.get("ResponseTopic", ""), given.get("CorrelationData", b"")


def by_paho(pieces, protocol):
    client, heard = connected(Client, Wire(pieces), protocol)
    while client.socket() is not None:
        client.loop_read()
    return heard


def by_lane(pieces, protocol, *, room=10_000, into=True):
    client, heard = connected(LaneClient, Wire(pieces, into=into), protocol)
    w = wiring("mqtt://x", "x")
    intake = Intake(w)

    def put(data, rows):
        rows = rows[rows[:, FIRST] != frames.PUBACK]
        try:
            intake.put(data, rows, Origin(1, 1, resumed=True))
        finally:
            drain()

    def drain():
        for m in w.inbox.drain(100_000):
            own = m.response_topic, m.correlation
            heard.append((m.topic, m.payload, m.qos, m.mid, m.retain, m.again, *own))

    while client.socket() is not None:
        try:
            client.lane.read(client, lambda: room, put)
        except ConnectionError:  # what the link does
            heard.append("Malformed packet")
            break
    return heard


def packet(first, body):
    size, length = len(body), bytearray()
    while size > 127:
        length.append(size & 127 | 128)
        size >>= 7
    return bytes([first]) + bytes(length) + bytes([size]) + body


def text(data):
    return struct.pack(">H", len(data)) + data


def properties(rng):
    """Some that a PUBLISH may have, as paho writes them."""
    made = Properties(PacketTypes.PUBLISH)
    for name, value in {
        "PayloadFormatIndicator": 1,
        "MessageExpiryInterval": 77,
        "ContentType": "application/json",
        "ResponseTopic": "answers/é",
        "CorrelationData": b"\x00\xff",
        "UserProperty": [("a", "b"), ("ü", "")],
        "SubscriptionIdentifier": 200_000,
    }.items():
        if rng.random() < 0.4:
            setattr(made, name, value)
    return made.pack()


def published(rng, protocol, number):
    qos = rng.choice([0, 0, 1, 1, 1])
    first = 0x30 | qos << 1 | rng.choice([0, 0, 0, 1]) | (8 if qos and rng.random() < 0.1 else 0)
    topic = rng.choice(["plant/a", "é/ü", "x" * rng.choice([1, 127, 300])]).encode()
    body = text(topic) + (struct.pack(">H", number % 65_535 + 1) if qos else b"")
    if protocol == V5:
        body += properties(rng) if rng.random() < 0.3 else b"\x00"
    return packet(first, body + rng.randbytes(rng.choice([0, 1, 30, 130, 130, 9_000])))


def stream(rng, protocol, frames_max):
    """CONNACK, then packets of all kinds, at last perhaps one that is malformed."""
    made = [CONNACK[protocol]]
    for number in range(frames_max):
        dice = rng.random()
        if dice < 0.85:
            made.append(published(rng, protocol, number))
        elif dice < 0.9:
            code = b"\x00" if protocol == V5 else b""
            made.append(packet(0x90, struct.pack(">H", number + 1) + code + b"\x01"))
        elif dice < 0.95:
            made.append(b"\xd0\x00")
        else:
            made.append(packet(0x40, struct.pack(">H", number + 1)))
    return b"".join(made)


MALFORMED = {
    V311: [
        b"\x30\x00",
        b"\x30\x01\x00",
        b"\x30\x02\x00\x05",
        b"\x32\x03\x00\x01a",
        b"\x36\x06\x00\x01a\x00\x01x",
        b"\x30\xff\xff\xff\xff\x01",
        b"\xf0\x00",
    ],
    V5: [
        b"\x30\x03\x00\x01a",
        b"\x30\x04\x00\x01a\x05",
        b"\x30\x06\x00\x01a\x02\x08\x00",
        b"\x30\x06\x00\x01a\x02\x7f\x00",
        b"\x32\x05\x00\x01a\x00\x01",
        b"\xe0\x02\x8b\x00",
    ],
}


@pytest.mark.parametrize("protocol", [V311, V5])
def test_any_stream_however_it_is_cut_is_heard_as_by_paho(protocol):
    rng = random.Random(int(protocol))
    for number in range(FRAMES // PER_STREAM // 2):
        data = stream(rng, protocol, PER_STREAM)
        want = by_paho([data], protocol)
        room = rng.choice([1, 3, 100, 10_000])
        found = by_lane(cut(rng, data), protocol, room=room, into=number % 3 > 0)
        assert found == want
        assert sum(len(x) == 8 for x in want) > PER_STREAM / 2


@pytest.mark.parametrize(
    ("protocol", "wrong"), [(p, wrong) for p, some in MALFORMED.items() for wrong in some]
)
def test_a_malformed_packet_ends_the_connection_behind_what_came_before(protocol, wrong):
    rng = random.Random(1)
    data = stream(rng, protocol, 5) + wrong + stream(rng, protocol, 5)
    want, found = by_paho([data], protocol), by_lane(cut(rng, data), protocol)
    assert [x for x in found if len(x) == 8] == [x for x in want if len(x) == 8]
    assert isinstance(found[-1], str)


def test_a_packet_that_is_too_big_for_the_buffer_goes_to_paho_in_its_place():
    rng = random.Random(3)
    size = lane.WHOLE_BYTES_MAX + 5
    big = packet(0x30, text(b"big") + b"\x00" + bytes(size))
    whole = packet(0x30, text(b"whole") + b"\x00" + bytes(lane.WHOLE_BYTES_MAX - 100))
    data = stream(rng, V5, 20) + big + whole + stream(rng, V5, 20)[5:]
    assert by_lane([data], V5) == by_paho([data], V5)
    assert by_lane(cut(rng, data), V5) == by_paho([data], V5)


def test_what_is_not_utf_8_is_a_topic_that_nobody_wants():
    data = CONNACK[V5] + packet(0x30, text(b"\xff\xfe") + b"\x00x")
    assert by_lane([data], V5)[1][:2] == ("", b"x")


def test_arrivals_never_go_back_and_are_never_the_same():
    w = wiring("mqtt://x", "x")
    intake = Intake(w)
    data = b"".join(
        publish(Outgoing("a", b"x", 0, False, "alert"), 0, 0, retain=False, v5=True)
        for _ in range(9)
    )
    out = np.zeros((9, COLUMNS), np.int32)
    text = np.frombuffer(bytearray(data), np.uint8)
    for _ in range(3):
        frames.scan(text, 0, len(data), 9, out, v5=True)
        intake.put(text, out, Origin(1, 1))
    times = [m.arrival_ns for m in w.inbox.drain(100)]
    assert len(times) == 27
    assert all(a < b for a, b in pairwise(times))


def outputs(rng, n):
    for i in range(n):
        more = {}
        if rng.random() < 0.5:
            more = {"properties": (("traceparent", f"00-{i}"), ("ü", "é" * rng.randrange(70)))}
        yield Outgoing(
            rng.choice(["alerts/b1", "ä/ö"]),
            rng.randbytes(rng.choice([0, 3, 130, 20_000])),
            rng.choice([0, 1]),
            rng.random() < 0.3,
            "alert",
            content_type=rng.choice(["", "application/json"]),
            expiry_s=rng.choice([0, 60]),
            correlation=rng.choice([b"", b"\x00\x01"]),
            **more,
        )


@pytest.mark.parametrize("protocol", [V311, V5])
def test_what_is_published_is_what_paho_would_write(protocol):
    rng = random.Random(5)
    for out in outputs(rng, 300):
        wire = Wire([CONNACK[protocol], None])
        client, _ = connected(Client, wire, protocol)
        client.loop_read()
        client.loop_write()
        wire.written.clear()
        given = None
        if protocol == V5:
            given = Properties(PacketTypes.PUBLISH)
            for name, value in (
                ("UserProperty", list(out.properties)),
                ("ContentType", out.content_type),
                ("MessageExpiryInterval", out.expiry_s),
                ("CorrelationData", out.correlation),
            ):
                if value:
                    setattr(given, name, value)
        info = client.publish(out.topic, out.payload, out.qos, out.retain, given)
        while client.want_write():
            client.loop_write()
        ours = publish(out, info.mid, out.qos, retain=out.retain, v5=protocol == V5)
        assert read(ours, protocol) == read(bytes(wire.written), protocol)
        assert len(ours) == len(wire.written)
        client.disconnect()


def read(data, protocol):
    """A PUBLISH as paho hears it, all properties in a fixed order."""
    heard = []

    class Wired(Client):
        def _create_socket_connection(self):
            return Wire([CONNACK[protocol] + data])

    client = Wired(CallbackAPIVersion.VERSION2, "x", protocol=protocol, manual_ack=True)
    client.on_message = lambda _c, _u, m: heard.append(
        (m.topic, bytes(m.payload), m.qos, m.mid, m.retain, str(m.properties))
    )
    client.on_socket_register_write = lambda *_: None
    client.connect("localhost")
    while client.socket() is not None:
        client.loop_read()
    [found] = heard
    return found


def test_properties_are_read_as_paho_reads_them():
    rng = random.Random(6)
    for _ in range(300):
        packed = properties(rng)
        theirs = Properties(PacketTypes.PUBLISH)
        theirs.unpack(packed)
        size = 1 if len(packed) < 129 else 2
        assert asked(packed[size:]) == answer(theirs)


@pytest.mark.parametrize(
    "wrong",
    [b"\x7f", b"\x08", b"\x08\x00", b"\x08\x00\x05ab", b"\x02\x00", b"\x26\x00\x01a", b"\x0b\xff"],
)
def test_properties_that_are_malformed_are_refused(wrong):
    with pytest.raises(ValueError, match="propert"):
        asked(wrong)


def test_acknowledgements_are_packets_one_after_the_other():
    assert (
        pubacks(np.array([1, 258, 65_535], np.int32))
        == b"\x40\x02\x00\x01\x40\x02\x01\x02\x40\x02\xff\xff"
    )


@pytest.fixture
def fresh_check():
    lane_check.lane_works.cache_clear()
    yield
    lane_check.lane_works.cache_clear()


@pytest.mark.parametrize("what", ["raises", "another socket", "deaf"])
def test_a_paho_with_which_lanes_do_not_work_is_found_out(fresh_check, monkeypatch, caplog, what):
    assert lane_check.lane_works()
    lane_check.lane_works.cache_clear()
    if what == "raises":
        monkeypatch.delattr(Client, "_mid_generate")
    elif what == "another socket":
        monkeypatch.setattr(LaneClient, "_create_socket", Client._create_socket)
    else:
        monkeypatch.setattr(lane.Lane, "take", lambda self, most: (self._data, self._out[:0]))
    assert not lane_check.lane_works()
    assert "Packets go through paho one by one" in caplog.text


@pytest.mark.parametrize("into", [True, False])
def test_the_end_and_an_error_of_the_socket_are_told_to_paho(into):
    class Broken(Wire):
        def recv(self, most):
            if not self.pieces:
                raise ConnectionResetError
            return super().recv(most)

    for kind in (Wire, Broken):
        client, heard = connected(
            LaneClient, kind([CONNACK[V5], b"\x30\x05\x00\x01a"], into=into), V5
        )
        for _ in range(5):
            if client.socket() is not None:
                client.lane.read(client, lambda: 10, lambda *_: None)
        assert client.socket() is None
        assert heard == ["connected", "Unspecified error"]


def test_no_more_is_taken_than_there_is_room_for():
    data = CONNACK[V5] + b"".join(published(random.Random(1), V5, i) for i in range(5))
    client, _ = connected(LaneClient, Wire([data, None]), V5)
    taken = []
    client.lane.read(client, lambda: 2 - sum(taken), lambda _, rows: taken.append(len(rows)))
    assert (taken, client.lane.waits, client.lane.pending()) == ([2], True, 1)
    client.lane.read(client, lambda: 10, lambda _, rows: taken.append(len(rows)))
    assert (taken, client.lane.waits, client.lane.pending()) == ([2, 3], False, 0)


def test_a_socket_that_gave_less_than_there_was_room_for_is_not_asked_again():
    data = CONNACK[V5] + packet(0x30, text(b"a") + b"\x00x")
    wire = Wire([data, data[5:], None])
    client, _ = connected(LaneClient, wire, V5)
    taken = []
    client.lane.read(client, lambda: 10, lambda _, rows: taken.append(len(rows)))
    assert (taken, len(wire.pieces)) == ([1], 2)
    client.lane.read(client, lambda: 10, lambda _, rows: taken.append(len(rows)))
    assert (taken, len(wire.pieces)) == ([1, 1], 1)


def test_what_the_broker_keeps_back_until_it_has_an_answer_is_read_at_once():
    data = CONNACK[V5] + packet(0x30, text(b"a") + b"\x00x")
    wire = Wire([data, None, None])
    client, _ = connected(LaneClient, wire, V5)
    taken, answered = [], []

    def answer():
        answered.append(1)
        if len(answered) == 1:
            wire.pieces.insert(0, data[5:] * 2)

    client.lane.answer = answer
    client.lane.read(client, lambda: 10, lambda _, rows: taken.append(len(rows)))
    assert (sum(taken), len(answered)) == (3, 1)
    client.lane.read(client, lambda: 10, lambda _, rows: taken.append(len(rows)))
    assert (sum(taken), len(answered)) == (3, 1)  # nothing has come, and nothing is to be answered


def test_what_came_before_the_end_is_taken_before_the_end_is_told():
    data = CONNACK[V5] + packet(0x30, text(b"a") + b"\x00x")
    client, heard = connected(LaneClient, Wire([data]), V5)
    client.lane.answer = lambda: None
    taken = []
    for _ in range(3):
        if client.socket() is not None:
            put = lambda _, rows: taken.append((len(rows), list(heard)))  # noqa: E731
            client.lane.read(client, lambda: 10, put)
    assert taken == [(1, ["connected"])]
    assert heard == ["connected", "Unspecified error"]


def test_without_room_paho_reads_nothing_either():
    size = lane.WHOLE_BYTES_MAX + 5
    data = CONNACK[V5] + packet(0x30, text(b"big") + b"\x00" + bytes(size))
    client, heard = connected(LaneClient, Wire([data, None]), V5)
    rooms = iter([1, 1, 1, 0, 0, 0, 0])
    client.lane.read(client, lambda: next(rooms), lambda *_: None)
    assert heard == ["connected"]
    client.lane.read(client, lambda: 1, lambda *_: None)
    assert [len(x[1]) for x in heard[1:]] == [size]


def test_its_buffer_holds_what_it_must_and_no_more():
    rng = random.Random(7)
    sizes = [rng.choice([30, 200_000, 600_000, 900_000]) for _ in range(60)]
    packets = [packet(0x30, text(b"a") + b"\x00" + bytes(size)) for size in sizes]
    pieces = cut(rng, CONNACK[V5] + b"".join(packets))
    client, _ = connected(LaneClient, Wire(pieces), V5)
    taken = []
    while client.socket() is not None:
        client.lane.read(client, lambda: 10, lambda _, rows: taken.extend(rows[:, END]))
        assert len(client.lane._data) <= 2 * lane.WHOLE_BYTES_MAX
    assert len(taken) == len(sizes)


def test_what_came_last_in_a_long_read_does_not_wait_for_more_to_come():
    one = packet(0x30, b"\x00\x01axyz")
    pieces = [CONNACK[V5], *[one[:-3] + b"\x00" + b"%02d" % i for i in range(99)], None]
    wire = Wire(pieces)
    wire.pending = lambda: 0  # as TLS has it: no poll sees what it still holds
    client, _ = connected(LaneClient, wire, V5)
    taken, silent = [], False
    while not silent:
        client.lane.read(client, lambda: 10_000, lambda _data, rows: taken.extend(rows.tolist()))
        silent = not client.lane.inner.pieces or not client.lane.pending()
    assert len(taken) == 99
