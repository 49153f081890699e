"""SenML: the examples of RFC 8428, section 5.1, and what is no SenML."""

import json
import resource
from datetime import UTC, datetime

import pytest

from config.model import Limits, Source
from daemon.decode.reader import SourceReader
from daemon.ledger import Count, Ledger, Reason
from daemon.messages import Message
from pipelines.quota import Quota
from pipelines.series import SeriesTable
from tests.bulks import bulk

S = 1_000_000_000
ARRIVAL = 1_600_000_000 * S
DEVICE = "urn:dev:ow:10e2073a01080063"


class Read:
    """One payload through a reader: [(channel, seconds, value)] and the ledger."""

    def __init__(self, payload, channels=None, time=True, **options):
        source = {"topic": "d/{device}", "decode": {"senml": options}, "channels": channels}
        source |= {"time": {"field": "t", "unit": "s"}} if time else {}
        self.ledger, table = Ledger(), SeriesTable(100)
        spec, limits = Source.model_validate(source), Limits()
        reader = SourceReader("s", spec, table, Quota(limits), limits, self.ledger)
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        out = reader.read(bulk(Message("d/x", body, 0, 0, ARRIVAL)))
        names = [dict(table.labels(row))["channel"] for row in out.series]
        self.t_ns = out.t_ns.tolist()
        self.rows = list(zip(names, (out.t_ns / S).tolist(), out.value.tolist(), strict=True))

    def rejected(self, reason, what=Count.MESSAGES_REJECTED):
        return self.ledger.value(what, reason=reason, source="s")


NOW = ARRIVAL / S


def test_single_data_point():
    assert Read([{"n": DEVICE, "u": "Cel", "v": 23.1}]).rows == [(DEVICE, NOW, 23.1)]


PAIR = [
    {"bn": DEVICE + ":", "n": "voltage", "u": "V", "v": 120.1},
    {"n": "current", "u": "A", "v": 1.2},
]


def test_multiple_data_points():
    assert Read(PAIR).rows == [("voltage", NOW, 120.1), ("current", NOW, 1.2)]
    assert [name for name, _, _ in Read(PAIR, names="full").rows] == [
        DEVICE + ":voltage",
        DEVICE + ":current",
    ]


def test_times_around_a_base_time():
    pack = [{"bn": DEVICE + ":", "bt": 1.276020076001e09, "bu": "A", "bver": 5}]
    pack[0] |= {"n": "voltage", "u": "V", "v": 120.1}
    pack += [{"n": "current", "t": t, "v": round(1.7 + t / 10, 1)} for t in range(-5, 0)]
    read = Read([*pack, {"n": "current", "v": 1.7}])
    base = round(datetime(2010, 6, 8, 18, 1, 16, tzinfo=UTC).timestamp()) * S + 1_000_000
    assert [name for name, _, _ in read.rows] == ["voltage"] + 6 * ["current"]
    assert [v for _, _, v in read.rows] == [120.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7]
    assert [round((t - base) / 1000) for t in read.t_ns] == [
        x * 1_000_000 for x in (0, -5, -4, -3, -2, -1, 0)
    ]


def test_records_without_a_name_are_told_apart_by_their_unit():
    pack = [{"bn": DEVICE, "bt": 1.320067464e09, "bu": "%RH", "v": 20}]
    pack += [{"u": "lon", "v": 24.30621}, {"u": "lat", "v": 60.07965}, {"t": 60, "v": 20.3}]
    assert Read(pack).rows == [
        ("%RH", 1320067464, 20),
        ("lon", 1320067464, 24.30621),
        ("lat", 1320067464, 60.07965),
        ("%RH", 1320067524, 20.3),
    ]


def test_several_kinds_of_values():
    pack = [{"bn": DEVICE + ":", "n": "temp", "u": "Cel", "v": 23.1}]
    pack += [{"n": "label", "vs": "Machine Room"}, {"n": "open", "vb": False}]
    pack += [{"n": "nfc-reader", "vd": "aGkgCg"}]
    assert Read(pack).rows == [("temp", NOW, 23.1), ("open", NOW, 0.0)]


