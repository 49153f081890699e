"""Replay: what a daemon was given, played again, gives the same bytes."""

import json
import threading
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.model import Gateway
from daemon.clock import SystemClock
from daemon.durable.blocks import Begins, Start, Turn, pack
from daemon.durable.local import LocalLog
from daemon.durable.port import LogFull
from daemon.durable.recorder import Recorder
from daemon.durable.stored import ConfigUnknownError, restored, stored
from daemon.durable.tape import Tape, TapeError
from daemon.messages import Message
from daemon.offline import Offline
from daemon.replay import Replay, around, between, line
from tests.graphs import gateway
from tests.test_blocks import unpacked
from tests.wired import MS, T0, S, Wired
from tests.wires import until

SOURCES = {
    "s": {
        "topic": "plant/{site}/{device}",
        "time": {"field": "ts", "unit": "ms"},
        "lateness": "1s",
        "late": "amend",
    },
    "aside": {"topic": "aside/{device}", "time": {"field": "ts", "unit": "ms"}, "late": "side"},
}
WHERE = {"channel": "t"}
PIPELINES = {
    "hot": {
        "from": "s",
        "where": WHERE,
        "amend_for": "10s",
        "alert": {
            "when": {"above": "{limit}", "on_delay": "1s"},
            "topic": "alerts/{site}/{device}/hot",
            "remind": "5s",
        },
        "values": {"limit": {"default": 90, "by": {"device": {"b1": 80}}}},
    },
    "site": {
        "from": {"alerts": "hot"},
        "group_by": ["site"],
        "steps": [{"quorum": {"of": "device", "at_least": 2, "within": "10s"}}],
        "alert": {"topic": "alerts/{site}/many"},
    },
    "silent": {
        "from": "s",
        "steps": [{"missing": {"timeout": "3s"}}],
        "alert": {"topic": "alerts/{site}/{device}/silent"},
    },
    "means": {
        "from": "s",
        "where": WHERE,
        "steps": [{"aggregate": {"size": "2s", "stats": ["mean", "count"], "amend_for": "10s"}}],
        "publish": {"topic": "agg/{site}/{device}", "retain": True},
    },
    "lines": {
        "from": "s",
        "where": WHERE,
        "steps": [{"enrich": {"table": "devices", "add": ["line"], "missing": "drop"}}],
        "publish": {"topic": "line/{line}/{device}"},
    },
    "strays": {"from": "aside", "publish": {"topic": "strays/{device}"}},
}
MORE = {
    "tables": {"devices": {"key": "device", "topic": "devices/{device}/info"}},
    "command_topic": "gw/command",
}


class Recorded(Wired):
    """A daemon in this process that records into a folder."""

    def __init__(self, folder, pipelines=PIPELINES, sources=SOURCES, mark=1 << 20, **more):
        more = {**MORE, **more}
        self.recorder = None
        self.folder, self.mark = folder, mark
        super().__init__(pipelines, sources, **more)
        self.transport.published.clear()  # of the daemon itself

    def start(self, *, recalling=False):
        self.recorder = Recorder(
            lambda: LocalLog(self.folder, bytes_max=1 << 26, segment_bytes=1 << 13),
            SystemClock(),
            delay_ns=10 * MS,
            mark_bytes=self.mark,
        )
        self.recorder.start(self.gateway, self.engine.ticked_ns, resumed=False)
        self.engine.recording = self.recorder
        super().start(recalling=recalling)

    def lines(self):
        """What was published, as a replay writes it."""
        return [line(out) for out in self.transport.published if out.kind != "status"]

    def sample(self, device, value, late_ms=0, site="n", after_ms=100):
        self.clock.advance(after_ms * MS)
        ts = self.clock.now_ns() // MS - late_ms
        self.send(f"plant/{site}/{device}", {"ts": ts, "t": value})

    def crash(self):
        """End as a killed process does, once all is on disk."""
        self.recorder.close()
        assert self.recorder.failed == ""

    def close(self):
        ledger = super().close()
        self.crash()
        return ledger


