"""Processing time: what a wall clock that is set does to it, and what comes of a boot in 1970."""

import ctypes
import itertools
import json
import threading
import time

import pytest

from config.load import Loaded
from daemon import offline
from daemon.app import TIME_WAIT_NS, App
from daemon.clock import (
    EARLIEST_NS,
    SECOND,
    SLEW_PPM,
    Machine,
    ManualClock,
    SystemClock,
    kernel_clock,
)
from daemon.health import Health
from tests.graphs import gateway
from tests.wired import T0, S, Wired

DAY = 86_400 * S
NOW = EARLIEST_NS + 100 * DAY


class Hardware:
    """A machine whose clocks are in our hands."""

    def __init__(self, wall=NOW, right=True):
        self.wall, self.steady, self.right = wall, 5 * S, right
        self.clock = SystemClock(
            Machine(lambda: self.wall, lambda: self.steady, lambda: self.right)
        )

    def run(self, seconds, every=0.25):
        """Let time pass; [what the clock showed]."""
        shown = []
        for _ in range(round(seconds / every)):
            self.steady += int(every * S)
            self.wall += int(every * S)
            shown.append(self.clock.now_ns())
        assert shown == sorted(shown)
        return shown

    @property
    def gap(self):
        """How far the clock is behind the wall clock, in seconds."""
        return (self.wall - self.clock.now_ns()) / S


@pytest.mark.parametrize("right", [True, False])
@pytest.mark.parametrize("step", [DAY, -DAY, 3600 * S, -61 * S, -56 * 365 * DAY])
def test_who_sets_the_clock_changes_nothing(step, right):
    set_, plain = Hardware(right=right), Hardware(right=right)
    set_.run(10)
    plain.run(10)
    set_.wall += step
    set_.right = False  # as the kernel says after somebody set it
    assert set_.run(3000) == plain.run(3000)
    set_.wall -= step
    set_.right = right
    assert set_.run(3000) == plain.run(3000)


def test_a_small_gap_closes_slowly():
    hardware = Hardware()
    hardware.run(10)
    hardware.wall += S
    hardware.run(100)
    assert hardware.gap == pytest.approx(1 - 100 * SLEW_PPM / 1e6, abs=0.002)
    hardware.run(2000)
    assert hardware.gap == 0
    hardware.wall -= S
    shown = hardware.run(100)
    assert hardware.gap == pytest.approx(-1 + 100 * SLEW_PPM / 1e6, abs=0.002)
    assert max(b - a for a, b in itertools.pairwise(shown)) <= 0.25 * S


@pytest.mark.parametrize("right", [True, False])
def test_a_boot_in_1970_takes_over_the_time_once_it_is_there(right):
    hardware = Hardware(wall=20 * S, right=False)
    hardware.run(30)
    assert hardware.gap == 0
    hardware.wall, hardware.right = NOW, right  # by NTP, or by hand
    hardware.run(2)
    assert hardware.gap == 0
    hardware.wall += DAY  # but only once
    hardware.run(600)
    assert hardware.gap == 86400


def test_a_boot_at_the_time_of_the_last_shutdown_waits_for_ntp():
    hardware = Hardware(right=False)
    hardware.run(3600)
    hardware.wall += DAY
    hardware.run(2)
    assert hardware.gap == 86400
    hardware.right = True
    hardware.run(2)
    assert hardware.gap == 0


def test_a_machine_that_was_frozen_comes_right_after_an_hour():
    hardware = Hardware()
    hardware.run(10)
    hardware.wall += DAY
    hardware.run(3590)
    assert hardware.gap == 86400
    hardware.run(20)
    assert hardware.gap == 0


def test_a_start_in_the_future_never_goes_back_and_says_so(caplog):
    hardware = Hardware(right=False)
    hardware.run(10)
    hardware.wall -= DAY
    hardware.right = True
    hardware.run(7200)
    assert hardware.gap == -86400
    [record] = caplog.records
    assert "restart" in record.message
    assert record.facts == {"gap_s": -86400.0}


