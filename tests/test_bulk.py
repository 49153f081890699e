"""Decoding in bulk: to the bit what message by message gives, whatever is sent."""

import json
import random
import struct
import sys
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config.model import Limits
from daemon import warmup
from daemon.decode.bulk.feed import PAUSE
from daemon.decode.bulk.scan import scan
from daemon.decode.reader import MESSAGES_MIN
from daemon.messages import Message
from pipelines import jit
from pipelines.quota import admit
from tests.bulk_rig import ARRIVAL, Pair, dumps
from tests.graphs import graph
from tests.operator_runs import interpreted

NOW_MS = ARRIVAL // 10**6
MS = {"field": "ts", "unit": "ms"}
LISTED = {"channels": ("a", "b", "long name")}
SOURCES = {
    "arrival": {},
    "ms, counter": {"time": MS, "seq": "n"},
    "s": {"time": {"field": "ts", "unit": "s"}},
    "us, not too old": {"time": {"field": "ts", "unit": "us"}, "past_max": "10s"},
    "ns": {"time": {"field": "ts", "unit": "ns"}, "seq": "n"},
    "iso": {"time": {"field": "ts", "unit": "iso"}},
    "listed": {"time": MS, "seq": "n", **LISTED},
    "listed paths": {"channels": {"first": "b", "second": "a.c", "third": "a"}, "seq": "n"},
}
OTHERS = {
    "nested": {"decode": {"json": {"values": "a"}}},
    "list": {"decode": {"json": {"each": "a"}}, "time": MS},
    "number": {"decode": "number"},
    "senml": {"decode": "senml"},
    "time is a channel": {"time": MS, "channels": ("ts", "a")},
    "two names for one field": {"channels": {"x": "a", "y": "a"}},
    "one field for both": {"time": MS, "seq": "ts"},
}


# --- what devices send ---------------------------------------------------------------------------


def number_of(rng):
    """A way to write a number, mostly as devices do."""
    ways = (
        lambda: f"{rng.gauss(20, 5):.2f}",
        lambda: f"{rng.gauss(0, 1):.6f}",
        lambda: repr(rng.gauss(1e3, 1e4)),
        lambda: str(rng.randrange(-1000, 1000)),
        lambda: f"{rng.gauss(0, 1e5):.5e}",
        lambda: f"{rng.random():.3E}",
        lambda: (
            repr(struct.unpack("<d", rng.randbytes(8))[0]).replace("nan", "0").replace("inf", "1")
        ),
        lambda: str(rng.randrange(2**53 - 3, 2**53 + 4)),
        lambda: str(rng.randrange(-(2**64), 2**64)),
    )
    return rng.choices(ways, (30, 10, 10, 20, 3, 3, 2, 1, 1))[0]()


