"""Tables that messages fill: rows come, change and go while samples flow."""

import json

import pytest

from config.model import Gateway
from config.tables import Table
from daemon.ledger import Count
from pipelines.lookups import VERSIONS_MAX, Tables
from tests.wired import Wired

SOURCE = {"s": {"topic": "plant/{site}/{device}"}}
KNOWN = {"devices": {"key": "device", "topic": "devices/{device}/info"}}
LINES = {
    "p": {
        "from": "s",
        "steps": [{"enrich": {"table": "devices", "add": ["line"], "missing": "drop"}}],
        "publish": {"topic": "out/{line}/{device}"},
    }
}
SUMS = {
    "p": {
        "from": "s",
        "steps": [{"group": {"hierarchy": "devices", "every": "1s", "wait": 0}}],
        "publish": {"topic": "out/{device}"},
    }
}


def topics(wired):
    return [out.topic for out in wired.published("sample")]


def sums(wired):
    last = {
        out.topic: json.loads(out.payload)["data"]["value"] for out in wired.published("sample")
    }
    return {topic.removeprefix("out/"): value for topic, value in last.items()}


def test_a_device_is_known_from_its_message_on_until_that_is_cleared():
    wired = Wired(LINES, SOURCE, tables=KNOWN)
    sample = ("plant/n/b1", {"temperature": 1})
    wired.send(*sample)
    wired.send("devices/b1/info", {"line": 3}, after_ms=10)
    wired.send(*sample, after_ms=10)
    wired.send("devices/b1/info", {"line": "x"}, after_ms=10)
    wired.send(*sample, after_ms=10)
    wired.send("devices/b1/info", b"", after_ms=10)
    wired.send(*sample, after_ms=10)
    wired.turn()  # all in one turn: their order counts, not how they are cut
    assert topics(wired) == ["out/3/b1", "out/x/b1"]
    assert wired.close().value(Count.MESSAGES_ACCEPTED, source="control") == 3


def test_retained_rows_are_there_before_the_first_sample():
    retained = [("devices/b1/info", b'{"line": 7}')]
    wired = Wired(LINES, SOURCE, tables=KNOWN, retained=retained)
    wired.send("plant/n/b1", {"temperature": 1})
    wired.turn()
    assert topics(wired) == ["out/7/b1"]
    wired.close()


@pytest.mark.parametrize("payload", [b"[1]", b"{", b'{"line": [1]}', b'{"from": "noon"}', b"3"])
def test_what_is_no_row_is_counted_and_changes_nothing(payload):
    wired = Wired(LINES, SOURCE, tables=KNOWN)
    wired.send("devices/b1/info", {"line": 3})
    wired.send("devices/b1/info", payload, after_ms=1)
    wired.send("plant/n/b1", {"temperature": 1}, after_ms=1)
    wired.turn()
    assert topics(wired) == ["out/3/b1"]
    ledger = wired.close()
    assert ledger.total(Count.MESSAGES_REJECTED) == 1


def test_a_circle_of_groups_is_refused_and_the_rest_of_the_turn_is_not():
    wired = Wired(SUMS, SOURCE, tables=KNOWN)
    for member, parent in (("a", "g"), ("g", "top"), ("top", "g"), ("b", "g")):
        wired.send(f"devices/{member}/info", {"parent": parent})
    wired.turn()
    for device, value in (("a", 1), ("b", 2)):
        wired.send(f"plant/n/{device}", {"power": value}, after_ms=1)
    wired.wait(60)
    assert sums(wired) == {"g": 3, "top": 3}
    assert wired.close().total(Count.MESSAGES_REJECTED) == 1


def test_a_reload_goes_on_with_the_rows_that_messages_brought():
    wired = Wired(LINES, SOURCE, tables=KNOWN)
    wired.send("devices/b1/info", {"line": 3})
    wired.turn()
    other = LINES | {"q": LINES["p"] | {"publish": {"topic": "more/{line}"}}}
    wired.reload(other, SOURCE, tables=KNOWN)
    wired.send("plant/n/b1", {"temperature": 1}, after_ms=1)
    wired.turn()
    assert sorted(topics(wired)) == ["more/3", "out/3/b1"]
    wired.close()


def rows(tables):
    return [(r["parent"], r.get("from")) for r in tables.current["t"].rows]


def times(*days):
    return [f"2026-03-{day:02d}T00:00:00Z" for day in days]


def test_a_row_from_a_later_time_keeps_what_held_before():
    tables = Tables({"t": Table(key="device", topic="t/{device}")})
    first, second, third = times(1, 5, 9)
    for parent, since in (("x", None), ("y", second), ("z", third), ("w", second), ("v", first)):
        row = {"device": "a", "parent": parent} | ({"from": since} if since else {})
        tables.change("t", "a", row)
        tables.settle(lambda _: True)
    assert rows(tables) == [("x", None), ("v", first)]
    for day in range(2, 31):
        tables.change("t", "a", {"device": "a", "parent": "p", "from": times(day)[0]})
    tables.settle(lambda _: True)
    assert len(rows(tables)) == VERSIONS_MAX
    tables.change("t", "a", None)
    tables.settle(lambda _: True)
    assert rows(tables) == []


def test_tables_are_part_of_the_configuration():
    assert Gateway.model_validate({"tables": KNOWN}).tables["devices"].columns is None
