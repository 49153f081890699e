"""Decoding: held against the json module, and against everything a stranger may send."""

import json
import math
from datetime import UTC, datetime

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from config.model import Limits, Source
from daemon.decode import DECODERS
from daemon.decode.reader import SourceReader
from daemon.decode.route import Router
from daemon.decode.times import time_ns
from daemon.ledger import Count, Ledger
from daemon.messages import Message
from pipelines.quota import Quota
from pipelines.series import SeriesTable
from tests.bulks import bulk

T = 1_700_000_000_000
ARRIVAL = 1_800_000_000 * 10**9


class Rig:
    """A source with its reader, and what came out of it in plain terms."""

    def __init__(self, limits=None, rows=1000, **source):
        self.source = Source(**{"topic": "plant/{site}/{device}", **source})
        self.limits = limits or Limits()
        self.ledger, self.table = Ledger(), SeriesTable(rows)
        self.quota = Quota(self.limits)
        self.reader = self.new_reader()
        self.seq = []

    def new_reader(self):
        return SourceReader("s", self.source, self.table, self.quota, self.limits, self.ledger)

    def read(self, *payloads, topic="plant/north/b7", retain=False):
        """[(channel, t_ns, value)] of these payloads."""
        raw = [p if isinstance(p, bytes) else p.encode() for p in payloads]
        found = self.reader.read(
            bulk(*[Message(topic, p, 1, i + 1, ARRIVAL + i, retain) for i, p in enumerate(raw)])
        )
        self.ledger.count(Count.MESSAGES_RECEIVED, len(raw))
        assert found.series.dtype == np.int32
        assert found.t_ns.dtype == found.arrival_ns.dtype == np.int64
        assert found.value.dtype == np.float64
        assert found.seq.dtype == np.int64
        self.seq = found.seq.tolist()
        messages = [e for e in self.ledger.balance() if e.startswith("messages")]
        assert messages == []
        return [
            (dict(self.table.labels(int(s)))["channel"], int(t), float(v))
            for s, t, v in zip(found.series, found.t_ns, found.value, strict=True)
        ]

    def rejected(self):
        flat = self.ledger.as_dict()
        head = "messages_rejected{reason="
        return {k[len(head) :].split(",")[0]: n for k, n in flat.items() if k.startswith(head)}

    def counted(self, count, **labels):
        return self.ledger.value(count, source="s", **labels)


MS = {"field": "ts", "unit": "ms"}
FIRST_DAY = datetime(1970, 1, 2)  # noqa: DTZ001 - hypothesis wants them without a zone
LAST_DAY = datetime(2199, 12, 31)  # noqa: DTZ001 - as above


def test_a_flat_object():
    rig = Rig(time=MS, channels=("temperature", "pressure"))
    assert rig.read(f'{{"ts":{T},"temperature":21.5,"pressure":3,"other":9}}') == [
        ("temperature", T * 10**6, 21.5),
        ("pressure", T * 10**6, 3.0),
    ]
    assert rig.table.labels(0) == (
        ("channel", "temperature"),
        ("device", "b7"),
        ("site", "north"),
    )


def test_without_a_time_field_the_arrival_counts():
    assert Rig().read('{"a":1}', '{"a":2}') == [("a", ARRIVAL, 1.0), ("a", ARRIVAL + 1, 2.0)]


def test_every_numeric_field_but_time_and_counter():
    rig = Rig(time=MS, seq="n")
    payload = f'{{"ts":{T},"n":7,"a":1,"b":"2","c":true,"d":null,"e":[1],"f":{{"g":1}},"h":-0.5}}'
    assert rig.read(payload) == [("a", T * 10**6, 1.0), ("h", T * 10**6, -0.5)]


@pytest.mark.parametrize("value", ["true", '"21.5"', "null", "[1]", "{}"])
def test_a_listed_channel_that_is_no_number_is_not_known(value):
    rig = Rig(channels=("a",))
    [(channel, _, x)] = rig.read(f'{{"a":{value}}}')
    assert channel == "a"
    assert math.isnan(x)
    assert rig.counted(Count.SAMPLES_UNKNOWN) == 1


def test_channels_by_path_under_another_name():
    rig = Rig(channels={"temp": "data.t", "dotted": "x.y"})
    assert rig.read('{"data":{"t":5},"x.y":6}') == [
        ("temp", ARRIVAL, 5.0),
        ("dotted", ARRIVAL, 6.0),
    ]
    assert rig.read('{"data":{"u":5}}') == []
    assert rig.rejected() == {"no_values": 1}


