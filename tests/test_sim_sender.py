"""The sender against a wire and a clock made for tests: pace, window, loss, what is counted."""

import orjson
import pytest

from device_sim.items import Cut, Note, Outgoing
from device_sim.link import Unreachable, publish_frame
from device_sim.run import Pace, first_event_ns
from device_sim.sender import Sender

SECOND = 1_000_000_000


class Time:
    """A clock that moves when somebody waits."""

    def __init__(self):
        self.now = 100 * SECOND

    def mono_ns(self):
        return self.now

    def wall_ns(self):
        return self.now

    def sleep(self, seconds):
        self.now += int(seconds * 1e9)


class Broker:
    """Hands out wires; `answers` False never acknowledges, `refuses` is for how many connects."""

    def __init__(self, clock, cost_ns=0):
        self.clock = clock
        self.cost_ns = cost_ns
        self.taken = []
        self.wires = []
        self.refuses = 0
        self.answers = True
        self.in_flight_max = 0
        self.die_at = None

    def connect(self, on_ack):
        if self.refuses:
            self.refuses -= 1
            raise Unreachable("nobody there")
        self.wires.append(Wire(self, on_ack))
        return self.wires[-1]


class Wire:
    def __init__(self, broker, on_ack):
        self.broker, self.on_ack = broker, on_ack
        self.alive, self.blocked_s = True, 0.0
        self.queued, self.unacked, self.mid = [], [], 0

    def write(self, topic, payload):
        self.queued.append((topic, payload))
        self.broker.clock.now += self.broker.cost_ns

    def publish(self, topic, payload, qos):
        if not self.alive:
            return None
        self.mid += 1
        self.unacked.append(self.mid)
        self.broker.in_flight_max = max(self.broker.in_flight_max, len(self.unacked))
        self.broker.taken.append((self.broker.clock.now, topic, payload, qos))
        self.broker.clock.now += self.broker.cost_ns
        return self.mid

    def flush(self):
        if self.alive:
            for topic, payload in self.queued:
                self.broker.taken.append((self.broker.clock.now, topic, payload, 0))
            self.queued = []

    def unwritten(self):
        return len(self.queued)

    def service(self, timeout_s):
        broker = self.broker
        broker.clock.now += int(timeout_s * 1e9)
        if broker.die_at is not None and broker.clock.now >= broker.die_at:
            broker.die_at = None
            self.alive = False
        elif self.alive and broker.answers:
            for mid in self.unacked:
                self.on_ack(mid)
            self.unacked = []

    def cut(self):
        self.alive = False

    def close(self):
        self.flush()
        self.alive = False


def outgoing(n, *, every_s=0.1, qos=0):
    return [Outgoing(int(i * every_s * 1e9), "d", "t", qos, {"seq": i}) for i in range(n)]


def sent(broker):
    return [orjson.loads(payload)["seq"] for _, _, payload, _ in broker.taken]


@pytest.fixture
def broker():
    return Broker(Time())


def sender(broker, **options):
    options.setdefault("say", lambda _: None)
    return Sender(broker.connect, clock=broker.clock, **options)


@pytest.mark.parametrize(("speed", "takes_s"), [(1.0, 9.9), (10.0, 0.99), (0.5, 19.8)])
def test_messages_leave_when_they_are_due(broker, speed, takes_s):
    summary = sender(broker, speed=speed).run(outgoing(100))
    assert summary.seconds == pytest.approx(takes_s, abs=0.01)
    for i, (t_ns, *_) in enumerate(broker.taken):
        assert 0 <= t_ns - 100 * SECOND - i * 0.1e9 / speed <= 2_000_000
    assert summary.kept_up


def test_max_waits_for_nothing(broker):
    summary = sender(broker, speed=None).run(outgoing(1000))
    assert summary.seconds == 0
    assert sent(broker) == list(range(1000))


def test_a_rate_that_cannot_be_kept_is_said_and_nothing_is_left_out():
    broker, said = Broker(Time(), cost_ns=20_000_000), []
    summary = sender(broker, asked_rate=100, say=said.append).run(outgoing(1500, every_s=0.01))
    assert sent(broker) == list(range(1500))
    assert not summary.kept_up
    assert summary.rate == pytest.approx(50, rel=0.02)
    assert summary.behind_s_max > 10
    assert len(said) == 5  # 30 s, one in 5 s, none before it is a second behind
    assert "100 msg/s asked" in said[0]


def test_never_more_on_their_way_than_the_window(broker):
    summary = sender(broker, speed=None, window=7).run(outgoing(100, qos=1))
    assert broker.in_flight_max == 7
    assert (summary.sent, summary.acked, summary.unacked) == (100, 100, 0)


