"""With state: what is acknowledged is on disk, and a daemon that dies goes on as if it had not."""

import errno
import json

import numpy as np
import pytest

from daemon import durability
from daemon.durable.disk import OsFile
from daemon.durable.tape import Tape
from daemon.ledger import Count
from daemon.replay import Replay
from tests.committed import MS, Committed
from tests.graphs import T0

SOURCES = {
    "boilers": {
        "topic": "plant/{device}",
        "time": {"field": "ts", "unit": "ms"},
        "lateness": "1s",
        "idle_after": "1h",
        "late": "amend",
    }
}
PIPELINES = {
    "mean": {
        "from": "boilers",
        "where": {"channel": "t"},
        "steps": [{"aggregate": {"size": "2s", "stats": ["mean", "count"]}}],
        "amend_for": "1m",
        "publish": {"topic": "mean/{device}"},
    },
    "hot": {
        "from": "boilers",
        "where": {"channel": "t"},
        "steps": [{"rolling": {"stat": "mean", "window": 4}}],
        "alert": {"when": {"above": 60, "deadband": 5, "on_delay": "1s", "off_delay": "1s"}},
    },
    "odd": {
        "from": "boilers",
        "where": {"channel": "t"},
        "steps": [{"mad": {"window": 20, "min_samples": 8}}],
        "alert": {"when": {"outside": [-6, 6]}},
    },
    "many": {
        "from": {"alerts": "hot"},
        "group_by": [],
        "steps": [{"quorum": {"of": "device", "at_least": 2, "within": "1m"}}],
        "alert": {},
    },
}


def sent(device, second, value):
    return f"plant/{device}", json.dumps({"ts": round(T0 / MS + second * 1000), "t": value})


def story(seed, n=250):
    """[(ms to wait, topic, payload)] of three devices, a few out of order or late."""
    rng, second, found = np.random.default_rng(seed), 0.0, []
    for _ in range(n):
        wait_ms = int(rng.integers(20, 200))
        second += wait_ms / 1000
        device = f"d{rng.integers(3)}"
        late = rng.choice([0, 0, 0, 0.5, 3.0])
        value = round(float(rng.normal(70 if int(second) % 20 < 8 else 50, 3)), 3)
        found.append((wait_ms, *sent(device, max(0, second - late), value)))
    return found


def told(daemon):
    """{(topic, id): what holds in the end}; one revision told twice must say the same."""
    said, last = {}, {}
    for out in daemon.published("alert", "window"):
        event = json.loads(out.payload)
        key = out.topic, event["id"]
        revision = event.pop("revision")
        # In which order alerts of two devices came depends on what was taken together.
        event["data"]["causes"] = sorted(event["data"].get("causes", ()))
        assert said.setdefault((key, revision), out.payload) == out.payload
        if revision >= last.get(key, (0, None))[0]:
            last[key] = revision, event["type"], event["time"], event["data"]
    # How many corrections there were on the way depends on what came between two ticks.
    return {key: held[1:] for key, held in last.items()}


def states(daemon):
    """What lies retained in the end."""
    return {out.topic: out.payload for out in daemon.published("state")}


def play(daemon, seed, rng=None):
    for wait_ms, topic, payload in story(seed):
        daemon.clock.advance(wait_ms * MS)
        daemon.transport.publish(topic, payload.encode())
        if rng is None:
            daemon.turn()
            daemon.commit()
            continue
        if rng.random() < 0.7:
            daemon.turn()
        chance = rng.random()
        if chance < 0.5:
            daemon.commit()
        elif chance < 0.55:
            daemon.checkpoint()
        elif chance < 0.63:
            daemon.die()
    for _ in range(30):
        daemon.clock.advance(100 * MS)
        daemon.turn()
        daemon.commit()
    return daemon


@pytest.fixture
def made(tmp_path):
    return lambda name="state", pipelines=PIPELINES, **more: Committed(
        tmp_path / name, pipelines, more.pop("sources", SOURCES), **more
    )


