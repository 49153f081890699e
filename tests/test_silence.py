"""Silence, end to end: devices that stop, never come, come back, and late bursts."""

import pytest

from tests.wired import Wired

SOURCE = {"boilers": {"topic": "plant/{site}/{device}/telemetry"}}


def silent(**options):
    return {
        "silent": {
            "from": "boilers",
            "where": {"channel": "temperature"},
            "steps": [{"missing": options}],
            "alert": {"topic": "alerts/{device}/silent"},
        }
    }


@pytest.fixture
def run():
    made = []

    def start(**options):
        made.append(Wired(silent(**options), SOURCE))
        return made[-1]

    yield start
    for wired in made:
        wired.close()


def talk(wired, device, seconds, every_ms=1000):
    for _ in range(round(seconds * 1000 / every_ms)):
        wired.send(f"plant/north/{device}/telemetry", {"temperature": 20}, after_ms=every_ms)
        wired.turn()


def test_a_device_that_stops_is_told_and_its_return_clears(run):
    wired = run(timeout="30s")
    talk(wired, "b1", 20)
    wired.wait(29)
    assert wired.events() == []
    wired.wait(2)
    assert wired.events() == [("alerts/b1/silent", "active")]
    talk(wired, "b1", 1)
    assert wired.events()[1:] == [("alerts/b1/silent", "cleared")]


def test_auto_learns_the_rhythm_of_each_device(run):
    wired = run(timeout="auto")
    for i in range(300):
        wired.send("plant/north/fast/telemetry", {"temperature": 20}, after_ms=200)
        if i % 25 == 0:
            wired.send("plant/north/slow/telemetry", {"temperature": 20})
        wired.turn()
    assert wired.events() == []
    wired.wait(10)
    assert wired.events() == [("alerts/fast/silent", "active")]
    wired.wait(25)
    assert wired.events() == [("alerts/fast/silent", "active"), ("alerts/slow/silent", "active")]


def test_an_expected_device_that_never_came_is_told_and_cleared_when_it_comes(run):
    wired = run(timeout="30s", expected={"device": ["b1", "b2"]})
    talk(wired, "b1", 20)
    assert wired.events() == []
    talk(wired, "b1", 20)
    assert wired.events() == [("alerts/b2/silent", "active")]
    talk(wired, "b2", 1)
    assert wired.events()[1:] == [("alerts/b2/silent", "cleared")]
    talk(wired, "b1", 1)
    assert len(wired.events()) == 2


def test_unknown_values_are_not_life_and_not_silence_of_another(run):
    wired = run(timeout="5s")
    for _ in range(3):
        talk(wired, "b1", 1)
    for _ in range(10):  # talks, but says nothing
        wired.send("plant/north/b1/telemetry", {"temperature": "broken"}, after_ms=1000)
        wired.turn()
    wired.wait(10)
    assert wired.events() == [("alerts/b1/silent", "active")]