def test_qos_1_without_acknowledgement_is_sent_again(broker):
    broker.answers = False
    broker.die_at = broker.clock.now + SECOND

    def revived(on_ack, connect=broker.connect):
        broker.answers = len(broker.wires) > 0
        return connect(on_ack)

    summary = Sender(revived, clock=broker.clock).run(outgoing(30, qos=1))
    assert summary.reconnects == 1
    assert summary.resent == 10
    assert (summary.sent, summary.acked, summary.lost) == (30, 30, 0)
    assert set(sent(broker)) == set(range(30))


def test_qos_0_is_lost_while_the_broker_is_away(broker):
    broker.die_at = broker.clock.now + 2 * SECOND
    said = []
    given = sender(broker, say=said.append)
    inner = given.connect

    def away(on_ack):
        broker.refuses = 0 if broker.clock.now > 105 * SECOND or not broker.wires else 1
        return inner(on_ack)

    given.connect = away
    summary = given.run(outgoing(100))
    assert summary.lost > 25
    assert summary.sent == len(broker.taken)
    assert summary.sent + summary.lost == 100
    assert sent(broker)[-1] == 99
    assert len(said) == 1


def test_a_broker_that_stays_away_is_given_up(broker):
    broker.die_at = broker.clock.now + SECOND
    given = sender(broker, give_up_s=8.0)
    items = outgoing(100, qos=1)

    def gone():
        yield from items[:5]
        broker.refuses = 10**6
        yield from items[5:]

    with pytest.raises(Unreachable):
        given.run(gone())
    assert 108 <= broker.clock.now / SECOND <= 112
    assert given.summary.sent < 100


def test_no_broker_at_the_start_is_told_at_once(broker):
    broker.refuses = 1
    with pytest.raises(Unreachable):
        sender(broker).run(outgoing(1))


def test_a_stop_ends_between_messages_and_waits_for_acknowledgements(broker):
    given = sender(broker)

    def stopping():
        for item in outgoing(100, qos=1):
            if item.payload["seq"] == 10:
                given.stop()
            yield item

    summary = given.run(stopping())
    assert summary.interrupted
    assert summary.sent == summary.acked == 10


def test_a_cut_connects_again_and_loses_nothing_at_qos_1(broker):
    items = outgoing(10, qos=1)
    summary = sender(broker, speed=None).run([*items[:5], Cut(0), *items[5:]])
    assert summary.reconnects == 1
    assert summary.resent == 5
    assert set(sent(broker)) == set(range(10))


def test_truth_goes_out_at_qos_1_and_is_not_counted_as_a_message(broker):
    noted = []
    event = {"id": "x"}
    summary = sender(broker, note=noted.append).run([Note(0, "b1", event), *outgoing(1)])
    assert noted == [event]
    _, topic, payload, qos = broker.taken[0]
    assert (topic, orjson.loads(payload), qos) == ("sim/truth/b1", event, 1)
    assert (summary.sent, summary.acked, summary.truth_events) == (1, 0, 1)


def test_sent_ns_is_the_time_of_leaving(broker):
    items = [Outgoing(SECOND, "d", "t", 0, {"seq": 0, "sent_ns": 0})]
    sender(broker).run(items)
    payload = orjson.loads(broker.taken[0][2])
    assert payload["sent_ns"] == pytest.approx(101 * SECOND, abs=2e6)


@pytest.mark.parametrize("size", [0, 1, 120, 124, 125, 16_378, 16_379, 300_000])
def test_frames_have_the_length_that_mqtt_says(size):
    frame = publish_frame(b"\x00\x01t", b"x" * size)
    length, shift, at = 0, 0, 1
    while True:
        length |= (frame[at] & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if frame[at - 1] < 128:
            break
    assert frame[0] == 0x30
    assert length == len(frame) - at == size + 3
    assert frame[at:] == b"\x00\x01t" + b"x" * size


@pytest.mark.parametrize(
    ("pace", "duration_s", "first_s"),
    [
        (Pace(1.0), None, 1000),
        (Pace(0.5), 60, 1000),
        (Pace(10.0), 60, 1000 - 54),
        (Pace(None), 60, 940),
        (Pace(None, 5 * SECOND), None, 5),
    ],
)
def test_event_times_never_reach_into_the_future(pace, duration_s, first_s):
    duration_ns = duration_s and duration_s * SECOND
    assert first_event_ns(pace, duration_ns, 1000 * SECOND) == first_s * SECOND


def test_an_endless_run_cannot_be_faster_than_time():
    with pytest.raises(ValueError, match="duration"):
        first_event_ns(Pace(10.0), None, 0)
