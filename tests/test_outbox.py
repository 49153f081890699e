"""The outbox: order, bounds, what is given up first, and that no poison blocks the others."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from daemon.ages import STEP_NS, Ages, Expiry
from daemon.clock import ManualClock
from daemon.ledger import Count, Gauge, Ledger, Reason
from daemon.messages import DROP_ORDER, Outgoing
from daemon.outbox import BACKLOG, Outbox


def out(kind="alert", topic="t", payload=b"12345"):
    return Outgoing(topic, payload, 1, kind == "state", kind)


def outbox(messages_max=1000, bytes_max=1_000_000):
    ledger = Ledger()
    return Outbox(messages_max, bytes_max, ledger), ledger


def topics(parcels):
    return [p.outgoing.topic for p in parcels]


def test_outputs_of_all_kinds_leave_in_the_order_they_came():
    box, _ = outbox()
    box.put([out(kind, f"t{i}") for i, kind in enumerate(DROP_ORDER * 3)])
    assert topics(box.take(100, 100)) == [f"t{i}" for i in range(3 * len(DROP_ORDER))]


def test_no_more_are_in_flight_than_allowed():
    box, _ = outbox()
    box.put([out(topic=str(i)) for i in range(10)])
    first = box.take(100, 4)
    assert topics(first) == ["0", "1", "2", "3"]
    assert box.take(100, 4) == []
    box.settle(first[2].token)
    assert topics(box.take(100, 4)) == ["4"]


def test_a_lost_connection_brings_back_what_was_in_flight_in_order():
    box, ledger = outbox()
    box.put([out(("sample", "alert")[i % 2], str(i)) for i in range(10)])
    parcels = box.take(100, 6)
    box.settle(parcels[1].token)
    box.lost(blame=False)
    assert topics(box.take(100, 100)) == ["0", "2", "3", "4", "5", "6", "7", "8", "9"]
    box.settle(parcels[1].token)
    assert ledger.total(Count.OUTPUTS_PUBLISHED) == 1
    assert ledger.balance() == []


def test_samples_go_first_and_alerts_last_when_it_is_full():
    box, ledger = outbox(messages_max=8)
    box.put([out(kind, f"{kind}{i}") for i in range(4) for kind in ("alert", "sample", "window")])
    left = topics(box.take(100, 100))
    assert left == [f"{kind}{i}" for i in range(4) for kind in ("alert", "window")]
    assert ledger.value(Count.OUTPUTS_DISCARDED, kind="sample", reason="outbox_full") == 4
    assert ledger.balance() == []


def test_oldest_go_first_within_a_kind():
    box, _ = outbox(messages_max=3)
    box.put([out("sample", str(i)) for i in range(6)])
    assert topics(box.take(10, 10)) == ["3", "4", "5"]


def test_only_the_newest_state_of_a_topic_is_kept_when_it_is_full():
    box, ledger = outbox(messages_max=4)
    box.put([out("state", "a", b"1"), out("state", "b", b"1"), out("state", "a", b"2")])
    box.put([out("state", "a", b"3"), out("alert", "x")])
    assert [(p.outgoing.topic, p.outgoing.payload) for p in box.take(10, 10)] == [
        ("b", b"1"),
        ("a", b"3"),
        ("x", b"12345"),
    ]
    assert ledger.value(Count.OUTPUTS_DISCARDED, kind="state", reason="superseded") == 2
    assert ledger.balance() == []


def test_bytes_are_bounded_too():
    box, ledger = outbox(bytes_max=1000)
    box.put([out("sample", "t", b"x" * 99) for _ in range(50)])
    assert ledger.value(Gauge.OUTBOX_BYTES) <= 1000
    assert len(box) == 10
    box.put([out("alert", "t", b"x" * 5000)])
    assert len(box) == 0
    assert ledger.balance() == []


def test_a_refused_output_is_counted_and_does_not_come_again():
    box, ledger = outbox()
    box.put([out(topic="bad"), out(topic="good")])
    bad, good = box.take(10, 10)
    box.refuse(bad.token, Reason.TOO_BIG)
    box.settle(good.token)
    assert len(box) == 0
    assert ledger.value(Count.OUTPUTS_DISCARDED, kind="alert", reason="too_big") == 1
    assert ledger.balance() == []


@pytest.mark.parametrize("position", [0, 3, 9])
def test_the_one_that_makes_the_broker_hang_up_is_found_and_the_others_leave(position):
    box, ledger = outbox()
    box.put([out(topic=str(i)) for i in range(10)])
    poison, seen, losses = str(position), [], 0
    while len(box):
        parcels = box.take(100, 200)
        hung_up = False
        for parcel in parcels:
            if parcel.outgoing.topic == poison:
                hung_up = True
                break
            seen.append(parcel.outgoing.topic)
            box.settle(parcel.token)
        if hung_up:
            losses += 1
            box.lost(blame=True)
        assert losses < 8
    assert sorted(seen) == sorted(str(i) for i in range(10) if i != position)
    assert ledger.value(Count.OUTPUTS_DISCARDED, kind="alert", reason="poison") == 1
    assert ledger.balance() == []


def test_losses_that_nobody_is_to_blame_for_set_nothing_aside():
    box, ledger = outbox()
    box.put([out(topic=str(i)) for i in range(3)])
    for _ in range(20):
        assert len(box.take(10, 1)) == 1
        box.lost(blame=False)
    assert ledger.total(Count.OUTPUTS_DISCARDED) == 0


def test_after_a_suspicion_is_cleared_outputs_go_together_again():
    box, _ = outbox()
    box.put([out(topic=str(i)) for i in range(6)])
    for _ in range(2):
        box.take(10, 3)
        box.lost(blame=True)
    for i in range(3):
        [one] = box.take(10, 10)
        assert one.outgoing.topic == str(i)
        box.settle(one.token)
    assert len(box.take(10, 10)) == 3


def test_put_calls_the_transport_once():
    box, _ = outbox()
    calls = []
    box.on_put = lambda: calls.append(1)
    box.put([])
    assert calls == []
    box.put([out(), out()])
    assert calls == [1]


class Machine(RuleBasedStateMachine):
    """Whatever happens in whatever order: in order, within bounds, every one accounted for."""

    def __init__(self):
        super().__init__()
        self.box, self.ledger = outbox(messages_max=12, bytes_max=300)
        self.flying = []
        self.next = 0

    @rule(kinds=st.lists(st.sampled_from(DROP_ORDER), max_size=8), size=st.integers(0, 60))
    def put(self, kinds, size):
        outputs = [
            out(kind, f"t{(self.next + i) % 5}", b"x" * size) for i, kind in enumerate(kinds)
        ]
        self.next += len(outputs)
        self.box.put(outputs)

    @rule(most=st.integers(0, 10), limit=st.integers(1, 6))
    def take(self, most, limit):
        self.flying += self.box.take(most, limit)

    @rule(index=st.integers(0, 20), refuse=st.booleans())
    def answer(self, index, refuse):
        if self.flying:
            parcel = self.flying.pop(index % len(self.flying))
            if refuse:
                self.box.refuse(parcel.token, Reason.REFUSED)
            else:
                self.box.settle(parcel.token)

    @rule(blame=st.booleans())
    def lose(self, blame):
        self.box.lost(blame=blame)
        self.flying = []

    @invariant()
    def accounted(self):
        assert self.ledger.balance() == []
        tokens = [p.token for p in self.flying]
        assert tokens == sorted(tokens)
        assert self.ledger.value(Gauge.OUTBOX_IN_FLIGHT) == len(self.flying)
        waiting = len(self.box) - len(self.flying)
        assert waiting == 0 or (len(self.box) <= 12 and self.box._bytes <= 300)
        assert self.box._bytes == sum(
            len(o.payload) + len(o.topic)
            for o in [
                *[p.outgoing for q in self.box._waiting.values() for p in q],
                *self.box._in_flight.values(),
            ]
        )


Machine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestMachine = Machine.TestCase


@given(st.lists(st.integers(0, 3), max_size=400))
@settings(deadline=None, max_examples=30)
def test_compacting_states_stays_linear_and_right(ids):
    box, ledger = outbox(messages_max=10)
    for n, i in enumerate(ids):
        box.put([out("state", f"t{i}", str(n).encode())])
    newest = {f"t{i}": str(n).encode() for n, i in enumerate(ids)}
    kept = {}
    for parcel in box.take(100, 100):
        kept[parcel.outgoing.topic] = parcel.outgoing.payload
    assert kept == newest
    assert ledger.balance() == []


def test_behind_a_backlog_alerts_come_before_windows_and_each_kind_in_order():
    box, _ = outbox(5000)
    box.put([out("window", f"w{i}") for i in range(BACKLOG)])
    box.put([out(topic="a0"), out(topic="a1")])
    assert topics(box.take(3, 100)) == ["a0", "a1", "w0"]
    box.put([out(topic="a2")])
    assert topics(box.take(1, 100)) == ["w1"]  # no backlog any more: as they came


DAY = 24 * 3600 * 10**9


def aging(age_max_ns=7 * DAY):
    clock, ledger = ManualClock(), Ledger()
    return Outbox(1000, 1_000_000, ledger, Expiry(age_max_ns, clock)), clock, ledger


def test_what_has_waited_too_long_is_discarded_counted_and_told_of():
    box, clock, ledger = aging()
    told = []
    box.on_dropped = lambda *what: told.append(what)
    box.put([out("alert", f"a{i}") for i in range(3)] + [out("sample", "s0")])
    clock.advance(DAY)
    box.put([out("alert", "a3"), out("sample", "s1")])
    clock.advance(6 * DAY - 1)
    assert len(box) == 6
    assert topics(box.take(1, 1)) == ["a0"]  # none of them is too old yet
    box.lost(blame=False)
    clock.advance(STEP_NS + 1)
    assert topics(box.take(100, 100)) == ["a3", "s1"]
    assert sorted(told) == [("alert", "outbox_old", 3), ("sample", "outbox_old", 1)]
    assert ledger.value(Count.OUTPUTS_DISCARDED, kind="alert", reason="outbox_old") == 3
    assert ledger.value(Gauge.OUTBOX_MESSAGES) == 2
    assert ledger.value(Gauge.OUTBOX_BYTES) == sum(map(len, ("a3", "s1", "12345", "12345")))
    assert ledger.balance() == []


def test_the_newest_of_each_retained_topic_waits_for_ever():
    box, clock, ledger = aging()
    told = []
    box.on_dropped = lambda *what: told.append(what)
    kept = Outgoing("agg", b"1", 1, True, "window")
    box.put([out("state", "s1"), out("state", "s2"), kept, kept, out("state", "s1"), out()])
    clock.advance(30 * DAY)
    box.put([out("state", "s2")])
    assert topics(box.take(100, 100)) == ["agg", "s1", "s2"]
    # That a state was replaced is no loss; that a window was not told is one.
    assert sorted(told) == [("alert", "outbox_old", 1), ("window", "outbox_old", 1)]
    assert ledger.value(Count.OUTPUTS_DISCARDED, kind="state", reason="superseded") == 2
    assert ledger.balance() == []


def test_what_is_on_its_way_is_not_too_old():
    box, clock, _ = aging()
    box.put([out(topic=str(i)) for i in range(4)])
    assert topics(box.take(2, 2)) == ["0", "1"]
    clock.advance(30 * DAY)
    assert box.take(2, 4) == []
    box.lost(blame=False)
    assert topics(box.take(9, 9)) == ["0", "1"]


def test_a_clock_that_is_set_makes_nothing_old():
    box, clock, _ = aging()
    box.put([out()])
    clock._now_ns += 400 * DAY  # what a gateway does that booted in 1970
    assert len(box.take(1, 1)) == 1


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3 * STEP_NS)), max_size=60),
    st.integers(STEP_NS, 20 * STEP_NS),
)
def test_nothing_is_old_before_its_time_and_all_is_soon_after(made, age_max_ns):
    """Against the time of every single token."""
    ages, times, now_ns, old = Ages(), [], 100 * DAY, 0
    for n, step_ns in made:
        now_ns += step_ns
        times += [now_ns] * n
        ages.note(len(times), now_ns)
        again = Ages()
        again.unpack(ages.pack())
        ages = again
        old = max(old, ages.before(now_ns - age_max_ns))
        assert all(now_ns - t >= age_max_ns for t in times[:old])
        assert all(now_ns - t < age_max_ns + STEP_NS for t in times[old:])
