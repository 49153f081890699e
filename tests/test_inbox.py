"""The inbox: bounded, in order, awake at once, and nothing goes missing between two threads."""

import threading
import time

from daemon.inbox import Inbox
from daemon.ledger import Count, Gauge, Ledger
from daemon.messages import Message


def message(i=0, payload=b"12345", topic="t"):
    return Message(topic, payload, 1, i % 65_535 + 1, i)


def inbox(messages_max=100, bytes_max=10_000):
    ledger = Ledger()
    return Inbox(messages_max, bytes_max, ledger), ledger


def test_messages_come_out_in_order_and_in_parts():
    box, _ = inbox()
    for i in range(10):
        assert box.put(message(i))
    assert [m.arrival_ns for m in box.drain(4)] == [0, 1, 2, 3]
    assert [m.arrival_ns for m in box.drain(100)] == [4, 5, 6, 7, 8, 9]
    assert box.drain(100) == []


def test_full_by_number_rejects_and_counts_and_recovers():
    box, ledger = inbox(messages_max=3)
    assert [box.put(message(i)) for i in range(5)] == [True, True, True, False, False]
    assert not box.has_room()
    assert ledger.value(Count.MESSAGES_REJECTED, reason="inbox_full") == 2
    assert ledger.total(Count.MESSAGES_RECEIVED) == 5
    assert ledger.balance() == []
    box.drain(1)
    assert box.has_room()
    assert box.put(message())


def test_full_by_bytes_goes_beyond_by_at_most_one_message():
    box, ledger = inbox(bytes_max=100)
    taken = sum(box.put(message(i, b"x" * 40)) for i in range(10))
    assert taken == 3
    assert ledger.value(Gauge.INBOX_BYTES) == 3 * 41
    box.drain(10)
    assert ledger.value(Gauge.INBOX_BYTES) == 0


def test_has_room_says_what_put_will_do():
    box, _ = inbox(messages_max=7, bytes_max=120)
    for i in range(20):
        assert box.has_room() == box.put(message(i, b"x" * (i * 3)))


def test_a_waiting_reader_wakes_when_something_comes():
    box, _ = inbox()
    timer = threading.Timer(0.05, box.put, [message()])
    timer.start()
    began = time.monotonic()
    assert len(box.drain(10, wait_s=30)) == 1
    assert time.monotonic() - began < 10
    timer.join()


def test_a_waiting_reader_can_be_woken_for_another_reason():
    box, _ = inbox()
    timer = threading.Timer(0.05, box.wake)
    timer.start()
    began = time.monotonic()
    assert box.drain(10, wait_s=30) == []
    assert time.monotonic() - began < 10
    timer.join()


def test_nothing_is_lost_or_doubled_between_two_threads():
    box, ledger = inbox(messages_max=1000, bytes_max=1 << 20)
    n, seen, taken = 50_000, [], []

    def produce():
        taken.extend(i for i in range(n) if box.put(message(i)))

    producer = threading.Thread(target=produce)
    producer.start()
    while producer.is_alive() or len(box):
        seen += [m.arrival_ns for m in box.drain(333, wait_s=0.01)]
    producer.join()
    assert seen == taken
    ledger.count(Count.MESSAGES_ACCEPTED, len(seen))
    assert ledger.balance() == []
    assert ledger.total(Count.MESSAGES_RECEIVED) == n


def test_states_of_before_are_taken_first_and_alone_while_more_may_come():
    box, ledger = inbox(messages_max=4)
    box.states_only = True
    box.put(message(1))
    assert not box.has_some
    assert box.drain(9, wait_s=0.001) == []
    assert box.put_state(message(2, topic="state"))
    box.put(message(3))
    assert box.put_state(message(4, topic="state"))
    assert (box.put(message(5)), box.has_room()) == (False, False)
    assert [box.put_state(message(n, topic="state")) for n in (7, 8, 9)] == [True, True, False]
    assert [m.arrival_ns for m in box.drain(9)] == [2, 4, 7, 8]
    assert (box.drain(9), len(box), box.has_room()) == ([], 2, True)
    box.states_only = False
    assert box.put_state(message(6, topic="state"))
    assert [[m.arrival_ns for m in box.drain(9)] for _ in range(3)] == [[6], [1, 3], []]
    assert ledger.value(Count.MESSAGES_REJECTED, reason="inbox_full") == 2
    ledger.count(Count.MESSAGES_ACCEPTED, 7)
    assert (ledger.balance(), ledger.total(Count.MESSAGES_RECEIVED)) == ([], 9)
    assert ledger.value(Gauge.INBOX_BYTES) == 0


def test_a_reader_is_woken_by_a_state_and_not_by_what_waits_for_it():
    box, _ = inbox()
    box.states_only = True
    timer = threading.Timer(0.05, lambda: [box.put(message(1)), box.put_state(message(2))])
    timer.start()
    assert [m.arrival_ns for m in box.drain(10, wait_s=30) or box.drain(10, wait_s=30)] == [2]
    timer.join()