def stamp_of(rng, unit, now_ms):
    if unit == "iso":
        day, ms = divmod(now_ms, 86_400_000)
        tail = rng.choice(("Z", ".5Z", ".123456Z", ".1234567Z", "+01:00", "-23:59", "", "z", ".Z"))
        text = str(np.datetime64(day, "D")) + "T" + str(np.datetime64(ms // 1000, "s"))[11:] + tail
        return f'"{text}"'
    scale = {"s": 0.001, "ms": 1, "us": 1000, "ns": 10**6, None: 1}[unit]
    whole = int(now_ms * scale)
    ways = (
        str(whole),
        f"{now_ms * scale:.3f}",
        f"{now_ms * scale:.6f}",
        f"{now_ms * scale:.9e}",
        "-5",
        "null",
        str(whole * 1000),
    )
    return rng.choices(ways, (40, 4, 4, 1, 1, 1, 1))[0]


def body_of(rng, unit, i):
    """One payload: most with known fields in the usual order."""
    fields = [("ts", stamp_of(rng, unit, NOW_MS + i)), ("n", str(i)), ("a", number_of(rng))]
    fields.append(("b", number_of(rng)))
    if rng.random() < 0.3:
        fields.append(("long name", rng.choice((number_of(rng), "true", "null", '"°C"'))))
    if rng.random() < 0.3:
        fields.append(("unit", rng.choice(('"°C"', '"a b"', "false", "17"))))
    odd = rng.random()
    if odd < 0.01:
        fields.append(("a", number_of(rng)))
    elif odd < 0.02:
        fields.append(("nested", rng.choice(("[1]", "{}", '{"c":5}'))))
    elif odd < 0.03:
        fields.append((rng.choice(("x", "y", "a.c", "é", "")), number_of(rng)))
    elif odd < 0.06:
        rng.shuffle(fields)
    elif odd < 0.09:
        fields = rng.sample(fields, rng.randrange(len(fields)))
    space = "" if odd < 0.9 else rng.choice((" ", "\t", "\r\n", "\n  "))
    text = ("," + space).join(f'"{k}"{space}:{space}{v}' for k, v in fields)
    return f"{space}{{{space}{text}{space}}}{space}".encode()


@pytest.mark.parametrize("name", SOURCES)
def test_what_devices_send_is_read_the_same(name):
    rng = random.Random(f"{name} 1")
    source = SOURCES[name]
    unit = source.get("time", {}).get("unit")
    bodies = [body_of(rng, unit, i) for i in range(6000)]
    limits = Limits(device_messages_per_s_max=50, device_messages_burst_max=20)
    pair = Pair(limits, **source)
    while pair.messages < 26_000:
        batch = []
        for body in rng.choices(bodies, k=rng.choice((1, 11, 12, 100, 1000, 4096))):
            pair.now_ns += 50_000
            topic = f"plant/{rng.choice('ns')}/d{rng.randrange(200)}/{'x' * rng.randrange(2)}"
            batch.append(Message(topic, body, 1, 1, pair.now_ns, rng.random() < 0.01))
        pair.read(batch, backlog=rng.random() < 0.2)
        if rng.random() < 0.5:
            pair.awake()
    assert pair.in_bulk > 0.4 * pair.messages


@pytest.mark.parametrize("name", OTHERS)
def test_sources_that_are_not_for_the_kernel_do_without_it(name):
    pair = Pair(**OTHERS[name])
    assert pair.bulk.reader._feed is None
    rng = random.Random(name)
    pair.send(*[body_of(rng, "ms", i) for i in range(2000)], retain=rng.random() < 0.5)


def test_numbers_have_the_same_bits():
    rng = random.Random(1)
    ways = [[number_of(rng) for _ in range(500)] for _ in range(100)]
    pair = Pair(Limits(keys_per_reading_max=4096, series_per_device_max=4096))
    for numbers in ways:
        pair.send(*[f'{{"a":{a},"b":{b}}}' for a, b in pairwise(numbers)], gap_ns=10**7)
        pair.awake()
    assert pair.in_bulk > 0.5 * pair.messages


def stamp_now(name):
    """The time of arrival as this source writes it."""
    if name == "iso":
        return '"2027-01-15T08:00:00Z"'
    unit = SOURCES[name].get("time", MS)["unit"]
    return ARRIVAL // {"s": 10**9, "ms": 10**6, "us": 1000, "ns": 1}[unit]


EDGES = [
    *("0", "-0", "0.0", "-0.0", "-0e5", "0e400", "1e22", "1e23", "1e-22", "1e-23", "123e22", "0E0"),
    *("00", "01", "-01", "1.", ".5", "1e", "1e+", "1.e5", "+1", "-", "--1", "0x1", "1_0", "1e1.5"),
    *("9007199254740991", "9007199254740992", "9007199254740993", "-9007199254740993"),
    *("9007199254740992.0", "900719925474099.25", "9007199254740993e1", "90071992547409930e-1"),
    *("9223372036854775807", "9223372036854775808", "-9223372036854775808", "18446744073709551615"),
    *("18446744073709551616", "922337203685477579.5", "922337203685477580.5", "1" * 40),
    *("4.9e-324", "2.2250738585072014e-308", "2.2250738585072011e-308", "1.7976931348623157e308"),
    *("1e309", "-1e309", "1e-400", "1e99999999999999999999", "1e-99999999999999999999"),
    *(
        "0.1",
        "0.30000000000000004",
        "0." + "0" * 30 + "1",
        "0." + "3" * 30,
        "1" + "0" * 30 + "e-30",
    ),
    *("1e0000000000000000000005", "8.5e+07", "7E-3", "5e-1", "NaN", "nan", "Infinity", "-Infinity"),
    *(
        "true",
        "false",
        "null",
        "True",
        "tru",
        "nul",
        "falsy",
        "truefalse",
        '""',
        '"x"',
        '"\\u0041"',
    ),
    *('"\\n"', '"\x1f"', '"\x7f"', '"\t"', "[]", "{}", "[1]", '{"a":1}', "", " ", '"', "'x'"),
]


@pytest.mark.parametrize("name", SOURCES)
def test_edges_of_values_in_every_place(name):
    pair = Pair(**SOURCES[name])
    now = stamp_now(name)
    good = f'{{"ts":{now},"n":1,"a":2,"b":3,"unit":"x"}}'
    pair.learn(good, good.replace("3", "4.5"))
    for field in ("ts", "n", "a", "b", "unit"):
        payloads = []
        for edge in EDGES:
            fields = {"ts": now, "n": 1, "a": 2, "b": 3, "unit": '"x"'} | {field: edge}
            payloads.append("{" + ",".join(f'"{k}":{v}' for k, v in fields.items()) + "}")
        pair.send(*payloads, *[good] * len(payloads))
        pair.awake()
    assert pair.in_bulk


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_times_of_every_size_and_fraction_are_the_same(unit):
    rng = random.Random(unit)
    end = 7_258_118_400 * {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    times = [end - 1, end, end + 1, end - 0.5, -1, 0, -0.0, 0.5, 1e-9, 2.5e-9, 3.5e-9, 1e15, 1e18]
    times += [end * rng.random() for _ in range(2000)]
    times += [rng.randrange(end) for _ in range(2000)]
    times += [rng.randrange(end // 10**6) + rng.randrange(10**9) / 1e9 for _ in range(2000)]
    pair = Pair(time={"field": "ts", "unit": unit})
    pair.learn('{"ts":1,"a":1}')
    t_ns = pair.send(*[f'{{"ts":{t!r},"a":1}}' for t in times])[1]
    assert t_ns.size > 6000
    assert pair.in_bulk > 3400


def test_times_of_day_are_the_same():
    rng = random.Random(5)
    pair = Pair(time={"field": "ts", "unit": "iso"})
    pair.learn('{"ts":"2027-01-15T08:00:00Z","a":1}')
    days = [
        f"{y}-{m:02}-{d:02}"
        for y in (1969, 1970, 1999, 2000, 2023, 2024, 2100, 2199, 2200)
        for m in range(14)
        for d in (0, 1, 28, 29, 30, 31, 32)
    ]
    texts = [
        f"{day}T{rng.choice(('00:00:00', '23:59:59'))}{tail}"
        for day in days
        for tail in ("Z", "+00:30", "-23:59")
    ]
    base = "2024-02-29T12:34:56"
    for tail in ("Z", "", "z", "+01:00", "-01:30", "+24:00", "+1:00", "+0100", "+01", "-00:00"):
        texts += [
            f"{base}{fraction}{tail}"
            for fraction in ("", ".", ",5", ".5", ".000001", ".1234567", ".123456789012")
        ]
    for t in ("24:00:00", "12:60:00", "12:00:60", "1:00:00", "12:00", "12-00-00", "aa:00:00"):
        texts.append(f"2024-02-29T{t}Z")
    texts += [base.replace("T", c) + "Z" for c in " t_"]
    texts += [
        (base + ".25Z")[:n] + c + (base + ".25Z")[n + skip :]
        for n in range(24)
        for c in "0:9-+Z T"
        for skip in (0, 1)
    ]
    found = pair.send(*[f'{{"ts":"{text}","a":1}}' for text in texts])
    assert found[0].size > 300
    assert pair.in_bulk > 250


# --- what strangers send -------------------------------------------------------------------------

GOOD = (
    b'{"ts":1800000000000, "n":17,"a":-2.50e1,"b":3,"unit":"\xc2\xb0C \xf0\x9f\x8c\xa1","ok":true}'
)


@pytest.mark.parametrize("name", ["ms, counter", "listed"])
def test_a_byte_that_is_missing_or_wrong_or_too_many_anywhere(name):
    pair = Pair(**SOURCES[name])
    pair.learn(GOOD)
    for change in range(3):
        for at in range(len(GOOD)):
            head, tail = GOOD[:at], GOOD[at + (change > 0) :]
            made = [head] if change == 2 else [head + bytes([b]) + tail for b in range(256)]
            pair.send(*made, GOOD)
            pair.awake()
    assert pair.in_bulk > 1500


def test_text_of_right_and_wrong_characters():
    pair = Pair()
    pair.learn('{"a":1,"unit":"x"}')
    tails = [bytes(tail) for n in range(4) for tail in product((0x7F, 0x80), repeat=n)]
    seconds = (0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0)
    for first in range(0x80, 0x100):
        texts = [bytes((first, second)) + tail for second in seconds for tail in tails]
        pair.send(*[b'{"a":1,"unit":"%s"}' % text for text in texts])
        pair.awake()
    assert pair.in_bulk > 300


@pytest.mark.parametrize("name", SOURCES)
def test_a_payload_that_ends_too_early(name):
    pair = Pair(**SOURCES[name])
    now = stamp_now(name)
    whole = f'{{"ts":{now},"n":12,"a":1.5e1,"b":-0.25,"long name":null,"unit":"°C"}}'.encode()
    pair.learn(whole)
    for end in range(len(whole) + 1):
        pair.send(*[whole[:end], whole] * MESSAGES_MIN)
    assert pair.in_bulk >= MESSAGES_MIN * len(whole)


SPACE = st.sampled_from(["", "", "", " ", "\t", "\n\r ", "\x0b", "\xa0", "\0"])
KEYS = ["ts", "n", "a", "b", "long name", "unit", "", "é", "x" * 129, "\\u0061", "a.c", "data"]
WHOLE = st.one_of(
    st.integers(-10, 10), st.integers(-(2**65), 2**65), st.integers(2**53 - 2, 2**53 + 2)
)
NUMBERS = st.one_of(
    WHOLE.map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.floats(-1e3, 1e3).map(lambda x: f"{x:.2f}"),
    st.from_regex(r"-?[0-9]{1,21}(\.[0-9]{0,25})?([eE][+-]?[0-9]{0,4})?", fullmatch=True),
)
VALUES = st.one_of(
    NUMBERS,
    st.sampled_from(EDGES),
    st.text(max_size=6).map(json.dumps),
    st.text(max_size=6).map(lambda text: json.dumps(text, ensure_ascii=False)),
    st.sampled_from([str(stamp_now(name)) for name in SOURCES]),
    st.integers(1, 200).map(lambda n: "[" * n + "]" * n),
)


@st.composite
def payloads(draw):
    """Objects that are right or nearly so."""
    space = draw(SPACE)
    fields = draw(st.lists(st.tuples(st.sampled_from(KEYS), VALUES), max_size=7))
    text = draw(SPACE) + "," + draw(SPACE)
    inner = text.join(f'"{k}"{draw(SPACE)}:{space}{v}' for k, v in fields)
    made = f"{draw(SPACE)}{{{space}{inner}{draw(SPACE)}}}{draw(SPACE)}".encode(
        "utf-8", "surrogatepass"
    )
    if draw(st.integers(0, 9)) == 0:
        at = draw(st.integers(0, len(made)))
        made = made[:at] + draw(st.binary(max_size=2)) + made[at + draw(st.integers(0, 2)) :]
    return made


@pytest.mark.parametrize("name", SOURCES)
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(payloads(), min_size=6, max_size=20), st.integers(1, 7), st.integers(8, 128))
def test_what_strangers_send_is_read_the_same(name, made, keys_max, channel_bytes_max):
    limits = Limits(keys_per_reading_max=keys_max, channel_bytes_max=channel_bytes_max)
    pair = Pair(limits, rows=12, **SOURCES[name])
    now = stamp_now(name)
    good = f'{{"ts":{now},"n":1,"a":2,"b":3}}'.encode()
    pair.learn(good, f'{{"ts":{now},"unit":"C","long name":3}}')
    for _ in range(2):  # what is new is learnt in the first of them
        pair.send(*made, *[good] * MESSAGES_MIN)
        pair.awake()


# --- what is around the payloads -----------------------------------------------------------------


def test_devices_of_other_kinds_that_come_and_go_and_share_topics():
    limits = Limits(series_max=60, series_per_device_max=4, device_messages_burst_max=20)
    pair, rng = Pair(limits, rows=200), random.Random(2)
    for _ in range(100):
        batch, kinds = [], "abcde"
        for _ in range(rng.choice((5, 40, 200))):
            pair.now_ns += rng.choice((0, 1_000, 1_000_000))
            device = f"d{rng.randrange(rng.choice((3, 90)))}"
            fields = rng.sample(kinds, rng.randrange(4))
            body = dumps({kind: rng.randrange(9) for kind in fields}).encode()
            topic = f"plant/n/{device}/{rng.choice('xyz')}"
            batch.append(Message(topic, body, 1, 1, pair.now_ns))
        pair.read(batch, backlog=rng.random() < 0.1)
        pair.awake()
    ledger = pair.bulk.ledger.as_dict()
    for reason in ("device_full", "series_full", "no_values", "rate_limited"):
        assert any(reason in name for name in ledger), reason
    assert pair.in_bulk > 300


def test_a_flood_is_refused_the_same():
    pair = Pair(Limits(device_messages_per_s_max=100, device_messages_burst_max=50))
    pair.learn('{"a":1}')
    pair.now_ns += 10**10
    assert pair.send(*['{"a":1}'] * 100, gap_ns=0)[0].size == 50
    assert pair.send(*['{"a":1}'] * 100, gap_ns=10**7)[0].size == 100
    assert pair.send(*['{"a":1}'] * 100, gap_ns=5 * 10**6)[0].size == 50


def test_new_series_beyond_their_rate_are_refused_the_same():
    limits = Limits(series_new_per_s_max=1, series_new_burst_max=3)
    pair = Pair(limits)
    pair.learn('{"a":1}')
    pair.now_ns += 3600 * 10**9
    pair.send(*[f'{{"a":1,"x{i % 7}":{i}}}' for i in range(40)], gap_ns=10**8)
    assert any("series_rate" in name for name in pair.bulk.ledger.as_dict())


def test_bytes_that_are_never_in_json_harm_only_their_own_message():
    pair = Pair(time=MS)
    good = f'{{"ts":{NOW_MS},"a":1}}'
    pair.learn(good)
    before = pair.in_bulk
    for bad in (b"\0", b'\0{"a":1}', b'{"a":1}\0', b'{"\0":1}', b"\0" * 100, b"", b"\xff"):
        value = pair.send(*[good] * 20, bad, *[good] * 20)[2]
        assert value.size == 40
    assert pair.in_bulk == before + 7 * 40


def test_what_the_broker_kept_is_rejected_where_nobody_knows_since_when():
    for source in ({}, {"time": MS}):
        pair = Pair(**source)
        good = f'{{"ts":{NOW_MS},"a":1}}'
        pair.learn(good, good)
        before = pair.in_bulk
        pair.send(*[good] * 20, retain=True)
        assert (pair.in_bulk > before) == bool(source)


def test_payloads_at_the_limit_of_bytes_and_keys():
    limits = Limits(message_bytes_max=256, keys_per_reading_max=3)
    pair = Pair(limits)
    for n in (255, 256, 257):
        pair.learn('{"a":1}' + " " * (n - 7))
    pair.learn('{"k0":1,"k1":2}', '{"k2":1,"k3":2}')
    for n in range(1, 5):
        before = pair.in_bulk
        pair.learn(dumps({f"k{i}": i for i in range(n)}))
        assert (pair.in_bulk > before) == (n <= 3)


def test_times_at_the_limit_of_what_is_too_old():
    pair = Pair(time={"field": "ts", "unit": "ns"}, past_max="10s")
    pair.learn(f'{{"ts":{ARRIVAL},"a":1}}')
    first = pair.now_ns + 1000 - 10 * 10**9  # too old by nothing, then by more and more
    assert pair.send(*[f'{{"ts":{first + 998 * i},"a":1}}' for i in range(30)])[0].size == 1
    assert pair.in_bulk


def test_names_that_stand_otherwise_in_json():
    pair = Pair()
    for name in ('a"b', "a\\", "a\\b", "a\nb", "a\x01b", "a\x7fb", "aéb", "a/b", "\0"):
        right, wrong = dumps({name: 1}), f'{{"{name}":1}}'
        pair.learn(right, right)
        pair.send(*[right, wrong] * 20)
        pair.send(*[json.dumps({name: 1}, ensure_ascii=False), wrong, '{"a":1}'] * 20)
    assert pair.in_bulk


def test_more_fields_than_the_kernel_keeps():
    pair = Pair(Limits(series_per_device_max=200))
    for n in (60, 62, 63, 100):
        body = dumps({f"k{i}": i for i in range(n)})
        pair.send(*[body] * 40, topic=f"plant/n/d{n}/x")
        pair.awake()
        before = pair.in_bulk
        pair.send(*[body] * 40, topic=f"plant/n/d{n}/x")
        assert (pair.in_bulk > before) == (n <= 62)
        pair.awake()


def test_a_source_that_is_not_for_the_kernel_is_tried_now_and_then_and_taken_back():
    pair = Pair()
    nested, flat = '{"a":[1],"b":2}', '{"a":1,"b":2}'
    for _ in range(2 * PAUSE):
        pair.send(*[nested] * 100)
    assert pair.batches == 3, "the first one met the topic, the second one was in vain"
    pair.learn(flat)
    before = pair.in_bulk
    pair.send(*[flat] * 49, *[nested] * 51)
    pair.send(*[flat] * 100)
    assert pair.in_bulk == before + 49
    for _ in range(PAUSE):
        pair.send(*[flat] * 100)
    assert pair.in_bulk >= before + 149


def test_kernels_are_compiled_before_the_first_message():
    for decode in ("json", "number"):
        made = graph({}, sources={"s": {"topic": "a/{device}", "decode": decode}})
        steps = dict(warmup.steps(made))
        assert ("decode" in steps) == (decode == "json")
        assert "quota" in steps
        for name in steps.keys() & {"quota", "decode"}:
            steps[name]()
    pair = Pair(time=MS)
    pair.learn(f'{{"ts":{NOW_MS},"a":1}}')
    for kernel in (admit, scan):
        assert len(kernel.compiled.signatures) == 1, "what warms it up calls it as it is called"


def test_compiled_kernels_are_kept_apart_by_the_sources_of_decoders_too(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.delitem(sys.modules, "numba", raising=False)  # it shall not look there
    for home in jit.HOMES:
        (tmp_path / home).mkdir(parents=True)
        (tmp_path / home / "kernels.py").write_text("old")
    monkeypatch.setattr(jit, "__file__", str(tmp_path / "pipelines" / "jit.py"))
    names = [jit.use_cache(tmp_path).name]
    for home in jit.HOMES:
        (tmp_path / home / "kernels.py").write_text("new")
        names.append(jit.use_cache(tmp_path).name)
    assert len(set(names)) == len(names)


def test_compiled_equals_interpreted():
    for name, source in SOURCES.items():
        rng = random.Random(name)
        unit = source.get("time", {}).get("unit")
        bodies = [body_of(rng, unit, i) for i in range(60)]
        edges = [
            f'{{"ts":{stamp_now(name)},"n":{a},"a":{b}}}'
            for a, b in zip(EDGES, EDGES[::-1], strict=True)
        ]
        pair = Pair(**source)
        pair.learn(f'{{"ts":{stamp_now(name)},"n":1,"a":2}}', *bodies[:5])
        with interpreted():
            pair.send(*bodies, *edges, GOOD)
            pair.awake()
            pair.send(*[GOOD[:at] for at in range(len(GOOD))])
        assert pair.in_bulk > 20
