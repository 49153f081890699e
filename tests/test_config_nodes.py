"""YAML in, plain values with places out; every surprise of YAML is a placed problem or text."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.nodes import BYTES_MAX, Place, parse


def document(text, env=None, folder=Path()):
    raw = text if isinstance(text, bytes) else text.encode()
    return parse(raw, "x.yaml", env or {}, folder)


def value(text, **kw):
    read = document("v: " + text, **kw)
    assert not read.problems, read.problems
    return read.root.data()["v"]


def problems(text, **kw):
    return [(p.line, p.column, p.what) for p in document(text, **kw).problems]


TRAPS = [
    ("on", "on"),
    ("no", "no"),
    ("yes", "yes"),
    ("off", "off"),
    ("y", "y"),
    ("True", "True"),
    ("true", True),
    ("false", False),
    ("null", None),
    ("~", None),
    ("", None),
    ("1e3", 1000.0),
    ("1E-3", 0.001),
    (".5", 0.5),
    ("5.", 5.0),
    ("-0", 0),
    ("+7", 7),
    ("1:30", "1:30"),
    ("12:30:45", "12:30:45"),
    ("012", "012"),
    ("0123.5", "0123.5"),
    ("0o17", "0o17"),
    ("0x1F", "0x1F"),
    ("1_000", "1_000"),
    ("2024-01-01", "2024-01-01"),
    ("2024-01-01T00:00:00Z", "2024-01-01T00:00:00Z"),
    ("'12'", "12"),
    ('"true"', "true"),
    ("'.nan'", ".nan"),
    ("nan", "nan"),
    ("=", "="),
    ("9" * 30, float("9" * 30)),
    ("'{limit}'", "{limit}"),
]


@pytest.mark.parametrize(("text", "expected"), TRAPS)
def test_traps_of_yaml_are_closed(text, expected):
    got = value(text)
    assert got == expected
    assert type(got) is type(expected)


@pytest.mark.parametrize("key", ["on", "no", "12", "1e3", "null", "true", "2024-01-01", "012"])
def test_keys_are_text(key):
    assert document(f"{key}: 1").root.data() == {key: 1}


REFUSED = [
    ("a: 1\nb: 2\na: 3\n", 3, 1, "'a' is written twice"),
    ("a: &x 1\nb: *x\n", 1, 4, "anchors are not supported: &x"),
    ("a: &x 1\nb: *x\n", 2, 4, "aliases are not supported: *x"),
    ("a: !!python/object:os.system x\n", 1, 4, "tags are not supported: "),
    ("a: !!str 1\n", 1, 4, "tags are not supported: tag:yaml.org,2002:str"),
    ("a: !!map {}\n", 1, 4, "tags are not supported: tag:yaml.org,2002:map"),
    ("<<: {a: 1}\n", 1, 1, "merge keys (<<) are not supported"),
    ("a: .nan\n", 1, 4, ".nan is not a number to compare with"),
    ("a: [1, -.INF]\n", 1, 8, "-.INF is not a number to compare with"),
    ("a: 1e999\n", 1, 4, "a number this large cannot be stored"),
    ("a: 1\n---\nb: 2\n", 2, 1, "a second document starts here"),
    ("? [a]\n: 1\n", 1, 3, "a list or mapping cannot be a key"),
    ("a: {{limit}: 1}\n", 1, 5, "a list or mapping cannot be a key"),
    ("a:\n\tb: 1\n", 2, 1, "not YAML: a tab in the indentation"),
    ("a: [1, 2\nb: 3\n", 2, 2, "not YAML: "),
    ("a: 'x\n", 2, 1, "not YAML: found unexpected end of stream"),
    ("a: @b\n", 1, 4, "not YAML: found character that cannot start any token"),
    ("a: b: c\n", 1, 5, "not YAML: mapping values are not allowed in this context"),
    (b"a: 1\nb: \xff\n", 2, 4, "not UTF-8 text: byte 0xff"),
    ("a: x\x00y\n", 1, 5, "a control character does not belong here: U+0000"),
    ("é: \x1b[31m\n", 1, 4, "a control character does not belong here: U+001B"),
    ("a: 1\n".encode("utf-16"), 1, 1, "not UTF-8 text: byte 0xff"),
    ("a: " + "[" * 40, 1, 4 + 31, "nested deeper than 32 levels"),
    ("[" * 200_000, 1, 33, "nested deeper than 32 levels"),
    ("{a: " * 50_000, 1, 1 + 32 * 4, "nested deeper than 32 levels"),
    ("- " * 100_000, 1, 1 + 32 * 2, "nested deeper than 32 levels"),
    ("a: ${NOPE}\n", 1, 4, "the variable NOPE is not set"),
    ("a: x ${NOPE} y\n", 1, 6, "the variable NOPE is not set"),
    ("a: |\n  x\n  ${NOPE}\n", 1, 4, "the variable NOPE is not set"),
    ("a: ${file:/nope/x}\n", 1, 4, "cannot read /nope/x: No such file or directory"),
    ("a: ${file:/}\n", 1, 4, "cannot read /: Is a directory"),
    ("a: ${cred:x}\n", 1, 4, "no credentials: CREDENTIALS_DIRECTORY is not set"),
    ("a: ${1x}\n", 1, 4, "not a variable name: '1x'"),
    ("a: ${X\n", 1, 4, "a ${ without its }"),
]


@pytest.mark.parametrize(("text", "line", "column", "what"), REFUSED)
def test_refused_with_its_place(text, line, column, what):
    assert any((p[0], p[1]) == (line, column) and p[2].startswith(what) for p in problems(text)), (
        problems(text)
    )


def test_a_duplicate_names_both_places():
    [problem] = document("a: 1\nb: {c: 1, c: 2}\n").problems
    assert (problem.line, problem.column) == (2, 11)
    assert problem.hint == "the first is at line 2, column 5"


def test_too_large_and_just_not():
    assert problems(b"#" * (BYTES_MAX + 1)) == [(0, 1, f"larger than {BYTES_MAX} bytes")]
    assert problems(b"#" * BYTES_MAX) == []


def test_places():
    root = document("\ufeffa:\n  - é: 12\n    b: {c: 'd e'}\n").root
    assert root.get("a", 0, "é").place == Place(2, 8, 2)
    assert root.get("a", 0, "é").key == Place(2, 5, 1)
    assert root.get("a", 0, "b", "c").place == Place(3, 12, 5)
    assert root.get("a", 1) is None
    assert root.get("a", 0, "é", "x") is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${N}", 12),
        ("${T}", True),
        ("'${N}'", "12"),
        ("x${N}", "x12"),
        ("${N}${N}", "1212"),
        ("${NOPE:-1e3}", 1000.0),
        ("${NOPE:-}", None),
        ("'${NOPE:-a b}'", "a b"),
        ("${EMPTY:-3}", 3),
        ("$${N}", "${N}"),
        ("a $${N} ${N}", "a ${N} 12"),
        ("${YAML}", "{a: [1]} # no\nb: 2"),
        ("$N", "$N"),
        ("${file:secret}", "hunter2"),
        ("${cred:secret}", "hunter2"),
    ],
)
def test_substitution(text, expected, tmp_path):
    (tmp_path / "secret").write_text("hunter2\n")
    env = {"N": "12", "T": "true", "EMPTY": "", "YAML": "{a: [1]} # no\nb: 2"}
    env["CREDENTIALS_DIRECTORY"] = str(tmp_path)
    assert value(text, env=env, folder=tmp_path) == expected


def test_a_value_is_never_substituted_twice():
    assert value("${A}", env={"A": "${B}", "B": "1"}) == "${B}"


@given(st.binary(max_size=200))
def test_bytes_never_raise(raw):
    document(raw)


PIECES = st.sampled_from(
    ["a", ": ", "\n", "  ", "- ", "[", "]", "{", "}", ",", "'", '"', "|", "&x", "*x", "!t", "#",
     "? ", "${A}", "${", "---", "...", "<<", "\t", "%", "@", "1", ".nan", "\\", "é", "\u2028"]
)  # fmt: skip


@given(st.lists(PIECES, max_size=30).map("".join))
def test_near_yaml_never_raises_and_every_place_exists(text):
    read = document(text, env={"A": "1"})
    for problem in read.problems:
        assert 0 <= problem.line <= len(read.lines) + 1
        assert str(problem).startswith(f"x.yaml:{problem.line}:{problem.column}: error: ")