def test_an_array_of_objects_and_a_list_inside_an_object():
    rig = Rig(time=MS)
    assert rig.read(f'[{{"ts":{T},"a":1}},{{"ts":{T + 1},"a":2}}]') == [
        ("a", T * 10**6, 1.0),
        ("a", (T + 1) * 10**6, 2.0),
    ]
    rig = Rig(time=MS, decode={"json": {"each": "body.readings"}})
    assert rig.read(f'{{"ts":{T},"body":{{"readings":[{{"a":1}},{{"ts":{T + 1},"a":2}}]}}}}') == [
        ("a", T * 10**6, 1.0),
        ("a", (T + 1) * 10**6, 2.0),
    ]


def test_channels_within_a_nested_object_and_names_beside_values():
    rig = Rig(time={"field": "at", "unit": "s"}, decode={"json": {"values": "data.sensors"}})
    assert rig.read('{"at":1.5,"data":{"sensors":{"a":1,"b":"x"}}}') == [("a", 1_500_000_000, 1.0)]
    rig = Rig(decode={"json": {"name": "n", "value": "v"}})
    payload = '[{"n":"temperature","v":21.5},{"n":"humidity","v":40},{"n":5,"v":1}]'
    assert rig.read(payload) == [("temperature", ARRIVAL, 21.5), ("humidity", ARRIVAL, 40.0)]
    assert rig.counted(Count.READINGS_REJECTED, reason="no_values") == 1


def test_one_bad_reading_does_not_harm_the_others():
    rig = Rig(time=MS, limits=Limits(readings_per_message_max=6))
    payload = f'[{{"ts":{T},"a":1}},5,{{"a":1}},{{"ts":-1,"a":1}},{{"ts":{T},"a":"x"}},{{"ts":{T},"a":2}}]'
    assert [v for _, _, v in rig.read(payload)] == [1.0, 2.0]
    for reason in ("bad_shape", "no_time", "bad_time", "no_values"):
        assert rig.counted(Count.READINGS_REJECTED, reason=reason) == 1
    assert rig.rejected() == {}
    assert rig.read("[5,6]") == []
    assert rig.read("[]") == []
    assert rig.read(f"[{','.join(['{}'] * 7)}]") == []
    assert rig.rejected() == {"bad_shape": 1, "no_values": 1, "too_many_readings": 1}


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "bad_json"),
        (b"{", "bad_json"),
        (b'{"a":NaN}', "bad_json"),
        (b'{"a":Infinity}', "bad_json"),
        (b'{"a":1e999}', "bad_json"),
        (b'{"a":1}}', "bad_json"),
        (b'\xff\xfe{"a":1}', "bad_utf8"),
        (b"[" * 100_000, "too_deep"),
        (b"5", "bad_shape"),
        (b'"text"', "bad_shape"),
        (b"null", "bad_shape"),
        (b"{}", "no_values"),
        (b'{"a":"x"}', "no_values"),
        (b'{"a":' + b"1" * 300_000 + b"}", "too_big"),
        (json.dumps({f"k{i}": i for i in range(257)}).encode(), "too_many_keys"),
    ],
)
def test_what_cannot_be_read_is_rejected_by_its_reason(payload, reason):
    rig = Rig()
    assert rig.read(payload) == []
    assert rig.rejected() == {reason: 1}


@pytest.mark.parametrize(
    "n", [2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 10**30]
)
def test_large_whole_numbers_become_the_nearest_float(n):
    assert Rig().read(f'{{"a":{n}}}') == [("a", ARRIVAL, float(n))]


@pytest.mark.parametrize(
    ("unit", "value", "expected"),
    [
        ("ms", T, T * 10**6),
        ("ms", T + 0.25, T * 10**6 + 250_000),
        ("s", 1.7e9, 1_700_000_000 * 10**9),
        ("ns", 123, 123),
        ("us", 2**62, None),
        ("ns", 2**63, None),
        ("ns", 2**64 - 1, None),
        ("s", 1e300, None),
        ("ms", -1, None),
        ("s", -0.001, None),
        ("ms", True, None),
        ("ms", "1700000000000", None),
        ("ms", [1], None),
        ("iso", "2023-11-14T22:13:20Z", T * 10**6),
        ("iso", "2023-11-14T23:13:20.25+01:00", T * 10**6 + 250_000_000),
        ("iso", "2023-11-14T22:13:20", None),
        ("iso", "1969-12-31T23:59:59Z", None),
        ("iso", "9999-12-31T23:59:59Z", None),
        ("iso", "0001-01-01T00:00:00+23:59", None),
        ("iso", "2023-11-14T22:13:60Z", None),
        ("iso", 5, None),
        ("iso", "x" * 10_000, None),
    ],
)
def test_times(unit, value, expected):
    assert time_ns(value, unit) == expected
    rig = Rig(time={"field": "ts", "unit": unit})
    found = rig.read(json.dumps({"ts": value, "a": 1}))
    assert found == ([] if expected is None else [("a", expected, 1.0)])
    assert rig.rejected() == ({"bad_time": 1} if expected is None else {})