@pytest.mark.parametrize("seed", range(8))
def test_one_that_dies_tells_what_one_that_lives_tells(made, seed):
    whole = play(made("whole"), seed)
    wanted = told(whole)
    assert len(wanted) > 30
    broken = play(made("broken"), seed, np.random.default_rng(seed))
    assert told(broken).keys() == wanted.keys()
    assert told(broken) == wanted
    assert {t: bool(p) for t, p in states(broken).items()} == {
        t: bool(p) for t, p in states(whole).items()
    }
    assert broken.durability.found.differing == 0
    assert broken.durability.found.lost == ""


def test_nothing_is_acknowledged_or_told_before_it_is_on_disk(made):
    daemon = made()
    for i in range(30):
        daemon.clock.advance(200 * MS)
        daemon.transport.publish(*_bytes(sent("d0", i / 5, 90)))
        daemon.turn()
    assert daemon.transport.acknowledged == []
    assert daemon.published("alert", "window") == []
    daemon.commit()
    assert len(daemon.transport.acknowledged) == 30
    assert daemon.published("alert", "window")


def test_what_was_not_on_disk_comes_again_and_counts_once(made):
    daemon = made()
    for i in range(6):
        daemon.transport.publish(*_bytes(sent("d0", i / 2, 10 + i)))
    daemon.turn()
    daemon.die()  # before the commit: all six come again
    daemon.turn()
    daemon.commit()
    for i in range(6, 12):
        daemon.transport.publish(*_bytes(sent("d0", i / 2, 10 + i)))
    daemon.turn()
    daemon.commit()
    counts = {e["data"]["start"][-4:]: e["data"]["count"] for e in windows(daemon)}
    assert set(counts.values()) == {4}
    assert daemon.ledger.balance() == []


def test_a_message_that_comes_again_though_it_is_in_the_state_is_left_out(made):
    daemon = made()
    daemon.transport.publish(*_bytes(sent("d0", 0, 10)))
    daemon.turn()
    taken, daemon.transport.acknowledge = daemon.transport.acknowledge, lambda messages: None
    daemon.commit()  # it is on disk, and the acknowledgement is lost
    daemon.transport.acknowledge = taken
    daemon.die()
    daemon.turn()
    daemon.commit()
    assert daemon.ledger.value(Count.MESSAGES_DUPLICATE) == 1
    assert len(daemon.transport.acknowledged) == 1
    assert daemon.transport._unacknowledged == {}


def test_outputs_that_the_broker_never_got_are_told_after_a_start(made):
    daemon = made()
    daemon.transport.publish(*_bytes(sent("d0", 0, 10)))
    daemon.turn()
    daemon.commit()
    for second in (3.5, 6):
        daemon.transport.publish(*_bytes(sent("d0", second, 10)))
    daemon.turn()
    daemon.outbox.take = lambda most, in_flight_max: []  # the connection for outputs hangs
    daemon.commit()
    assert windows(daemon) == []
    daemon.die()
    told_late = windows(daemon)
    assert {w["data"]["count"] for w in told_late} == {1}
    daemon.turn()
    daemon.commit()
    daemon.die()  # that it was told is known now
    assert windows(daemon) == told_late


@pytest.mark.parametrize("checkpoint", [False, True])
def test_how_long_outputs_have_waited_outlives_starts(made, checkpoint):
    daemon = made(limits={"outbox_age_max": "1h"})
    for second in (0, 3.5, 6):
        daemon.transport.publish(*_bytes(sent("d0", second, 10)))
    daemon.transport.cut()
    daemon.turn()
    daemon.commit()
    waiting = {parcel.token for parcel in daemon.durability.journal.unsettled}
    assert waiting
    for _ in range(2):  # a start gives none of them a new hour
        daemon.turn()
        daemon.commit()
        if checkpoint:
            daemon.checkpoint()
        daemon.transport.start = lambda: None
        daemon.clock.advance(25 * 60 * 10**9)
        daemon.die()
        assert waiting <= {parcel.token for parcel in daemon.durability.journal.unsettled}
        assert daemon.ledger.total(Count.OUTPUTS_DISCARDED) == 0
    daemon.clock.advance(15 * 60 * 10**9)
    daemon.die()
    old = daemon.ledger.value(Count.OUTPUTS_DISCARDED, kind="window", reason="outbox_old")
    assert old >= len(waiting)
    assert daemon.ledger.balance() == []
    daemon.turn()
    daemon.commit()
    left = {parcel.token for parcel in daemon.durability.journal.unsettled}
    assert not left & waiting  # that they were discarded is known now


