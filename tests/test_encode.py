"""Events on the wire: CloudEvents that an independent library reads, and names that inject nothing."""

import json
import re

import pytest
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st

from daemon.encode import CONTENT_TYPE, Encoder
from pipelines.graph import Graph
from pipelines.operator import load_all
from pipelines.series import make_labels, series_key
from tests.graphs import Feed, b, gateway

HOT = {
    "from": "boilers",
    "alert": {
        "when": {"above": 90},
        "topic": "alerts/{site}/{device}/hot",
        "severity": "major",
        "qos": 2,
    },
    "publish": {"topic": "out/{device}/{channel}", "retain": True, "qos": 0},
}
HOSTILE = [
    "b/1",
    "+",
    "#",
    "a\0b",
    "x\ny",
    "é" * 30_000,
    "",
    "$SYS",
    "a%2Fb",
    "..",
    "\x1b[31m",
    "%",
]


def outgoing(device="b1", pipeline=HOT, values=(99, 50)):
    made = gateway({"hot": pipeline})
    feed, encoder = Feed(Graph(made, load_all())), Encoder(made)
    told = feed.send([(t, b(device), v) for t, v in enumerate(values)])
    return [out for event in told for out in encoder.encode(event)]


def kinds(outs, kind):
    return [o for o in outs if o.kind == kind]


def test_an_independent_library_reads_every_event():
    for out in outgoing():
        if out.payload:
            event = JSONFormat().read(CloudEvent, out.payload)
            assert event.get_specversion() == "1.0"
            assert event.get_source() == "/sensorweir/gw/hot"
            assert event.get_time().tzinfo is not None
            assert event.get_data()["labels"]["device"] == "b1"
            assert event.get_extension("revision") == 1


def test_properties_repeat_every_attribute_of_the_payload():
    for out in outgoing():
        if out.payload:
            attributes = {k: str(v) for k, v in json.loads(out.payload).items() if k != "data"}
            assert dict(out.properties) == attributes
            assert out.content_type == CONTENT_TYPE
            assert all(re.fullmatch("[a-z0-9]+", name) for name, _ in out.properties)


def test_an_alert_has_its_event_and_a_retained_state_that_is_emptied():
    outs = outgoing()
    active, cleared = kinds(outs, "alert")
    state, emptied = kinds(outs, "state")
    assert (active.topic, active.qos, active.retain) == ("alerts/north/b1/hot", 2, False)
    assert (state.topic, state.retain, state.payload) == (
        "state/alerts/north/b1/hot",
        True,
        active.payload,
    )
    assert (emptied.topic, emptied.retain, emptied.payload) == (state.topic, True, b"")
    told = [json.loads(o.payload) for o in (active, cleared)]
    assert [t["type"] for t in told] == ["sensorweir.alert.active", "sensorweir.alert.cleared"]
    assert told[0]["data"]["alert"] == told[1]["data"]["alert"]
    assert told[0]["id"] != told[1]["id"]
    assert told[0]["severitytext"] == "major"
    assert told[1]["data"]["duration_s"] == 1.0
    assert told[1]["data"]["worst"] == 99.0


def test_published_samples_keep_what_was_asked():
    first, second = kinds(outgoing(), "sample")
    assert (first.topic, first.qos, first.retain) == ("out/b1/temperature", 0, True)
    assert json.loads(second.payload)["data"]["value"] == 50


def test_default_topics_name_pipeline_and_labels():
    outs = outgoing(pipeline={"from": "boilers", "alert": {"when": {"above": 90}}})
    assert outs[0].topic == "alerts/hot/temperature/b1/north"
    assert outs[1].topic == "state/alerts/hot/temperature/b1/north"


@pytest.mark.parametrize("device", HOSTILE)
def test_names_of_devices_inject_nothing(device):
    outs = outgoing(device)
    assert len(outs) == 6
    for out in outs:
        assert re.fullmatch(r"[A-Za-z0-9._:%~/-]+", out.topic)
        assert out.topic.count("/") in {2, 3, 4}
        assert len(out.topic) < 200
        for _, text in out.properties:  # MQTT 5 strings: no NUL, no control character
            assert len(text.encode()) < 1000
            assert text.isprintable()
        if out.payload:
            assert json.loads(out.payload)["data"]["labels"]["device"] == device


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.text()), min_size=2, max_size=2))
def test_different_series_have_different_keys(pair):
    one, other = (make_labels(p) for p in pair)
    assert (series_key(one) == series_key(other)) == (one == other)
