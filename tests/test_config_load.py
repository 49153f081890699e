"""Files to a gateway: includes, options of steps and decoders, references; fuzz."""

import random
import textwrap
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.errors import ConfigError
from config.load import load
from config.model import Upstream
from config.params import Options
from tests.config_specs import DECODERS, STEPS

GOOD = """
gateway: g1
sources:
  s: {topic: "plant/{site}/{device}", decode: {csv: {separator: ";"}}, labels: {line: 3}}
pipelines:
  hot:
    from: s
    where: {site: [north, south], device: 12}
    steps:
      - range: {min: -40, max: "{top}"}
      - rolling: {window: 60s}
    alert:
      when: {above: "{limit}", deadband: 5}
      update_by: "{more}"
      topic: alerts/{site}/{device}/hot
    values:
      limit: {default: 90, by: {device: {b7: 95}}}
      top: 200
      more: 2
  many:
    from: {alerts: hot}
    group_by: [site]
    steps: [votes: {of: device}]
    alert: {topic: "alerts/{site}/many"}
  odd:
    from: s
    steps: [score]
    alert: {}
"""


def write(folder, **files):
    for name, text in files.items():
        path = folder / (name.replace("__", "/") + ".yaml")
        path.parent.mkdir(exist_ok=True)
        path.write_text(textwrap.dedent(text))
    return folder / "gateway.yaml"


def loaded(folder, env=None, **files):
    return load(write(folder, **files), STEPS, DECODERS, env or {})


def problems(folder, env=None, **files):
    with pytest.raises(ConfigError) as caught:
        loaded(folder, env, **files)
    return [(Path(p.file).name, p.line, p.column, p.what, p.hint) for p in caught.value.problems]


def pipeline(body, values=""):
    """A file with one source and one pipeline `p`; `body` is line 5, `values` line 7."""
    text = "sources:\n  s: {topic: 'in/{device}'}\npipelines:\n  p:\n"
    text += textwrap.indent(textwrap.dedent(body).strip("\n"), "    ") + "\n    from: s\n"
    if values:
        text += f"    values: {values}\n"
    return text + ("" if "alert:" in body else "    publish: {topic: out/p}\n")


def test_one_file_with_everything(tmp_path):
    got = loaded(tmp_path, gateway=GOOD)
    assert got.gateway.gateway == "g1"
    assert got.files == (tmp_path / "gateway.yaml",)
    assert got.warnings == ()
    hot = got.gateway.pipelines["hot"]
    assert hot.where == {"site": ("north", "south"), "device": ("12",)}
    assert hot.alert.when.above == "{limit}"
    assert hot.values["limit"].by == {"device": {"b7": 95}}
    assert [(s.name, s.options) for s in hot.steps] == [
        ("range", {"min": -40, "max": "{top}"}),
        ("rolling", {"window": "60s"}),
    ]
    assert got.gateway.pipelines["many"].from_ == Upstream(alerts="hot")


def test_includes_in_lexical_order_without_tests(tmp_path):
    got = loaded(
        tmp_path,
        gateway="include: [d/*.yaml, none/*.yaml]\n",
        d__b="pipelines: {p: {from: s, publish: {topic: out}}}\n",
        d__a="sources: {s: {topic: in}}\n",
        **{"d__c.test": "tests: []\n"},
    )
    assert [f.name for f in got.files] == ["gateway.yaml", "a.yaml", "b.yaml"]
    assert list(got.gateway.pipelines) == ["p"]