def test_another_configuration_at_a_start_is_as_at_a_reload(made):
    daemon = made()
    for i in range(8):
        daemon.transport.publish(*_bytes(sent("d0", i / 2, 90)))
    daemon.turn()
    daemon.commit()
    before = len(daemon.published("alert"))
    assert before
    pipelines = {name: dict(spec) for name, spec in PIPELINES.items() if name != "odd"}
    pipelines["hot"] = pipelines["hot"] | {"alert": {"when": {"above": 95}}}
    daemon.gateway = type(daemon.gateway).model_validate(
        daemon.gateway.model_dump(by_alias=True)
        | {"pipelines": pipelines | {"late": {"from": "boilers", "alert": {"when": {"above": 1}}}}}
    )
    daemon.die()
    daemon.turn()
    daemon.commit()
    assert set(daemon.engine.graph.pipelines) == {"mean", "hot", "many", "late"}
    for i in range(8, 14):
        daemon.transport.publish(*_bytes(sent("d0", i / 2, 90)))
    daemon.turn()
    daemon.commit()
    assert [w["data"]["count"] for w in windows(daemon)][:2] == [4, 4]  # went on
    daemon.die()
    assert daemon.durability.found.differing == 0
    assert set(daemon.engine.graph.pipelines) == {"mean", "hot", "many", "late"}


def test_a_source_without_durability_is_not_in_the_log(made):
    sources = SOURCES | {
        "bulk": {**SOURCES["boilers"], "topic": "bulk/{device}", "durability": "none"}
    }
    pipelines = PIPELINES | {
        "big": {"from": "bulk", "steps": PIPELINES["mean"]["steps"], "publish": {"topic": "big/x"}}
    }
    daemon = made(pipelines=pipelines, sources=sources)
    for i in range(12):
        topic, payload = sent("d0", i / 2, 90)
        daemon.transport.publish(topic, payload.encode())
        daemon.transport.publish("bulk/d0", payload.encode())
        daemon.clock.advance(70 * MS)
        daemon.turn()
    assert [out.topic for out in daemon.published("window")] == ["big/x"] * 2  # not held back
    daemon.commit()
    log = b"".join(p.read_bytes() for p in (daemon.durability.journal._log.folder).glob("*"))
    assert b"plant/d0" in log
    assert b"bulk/d0" not in log
    daemon.die()
    assert daemon.durability.found.differing == 0
    assert daemon.durability.found.messages == 12


def events(played):
    """What a replay gives, without the states that may be told again and again."""
    return [(o.topic, o.payload) for m in played for o in m.outputs if o.kind != "state"]


def windows(daemon):
    return [json.loads(out.payload) for out in daemon.published("window")]


def _bytes(pair):
    return pair[0], pair[1].encode()


@pytest.fixture
def disk(monkeypatch):
    """Says what the disk does instead of writing and syncing."""
    broken = {}

    def breaking(name):
        whole = getattr(OsFile, name)

        def method(file, *args):
            if name in broken:
                raise OSError(broken[name], "told to")
            return whole(file, *args)

        monkeypatch.setattr(OsFile, name, method)

    breaking("write")
    breaking("sync")
    return broken