def test_two_threads_never_see_time_go_back():
    clock, wrong = SystemClock(), []

    def look():
        last = 0
        for _ in range(20_000):
            now = clock.now_ns()
            if now < last:
                wrong.append((last, now))
            last = now

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_the_real_clock_shows_the_time_and_asks_the_kernel():
    clock = SystemClock()
    assert abs(clock.now_ns() - time.time_ns()) < S
    machine = clock._machine
    assert machine.synchronised() in (True, False)
    # The first number of struct timex is what to change: nothing.
    asks = kernel_clock()
    assert asks() in (True, False, None)
    assert ctypes.string_at(asks.__closure__[1].cell_contents, 4) == bytes(4)


@pytest.mark.parametrize(("state", "kept"), [(0, True), (1, True), (5, False), (-1, None)])
def test_a_kernel_that_may_not_be_asked_is_not_one_that_says_no(monkeypatch, state, kept):
    class Library:
        adjtimex = staticmethod(lambda _: state)

    monkeypatch.setattr(ctypes, "CDLL", lambda _: Library)
    assert kernel_clock()() is kept


def test_a_gateway_in_1970_waits_for_the_time_but_not_for_ever():
    made = gateway({}, sources={}, broker={"url": "memory://"})
    clock = ManualClock(20 * S)
    app = App(Loaded(made, (), ()), lambda: None, clock)
    app.warm = True
    app._await_time()
    assert Health(app).live()[0]  # or a supervisor would end it before it has the time
    assert TIME_WAIT_NS <= clock.monotonic_ns() <= TIME_WAIT_NS + SECOND
    clock = ManualClock(EARLIEST_NS - 10 * S)
    app = App(Loaded(made, (), ()), lambda: None, clock)
    app._await_time()
    assert clock.monotonic_ns() == 10 * S


class Gateway(Hardware):
    """The same machine under a whole daemon; time passes by `advance`."""

    def __init__(self, start_ns):
        super().__init__(wall=start_ns)

    def now_ns(self):
        return self.clock.now_ns()

    def monotonic_ns(self):
        return self.steady

    def advance(self, ns):
        self.steady += ns
        self.wall += ns


PIPELINES = {
    "hot": {"from": "boilers", "alert": {"when": {"above": 90, "on_delay": "2s"}}},
    "silent": {"from": "boilers", "steps": [{"missing": {"timeout": "5s"}}], "alert": {}},
    "means": {
        "from": "boilers",
        "steps": [{"aggregate": {"size": "10s"}}],
        "publish": {"topic": "agg/{device}"},
    },
}


def told(monkeypatch, steps, source):
    """All that leaves a gateway whose clock is set by `steps`: {second: by how much}."""
    monkeypatch.setattr(offline, "ManualClock", Gateway)
    made = Wired(PIPELINES, {"boilers": {"topic": "plant/{site}/{device}", **source}})
    for k in range(600):
        made.clock.wall += steps.get(k / 10, 0)
        if k % 5 == 0 and not 200 <= k < 350:
            now_ms = (T0 + k * 100_000_000) // 1_000_000
            value = 99 if k // 60 % 2 else 20
            made.send("plant/north/b1", {"ts": now_ms, "temperature": value})
        made.clock.advance(100_000_000)
        made.turn()
    made.close()
    published = made.transport.published
    return [(out.topic, out.payload) for out in published if out.kind != "status"]


@pytest.mark.parametrize("source", [{}, {"time": {"field": "ts"}, "lateness": "1s"}])
@pytest.mark.parametrize("step", [DAY, -DAY])
def test_a_gateway_whose_clock_is_set_tells_the_same_byte_for_byte(monkeypatch, step, source):
    want = told(monkeypatch, {}, source)
    kinds = {json.loads(payload)["type"] for _, payload in want if payload}
    assert len(kinds) >= 3
    assert told(monkeypatch, {7.3: step}, source) == want
    assert told(monkeypatch, {7.3: step, 23: -step, 41: -step}, source) == want


@pytest.mark.parametrize("ns", [0, 1_000_000, 4_000_000])
def test_a_wait_short_or_long_says_whether_the_event_came(ns):
    event, clock = threading.Event(), SystemClock()
    began = clock.monotonic_ns()
    assert not clock.wait(event, ns)
    assert clock.monotonic_ns() - began >= ns
    event.set()
    assert clock.wait(event, 3600 * SECOND if ns > 3_000_000 else ns)