def test_every_problem_of_every_file(tmp_path):
    assert problems(
        tmp_path,
        gateway="gatewy: x\ninclude: [d/*.yaml, nope.yaml, 3]\nsources: {s: {topic: in}}\n",
        d__a="sources: {s: {topic: other}}\nbroker: {}\n",
        d__b="pipelines: {p: {from: t, publish: {topic: out}}}\n: x: y\n",
    ) == [
        ("a.yaml", 1, 11, "'s' is defined twice", f"the first is at {tmp_path}/gateway.yaml:3"),
        ("a.yaml", 2, 1, "unknown key 'broker'", "known here: sources, pipelines"),
        ("b.yaml", 1, 23, "unknown source 't'", "known here: s"),
        (
            "b.yaml",
            2,
            1,
            "not YAML: did not find expected key",
            "while parsing a block mapping that began at line 1",
        ),
        ("gateway.yaml", 1, 1, "unknown key 'gatewy'", "did you mean 'gateway'?"),
        ("gateway.yaml", 2, 21, "there is no file 'nope.yaml'", "looked beside gateway.yaml"),
        ("gateway.yaml", 2, 32, "expected text, found 3", ""),
        ("gateway.yaml", 3, 11, "source 's' is never used", ""),
    ]


def test_too_many_sources_are_refused_before_they_are_compared(tmp_path):
    text = "sources:\n" + "".join(f"  s{i}: {{topic: t{i}}}\n" for i in range(20_000))
    found = problems(tmp_path, gateway=text)
    assert [p[1:4] for p in found if p[3].startswith("more")] == [(502, 3, "more than 500 sources")]


def test_no_such_file(tmp_path):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "x.yaml", STEPS, DECODERS)
    assert str(caught.value) == (
        f"{tmp_path}/x.yaml: error: cannot read the file: No such file or directory"
    )


STEP_PROBLEMS = [
    ("steps: [roling: {}]", "", 5, 9, "unknown operator 'roling'", "did you mean 'rolling'?"),
    ("steps: [roling]", "", 5, 9, "unknown operator 'roling'", "did you mean 'rolling'?"),
    ("steps: [rolling: {windw: 3}]", "", 5, 19, "unknown key 'windw'", "did you mean 'window'?"),
    ("steps: [rolling]", "", 5, 9, "'window' is missing", "How far back."),
    ("steps: [rolling: {}]", "", 5, 9, "'window' is missing", "How far back."),
    ("steps: [rolling: {window: 0s}]", "", 5, 27, "a window must be longer than 0s", "How far back."),
    ("steps: [rolling: {window: 1, stat: men}]", "", 5, 36, "expected 'mean' or 'max', found 'men'",
     "did you mean 'mean'?"),
    ("steps: [rolling: 3]", "", 5, 9, "the options of rolling are a mapping, found 3", ""),
    ("steps: [range: {min: abc}]", "", 5, 22, "expected a number, found 'abc'", "Lowest possible value."),
    ("steps: [range: {min: true}]", "", 5, 22, "expected a number, found true", "Lowest possible value."),
    ("steps: [range: {n: 12}]", "", 5, 20, "expected at most 9, found 12", ""),
    ("steps: [range: {loud: on}]", "", 5, 23, "expected true or false, found 'on'", "write true"),
    ("steps: [range: {min: {limit}}]", "", 5, 22, "expected a number, found a mapping",
     'put a reference in quotes: "{limit}"'),
    ("steps: [range: {min: '{limt}'}]", "{limit: 3}", 5, 22, "no value is called 'limt'",
     "did you mean 'limit'?"),
    ("steps: [range: {min: '{limit}'}]", "", 5, 22, "no value is called 'limit'",
     "add it: values: {limit: ...}"),
    ("steps: [rolling: {window: '{w}'}]", "{w: 3}", 5, 27, "'window' cannot differ by device", ""),
    ("steps: [range: {wait: '{w}'}]", "{w: 3}", 5, 23, "'wait' cannot differ by device",
     "these can: min, max, n"),
    ("steps: [last: {n: '{n}', k: 3}]", "{n: 3}", 5, 19,
     "'n' sizes the memory of the step and cannot differ by device", "write a number"),
    ("steps: [range: {n: '{n}'}]", "{n: {default: 10}}", 7, 27, "expected at most 9, found 10", ""),
    ("steps: [range: {n: '{n}'}]", "{n: 10}", 7, 17, "expected at most 9, found 10", ""),
    ("steps: [range: {n: '{n}'}]", "{n: {default: 1, by: {device: {a: 1.5}}}}", 7, 47,
     "expected a whole number, found 1.5", ""),
    ("steps: [score: {k: '{k}'}]", "{k: {default: 2, by: {device: {a: 3, b: -1}}}}", 7, 53,
     "expected more than 0, found -1", "How far is too far."),
    ("alert: {when: {above: '{l}'}}", "{}", 5, 23, "no value is called 'l'",
     "add it: values: {l: ...}"),
    ("alert: {when: {above: 1, deadband: '{d}'}}", "{d: {default: 1, by: {device: {x: -1}}}}", 6 + 1,
     47, "must not be negative, got -1", "The value must come back by this much to clear."),
    ("alert: {when: {above: 1}, update_by: '{d}'}", "{d: 0}", 7, 17, "must be more than 0, got 0",
     "Tell again each time an active value got worse by this much."),
]  # fmt: skip