def test_a_full_disk_holds_everything_up_until_there_is_space(made, disk):
    daemon = made()
    daemon.transport.publish(*_bytes(sent("d0", 0, 10)))
    daemon.turn()
    disk["write"] = errno.ENOSPC
    daemon.durability.outlet._closing = True  # do not wait for space here
    daemon.commit()
    daemon.commit()
    assert "told to" in daemon.durability.outlet.stalled
    assert daemon.durability.degraded[0].startswith("no space for the log")
    assert daemon.transport.acknowledged == []
    daemon.transport.publish(*_bytes(sent("d0", 1, 10)))
    daemon.turn()
    del disk["write"]
    daemon.commit()
    assert daemon.durability.outlet.stalled == ""
    assert len(daemon.transport.acknowledged) == 2
    daemon.die()
    assert daemon.durability.found.messages == 2


def test_a_full_disk_takes_from_what_is_kept_for_looking_back(made, monkeypatch):
    monkeypatch.setattr(durability, "SEGMENTS", 60_000)
    daemon = made(state={"size": "64MiB"})
    for i in range(60):
        daemon.transport.publish(*_bytes(sent(f"d{i}", 0, 10)))
        daemon.turn()
        daemon.commit()
    for _ in range(2):
        daemon.checkpoint()
        daemon.transport.publish(*_bytes(sent("d0", 1, 10)))
        daemon.turn()
        daemon.commit()
    folder = daemon.durability.journal._log.folder
    before = len(list(folder.glob("*")))
    assert daemon.durability.journal.make_room()
    assert len(list(folder.glob("*"))) < before / 2
    assert not daemon.durability.journal.make_room()  # the rest is needed
    daemon.die()
    assert daemon.durability.goes_on


def test_a_sync_that_fails_ends_it_and_acknowledges_nothing(made, disk):
    daemon = made()
    daemon.transport.publish(*_bytes(sent("d0", 0, 10)))
    daemon.turn()
    disk["sync"] = errno.EIO
    daemon.commit()
    assert "told to" in daemon.durability.outlet.failed
    assert daemon.transport.acknowledged == []
    del disk["sync"]
    daemon.die()
    daemon.turn()
    daemon.commit()
    assert len(daemon.transport.acknowledged) == 1
    assert daemon.engine.graph.sources["boilers"].reorder.held == 1


def test_a_session_that_is_lost_forgets_packet_ids(made):
    daemon = made()
    daemon.transport.publish(*_bytes(sent("d0", 0, 10)))
    daemon.turn()
    duplicates = daemon.durability.journal.duplicates
    [again] = duplicates.fresh(
        [m._replace(again=True, session=1) for m in daemon.transport._unacknowledged.values()]
    )
    assert duplicates.fresh([again]) == []
    assert duplicates.fresh([again._replace(payload=b"{}")]) != []
    assert duplicates.fresh([again._replace(session=2)]) != []


def test_messages_that_nothing_tells_apart_are_never_taken_for_repeated(made):
    sources = {"plain": {"topic": "plain/{device}"}}
    pipelines = {"n": {"from": "plain", "alert": {"when": {"above": 1}}}}
    daemon = made(pipelines=pipelines, sources=sources)
    daemon.transport.publish("plain/a", b'{"t": 21}')
    daemon.turn()
    daemon.transport.acknowledge = lambda messages: None
    daemon.commit()
    daemon.die()
    daemon.turn()
    assert daemon.ledger.value(Count.MESSAGES_DUPLICATE) == 0


def test_the_log_is_a_flight_recorder(made):
    daemon = made()
    for i in range(40):
        daemon.clock.advance(200 * MS)
        daemon.transport.publish(*_bytes(sent("d0", i / 5, 90 - i)))
        daemon.turn()
        daemon.commit()
        if i in {10, 20, 30}:
            daemon.checkpoint()
        if i == 25:
            daemon.die()
    heard = [(o.topic, o.payload) for o in daemon.published("alert", "window")]
    heard = list(dict.fromkeys(heard))  # what was not settled when it died came twice
    notes = []
    folder = daemon.durability.journal._log.folder.parent
    played = list(Replay(Tape(folder), note=notes.append, prepare=lambda graph: None))
    assert events(played) == heard
    assert notes == []
    tape = Tape(folder)
    records = [record for record in tape if record[0] > 15]  # the oldest segments were deleted
    played = list(Replay(records, note=notes.append, prepare=lambda graph: None, state=tape.state))
    again = events(played)
    assert again
    assert again == heard[-len(again) :]
    assert "checkpoint" in notes[-1]


