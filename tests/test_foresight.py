"""What may wait for others, and for how long: nothing that is told of at once."""

import os
import random
import select
import socket
import threading
import time

import numpy as np
import pytest

from daemon.clock import SystemClock
from daemon.decode.bulk.glance import PRESSING, glanced
from daemon.decode.bulk.scan import FIELDS_MAX
from daemon.engine import Engine
from daemon.transport import gather
from daemon.transport.gather import MESSAGES_MAX, Gather
from daemon.transport.intake import Intake, Origin
from daemon.transport.lane import Lane
from daemon.transport.rest import Rest
from pipelines.lifecycle import Given
from pipelines.occurrence import Order
from pipelines.order import new_arrivals
from pipelines.series import make_labels
from tests.bench.peer import frame
from tests.graphs import T0, Feed, graph
from tests.restarts import again
from tests.test_bank import above, stream, watchers
from tests.wires import wiring

TIMED = {"boilers": {"topic": "plant/{site}/{device}", "time": {"field": "ts", "unit": "ns"}}}
SOON_S, LINGER_NS = 0.4, 600_000_000


def direct():
    """Pipelines whose alerts are on values as they come, behind steps or not."""
    behind = {
        f"after_{i}": {"from": "boilers", "steps": [step], "alert": above(22.5, deadband=1)}
        for i, step in enumerate(
            [{"validate": {"min": 14, "max": 26, "action": "mark"}}, {"dedupe": {"by": "value"}}]
        )
    }
    stand = {
        f"stands_{i}": {"from": "boilers", "where": {"device": [f"d{i}"]}, "alert": {"when": when}}
        for i, when in enumerate(
            [
                {"above": 15, "deadband": 2, "off_delay": "2s"},
                {"outside": [26, 30], "deadband": 3, "latch": True},
                {"below": 26, "deadband": 1, "on_delay": "1s"},
            ]
        )
    }
    return {**watchers(), **behind, **stand}


def test_an_alert_that_stands_has_nothing_told_while_it_does():
    feed = Feed(graph({"hot": {"from": "boilers", "alert": above(20, deadband=2)}}))
    place = {"device": "d", "channel": "t"}
    [raised] = feed.send([(0, place, 21.0)])
    near = feed.graph.foresight["boilers"].of
    assert raised.type.endswith("active")
    assert near.low[0] == np.nextafter(18.0, np.inf)
    assert near.high[0] == np.finfo(float).max
    assert feed.send([(1, place, float(near.low[0])), (2, place, 99.0)]) == []
    [cleared] = feed.send([(3, place, 18.0)])
    assert cleared.type.endswith("cleared")
    assert (near.low[0], near.high[0]) == (-np.finfo(float).max, 20.0)


def test_what_people_do_to_alerts_is_not_foreseen():
    feed = Feed(graph({"hot": {"from": "boilers", "alert": above(20)}}))
    place = {"device": "d", "channel": "t"}
    [raised] = feed.send([(0, place, 21.0)])
    order = Order(Given.RESET, T0, "who", "why")
    assert feed.graph.obey(raised.data["alert"], order)
    near = feed.graph.foresight["boilers"].of
    assert not near.low[0] <= 21.0 <= near.high[0]


@pytest.mark.parametrize("seed", range(6))
def test_what_may_wait_has_nothing_told(seed):
    feed, waits, told = Feed(graph(direct())), 0, 0
    for n, row in enumerate(stream(seed, 60)):
        if n % 97 == 96:
            feed.graph = again(feed.graph) if n % 2 else graph(direct(), feed.graph)
        feed.until(row[0])
        near = feed.graph.foresight["boilers"].of
        found = feed.graph.sources["boilers"].table.find(make_labels(row[1]))
        value = np.nan if row[2] is None else row[2]
        may_wait = found is not None and found < near.low.size
        may_wait = may_wait and near.low[found] <= value <= near.high[found]
        events = feed.send([row])
        assert not (may_wait and events), (row, events)
        waits, told = waits + may_wait, told + len(events)
    assert waits > 0.1 * n
    assert told > 20


def test_what_steps_make_of_a_value_may_wait():
    made = {"from": "boilers", "steps": [{"ewma": {"halflife": "5s"}}], "alert": above(20)}
    feed = Feed(graph({"p": made}))
    feed.send([(t / 10, {"device": "d", "channel": "t"}, 90.0) for t in range(9)])
    near = feed.graph.foresight["boilers"].of
    assert near.low.tolist() == [-np.finfo(float).max]
    assert near.high.tolist() == [np.finfo(float).max]


