"""The canary: time waits until it has come back, and a broker that keeps it is told of."""

from daemon.canary import EVERY_NS, LOST_NS, Canary
from daemon.clock import ManualClock
from tests.graphs import T0, S


class Bird:
    def __init__(self):
        self.clock, self.sent = ManualClock(T0), []
        self.canary = Canary(self.sent.append, self.clock)

    def after(self, seconds, connected=True):
        self.clock.advance(round(seconds * S))
        self.canary.look(connected)


def test_time_is_held_until_the_canary_of_this_connection_is_back():
    bird = Bird()
    assert bird.canary.held
    bird.canary.look(False)
    assert (bird.sent, bird.canary.held) == ([], True)
    bird.canary.look(True)
    assert bird.sent == [b"1"]
    bird.after(1, connected=False)  # lost before it came back
    bird.after(1)
    assert bird.sent == [b"1", b"2"]
    bird.canary.heard(b"1")  # of the connection before: what came since is not behind it
    assert bird.canary.held
    bird.canary.heard(b"2")
    assert not bird.canary.held
    bird.after(1, connected=False)
    assert bird.canary.held


def test_it_flies_again_and_again_and_is_missed_once():
    bird = Bird()
    bird.canary.look(True)
    bird.canary.heard(b"1")
    bird.after(EVERY_NS / S)
    bird.after(EVERY_NS / S)
    assert bird.sent == [b"1", b"2", b"3"]
    bird.canary.heard(b"3")
    bird.after(LOST_NS / S)
    assert not bird.canary.lost
    bird.after(1)
    assert bird.canary.lost
    assert not bird.canary.held  # nothing is waited for for ever
    bird.canary.heard(bird.sent[-1])
    assert not bird.canary.lost


def test_a_subscription_that_is_granted_and_blocked_is_found():
    bird = Bird()
    bird.canary.look(True)
    bird.after(LOST_NS / S / 2)
    assert (bird.canary.held, bird.canary.lost) == (True, False)
    bird.after(LOST_NS / S / 2 + 1)
    assert (bird.canary.held, bird.canary.lost) == (False, True)