@pytest.mark.parametrize(("body", "values", "line", "column", "what", "hint"), STEP_PROBLEMS)
def test_one_wrong_option_is_one_problem(tmp_path, body, values, line, column, what, hint):
    found = problems(tmp_path, gateway=pipeline(body, values))
    column += 4 if line == 5 else 0  # the indentation of `body`
    assert ("gateway.yaml", line, column, what, hint) in found
    others = [p for p in found if "is never used" not in p[3] and "group_by" not in p[3]]
    assert len(others) == 1


def test_two_references_are_tried_together(tmp_path):
    values = "{lo: {default: 1, by: {device: {a: 50}}}, hi: {default: 90, by: {site: {x: 40}}}}"
    body = "steps: [range: {min: '{lo}', max: '{hi}'}]"
    found = problems(tmp_path, gateway=pipeline(body, values))
    assert ("gateway.yaml", 5, 20, "min must be less than max, got 50 and 40", "") in found


def test_outside_of_two_references(tmp_path):
    body = "alert: {when: {outside: ['{lo}', '{hi}']}}"
    found = problems(tmp_path, gateway=pipeline(body, "{lo: 9, hi: 3}"))
    assert [p[3] for p in found] == ["outside: [low, high] needs low < high, got [9.0, 3.0]"]


@pytest.mark.parametrize(
    ("decode", "column", "what", "hint"),
    [
        ("jso", 26, "unknown decoder 'jso'", "did you mean 'json'?"),
        ("{jso: {}}", 27, "unknown decoder 'jso'", "did you mean 'json'?"),
        ("{csv: {seperator: x}}", 33, "unknown key 'seperator'", "did you mean 'separator'?"),
        ("{csv: {separator: xy}}", 44, "the text should have at most 1 character", ""),
        ("{json: {}, csv: {}}", 26, "expected one decoder, such as {json: {...}}", ""),
        ("{json: {a: 1}}", 34, "unknown key 'a'", ""),
    ],
)
def test_decoder_options(tmp_path, decode, column, what, hint):
    text = f"sources: {{s: {{decode:    {decode}, topic: a}}}}\n"
    text += "pipelines: {p: {from: s, publish: {topic: b}}}\n"
    assert problems(tmp_path, gateway=text) == [("gateway.yaml", 1, column, what, hint)]


def test_a_secret_is_in_no_problem(tmp_path):
    (tmp_path / "pw").write_text("hunter2\n")
    text = """
        broker:
          url: ${file:pw}
          keepalive: ${PW}
          protocol: ${PW}
          password: {x: hunter2}
          pasword: hunter2
        limits: {series_max: "${PW}"}
        sources:
          s: {topic: "a/${PW}#", qos: "${PW}", lateness: "${file:pw}"}
        pipelines:
          p:
            from: s
            steps: [range: {min: "${PW}", n: "${PW}"}]
            alert: {when: {above: "${PW}", outside: ["${PW}", 1]}}
        """
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, {"PW": "hunter2"}, gateway=text)
    assert len(caught.value.problems) >= 11
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in str([p.as_dict() for p in caught.value.problems])