class Heard:
    """Where turns have their effects: it notes what alerts are published."""

    def __init__(self):
        self.alerts = []

    def fresh(self, messages):
        return messages

    def turned(self, done):
        self.alerts += [out for out in (*done.outputs, *done.volatile) if out.kind == "alert"]

    def adopted(self, gateway):
        pass


class Rig:
    """An engine behind a lane on a real socket, of which we have the other end."""

    def __init__(self, pipelines, linger_ns=LINGER_NS, sources=TIMED):
        self.wiring = wiring("memory://", "rig")
        outlet = Heard()
        self.heard = outlet.alerts
        inbox, ledger, clock = self.wiring.inbox, self.wiring.ledger, self.wiring.clock
        made = graph(pipelines, sources=sources)
        self.engine = Engine(made, inbox, ledger, clock, outlet)
        self.intake, self.gather = Intake(self.wiring), Gather(linger_ns)
        ours, self.theirs = socket.socketpair()
        ours.setblocking(False)
        self.lane = Lane(ours, v5=False)
        self.bell, self.ring = os.pipe()

    def send(self, value, device="d1", channel="t", cut=None, times=1, qos=0):
        ts = f'"ts":{time.time_ns()},'
        payload = f'{{{ts}"{channel}":{value}}}'.encode()
        packet = frame(f"plant/north/{device}", payload, qos=qos) * times
        self.theirs.sendall(packet[:cut])
        return packet[cut:] if cut else b""

    def come(self):
        """Let more come, if it is known what may wait; seconds that took."""
        seen, began = self.engine.foresight.seen, time.monotonic()
        if seen is not None:
            assert seen.topics is self.intake.topics
            self.rung = self.lane.let_come(self.gather, seen.topics, seen.sights, self.bell)
        return time.monotonic() - began

    def round(self):
        """The same, and take what has come. (seconds, alerts published)"""
        took = self.come()
        self.lane.read(None, self.wiring.inbox.room, self._put)
        self.engine.turn(0)
        heard = len(self.heard)
        self.heard.clear()
        return took, heard

    def taught(self):
        """The same, when all has been met."""
        for _ in range(6):
            for device in ("d1", "d2"):
                self.send(20, device)
            self.round()
        assert self.engine.foresight.seen is not None
        return self

    def _put(self, data, rows):
        self.intake.put(data, rows, Origin())

    @property
    def received(self):
        return self.wiring.inbox._received

    def close(self):
        self.lane.inner.close()
        self.theirs.close()
        os.close(self.bell)
        os.close(self.ring)


@pytest.fixture
def rig():
    made = []

    def make(pipelines=None, **more):
        made.append(Rig(pipelines or {"hot": {"from": "boilers", "alert": above(90)}}, **more))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_what_is_normal_waits_for_others_and_is_taken_with_them(rig):
    one = rig().taught()
    before = one.received
    for i in range(50):
        one.send(20 + i, f"d{1 + i % 2}")
    took, events = one.round()
    assert LINGER_NS / 1e9 <= took < 3 * LINGER_NS / 1e9
    assert (one.received - before, events) == (50, 0)


@pytest.mark.parametrize(
    "message",
    [
        {"value": 95},
        {"value": 20, "device": "d3"},
        {"value": 20, "channel": "other"},
        {"value": '20,"more":{"a":1}'},
        {"value": "1e999"},
    ],
)
def test_what_is_not_ends_the_wait(rig, message):
    one = rig().taught()
    one.send(21)
    one.send(**message)
    took, events = one.round()
    assert took < SOON_S
    assert events == (message["value"] == 95)


QUIET = {"hot": {"from": "boilers", "alert": above(90)}}
MEAN = {"from": "boilers", "steps": [{"ewma": {"halflife": "5s"}}], "alert": above(90)}
PUBLISHED = {"publish": {"topic": "x/{device}"}}
COMBINED = {
    "from": "boilers",
    "steps": [{"group": {"of": "device", "stat": "sum", "every": "10s"}}],
    "alert": above(90),
}


