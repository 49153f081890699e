"""A rogue device harms only itself: what is told of the others is the same to the byte."""

import json

import numpy as np
import pytest

from daemon.ledger import Count
from tests.wired import MS, T0, S, Wired

SOURCE = {
    "boilers": {
        "topic": "plant/{site}/{device}",
        "time": {"field": "ts", "unit": "ns"},
        "lateness": "1s",
        "seq": "n",
    }
}
PIPELINES = {
    "hot": {
        "from": "boilers",
        "steps": [{"rolling": {"stat": "mean", "window": "5s"}}],
        "alert": {"when": {"above": 90, "deadband": 5}, "topic": "alerts/{device}/hot"},
    },
    "silent": {
        "from": "boilers",
        "where": {"channel": "a"},
        "steps": [{"missing": {"timeout": "3s"}}],
        "alert": {"topic": "alerts/{device}/silent"},
    },
    "means": {
        "from": "boilers",
        "amend_for": "10s",
        "steps": [{"aggregate": {"size": "2s", "stats": ["mean", "count"]}}],
        "publish": {"topic": "agg/{device}/{channel}"},
    },
}
YEAR = 365 * 86_400 * S


def flood(now_ns, k):
    return [("rogue", {"ts": now_ns + i, "a": 99 + i}) for i in range(300)]


def clock(now_ns, k):
    times = (0, 1, now_ns + 40 * YEAR, now_ns - 40 * YEAR, 2**62, -1, 1e300, now_ns + 59 * S)
    return [("rogue", {"ts": times[k % len(times)], "a": 99})]


def names(now_ns, k):
    return [(f"x{k}-{i}", {"ts": now_ns, "a": 99}) for i in range(20)]


def channels(now_ns, k):
    return [("rogue", {"ts": now_ns, **{f"c{k}-{i}": 1 for i in range(100)}})]


def rubbish(now_ns, k):
    odd = [b"", b"{", b"\xff", b"[" * 3000, b'{"ts":1,"a":1e999}', b'{"ts":true,"a":1}', b"null"]
    return [("rogue", raw) for raw in odd] + [("b1/x", b"{}"), ("rogue", {"ts": now_ns, "a": None})]


ROGUES = {r.__name__: r for r in (flood, clock, names, channels, rubbish)}


def told(rogue=None):
    """What is published of honest devices; a rogue sends before each of their messages."""
    wired = Wired(PIPELINES, SOURCE, limits={"series_max": 200})
    rng = np.random.default_rng(3)
    for k in range(150):
        now_ns = T0 + (k + 1) * 200 * MS
        wired.clock.advance(now_ns - wired.clock.now_ns())
        for device, body in rogue(now_ns, k) if rogue else ():
            wired.send(f"plant/north/{device}", body)
        device = f"b{k % 4}"
        if not (device == "b3" and 60 < k < 120):  # it falls silent
            late_ns = int(rng.integers(0, 4)) * 700 * MS
            value = 95 if 40 < k < 100 else 60
            body = {"ts": now_ns - late_ns, "n": k, "a": value + float(rng.normal())}
            wired.send(f"plant/north/{device}", body)
        wired.turn()
    wired.wait(20)
    wired.close()
    honest = tuple(f"/b{i}/" for i in range(4))
    lines = [o for o in wired.transport.published if any(h in f"{o.topic}/" for h in honest)]
    return lines, wired.ledger


HONEST, _ = told()


def test_honest_devices_have_something_to_tell():
    kinds = {json.loads(o.payload)["type"] for o in HONEST if o.payload}
    assert kinds >= {"sensorweir.alert.active", "sensorweir.alert.cleared", "sensorweir.window"}
    assert len(HONEST) > 80


@pytest.mark.parametrize("name", ROGUES)
def test_what_is_told_of_the_others_is_the_same_to_the_byte(name):
    lines, ledger = told(ROGUES[name])
    assert lines == HONEST
    numbers = ledger.as_dict()
    expected = {
        "flood": "messages_rejected{reason=rate_limited,source=boilers}",
        "clock": "samples_future{source=boilers}",
        "names": "samples_dropped{reason=series_full,source=boilers}",
        "channels": "samples_dropped{reason=device_full,source=boilers}",
        "rubbish": "messages_rejected{reason=bad_json,source=boilers}",
    }
    assert numbers[expected[name]] > 0
    assert ledger.total(Count.MESSAGES_RECEIVED) > 150
