"""What is given up is told of: gap events when somebody can hear, dead letters on disk."""

import json

from daemon import dead_letters
from daemon.clock import ManualClock
from daemon.dead_letters import NAME, DeadLetters
from daemon.gaps import Gaps
from daemon.ledger import Ledger, Reason
from daemon.messages import Outgoing
from daemon.outbox import Outbox
from tests.graphs import T0, S, gateway


def alert(topic, payload=b"{}", kind="alert"):
    return Outgoing(topic, payload, 1, False, kind)


def test_what_is_dropped_while_the_broker_is_away_is_one_event_afterwards():
    clock, told = ManualClock(T0), []
    gaps, outbox = Gaps(gateway({}), clock), Outbox(3, 1000, Ledger())
    outbox.on_dropped = gaps.note
    for i in range(5):
        outbox.put([alert(f"agg/{i}", kind="window")])
        clock.advance(S)
    gaps.tell(False, told.extend)
    assert told == []
    gaps.tell(True, told.extend)
    [gap] = told
    event = json.loads(gap.payload)
    assert gap.topic == "sensorweir/gw/gap"
    assert event["data"] == {
        "what": "window",
        "reason": "outbox_full",
        "count": 2,
        "from": "2025-11-24T16:00:03Z",
        "to": "2025-11-24T16:00:04Z",
    }
    gaps.tell(True, told.extend)
    assert len(told) == 1


def test_a_newer_state_in_place_of_an_older_one_is_no_gap():
    told = []
    outbox = Outbox(2, 1000, Ledger())
    outbox.on_dropped = lambda *facts: told.append(facts)
    for i in range(6):
        outbox.put([alert("state/a", b"%d" % i, "state")])
    assert told == []


def test_poison_is_kept_for_somebody_to_look_at(tmp_path):
    letters = DeadLetters(tmp_path, ManualClock(T0))
    outbox = Outbox(10, 1000, Ledger())
    outbox.on_refused = letters.put
    outbox.put([alert("alerts/\0"), alert("alerts/b", b"\xff")])
    for parcel in outbox.take(2, 2):
        outbox.refuse(parcel.token, Reason.BAD_TOPIC, "why not")
    lines = [json.loads(line) for line in (tmp_path / NAME).read_text().splitlines()]
    assert [line["topic"] for line in lines] == ["alerts/\\x00", "alerts/b"]
    assert lines[0]["reason"] == "bad_topic"
    assert lines[0]["detail"] == "why not"
    assert lines[0]["time"] == "2025-11-24T16:00:00Z"


def test_dead_letters_are_bounded_and_a_broken_disk_costs_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setattr(dead_letters, "BYTES_MAX", 1000)
    letters = DeadLetters(tmp_path, ManualClock(T0))
    for i in range(50):
        letters.put(alert(f"alerts/{i}"), "poison", "")
    files = sorted(tmp_path.iterdir())
    assert len(files) == 2
    assert sum(path.stat().st_size for path in files) < 2000
    assert b"alerts/49" in (tmp_path / NAME).read_bytes()
    lost = DeadLetters(tmp_path / "none", ManualClock(T0))
    lost.put(alert("a"), "poison", "")
    assert lost.failed