def played(folder, other=None):
    """(lines of a replay, what it noted)"""
    notes = []
    made = Replay(Tape(folder), other, note=notes.append, prepare=lambda _: None)
    return [line(out) for moment in made for out in moment.outputs], notes


def shift(wired, seconds=20, first=0):
    """Devices that run hot together, late samples, one that falls silent, a row and a command."""
    wired.send("devices/b1/info", {"line": 7})
    wired.sample("b3", 20)
    for i in range(first, first + seconds * 5):
        hot = 95 if i // 25 % 2 else 60
        wired.sample("b1", hot + i % 3)
        wired.sample("b2", hot + i % 5, late_ms=700 * (i % 2))
        if i % 10 == 0:
            wired.sample("b1", 99 - i, late_ms=4000, after_ms=0)
            wired.send("aside/x", {"ts": wired.clock.now_ns() // MS - 3000 * (i % 20), "t": i})
        if i % 3 == 0:
            wired.turn()
    wired.turn()
    alert = json.loads(wired.published("alert")[-1].payload)["data"]["alert"]
    asked = ("people/ann", b"\1\2")
    body = json.dumps({"comment": "look", "alert": alert, "by": "ann"}).encode()
    wired.transport.publish("gw/command", body, asked=asked)
    wired.transport.publish("gw/command", b"{", asked=asked)
    wired.wait(6)


def kinds(wired):
    return {out.kind for out in wired.transport.published}


def test_a_replay_gives_the_same_bytes(tmp_path):
    wired = Recorded(tmp_path)
    shift(wired)
    wired.reload(
        {**PIPELINES, "more": {**PIPELINES["lines"], "publish": {}}}
        | {
            "more": {**PIPELINES["lines"], "publish": {"topic": "more/{line}"}},
            "means": {**PIPELINES["means"], "publish": {"topic": "agg2/{site}/{device}"}},
        },
        SOURCES,
        **MORE,
    )
    shift(wired, first=7)
    wired.close()
    told = wired.lines()
    types = {
        t
        for t in (b"updated", b"retracted", b"quorum", b"silent", b"sensorweir.source.late")
        if any(t in text for text in told)
    }
    assert kinds(wired) >= {"alert", "state", "window", "sample", "answer"}
    assert len(types) >= 4, types
    assert any(b"agg2/" in text for text in told)
    assert any(b"more/7" in text for text in told)
    again, notes = played(tmp_path)
    assert again == told
    assert notes == []
    assert played(tmp_path)[0] == told


def hot(wired, device="b1", seconds=3):
    """Raise the alert of one device."""
    for _ in range(seconds * 10):
        wired.sample(device, 99)
    wired.turn()


def test_what_waited_when_the_daemon_stopped_is_told_again(tmp_path):
    wired = Recorded(tmp_path)
    wired.send("devices/b1/info", {"line": 7})
    wired.sample("b1", 20)
    wired.turn()
    assert wired.lines() == []  # waits for earlier ones
    wired.close()
    assert len(wired.lines()) == 1
    assert played(tmp_path)[0] == wired.lines()


STEPS = st.one_of(
    st.tuples(
        st.just("send"),
        st.sampled_from(["b1", "b2", "b3"]),
        st.sampled_from([20, 85, 99]),
        st.sampled_from([0, 0, 500, 3000, -90_000]),
        st.sampled_from([0, 1, 99, 100, 700, 4000]),
    ),
    st.tuples(st.just("turn"), st.sampled_from([0, 30, 100, 2500])),
    st.tuples(st.just("row"), st.sampled_from([b'{"line": 1}', b'{"line": 2}', b"", b"["])),
    st.tuples(st.just("rubbish"), st.binary(max_size=9)),
    st.tuples(st.just("reload"), st.sampled_from([80, 95])),
    st.tuples(st.just("lose")),
)


@settings(max_examples=40)
@given(st.lists(STEPS, max_size=40), st.booleans())
def test_any_run_is_replayed_byte_for_byte(steps, killed):
    with TemporaryDirectory() as folder:
        wired = Recorded(Path(folder))
        for what, *with_ in steps:
            if what == "send":
                device, value, late_ms, after_ms = with_
                wired.sample(device, value, late_ms, after_ms=after_ms)
            elif what == "turn":
                wired.clock.advance(with_[0] * MS)
                wired.turn()
            elif what == "row":
                wired.send("devices/b1/info", with_[0])
            elif what == "rubbish":
                wired.send("plant/n/b1", with_[0])
            elif what == "reload":
                values = {"limit": {"default": with_[0]}}
                changed = {**PIPELINES, "hot": {**PIPELINES["hot"], "values": values}}
                wired.reload(changed, SOURCES, **MORE)
            else:
                wired.transport.cut()
                wired.transport.restore()
        if killed:
            wired.turn()
            wired.crash()
        else:
            wired.close()
        assert played(Path(folder)) == (wired.lines(), [])


def test_a_killed_daemon_is_replayed_up_to_what_is_on_disk_and_the_next_starts_afresh(tmp_path):
    first = Recorded(tmp_path)
    shift(first, 6)
    first.crash()
    second = Recorded(tmp_path)
    hot(second)
    second.close()
    lines, notes = played(tmp_path)
    assert lines == first.lines() + second.lines()
    assert notes == []


def test_a_recording_whose_beginning_was_deleted_says_so_and_goes_on(tmp_path):
    first = Recorded(tmp_path, mark=3000)
    shift(first, 60)
    first.close()
    second = Recorded(tmp_path, mark=3000)
    shift(second, 10)
    second.close()
    segments = sorted(tmp_path.glob("*.log"))
    assert len(segments) > 3
    segments[0].unlink()
    lines, notes = played(tmp_path)
    assert "begins in the middle of a run" in notes[0]
    assert len(notes) == 1
    assert lines[-len(second.lines()) :] == second.lines()
    ids = [json.loads(json.loads(x)["payload"] or "{}").get("id") for x in first.lines()]
    again = {json.loads(json.loads(x)["payload"] or "{}").get("id") for x in lines}
    assert sum(i in again for i in ids) > len(ids) // 4  # the windows of later are the same


def test_a_hole_is_told_and_nothing_is_played_across_it(tmp_path):
    wired = Recorded(tmp_path, mark=3000)
    shift(wired, 60)
    wired.close()
    segments = sorted(tmp_path.glob("*.log"))
    raw = bytearray(segments[1].read_bytes())
    raw[len(raw) // 2] ^= 1
    segments[1].write_bytes(raw)
    lines, notes = played(tmp_path)
    assert "are missing" in notes[0]
    assert "begins in the middle of a run" in notes[1]
    told = wired.lines()
    n = next(i for i, (a, b) in enumerate(zip(lines, told, strict=False)) if a != b)
    assert n > 10
    assert played(tmp_path)[0] == lines


def test_other_limits_are_tried_on_the_same_messages(tmp_path):
    wired = Recorded(tmp_path)
    shift(wired, 12)
    wired.reload({}, SOURCES, **MORE)
    wired.close()
    values = {"limit": {"default": 1000, "by": {"device": {"b2": 50}}}}
    other = gateway({"hot": {**PIPELINES["hot"], "values": values}}, SOURCES, **MORE)
    lines, _ = played(tmp_path, other)
    topics = {json.loads(x)["topic"] for x in lines}
    assert "alerts/n/b2/hot" in topics
    assert not any("b1" in t or "agg" in t for t in topics)


def test_part_of_a_recording_is_shown_with_the_state_of_before(tmp_path):
    wired = Recorded(tmp_path)
    shift(wired, 20)
    wired.close()
    whole = list(Replay(Tape(tmp_path), note=print, prepare=lambda _: None))
    made = Replay(Tape(tmp_path), note=print, prepare=lambda _: None)
    part = list(between(made, T0 + 8 * S, T0 + 14 * S))
    assert 0 < len(part) < len(whole)
    assert part == [m for m in whole if T0 + 8 * S <= m.now_ns < T0 + 14 * S]


def test_around_an_event_is_a_minute_before_and_after(tmp_path):
    wired = Recorded(tmp_path, {"hot": PIPELINES["hot"], "means": PIPELINES["means"]})
    for i in range(3000):
        wired.sample("b1", 99 if 1500 < i < 1600 else 20)
        wired.turn()
    wired.close()
    whole = list(Replay(Tape(tmp_path), note=print, prepare=lambda _: None))
    [told, *_] = wired.published("alert")
    told_id = json.loads(told.payload)["id"].encode()
    found = list(around(iter(whole), told_id.decode()))
    told_at = [
        m.now_ns for m in whole if any(b'"id":"%b"' % told_id in o.payload for o in m.outputs)
    ]
    near = [m for m in whole if any(-60 * S <= m.now_ns - at < 60 * S for at in told_at)]
    assert found == near
    assert 50 < len(found) < len(whole) // 2
    assert list(around(iter(whole), "0" * 32)) == []


def test_what_differs_between_versions_is_noted():
    config = stored(gateway({"hot": PIPELINES["hot"]}, SOURCES, **MORE))
    records = [
        *pack(Start(Begins.FRESH, T0, T0, "0.0.1", config)),
        *pack(Turn(T0 + S, ())),
    ]
    notes = []
    made = Replay(enumerate(records, 1), note=notes.append, prepare=lambda _: None)
    assert list(made) == []
    assert made.runs == 1
    assert "recorded by sensorweir 0.0.1" in notes[0]


def test_a_run_that_went_on_with_a_state_is_played_without_and_that_is_noted():
    log = Sick()
    for resumed in (False, True):
        made = Recorder(lambda: log, SystemClock(), delay_ns=MS, mark_bytes=1 << 20)
        made.start(gateway(PIPELINES, SOURCES, **MORE), T0, resumed=resumed)
        made.turn([], T0 + S)
        made.close()
    notes = []
    again = Replay(enumerate(log.records, 1), note=notes.append, prepare=lambda _: None)
    assert list(again) == []
    assert again.runs == 2
    [note] = notes
    assert "went on with a state that is not in the recording" in note


@pytest.mark.parametrize("when", [None, {"deadband": 1}, {"outside": [-2, 2]}])
def test_a_detector_with_a_condition_of_its_own_alerts_under_a_stored_configuration(when):
    steps = [{"cusum": {"mean": 0, "std": 1, "h": 3}}]
    alert = {"topic": "alerts/{device}", **({"when": when} if when else {})}
    made = gateway({"drift": {"from": "s", "steps": steps, "alert": alert}}, SOURCES)
    told = []
    for config in (made, restored(stored(made))):
        wired = Offline(config, T0)
        wired.start()
        for k in range(6):
            payload = json.dumps({"ts": T0 // MS + 1000 * k, "t": 3}).encode()
            wired.clock.advance(S)
            wired.transport.publish("plant/n/b1", payload, 1)
            wired.turn()
        told.append([out.payload for out in wired.published("alert")])
        wired.close()
    assert told[0]
    assert told[1] == told[0]


def test_no_password_and_no_key_is_stored():
    broker = {
        "url": "wss://broker.example/mqtt?token=geheim",
        "username": "willi",
        "password": "open-sesame",
        "tls": {"key": "/etc/key.pem"},
    }
    made = gateway(PIPELINES, SOURCES, broker=broker, **MORE)
    raw = stored(made)
    for secret in (b"geheim", b"willi", b"sesame", b"key.pem", b"broker.example"):
        assert secret not in raw
    again = restored(raw)
    assert again.model_copy(update={"broker": made.broker}) == made
    assert stored(again) == raw


def test_a_stored_configuration_of_another_age_is_refused_in_words():
    raw = json.loads(stored(Gateway()))
    with pytest.raises(ConfigUnknownError, match="colour: "):
        restored(json.dumps(raw | {"colour": 1}).encode())


def test_there_is_no_recording(tmp_path):
    with pytest.raises(TapeError, match="is no folder: name the folder of state"):
        Tape(tmp_path / "none")
    with pytest.raises(TapeError, match="there is no recording in"):
        Tape(tmp_path)


# --- the recorder and a disk that is not well ---------------------------------------------------


class Sick:
    """A log on a disk that fails from some commit on."""

    def __init__(self, error=None, good=0, gate=None):
        self.error, self.good, self.gate = error, good, gate
        self.records, self.closed, self.durable = [], False, 0

    def append(self, record):
        self.records.append(record)
        return len(self.records)

    def commit(self, expected):
        assert expected == self.durable
        if self.gate is not None:
            self.gate.wait(20)
        if self.error and self.good == 0:
            raise self.error
        self.good -= 1
        self.durable = len(self.records)
        return self.durable

    def close(self):
        self.closed = True


def recorder(open_log):
    made = Recorder(open_log, SystemClock(), delay_ns=MS, mark_bytes=1 << 20)
    made.start(Gateway(), T0, resumed=False)
    return made


def broken(error):
    raise error


@pytest.mark.parametrize("error", [OSError(13, "Permission denied"), LogFull("no space left")])
def test_a_folder_that_cannot_be_used_ends_the_recording_and_says_so(error, caplog):
    made = recorder(lambda: broken(error))
    made.close()
    assert str(error) in made.failed
    [line] = [r for r in caplog.records if r.levelname == "ERROR"]
    assert str(error) in line.facts["why"]
    made.turn([], T0)
    made.flushed()


def test_a_disk_that_fills_up_ends_the_recording_and_not_the_daemon(tmp_path, caplog):
    log = Sick(LogFull("no space left"), good=2)
    wired = Wired(PIPELINES, SOURCES, **MORE)
    made = recorder(lambda: log)
    wired.engine.recording = made
    until(lambda: wired.wait(1) or made.failed, 20, "the end of the recording")
    for _ in range(30):
        ts = wired.clock.now_ns() // MS
        wired.send("plant/n/b1", {"ts": ts, "t": 99}, after_ms=100)
    wired.turn()
    assert ("alerts/n/b1/hot", "active") in wired.events()
    wired.close()
    made.close()
    assert "no space left" in made.failed
    assert log.closed
    assert len([r for r in caplog.records if r.levelname == "ERROR"]) == 1


def test_a_disk_that_hangs_holds_up_nobody(monkeypatch):
    monkeypatch.setattr("daemon.durable.recorder.WAITING_BYTES_MAX", 100_000)
    monkeypatch.setattr("daemon.durable.recorder.CLOSE_S", 0.1)
    gate = threading.Event()
    log = Sick(gate=gate)
    made = recorder(lambda: log)
    message = Message("a", bytes(1000), 0, 0, T0)
    for i in range(200):
        made.turn([message], T0 + i)
    assert "too slow" in made.failed
    made.close()
    gate.set()
    until(lambda: log.closed)
    turns = [b for b in unpacked(log.records) if isinstance(b, Turn)]
    assert [t.until_ns - T0 for t in turns] == list(range(len(turns)))  # without a hole
    assert 50 < len(turns) < 100


def test_a_fault_of_ours_is_not_taken_for_a_recording(monkeypatch):
    monkeypatch.setattr("threading.excepthook", lambda _: None)
    made = recorder(lambda: Sick(ZeroDivisionError()))
    made.close()
    assert "fault of ours" in made.failed


def test_turns_without_effect_are_not_recorded(tmp_path):
    wired = Recorded(tmp_path)
    for _ in range(100):
        wired.clock.advance(10 * MS)
        wired.turn()
    wired.close()
    found = unpacked([record for _, record in Tape(tmp_path)])
    assert sum(isinstance(b, Turn) for b in found) == 10
