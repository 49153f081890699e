"""The exact text that people see, and what `read` returns."""

import subprocess
import sys
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field

from config.binding import read
from config.errors import ConfigError, Problem
from config.model import Gateway
from config.params import Options
from config.units import Duration, Size


class Inner(Options):
    window: Duration = Field(10**9, ge=10**9, description="How far back.")
    size: Size = Field(1024)


class Wanted(Options):
    name: str
    kind: Literal["red", "green"] = "red"
    n: Annotated[int, Field(ge=1, le=9)] = 1
    on: bool = True
    inner: Inner = Inner()
    many: dict[str, Inner] = Field(default_factory=dict)
    pair: tuple[float, ...] = ()


def shown(tmp_path, text, model=Wanted, env=None):
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read(path, model, env or {})
    return str(caught.value).replace(str(path), "x.yaml")


def test_read(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("name: a\ninner: {window: 1m30s, size: 2KiB}\npair: [1, 2]\non: false\n")
    got = read(path, Wanted, {})
    assert got == Wanted(name="a", inner={"window": "90s", "size": 2048}, pair=(1, 2), on=False)


def test_an_empty_file_is_an_empty_mapping(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("# nothing\n")
    assert read(path, Gateway, {}) == Gateway()


def test_the_environment_is_the_process_own_by_default(tmp_path, monkeypatch):
    monkeypatch.setenv("WEIR_NAME", "from-env")
    path = tmp_path / "x.yaml"
    path.write_text("name: ${WEIR_NAME}\n")
    assert read(path, Wanted).name == "from-env"


GOLDEN = [
    (
        "name: a\ninner:\n  windw: 60s\n",
        """\
x.yaml:3:3: error: unknown key 'windw'
  hint: did you mean 'window'?
    3 |   windw: 60s
      |   ^^^^^""",
    ),
    (
        "kind: gren\nn: 0\n",
        """\
x.yaml:1:1: error: 'name' is missing
    1 | kind: gren
      | ^
x.yaml:1:7: error: expected 'red' or 'green', found 'gren'
  hint: did you mean 'green'?
    1 | kind: gren
      |       ^^^^
x.yaml:2:4: error: expected at least 1, found 0
    2 | n: 0
      |    ^""",
    ),
    (
        "name: [a]\non: yes\nmany: {b: {window: 10ms, size: 5 parsec}}\n",
        """\
x.yaml:1:7: error: expected text, found a list
    1 | name: [a]
      |       ^
x.yaml:2:5: error: expected true or false, found 'yes'
  hint: write true
    2 | on: yes
      |     ^^^
x.yaml:3:20: error: expected at least 1s, found '10ms'
  hint: How far back.
    3 | many: {b: {window: 10ms, size: 5 parsec}}
      |                    ^^^^
x.yaml:3:32: error: expected a size such as 256KiB or 32MiB, got '5 parsec'
    3 | many: {b: {window: 10ms, size: 5 parsec}}
      |                                ^^^^^^^^""",
    ),
    (
        "- 1\n",
        """\
x.yaml:1:1: error: expected a mapping, found a list
    1 | - 1
      | ^""",
    ),
    (
        "name: x\npair: [1, b, true]\ninner:\n",
        """\
x.yaml:2:11: error: expected a number, found 'b'
    2 | pair: [1, b, true]
      |           ^
x.yaml:2:14: error: expected a number, found true
    2 | pair: [1, b, true]
      |              ^^^^
x.yaml:3:1: error: expected a mapping, found nothing
    3 | inner:
      | ^^^^^""",
    ),
]


@pytest.mark.parametrize(("text", "expected"), GOLDEN)
def test_the_words(tmp_path, text, expected):
    assert shown(tmp_path, text) == expected


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("pipelines: {p: {from: 3}}", "expected text or a mapping, found 3"),
        ("pipelines: {p: {from: {alertz: x}}}", "unknown key 'alertz'"),
        ("pipelines: {p: {from: {alerts: x, samples: y}}}", "give one of alerts, samples, windows"),
        ("sources: {s: {topic: a, channels: {a: [1]}}}", "expected text, found a list"),
        ("sources: {s: {topic: a, channels: 3}}", "expected a list or a mapping, found 3"),
        ("sources: {s: {topic: a/#/b}}", "# may only be the last level"),
        ("sources: {s: {topic: a, qos: 2}}", "expected 0 or 1, found 2"),
        ("sources: {s: {topic: a, qos: true}}", "expected a number, found true"),
        ("sources: {9: {topic: a}}", "expected a name of letters, digits, _ and -, a letter first"),
        ("pipelines: {p: {from: s, alert: {when: {above: hot}}}}",
         """expected a number or "{name}" of an entry in values, found 'hot'"""),
        ("pipelines: {p: {from: s, values: {x: [1]}}}", "expected a mapping, found a list"),
        ("broker: {keepalive: 5}", "a duration needs a unit: did you mean 5s or 5ms?"),
        ("record: {size: 1MiB}", "expected at least 16777216, found '1MiB'"),
        ("record: {folder: ''}", "the text should have at least 1 character"),
        ("record: {commit_delay: 0s}", "expected at least 10ms, found '0s'"),
        ("broker: {protocol: 4}", "expected 'auto', '5' or '3.1.1', found 4"),
    ],
)  # fmt: skip
def test_unions_and_aliases_give_one_problem(tmp_path, text, what):
    found = shown(tmp_path, text, Gateway)
    assert f"error: {what}" in found
    assert found.count("error: ") == 1


def test_a_secret_value_is_hidden_even_where_it_is_wrong(tmp_path):
    text = 'broker:\n  password: {a: hunter2}\n  keepalive: "${PW}"\n  passwort: hunter2\n'
    assert (
        shown(tmp_path, text, Gateway, {"PW": "hunter2"})
        == """\
x.yaml:2:13: error: expected text, found a mapping
  hint: Better from a file: ${file:/run/secrets/mqtt}.
    2 |   password: ***
      |             ^
x.yaml:3:14: error: the value of ${PW} is not valid here
    3 |   keepalive: "${PW}"
      |              ^^^^^^^
x.yaml:4:3: error: unknown key 'passwort'
  hint: did you mean 'password'?
    4 |   passwort: ***
      |   ^^^^^^^^"""
    )


def test_long_lines_are_cut_around_the_word():
    problem = Problem("f", 1, 501, "bad", "", "x" * 500 + "HERE" + "y" * 500, 4)
    line, caret = str(problem).splitlines()[1:]
    assert len(line) < 140
    assert line[caret.index("^") : caret.index("^") + 4] == "HERE"
    assert caret.count("^") == 4


def test_foreign_text_cannot_move_the_cursor():
    problem = Problem("f", 1, 1, "bad \x1b[2J\n text", "\x07", "\x1b[31m red")
    assert "\x1b" not in str(problem)
    assert str(problem).splitlines()[0] == r"f:1:1: error: bad \x1b[2J\n text"
    assert "\x1b" not in problem.as_dict()["what"]


def test_problems_are_sorted_and_each_is_said_once():
    a, b = Problem("b", 1, 1, "x"), Problem("a", 9, 1, "x")
    assert ConfigError([a, b, a]).problems == (b, a)
    assert b.as_dict() == {
        "file": "a", "line": 9, "column": 1, "length": 1, "level": "error",
        "what": "x", "hint": "", "excerpt": "",
    }  # fmt: skip


def test_no_heavy_import():
    code = "import sys, config.load, config.schema; print(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        cwd=Path(__file__).parents[1],
    )  # fmt: skip
    assert not {"numpy", "numba", "paho", "rich", "typer"} & set(done.stdout.split())