@pytest.mark.parametrize(
    ("pipelines", "source", "quiet"),
    [
        (QUIET, {}, True),
        ({**QUIET, "wet": {**QUIET["hot"], "steps": [{"validate": {"min": 0}}]}}, {}, True),
        ({**QUIET, "below": {"from": {"alerts": "hot"}, "alert": above(0.5)}}, {}, True),
        (QUIET, {"lateness": "1us"}, False),
        ({**QUIET, "mean": MEAN}, {}, True),
        ({**QUIET, "mean": {**MEAN, **PUBLISHED}}, {}, False),
        ({**QUIET, "mean": COMBINED}, {}, False),
        ({"mean": {**MEAN, "steps": [{"validate": {"min": 0}}, *MEAN["steps"]]}}, {}, True),
        ({"std": {**MEAN, "steps": [{"rolling": {"stat": "std", "window": "9s"}}]}}, {}, False),
        ({"minutes": {**MEAN, **PUBLISHED, "steps": [{"aggregate": {"size": "1m"}}]}}, {}, True),
        ({"short": {**MEAN, "steps": [{"aggregate": {"size": "20ms"}}]}}, {}, False),
        ({"hot": {**QUIET["hot"], **PUBLISHED}}, {}, False),
        ({**QUIET, "below": {"from": {"samples": "hot"}, "alert": above(0.5)}}, {}, False),
    ],
)
def test_what_nothing_at_all_comes_of_waits_longer(rig, pipelines, source, quiet, monkeypatch):
    linger_s, quiet_s = 0.03, 0.8
    monkeypatch.setattr(gather, "QUIET_NS", int(quiet_s * 1e9))
    sources = {"boilers": {**TIMED["boilers"], **source}}
    one = rig(pipelines, linger_ns=int(linger_s * 1e9), sources=sources).taught()
    one.send(20)
    took, _ = one.round()
    assert (quiet_s if quiet else linger_s) <= took
    assert took < quiet_s or quiet


def test_more_than_half_of_what_a_broker_sends_ahead_does_not_wait_for_long(rig, monkeypatch):
    monkeypatch.setattr(gather, "QUIET_NS", 800_000_000)
    one = rig(linger_ns=30_000_000).taught()

    def waited(n):
        for _ in range(n):
            one.send(20, qos=1)
        return one.round()[0]

    assert waited(1) < SOON_S
    assert waited(8) < SOON_S
    assert waited(5) < SOON_S
    assert waited(4) >= 0.8
    one.gather.begin()
    assert waited(4) < SOON_S
    one.send(20)
    assert one.round()[0] >= 0.8


def test_what_may_move_a_mean_beyond_its_limit_waits_no_longer_than_others(rig, monkeypatch):
    monkeypatch.setattr(gather, "QUIET_NS", 5_000_000_000)
    one = rig({"mean": MEAN}, linger_ns=30_000_000).taught()
    one.send(95)
    took, _ = one.round()
    assert 0.03 <= took < SOON_S
    for _ in range(20):
        one.send(200)
        events = one.round()[1]
        if events:
            break
    assert events == 1
    one.send(200, "d2")
    assert one.come() < SOON_S


def test_an_alert_that_stands_waits_and_is_ended_at_once(rig):
    one = rig().taught()
    one.send(95)
    assert one.round()[1] == 1
    one.send(96)
    assert one.round()[0] >= LINGER_NS / 1e9
    one.send(20)
    took, events = one.round()
    assert took < SOON_S
    assert events == 1
    one.send(20)
    assert one.round()[0] >= LINGER_NS / 1e9


def test_a_packet_that_comes_in_two_pieces_is_looked_at_when_it_is_whole(rig):
    one = rig().taught()
    rest = one.send(20, cut=9)
    took, _ = one.round()
    assert took >= LINGER_NS / 1e9
    one.theirs.sendall(rest)
    one.send(95)
    took, events = one.round()
    assert took < SOON_S
    assert events == 1


def test_a_bell_ends_the_wait(rig):
    one = rig().taught()
    one.send(20)
    os.write(one.ring, b"\0")
    assert one.round()[0] < SOON_S
    assert one.rung
    os.read(one.bell, 1)
    assert one.round()[0] >= LINGER_NS / 1e9
    assert not one.rung


def test_a_ring_is_heard_once():
    rest = Rest(SystemClock(), threading.Event())
    rest.ring()
    rest.ring()
    with rest.lock, rest.away() as bell:
        assert select.select([bell], [], [], 0)[0]
    rest.hush()
    with rest.lock, rest.away() as bell:
        assert not select.select([bell], [], [], 0)[0]
    rest.close()


def test_the_end_of_a_connection_ends_the_wait_and_is_told(rig):
    one = rig().taught()
    one.send(20)
    one.theirs.close()
    assert one.come() < SOON_S
    assert len(one.lane.take(10)[1]) == 1
    assert one.lane.for_paho
    assert one.lane.recv(10) == b""


