"""Quota: what one device may send, and how fast new series may come; by times of arrival alone."""

import json
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.model import Limits
from daemon.ledger import Count
from daemon.messages import Message
from pipelines.quota import SETTLE_NS, Quota
from tests.bulks import bulk
from tests.restarts import again
from tests.test_decode import ARRIVAL, Rig
from tests.wired import S, Wired

MS = 1_000_000


def sent(rig, arrivals_ns, topic="plant/north/b7", body=b'{"a":1}'):
    """Which of the messages that arrive then are taken."""
    read = rig.reader.read
    return [
        read(bulk(Message(topic, body, 1, 1, ARRIVAL + t))).series.size > 0 for t in arrivals_ns
    ]


def test_one_device_gets_its_burst_and_then_its_rate():
    rig = Rig(Limits(device_messages_per_s_max=200, device_messages_burst_max=1000))
    flood = sent(rig, range(0, 10 * S, MS // 2))  # 2,000 a second
    assert all(flood[:1000])
    assert sum(flood) == 1000 + 200 * 10 - 1
    assert sum(flood[-2000:]) == 200
    assert all(sent(rig, range(10 * S, 20 * S, 100 * MS), "plant/north/b8"))
    assert rig.counted(Count.MESSAGES_REJECTED, reason="rate_limited") == 20_000 - sum(flood)
    assert sum(sent(rig, [60 * S] * 2000)) == 1000, "the burst is there again after a rest"


def naive(arrivals_ns, rate, burst):
    """Tokens, as everybody draws it."""
    tokens, last, taken = Fraction(burst), 0, []
    for t in arrivals_ns:
        tokens = min(Fraction(burst), tokens + Fraction((t - last) * rate, S))
        last = t
        taken.append(tokens >= 1)
        tokens -= taken[-1]
    return taken


GAPS = st.lists(st.sampled_from([0, 1, MS, 20 * MS - 1, 20 * MS, 50 * MS, S]), max_size=60)


@given(GAPS, st.sampled_from([1, 20, 1000]), st.integers(1, 5), st.integers(1, 7), st.booleans())
def test_it_is_a_token_bucket_however_messages_are_cut(gaps, rate, burst, size, restarts):
    limits = Limits(device_messages_per_s_max=rate, device_messages_burst_max=burst)
    rig, arrivals, t = Rig(limits), [], 0
    for gap in gaps:
        t += gap
        arrivals.append(t)
    found = []
    for first in range(0, len(arrivals), size):
        part = arrivals[first : first + size]
        bodies = [b'{"a":%d}' % (first + i) for i in range(len(part))]
        read = rig.reader.read(
            bulk(
                *[
                    Message("plant/north/b7", body, 1, 1, ARRIVAL + at)
                    for at, body in zip(part, bodies, strict=True)
                ]
            )
        )
        found += [int(v) for v in read.value]
        if restarts:  # with what is kept of the buckets, and nothing else
            owed, rig.quota = rig.quota.owed, Quota(limits)
            rig.quota.owed = owed
            rig.reader = rig.new_reader()
    expected = naive(arrivals, rate, burst)
    assert found == [i for i, taken in enumerate(expected) if taken]


def test_all_topics_of_a_device_share_its_bucket():
    rig = Rig(Limits(device_messages_burst_max=10), topic="plant/{site}/{device}/#")
    taken = [sent(rig, [0], f"plant/north/b7/{i}")[0] for i in range(100)]
    assert taken == [True] * 10 + [False] * 90


@pytest.mark.parametrize("together", [True, False])
def test_names_without_end_do_not_refill_a_bucket_and_are_forgotten(together):
    rig = Rig(Limits(device_messages_burst_max=10, series_max=20), rows=20)
    assert sum(sent(rig, [0] * 50)) == 10
    for i in range(500):
        sent(rig, [10 * MS * together + 20_000 * i], f"plant/north/x{i}", b"rubbish")
        assert len(rig.quota) <= 40
    assert sum(sent(rig, [10 * MS] * 50)) == 2, "10 ms are worth two messages"


def test_only_buckets_that_are_not_full_are_kept():
    rig = Rig()
    sent(rig, range(100))
    assert len(rig.quota.owed) == 1
    sent(rig, [S], "plant/north/b8")
    assert [dict(labels)["device"] for labels in rig.quota.owed] == ["b8"]


def test_what_is_refused_is_acknowledged_counted_and_told_once(caplog):
    wired = Wired({"hot": {"from": "boilers", "alert": {"when": {"above": 90}}}})
    wired.turn()
    for _ in range(1500):
        wired.send("plant/north/b7", {"a": 1})
    wired.send("plant/north/b8", {"a": 99})
    wired.turn()
    assert len(wired.transport.acknowledged) == 1501
    assert len(wired.events()) == 1
    refused = wired.ledger.value(Count.MESSAGES_REJECTED, reason="rate_limited", source="boilers")
    assert refused == 500
    [line] = [r for r in caplog.records if r.facts.get("reason") == "rate_limited"]
    assert (line.facts["count"], line.facts["topic"]) == (500, "plant/north/b7")
    wired.close()


def test_a_daemon_that_starts_again_refuses_what_one_that_never_stopped_refuses():
    tight = {"device_messages_per_s_max": 50, "device_messages_burst_max": 30}
    rows = {"from": "boilers", "publish": {"topic": "rows/{device}"}}

    def told(cuts):
        wired = Wired({"rows": rows}, limits=tight)
        for i in range(60):
            for k in range(20):
                wired.send("plant/north/b7", {"a": i * 20 + k})
            wired.wait(0.1)
            if i in cuts:
                wired.engine._adopt(again(wired.engine.graph))
        wired.close()
        return [json.loads(o.payload)["data"]["value"] for o in wired.published("sample")]

    whole = told(())
    assert len(whole) == 30 + 5 * 59
    assert told((1, 2, 30, 58)) == whole


# --- new series ------------------------------------------------------------------------------


def new(rig, names, at_ns):
    """How many of these new devices are let in."""
    return sum(sent(rig, [at_ns], f"plant/north/{name}")[0] for name in names)


def test_a_source_meets_its_fleet_at_once_and_later_only_so_many_more():
    limits = Limits(series_new_per_s_max=100, series_new_burst_max=1000)
    rig = Rig(limits, rows=10_000)
    assert new(rig, range(3000), 0) == 3000
    assert new(rig, range(3000, 4000), SETTLE_NS - 1) == 1000
    assert new(rig, range(4000, 6000), SETTLE_NS) == 1000
    assert rig.counted(Count.SAMPLES_DROPPED, reason="series_rate") == 1000
    assert new(rig, range(5000, 6000), SETTLE_NS + S) == 100
    assert new(rig, range(6000), SETTLE_NS + S) == 5100, "those that are known go on"
    assert new(rig, range(5100, 6000), SETTLE_NS + 60 * S) == 900


def test_a_full_table_says_so_and_takes_nothing_from_the_bucket():
    rig = Rig(Limits(series_new_burst_max=2), rows=3)
    new(rig, range(3), 0)
    new(rig, range(3, 10), SETTLE_NS)
    assert rig.counted(Count.SAMPLES_DROPPED, reason="series_full") == 7
    assert rig.counted(Count.SAMPLES_DROPPED, reason="series_rate") == 0


def test_the_bucket_of_new_series_outlives_a_restart():
    limits = {"series_new_burst_max": 5}
    wired = Wired({"hot": {"from": "boilers", "alert": {"when": {"above": 90}}}}, limits=limits)

    def meet(first, n):
        for i in range(first, first + n):
            wired.send(f"plant/north/x{i}", {"a": 1})
        wired.turn()
        return wired.ledger.value(Count.SAMPLES_DROPPED, reason="series_rate", source="boilers")

    assert meet(0, 20) == 0
    wired.clock.advance(SETTLE_NS)
    assert meet(100, 4) == 0
    wired.engine._adopt(again(wired.engine.graph))
    assert meet(200, 4) == 3
    wired.close()


@pytest.mark.parametrize(
    ("limits", "body", "rejected", "dropped"),
    [
        ({"keys_per_reading_max": 2}, {"a": 1, "b": 2, "c": 3}, "too_many_keys", ""),
        ({"readings_per_message_max": 2}, [{"a": 1}] * 3, "too_many_readings", ""),
        ({"message_bytes_max": 256}, {"a": 1, "b": "x" * 300}, "too_big", ""),
        ({"channel_bytes_max": 3}, {"aaaa": 1}, "", "key_too_long"),
        ({"channel_bytes_max": 3}, {"éé": 1}, "", "key_too_long"),
        ({"series_per_device_max": 1}, {"a": 1, "b": 2}, "", "device_full"),
    ],
)
def test_limits_of_one_message_can_be_set(limits, body, rejected, dropped):
    rig = Rig(Limits(**limits))
    rig.read(json.dumps(body))
    assert rig.rejected() == ({rejected: 1} if rejected else {})
    assert not dropped or rig.counted(Count.SAMPLES_DROPPED, reason=dropped) == 1
    rig = Rig()
    rig.read(json.dumps(body))
    assert rig.rejected() == {}
    assert rig.ledger.total(Count.SAMPLES_DROPPED) == 0


def test_what_the_broker_has_kept_for_us_may_come_at_once():
    hot = {"hot": {"from": "boilers", "alert": {"when": {"above": 90}}}}
    wired = Wired(hot, limits={"device_messages_burst_max": 10})
    wired.engine.held = True  # a device that sends once a second, and an outage of five minutes
    for i in range(300):
        wired.send("plant/north/b7", {"a": i})
    wired.turn()
    assert wired.ledger.total(Count.MESSAGES_REJECTED) == 0
    wired.engine.held = False
    for i in range(20):
        wired.send("plant/north/b7", {"a": i}, after_ms=1)
    wired.turn()
    rejected = wired.ledger.value(Count.MESSAGES_REJECTED, reason="rate_limited", source="boilers")
    assert 5 <= rejected < 10
