"""Replay: what a daemon was given, played again, gives the same bytes."""

import json

from daemon.clock import SystemClock
from daemon.durable.local import LocalLog
from daemon.durable.recorder import Recorder
from daemon.durable.tape import Tape
from daemon.replay import Replay, line
from tests.wired import MS, Wired

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
            lambda: LocalLog(self.folder, bytes_max=1 << 26, segment_bytes=1 << 14),
            SystemClock(),
            delay_ns=10 * MS,
            mark_bytes=self.mark,
        )
        self.recorder.start(self.gateway, self.engine.ticked_ns)
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
