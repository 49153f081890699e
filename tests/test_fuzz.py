"""Anything at every door: payloads, topics, commands, rows, files. What is wrong is refused in words.

Each property runs with some examples in every run, and with many in the nightly one.
"""

import contextlib
import json
import math
import random
import string
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.nodes import parse
from config.topics import LEVELS_MAX, TOPIC_BYTES_MAX, TopicFilter, TopicTemplate
from daemon.commands import parse as command
from daemon.decode import DECODERS
from daemon.durable.port import LogForeign
from daemon.ledger import Count
from daemon.messages import Message
from daemon.rows import RowReader
from tests.graphs import gateway
from tests.test_decode import ARRIVAL, MS, Rig, routed, values
from tests.test_log_damage import BODIES, FILES, NAMES, disk_with, open_log

SHAPES = (
    {},
    {"time": MS, "seq": "n"},
    {"time": {"field": "t", "unit": "iso"}, "channels": ("a", "b.c", "v")},
    {"decode": {"json": {"each": "a", "values": "b"}}, "time": MS},
    {"decode": {"json": {"name": "n", "value": "v"}}, "seq": "t"},
    {"decode": {"senml": {}}, "time": {"field": "t", "unit": "s"}},
    {"decode": {"senml": {"names": "full"}}, "channels": ("a", "b")},
    {"decode": "number"},
)


KEYS = st.sampled_from(
    ["a", "b", "c", "n", "v", "t", "ts", "u", "s", "bn", "bt", "bu", "bv", "bs", "bver", "vs", "vb"]
)
NUMBERS = st.one_of(
    st.integers(-(2**65), 2**65), st.floats(), st.sampled_from([2**63, 2**64 - 1, 2**64, -(2**63)])
)
RECORD = st.dictionaries(KEYS, st.one_of(NUMBERS, values, st.text(max_size=3)), max_size=6)
TEXTS = st.one_of(
    RECORD.map(json.dumps),
    st.lists(RECORD, max_size=4).map(json.dumps),
    st.dictionaries(KEYS, st.lists(RECORD, max_size=3), max_size=3).map(json.dumps),
    NUMBERS.map(str),
    st.text(alphabet="0123456789.eE+-_ \n٣x", max_size=70),
)


@st.composite
def payloads(draw):
    """What a device may send, in part or with some bytes changed."""
    raw = bytearray(draw(TEXTS).encode("utf-8", "surrogatepass"))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(raw)))
        raw[at : at + draw(st.integers(0, 3))] = draw(
            st.one_of(
                st.binary(max_size=3), st.sampled_from([b"[", b"{", b'"', b"\\ud800", b"1e9"])
            )
        )
    return bytes(raw)


def payload(raw):
    """No payload raises; each is counted once, and what is taken is a number at a sane time."""
    for made in SHAPES:
        rig = Rig(**made)
        found = rig.read(raw)
        accepted = rig.counted(Count.MESSAGES_ACCEPTED)
        assert accepted + sum(rig.rejected().values()) == 1
        assert rig.counted(Count.SAMPLES_DECODED) == len(found)
        for name, t_ns, value in found:
            assert not math.isinf(value)
            assert 0 <= t_ns < 2**63
            assert len(name.encode("utf-8", "surrogatepass")) <= 128


def topic(text):
    """No topic raises; it goes to a source or is counted, and its labels are safe to publish."""
    parts, ledger = routed({"any": "#", "two": "{a}/x{b}y/+/#"}, text)
    assert len(parts.get("any", [])) + ledger.total(Count.MESSAGES_REJECTED) == 1
    for name in parts:
        rig = Rig(topic={"any": "#", "two": "{a}/x{b}y/+/#"}[name])
        [(_, _, value)] = rig.read('{"a":1}', topic=text)
        assert value == 1
        labels = dict(rig.table.labels(0))
        template = TopicTemplate.parse("/".join(f"{{{label}}}" for label in labels))
        made = template.render(labels)
        assert set(made) <= set(string.ascii_letters + string.digits + "._:-%~/")
        assert made.count("/") == len(labels) - 1


def template(text):
    """A filter or template is taken or refused by ValueError; a taken one keeps to the limits."""
    for kind in (TopicFilter, TopicTemplate):
        try:
            made = kind.parse(text)
        except ValueError:
            continue
        assert len(text.encode()) <= TOPIC_BYTES_MAX
        assert len(made.levels) <= LEVELS_MAX
        if kind is TopicTemplate:
            labels = dict.fromkeys(made.names, "a/+#\x00 é")
            rendered = made.render(labels)
            assert TopicFilter.parse(rendered).subscription == rendered
            assert made.as_filter().match(rendered) is not None
            with pytest.raises(KeyError):
                TopicTemplate.parse(
                    f"{text}/{{more}}" if len(made.levels) < 16 else "{more}"
                ).render(labels)