def test_an_error_of_the_socket_is_what_paho_is_told(rig):
    one = rig().taught()
    listener = socket.create_server(("127.0.0.1", 0))
    ours = socket.create_connection(listener.getsockname())
    theirs, _ = listener.accept()
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    theirs.close()
    listener.close()
    ours.setblocking(False)
    one.lane.inner.close()
    one.lane = Lane(ours, v5=False)
    one.come()
    assert one.lane.for_paho
    with pytest.raises(ConnectionResetError):
        one.lane.recv(10)


def test_what_is_for_paho_ends_the_wait(rig):
    one = rig().taught()
    one.send(20)
    one.theirs.sendall(b"\xd0\x00")
    assert one.come() < SOON_S


def test_as_many_as_a_turn_takes_do_not_wait(rig):
    one = rig().taught()
    before = one.received
    one.send(20, times=MESSAGES_MAX)
    took, _ = one.round()
    assert took < SOON_S
    assert one.received == before + MESSAGES_MAX


def test_times_of_arrival_are_not_made_coarse(rig):
    sources = {"boilers": {"topic": "plant/{site}/{device}"}}
    one = rig(sources=sources)
    for _ in range(6):
        one.send(20)
        one.round()
    assert one.engine.foresight.seen is None


def test_a_reload_and_new_series_are_met_before_anything_waits_again(rig):
    one = rig().taught()
    one.send(20, "d9")
    one.round()
    assert one.engine.foresight.seen is None
    one.taught()
    limits = {"hot": {"from": "boilers", "alert": above(50)}}
    one.engine.adopt(graph(limits, one.engine.graph, sources=TIMED))
    assert one.engine.foresight.seen is None
    one.taught()
    one.send(60)
    took, events = one.round()
    assert (took < SOON_S, events) == (True, 1)


def test_two_sources_each_have_their_own(rig):
    sources = {
        **TIMED,
        "pumps": {**TIMED["boilers"], "topic": "pump/{device}", "channels": ["b", "a"]},
        "bare": {"topic": "bare/{device}", "decode": "number"},
        "odd": {**TIMED["boilers"], "topic": "odd/{device}"},
    }
    pipelines = {
        "hot": {"from": "boilers", "alert": above(90)},
        "low": {"from": "pumps", "where": {"channel": "a"}, "alert": {"when": {"below": 5}}},
    }
    one = rig(pipelines, sources=sources)

    def pump(a, b):
        payload = f'{{"a":{a},"ts":{time.time_ns()},"b":{b}}}'.encode()
        one.theirs.sendall(frame("pump/p1", payload))

    for _ in range(6):
        pump(20, 1)
        one.taught() if one.engine.foresight.seen else one.round()
    for _ in range(3):
        pump(20, 1)
        one.send(20)
        one.round()
    pump(95, 1)
    one.send(20)
    assert one.round()[0] >= LINGER_NS / 1e9
    pump(4, 1)
    took, events = one.round()
    assert (took < SOON_S, events) == (True, 1)
    for payload in (b'{"a":[1]}', b"[]", b"x"):  # nothing for the decoder in bulk: it pauses
        one.theirs.sendall(frame("odd/o1", payload) * 20)
        one.round()
    for _ in range(3):
        one.theirs.sendall(frame("bare/x", b"7"))
        assert one.round()[0] < SOON_S
    one.send(20)
    assert one.round()[0] >= LINGER_NS / 1e9
    one.theirs.sendall(frame("odd/o1", b'{"a":[1]}'))
    assert one.round()[0] < SOON_S


@pytest.mark.parametrize("seed", range(3))
def test_whatever_is_sent_nothing_is_told_of_what_may_wait(rig, seed):
    rng, room = random.Random(seed), new_arrivals(FIELDS_MAX)
    without_delays = {n: p for n, p in direct().items() if n not in ("w1", "w3")}
    one = rig(without_delays).taught()
    waited = told = 0
    for _ in range(300):
        values = rng.choices(("21.5", "20", "19.99", "null"), k=rng.choice((1, 1, 3, 20)))
        if rng.random() < 0.3:
            values[rng.randrange(len(values))] = rng.choice((rng.uniform(10, 30), '"x"', "x"))
        for value in values:
            one.send(value, rng.choice(("d1", "d2")))
        seen = one.engine.foresight.seen
        one.lane.fill()
        data, rows = one.lane.take(100)
        one.intake.topics.number(data, rows)
        may_wait = seen is not None
        may_wait = may_wait and glanced(data, rows, len(rows), seen.sights, room) != PRESSING
        one.intake.put(data, rows, Origin())
        one.engine.turn(0)
        assert not (may_wait and one.heard), values
        waited, told = waited + may_wait, told + len(one.heard)
        one.heard.clear()
    assert waited > 20
    assert told > 20
