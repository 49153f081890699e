"""The daemon's own numbers: what steps leave out shows in the metrics."""

import signal

import pytest
from prometheus_client.exposition import generate_latest

from config.load import Loaded
from daemon.app import App
from daemon.clock import ManualClock
from daemon.gauges import gauges
from daemon.health import Health
from daemon.messages import Message
from daemon.metrics import registry
from tests.graphs import T0, Feed, S, b, gateway

PIPELINES = {
    "minutes": {
        "from": "boilers",
        "steps": [{"aggregate": {"size": "1m", "stats": ["mean"]}}],
        "publish": {"topic": "agg/{device}"},
    }
}


def scraped(app):
    lines = generate_latest(registry(app.ledger, gauges(app))).decode().splitlines()
    return {k: float(v) for k, v in (x.rsplit(" ", 1) for x in lines if not x.startswith("#"))}


def test_what_steps_leave_out_is_in_the_metrics():
    made = gateway(PIPELINES, broker={"url": "memory://"}, limits={"series_max": 2})
    app = App(Loaded(made, (), ()), lambda: None, ManualClock(T0))
    before = scraped(app)
    feed = Feed(app.engine.graph)
    feed.send([(0, b("b1"), 1), (1, b("b1"), 2)])
    feed.until(200)  # silent for long enough: the first window is closed
    feed.send([(5, b("b1"), 3, 200), (300, b("b1"), 4, 300)])
    after = scraped(app)
    assert before["sensorweir_window_samples_late"] == 0
    assert after["sensorweir_window_samples_late"] == 1
    for name in (
        "window_samples_truncated",
        "pipeline_series_refused",
        "samples_hurried",
        "alerts_withheld",
    ):
        assert after[f"sensorweir_{name}"] == 0


def test_a_start_that_had_to_compile_for_a_minute_is_alive():
    made = gateway(PIPELINES, broker={"url": "memory://"})
    clock = ManualClock(T0)
    app = App(Loaded(made, (), ()), lambda: None, clock)
    alive = []

    def make(names, going):
        for done in range(len(names)):
            clock.advance(20 * S)
            alive.append(Health(app).live()[0])
            assert going(done, len(names))
        return names[:1]  # one is left to us

    app.prepare(make)
    assert app.warm
    assert all(alive)
    assert Health(app).live()[0]
    clock.advance(20 * S)
    assert not Health(app).live()[0]  # now it should have turned


@pytest.mark.timeout(30)
def test_a_signal_is_heard_whatever_it_interrupts():
    """A handler that took a lock which the interrupted code holds would wait for itself."""
    app = App(
        Loaded(gateway({}, broker={"url": "memory://"}), (), ()), lambda: None, ManualClock(T0)
    )
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    app.on_signals()
    try:
        for number in numbers:
            with app._stop._cond:  # the inbox has a lock that is held anyway
                signal.raise_signal(number)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert app._is_stopping()
    assert app._told_to_reload


def test_a_stop_while_states_of_before_may_still_come_takes_what_has_come():
    made = gateway(PIPELINES, broker={"url": "memory://"})
    app = App(Loaded(made, (), ()), lambda: None, ManualClock(T0))
    app.inbox.states_only = True
    app.inbox.put_own(Message(app.engine.canary_topic, b"1", 0, 0, T0))
    app.inbox.put(Message("nobody/wants/it", b"{}", 0, 0, T0))
    app._drain()
    assert (app.balanced, len(app.inbox)) == (True, 0)