PLAIN = {"plain": {"topic": "plain/{device}"}}
EACH = {
    "each": {
        "from": "plain",
        "steps": [{"ewma": {"halflife": "1s"}}],
        "publish": {"topic": "each/{device}"},
    }
}
SMALL = {"outbox_messages_max": 40, "batch_messages_max": 16}


def catch_up(daemon, turns):
    """As the daemon's loop does it; how many turns it did not make."""
    waited = 0
    for _ in range(turns):
        daemon.clock.advance(100 * MS)
        if daemon.durability.outlet.behind:
            waited += 1
        else:
            daemon.turn()
        daemon.commit()
    return waited


def test_no_more_is_made_than_can_go_out(made):
    daemon = made(pipelines=EACH, sources=PLAIN, limits=SMALL)
    take, daemon.outbox.take = daemon.outbox.take, lambda most, in_flight_max: []
    for i in range(200):
        daemon.transport.publish("plain/a", b'{"t": %d}' % i)
    assert catch_up(daemon, 20) > 15
    assert len(daemon.inbox) > 100
    daemon.outbox.take = take
    daemon.transport._pump()
    catch_up(daemon, 20)
    assert len(daemon.published("sample")) == 200
    assert daemon.ledger.value(Count.OUTPUTS_DISCARDED) == 0


def test_nor_is_it_made_while_the_disk_is_slow(made):
    daemon = made(pipelines=EACH, sources=PLAIN, limits=SMALL)
    for i in range(200):
        daemon.transport.publish("plain/a", b'{"t": %d}' % i)
    while not daemon.durability.outlet.behind:
        daemon.turn()
    assert len(daemon.inbox) > 100
    assert catch_up(daemon, 20) < 10
    assert len(daemon.published("sample")) == 200


def test_while_nothing_can_go_out_it_goes_on(made):
    daemon = made(pipelines=EACH, sources=PLAIN, limits=SMALL)
    for i in range(200):
        daemon.transport.publish("plain/a", b'{"t": %d}' % i)
    daemon.transport.cut()
    assert catch_up(daemon, 20) == 0
    assert len(daemon.inbox) == 0


def test_lives_that_acknowledge_something_do_not_cost_the_checkpoint(made):
    daemon = made()
    daemon.checkpoint()
    for i in range(8):
        daemon.transport.publish(*_bytes(sent("d0", i / 5, 10)))
        daemon.turn()
        daemon.commit()
        daemon.turn()
        daemon.die()
    assert daemon.durability.journal.aside == []


def test_lives_that_end_at_once_cost_the_checkpoint(made):
    daemon = made()
    daemon.checkpoint()
    for _ in range(6):
        daemon.turn()
        daemon.die()
    [aside] = daemon.durability.journal.aside
    assert "5 starts with it have failed" in aside


def test_a_start_that_took_long_writes_a_checkpoint_soon(made, monkeypatch):
    daemon = made()
    daemon.transport.publish(*_bytes(sent("d0", 0, 10)))
    daemon.turn()
    daemon.commit()
    for slow_ns, due in ((durability.SLOW_NS, False), (0, True)):
        monkeypatch.setattr(durability, "SLOW_NS", slow_ns)
        daemon.die()
        checkpointer = daemon.durability.checkpointer
        assert not checkpointer.is_due
        for _ in range(durability.WELL_TURNS):
            daemon.turn()
        assert checkpointer.is_due == due


def test_a_log_that_somebody_else_has_made_longer_ends_the_daemon(made):
    daemon = made()
    log = daemon.durability.journal._log
    log.append(b"not ours")
    log.commit(log.durable)
    daemon.transport.publish(*_bytes(sent("d0", 0, 10)))
    daemon.turn()
    daemon.commit()
    assert "somebody else writes this log" in daemon.durability.outlet.failed
    assert daemon.transport.acknowledged == []
