"""Real samples through a real broker at full speed: nothing is lost, and the events are the same.

The broker must keep what a slow subscriber has not read: `max_queued_messages 100000` in
tests/mosquitto.py. With Mosquitto's default of 1,000 it drops the rest, and the ledger of the
daemon cannot know of messages that it never got.
"""

import json
import subprocess
import sys
import time

import pytest

from tests.daemons import ROOT, Keeper, gateway
from tests.nab import CSV, LIMITS, PIPELINES, SAMPLES, SOURCES, TOPIC, scored, table
from tests.test_nab import through_memory
from tests.wires import until

pytestmark = pytest.mark.broker


def replayed(broker):
    """What the simulator says after it has published the whole file."""
    command = [sys.executable, "-m", "daemon", "sim", "replay", str(CSV), "--topic", TOPIC]
    command += ["--label", "site=north", "--device", "m1", "--channel", "temperature"]
    command += ["--speed", "max", "--broker", broker.url, "--format", "json"]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return json.loads(done.stdout)


def test_a_replay_through_the_broker_gives_the_events_of_memory(own_mosquitto, daemons, closing):
    expected = through_memory(1024)[0]
    broker = own_mosquitto.start()
    alerts = closing(Keeper(broker.port, "keeper", "alerts/#"))
    daemon = daemons(
        {**gateway(broker.url, "gw", {}, SOURCES, limits=LIMITS), "pipelines": PIPELINES}
    )
    began = time.monotonic()
    summary = replayed(broker)
    sent_s = time.monotonic() - began
    assert (summary["acked"], summary["skipped"], summary["resent"]) == (SAMPLES, 0, 0)
    until(lambda: daemon.metrics()["messages_received"] >= SAMPLES, 30, "all messages")
    metrics = daemon.quiet()
    took_s = time.monotonic() - began
    fates = ("used", "late", "duplicate", "future", "dropped", "buffered")
    accounted = {fate: metrics[f"samples_{fate}"] for fate in fates}
    assert metrics["messages_accepted{source=machines}"] == SAMPLES
    assert sum(accounted.values()) == SAMPLES, accounted
    until(lambda: len(alerts.heard) >= len(expected), what=f"{len(expected)} events")
    events = [h.event for h in alerts.heard]
    report = (
        f"\n{table(events)}\n{SAMPLES} samples sent in {sent_s:.1f} s, done after {took_s:.1f} s; "
        f"{accounted}; {len(events)} events"
    )
    print(report)
    for pipeline in PIPELINES:
        mine = [(h.topic, h.payload) for h in alerts.heard if f"/{pipeline}/" in h.topic]
        theirs = [o for o in expected if f"/{pipeline}/" in o[0]]
        assert [json.loads(p)["id"] for _, p in mine] == [json.loads(p)["id"] for _, p in theirs]
        assert mine == theirs, report
    assert len(scored(events)["odd_mad"][0]) >= 3, report
    assert daemon.complaints() == []
