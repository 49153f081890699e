"""Which thread makes a turn, and how long messages are let come together."""

import threading
from itertools import pairwise

import pytest

from daemon.bulk import Bulk
from daemon.clock import ManualClock
from daemon.inbox import Inbox
from daemon.ledger import Ledger
from daemon.messages import Message
from daemon.topics import Topics
from daemon.transport.linger import PAUSE_NS, PERIOD_NS, SHORT_NS, Linger
from daemon.turns import AT_ONCE_MAX, AWAY, LONG_NS, Turns


def bulk(n):
    return Bulk.of([Message("t", b"1", 0, 0, i) for i in range(n)], Topics())


class World:
    """An inbox, and turns that take what is in it."""

    def __init__(self, takes_ns=0):
        self.clock, self.took, self.threads = ManualClock(), [], []
        self.inbox = Inbox(100_000, 1 << 20, Ledger())
        self.takes_ns, self.fails = takes_ns, None
        self.turns = Turns(self.inbox, self.clock, self.turn)
        self.turns.open()

    def turn(self):
        if self.fails:
            raise self.fails
        self.threads.append(threading.current_thread())
        self.took.append(len(self.inbox.drain(100_000)))
        self.clock.advance(self.takes_ns)
        return self.took[-1]

    def comes(self, n):
        self.inbox.put_all(bulk(n))
        self.inbox.arrived()


def test_few_messages_are_taken_where_they_came_in_and_nobody_is_woken():
    w = World()
    w.comes(3)
    assert w.took == [3]
    assert w.threads == [threading.current_thread()]
    assert not w.inbox._bell.acquire(blocking=False)


def test_all_is_taken_though_a_turn_takes_only_what_goes_together():
    w = World()
    for n in (1, 2, 3):  # each has topics of its own, so they are no one bulk
        w.inbox.put_all(bulk(n))
    w.inbox.arrived()
    assert w.took == [1, 2, 3]


def test_many_are_left_to_the_thread_that_waits():
    w = World()
    w.comes(AT_ONCE_MAX + 1)
    assert w.took == []
    w.inbox.wait(30)  # returns at once
    with w.turns.alone():
        w.turn()
    w.comes(AT_ONCE_MAX)
    assert w.took == [AT_ONCE_MAX + 1, AT_ONCE_MAX]


def test_who_waits_is_woken_for_what_is_left_to_it():
    w, took = World(), []
    waiting = threading.Event()

    def engine():
        waiting.set()
        w.inbox.wait(30)
        took.append(len(w.inbox))

    thread = threading.Thread(target=engine)
    thread.start()
    waiting.wait(60)
    w.comes(AT_ONCE_MAX + 1)
    thread.join(10)
    assert took == [AT_ONCE_MAX + 1]


def test_nobody_makes_a_turn_while_another_thread_is_in_one():
    w = World()
    with w.turns.alone():
        w.comes(5)
        assert w.took == []
    w.comes(1)
    assert sum(w.took) == 6


def test_after_two_long_turns_the_engines_own_thread_makes_them_for_a_while():
    w = World(takes_ns=LONG_NS + 1)
    w.comes(1)
    w.takes_ns = 0
    w.comes(1)
    w.takes_ns = LONG_NS + 1
    w.comes(1)
    w.comes(1)
    assert w.took == [1] * 4  # one alone may have been held up by something else
    w.takes_ns = 0
    w.comes(1)
    assert w.took == [1] * 4
    w.clock.advance(AWAY * (LONG_NS + 1))
    w.comes(1)
    assert sum(w.took) == 6


def test_a_turn_that_fails_ends_the_engines_own_thread_and_not_the_connection():
    w = World()
    w.fails = ZeroDivisionError("a fault")
    w.comes(1)
    w.fails = None
    w.comes(1)
    assert w.took == []  # nothing is made of a state that is half changed
    with pytest.raises(ZeroDivisionError), w.turns.alone():
        pass


def test_what_takes_nothing_is_not_asked_again_and_again():
    w = World()
    calls = []
    w.turns._turn = lambda: calls.append(1) or 0  # the disk is behind
    w.comes(1)
    assert calls == [1]


def test_before_it_is_opened_no_other_thread_makes_turns():
    inbox = Inbox(100, 1000, Ledger())
    Turns(inbox, ManualClock(), lambda: pytest.fail("nobody has asked"))
    inbox.put_all(bulk(1))
    inbox.arrived()
    assert len(inbox) == 1


def test_a_message_that_stands_alone_goes_at_once():
    linger = Linger()
    for i in range(3):
        now_ns = i * PAUSE_NS
        linger.read(now_ns)
        assert linger.left_ns(now_ns) == 0


@pytest.mark.parametrize("gap_ns", [10_000, 1_000_000, PAUSE_NS - 1])
def test_what_keeps_coming_is_read_once_in_a_period_and_waits_no_longer(gap_ns):
    linger, now_ns, looks = Linger(), 0, []
    while now_ns < 1_000_000_000:
        linger.read(now_ns)
        looks.append(now_ns)
        left_ns = linger.left_ns(now_ns + 200_000)  # a turn took that long
        assert left_ns <= PERIOD_NS
        ready_ns = now_ns + 200_000 + left_ns
        now_ns = max(ready_ns, now_ns + gap_ns)
    gaps = [b - a for a, b in pairwise(looks[1:])]
    assert min(gaps) >= PERIOD_NS
    assert max(gaps) == max(PERIOD_NS, gap_ns)


def test_after_a_turn_that_took_a_period_there_is_nothing_to_wait_for():
    linger = Linger()
    linger.read(0)
    linger.read(1_000_000)
    assert linger.left_ns(1_000_000 + PERIOD_NS - SHORT_NS) == 0
    assert linger.left_ns(1_000_000 + PERIOD_NS - SHORT_NS - 1) == SHORT_NS + 1