def test_a_collection_of_devices():
    pack = [{"bn": "2001:db8::2/", "bt": 1.320078429e09, "n": "temperature", "u": "Cel", "v": 27.2}]
    pack += [{"n": "humidity", "u": "%RH", "v": 80}]
    pack += [{"bn": "2001:db8::1/", "n": "temperature", "u": "Cel", "v": 12.3}]
    assert Read(pack, names="full").rows == [
        ("2001:db8::2/temperature", 1320078429, 27.2),
        ("2001:db8::2/humidity", 1320078429, 80),
        ("2001:db8::1/temperature", 1320078429, 12.3),
    ]


def test_base_values_and_sums_are_added():
    pack = [{"bv": 20, "bs": 100, "n": "a", "v": 1.5}, {"n": "a"}, {"n": "e", "s": 7}]
    assert Read(pack).rows == [("a", NOW, 21.5), ("a", NOW, 20), ("e", NOW, 107)]


def test_seconds_from_now():
    assert Read([{"n": "a", "t": -5, "v": 1}, {"n": "a", "v": 2}]).rows == [
        ("a", NOW - 5, 1),
        ("a", NOW, 2),
    ]
    assert Read([{"n": "a", "t": 1.3e9, "v": 1}], time=False).rows == [("a", NOW, 1)]


def test_only_what_was_asked_for():
    assert Read(PAIR, channels={"volts": "voltage"}).rows == [("volts", NOW, 120.1)]


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"{", Reason.BAD_JSON),
        ({"n": "a", "v": 1}, Reason.BAD_SHAPE),
        ([], Reason.BAD_SHAPE),
        ([{"v": 1}], Reason.BAD_SHAPE),
        ([{"n": "a", "v": "1"}], Reason.BAD_SHAPE),
        ([{"n": "a", "v": True}], Reason.BAD_SHAPE),
        ([{"n": 3, "v": 1}], Reason.BAD_SHAPE),
        ([{"n": "a", "bver": 11, "v": 1}], Reason.BAD_SHAPE),
        ([{"n": "a", "must_": 1, "v": 1}], Reason.BAD_SHAPE),
        ([{"n": "a", "t": 1e12, "v": 1}], Reason.BAD_TIME),
        ([{"n": "a", "bt": 1e300, "v": 1}], Reason.BAD_TIME),
        ([{"n": "a", "bt": -1e300, "v": 1}], Reason.BAD_TIME),
        ([{"n": "a", "v": 1}] * 1001, Reason.TOO_MANY_READINGS),
    ],
)
def test_what_cannot_be_read_is_counted(payload, reason):
    read = Read(payload)
    assert read.rows == []
    assert read.rejected(reason) == 1


def test_one_bad_record_does_not_harm_the_others():
    read = Read([{"n": "a", "v": 1}, {"n": "b", "v": None}, {"n": "c", "v": 3}])
    assert [name for name, _, _ in read.rows] == ["a", "c"]
    assert read.rejected(Reason.BAD_SHAPE, Count.READINGS_REJECTED) == 1


def test_a_name_too_long_is_never_put_together():
    n = 1000
    pack = [{"bn": "x" * 200_000, "n": "a", "v": 1}, *[{"n": str(i), "v": 1} for i in range(1, n)]]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    read = Read(pack, names="full")
    assert (read.rows, read.rejected(Reason.KEY_TOO_LONG)) == ([], 1)
    assert read.rejected(Reason.KEY_TOO_LONG, Count.READINGS_REJECTED) == n
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000, "kB"


def test_deep_and_wide_records_are_refused_by_their_reason():
    assert Read(b"[" * 5000).rejected(Reason.TOO_DEEP) == 1
    assert Read(b"\xff[]").rejected(Reason.BAD_UTF8) == 1
    wide = {"n": "a", "v": 1} | {f"k{i}": 1 for i in range(300)}
    assert Read([wide]).rejected(Reason.TOO_MANY_KEYS) == 1