TABLES = {"live": {"key": "device", "topic": "devices/{device}/info"}}
ROWS = RowReader(gateway({}, tables=TABLES).tables)


def control(raw):
    """A command or a row is understood or refused; nothing else is raised."""
    message = Message("devices/b1/info", raw, 1, 1, ARRIVAL)
    for read in (command, ROWS.read):
        with contextlib.suppress(ValueError, TypeError):
            read(message)


COMMANDS = st.dictionaries(
    st.sampled_from(["acknowledge", "alert", "shelve", "reset", "by", "comment", "for", "x"]),
    st.one_of(values, st.just("0" * 32), st.sampled_from(["1h", "-1s", "1e9999h", "9" * 400])),
    max_size=4,
).map(lambda asked: json.dumps(asked).encode("utf-8", "surrogatepass"))


PIECES = st.sampled_from(
    ["a", "b: ", ": ", "\n", "  ", "- ", "[", "]", "{", "}", ",", "'", '"', "|", ">", "&x", "*x",
     "!t", "!!python/object:os.system", "#", "? ", "${A}", "${", "${file:/x}", "---", "...", "<<: ",
     "\t", "%", "@", "1e999", ".nan", "0o7", "12:30", "\\", "é", "\u2028", "\ufeff", "\0", "[" * 40]
)  # fmt: skip
YAML = st.one_of(
    st.binary(max_size=200), st.lists(PIECES, max_size=40).map(lambda p: "".join(p).encode())
)


def yaml(raw):
    """Text is YAML that we take, or every problem has a place; values are plain and finite."""
    read = parse(raw, "x.yaml", {"A": "1"}, Path("/nowhere"))
    for problem in read.problems:
        assert 0 <= problem.line <= len(read.lines) + 1
        assert problem.what
    for node in read.root.walk():
        assert type(node.value) in (str, int, float, bool, type(None), list, dict)
        assert not isinstance(node.value, float) or math.isfinite(node.value)


@st.composite
def damaged(draw):
    """Files of a log, cut, joined, swapped, overwritten, or made of nothing."""
    rng = random.Random(draw(st.integers(0, 2**32)))
    files = {name: bytearray(data) for name, data in FILES.items()}
    for _ in range(draw(st.integers(1, 4))):
        name, other = rng.choice(NAMES), rng.choice(NAMES)
        data = files.setdefault(name, bytearray())
        at = rng.randrange(len(data) + 1)
        match rng.randrange(6):
            case 0:
                del data[at:]
            case 1:
                data[at:at] = rng.randbytes(rng.randrange(40))
            case 2:
                del data[at : at + rng.randrange(1, 40)]
            case 3:
                source = FILES[other]
                begin = rng.randrange(len(source))
                data[at : at + rng.choice([0, 60])] = source[begin : begin + rng.randrange(1, 90)]
            case 4:
                files[name] = bytearray(rng.randbytes(rng.randrange(200)))
            case 5:
                files.pop(name, None)
    return {name: bytes(data) for name, data in files.items()}


def log(files):
    """Whatever its files are, a log gives records that were written, in order, and takes more."""
    disk = disk_with(files)
    try:
        opened = open_log(disk)
    except LogForeign:
        return
    got = list(opened.read())
    numbers = [number for number, _ in got]
    assert numbers == sorted(set(numbers))
    assert all(BODIES[number] == body for number, body in got)
    number = opened.append(b"next")
    assert opened.commit(opened.durable) == number
    assert number > max(numbers, default=0)
    opened.close()
    again = open_log(disk)
    assert list(again.read()) == [*got, (number, b"next")]
    again.close()


DOORS = {
    "payload": (payload, payloads()),
    "topic": (topic, st.text(alphabet="ab/x y{}+#$é\n\0%~", max_size=30) | st.text(max_size=20)),
    "template": (template, st.text(alphabet="ab/{}+#$_é\n-", max_size=40) | st.text(max_size=20)),
    "control": (control, st.one_of(COMMANDS, payloads(), st.binary(max_size=40))),
    "yaml": (yaml, YAML),
    "log": (log, damaged()),
}


def attempt(door, examples):
    holds, anything = DOORS[door]
    settings(max_examples=examples)(given(anything)(holds))()


def test_every_format_is_tried():
    asked = [made.get("decode", "json") for made in SHAPES]
    assert {name if isinstance(name, str) else next(iter(name)) for name in asked} == set(DECODERS)


@pytest.mark.parametrize("door", DOORS)
def test_whatever_comes_is_taken_or_refused(door):
    attempt(door, 200)


@pytest.mark.nightly
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("door", DOORS)
def test_whatever_comes_is_taken_or_refused_at_length(door):
    attempt(door, 20_000)