def test_what_is_too_old_is_rejected_where_a_source_says_so():
    day = 86_400_000
    now = ARRIVAL // 10**6
    rig = Rig(time=MS, past_max="7d")
    assert len(rig.read(f'{{"ts":{now - 7 * day},"a":1}}')) == 1
    assert rig.read(f'{{"ts":{now - 7 * day - 1},"a":1}}', '{"ts":0,"a":1}') == []
    assert rig.rejected() == {"too_old": 2}
    assert len(rig.read(f'[{{"ts":{now},"a":1}},{{"ts":0,"a":1}}]')) == 1
    assert rig.counted(Count.READINGS_REJECTED, reason="too_old") == 1
    assert len(Rig(time=MS).read('{"ts":0,"a":1}')) == 1, "by default all is welcome"
    with pytest.raises(ValidationError, match="past_max needs time"):
        Rig(past_max="7d")


@given(st.datetimes(FIRST_DAY, LAST_DAY))
def test_iso_times_agree_with_the_calendar(moment):
    aware = moment.replace(tzinfo=UTC)
    assert time_ns(aware.isoformat(), "iso") == round(aware.timestamp()) * 10**9 + (
        aware.microsecond * 1000 - (round(aware.timestamp()) - int(aware.timestamp())) * 10**9
    )


def test_one_device_cannot_take_every_row_and_a_full_table_keeps_the_old():
    rig = Rig(limits=Limits(series_per_device_max=3), rows=5)
    rig.read(json.dumps({f"k{i}": i for i in range(10)}))
    assert len(rig.table) == 3
    assert rig.counted(Count.SAMPLES_DROPPED, reason="device_full") == 7
    for i in range(10):
        rig.read('{"k":1}', topic=f"plant/north/x{i}")
    assert len(rig.table) == 5
    assert rig.counted(Count.SAMPLES_DROPPED, reason="series_full") == 8
    assert len(rig.read('{"k0":1,"k1":2,"k2":3}')) == 3
    assert rig.counted(Count.SAMPLES_DECODED) == 10 + 10 + 3


def test_a_new_reader_on_the_same_table_goes_on_with_its_rows_and_its_limits():
    rig = Rig(limits=Limits(series_per_device_max=2))
    rig.read('{"a":1,"b":2}')
    again = rig.new_reader()
    found = again.read(bulk(Message("plant/north/b7", b'{"b":1,"c":2}', 1, 1, ARRIVAL)))
    assert found.series.tolist() == [1]


def test_a_key_too_long_is_dropped():
    rig = Rig()
    assert rig.read(json.dumps({"k" * 129: 1, "k" * 128: 2})) == [("k" * 128, ARRIVAL, 2.0)]
    assert rig.counted(Count.SAMPLES_DROPPED, reason="key_too_long") == 1


def test_what_is_remembered_of_unknown_devices_is_bounded():
    rig = Rig(limits=Limits(series_max=10), rows=10)
    for i in range(200):
        rig.read('{"a":1}', topic=f"plant/north/x{i}")
    assert len(rig.reader._devices) <= 20


@pytest.mark.parametrize(
    ("written", "seq"),
    [
        ("7", 7),
        ("0", 0),
        ("7.0", 7),
        ('"0042"', 42),
        (str(2**63 - 1), 2**63 - 1),
        (str(2**63), -1),
        ("1e300", -1),
        ("-1", -1),
        ("7.5", -1),
        ("true", -1),
        ("null", -1),
        ('"a1"', -1),
        ('"\u0664"', -1),
        ("[7]", -1),
    ],
)
def test_the_counter_goes_along_with_each_sample(written, seq):
    rig = Rig(time=MS, seq="n", channels=("a", "b"))
    assert len(rig.read(f'{{"ts":{T},"n":{written},"a":1,"b":2}}')) == 2
    assert rig.seq == [seq, seq]


def test_no_counter_is_minus_one():
    rig = Rig(time=MS)
    rig.read(f'{{"ts":{T},"a":1}}')
    assert rig.seq == [-1]


def test_each_reading_has_its_own_counter_or_that_around_it():
    rig = Rig(time=MS, seq="n", decode={"json": {"each": "r"}})
    rig.read(f'{{"ts":{T},"n":3,"r":[{{"a":1}},{{"a":2,"n":9}}]}}')
    assert rig.seq == [3, 9]