def test_a_password_in_an_address_is_in_no_problem(tmp_path):
    text = 'broker: {url: "mqtt://ann:hunter2@localhost:1883", keepalive: 1}\n'
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, gateway=text)
    assert "'mqtt://***@localhost:1883' does not fit here" in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in str([p.as_dict() for p in caught.value.problems])


def checked(folder, raw):
    """Load foreign bytes: a good configuration or a ConfigError, nothing else."""
    path = folder / "gateway.yaml"
    path.write_bytes(raw)
    try:
        load(path, STEPS, DECODERS, {})
    except ConfigError as error:
        found = error
    else:
        return
    assert found.problems
    assert all(p.line >= 0 and p.what for p in found.problems)
    assert [p.as_dict() for p in found.problems]


@given(st.binary(max_size=300))
@settings(max_examples=100)
def test_random_bytes_never_crash_the_loader(tmp_path_factory, raw):
    checked(tmp_path_factory.mktemp("fuzz"), raw)


WORDS = ["{", "}", "[", "]", ": ", "\n", "  ", "'", "null", "[]", "{}", "-1", "true", "${X}", "x",
         "'{limit}'", "1e400", "#", "/", "s", "hot", "{alerts: many}", "\x00", "é", "{a: {b: 1}}"]  # fmt: skip


@given(st.integers(0, 10**9))
@settings(max_examples=300)
def test_mutated_configurations_never_crash_the_loader(tmp_path_factory, seed):
    rng = random.Random(seed)
    tokens = GOOD.replace("{", " { ").split(" ")
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(tokens))
        tokens[at : at + rng.randint(0, 2)] = [rng.choice(WORDS)] * rng.randint(0, 2)
    checked(tmp_path_factory.mktemp("fuzz"), " ".join(tokens).encode())


MANY_MISTAKES = """\
broker: {url: mqtt//localhost, qos: 1}
sources:
  boilers:
    topic: plant/{site}/boiler/{device}/telemetry
    decode: jsn
    lateness: 2
    on: yes
pipelines:
  overheat:
    from: boilers
    where: {chanel: temperature}
    steps:
      - rollin: {window: 60s}
    alert:
      when: {above: "{limt}", below: 3, on_delay: 30}
      severity: catastrophic
      topic: alerts/{sit}/x
    values:
      limit: {default: 90, by: {devce: {b7: 95}}}
  lonely: {from: boiler}
"""


def test_one_mistake_hides_no_other(tmp_path):
    path = tmp_path / "gateway.yaml"
    path.write_text(MANY_MISTAKES)
    with pytest.raises(ConfigError) as caught:
        load(path, {}, {"json": Options}, {})
    found = [(p.line, p.column, p.what) for p in caught.value.problems]
    assert found == [
        (1, 15, "'mqtt//localhost' does not fit here"),
        (1, 32, "unknown key 'qos'"),
        (5, 13, "unknown decoder 'jsn'"),
        (6, 15, "a duration needs a unit: did you mean 2s or 2ms?"),
        (7, 5, "unknown key 'on'"),
        (11, 13, "the stream has no label 'chanel' here"),
        (13, 9, "unknown operator 'rollin'"),
        (15, 13, "give one of above, below, outside, levels; found above and below"),
        (15, 21, "no value is called 'limt'"),
        (15, 51, "a duration needs a unit: did you mean 30s or 30ms?"),
        (
            16,
            17,
            "expected 'info', 'warning', 'minor', 'major' or 'critical', found 'catastrophic'",
        ),
        (19, 7, "value 'limit' is never used"),
        (20, 3, "nothing leaves pipeline 'lonely'"),
        (20, 18, "unknown source 'boiler'"),
    ]