@pytest.mark.parametrize(
    ("payload", "value"),
    [("21.5", 21.5), (" -3 \n", -3.0), ("1e3", 1000.0), (".5", 0.5), ("+7.", 7.0)],
)
def test_a_bare_number(payload, value):
    assert Rig(decode="number").read(payload) == [("value", ARRIVAL, value)]
    rig = Rig(decode={"number": {"channel": "t"}})
    assert rig.read(payload) == [("t", ARRIVAL, value)]


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        ("", "no_values"),
        ("  ", "no_values"),
        ("nan", "bad_number"),
        ("inf", "bad_number"),
        ("1_000", "bad_number"),
        ("0x1f", "bad_number"),
        ("٣", "bad_number"),
        ("1e999", "bad_number"),
        ("1 2", "bad_number"),
        ("21.5 C", "bad_number"),
        ("1" * 65, "too_big"),
    ],
)
def test_what_is_no_bare_number(payload, reason):
    rig = Rig(decode="number")
    assert rig.read(payload) == []
    assert rig.rejected() == {reason: 1}


@pytest.mark.parametrize(
    "options",
    [{"name": "n"}, {"name": "n", "value": "v", "values": "d"}, {"each": "a.b.c.d.e"}, {"x": 1}],
)
def test_options_that_make_no_sense_are_refused(options):
    with pytest.raises(ValidationError):
        DECODERS["json"].options.model_validate(options)


def test_every_decoder_has_an_example_that_loads():
    for name, decoder in DECODERS.items():
        written = yaml.safe_load(decoder.example)["decode"]
        assert list(written) == [name]
        decoder.options.model_validate(written[name])


# --- against the json module -------------------------------------------------------------------

numbers = st.one_of(
    st.integers(-(2**63), 2**64 - 1), st.floats(allow_nan=False, allow_infinity=False)
)
leaves = st.one_of(numbers, st.booleans(), st.none(), st.text(max_size=5))
values = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=10,
)
keys = st.one_of(st.sampled_from(["ts", "a", "b", "temperature"]), st.text(max_size=6))


def plain(payload):
    """What a flat source shall find in a payload: {channel: value}, by the json module."""
    data = json.loads(payload)
    if not isinstance(data, dict):
        return []
    stamp = data.get("ts")
    if isinstance(stamp, bool) or not isinstance(stamp, int | float):
        return []
    if not 0 <= stamp < 7_258_118_400_000:
        return []
    return sorted(
        (key, float(value))
        for key, value in data.items()
        if key != "ts" and isinstance(value, int | float) and not isinstance(value, bool)
    )


@given(st.dictionaries(keys, values, max_size=8), st.integers(-1, 2 * 10**13))
@settings(deadline=None, max_examples=300)
def test_objects_agree_with_the_json_module(data, stamp):
    payload = json.dumps({**data, "ts": stamp}).encode("utf-8", "surrogatepass")
    rig = Rig(time=MS)
    assert sorted((c, v) for c, _, v in rig.read(payload)) == plain(payload)


@given(st.one_of(values.map(lambda v: json.dumps(v).encode()), st.binary(max_size=60)))
@settings(deadline=None, max_examples=500)
def test_nothing_a_stranger_sends_raises_and_all_is_counted(payload):
    for shape in (
        {},
        {"time": MS, "seq": "n"},
        {"channels": ("a", "b.c")},
        {"decode": {"json": {"each": "a"}}},
        {"decode": {"json": {"values": "a.b"}}},
        {"decode": {"json": {"name": "a", "value": "b"}}},
        {"decode": "number"},
    ):
        rig = Rig(**shape)
        found = rig.read(payload)
        accepted = rig.counted(Count.MESSAGES_ACCEPTED)
        assert accepted + sum(rig.rejected().values()) == 1
        assert rig.counted(Count.SAMPLES_DECODED) == len(found)
        assert all(not math.isinf(v) for _, _, v in found)


# --- routing -----------------------------------------------------------------------------------


def routed(sources, *topics):
    ledger = Ledger()
    router = Router({n: Source(topic=t) for n, t in sources.items()}, ledger)
    messages = [Message(t, b"", 1, i + 1, i) for i, t in enumerate(topics)]
    parts = {n: [m.topic for m in part] for n, part in router.split(bulk(*messages))}
    return parts, ledger


def test_messages_go_to_the_sources_that_want_them():
    parts, ledger = routed(
        {"a": "x/{d}", "b": "y/#", "all": "+/{e}"}, "x/1", "y/2", "z/3", "y/2/3", "x/1", "q"
    )
    assert parts == {
        "a": ["x/1", "x/1"],
        "b": ["y/2", "y/2/3"],
        "all": ["x/1", "y/2", "z/3", "x/1"],
    }
    assert ledger.total(Count.MESSAGES_COPIED) == 3
    assert ledger.value(Count.MESSAGES_REJECTED, reason="unknown_topic") == 1


def test_topics_that_are_none_are_rejected():
    _, ledger = routed({"all": "#"}, "", "a" * 513, "/".join("a" * 17), "fine")
    assert ledger.value(Count.MESSAGES_REJECTED, reason="bad_topic") == 3
