"""Pipelines that take the alerts of several others: what may be written, and what is said if not."""

import jsonschema
import pytest

from config.errors import ConfigError
from config.load import load
from config.model import Upstream
from config.nodes import parse
from config.schema import schema
from pipelines.operator import load_all
from tests.config_specs import DECODERS, STEPS
from tests.test_config_load import loaded, problems, write

HEAD = """\
sources:
  s: {topic: "plant/{site}/{device}", labels: {line: a}}
pipelines:
  hot: {from: s, alert: {when: {above: 3}, topic: "alerts/{site}/{device}"}}
  odd: {from: s, alert: {when: {above: 9}}}
  many: {from: s, group_by: [site], steps: [votes: {of: device}], alert: {when: {above: 1}}}
  raw: {from: s, publish: {topic: "raw/{device}"}}
  both: {from: {alerts: [hot, odd]}, publish: {topic: "both/{alert}/{device}"}}
"""
OUT = "publish: {topic: out}"

# what stands in line 9 for pipeline p, (column of the problem, what, hint)
WRONG = [
    (f"{{from: {{alerts: [hot, od]}}, {OUT}}}", 28, "unknown pipeline 'od'", "did you mean 'odd'?"),
    (f"{{from: {{alerts: [hot, s]}}, {OUT}}}", 28, "unknown pipeline 's'",
     "s is a source: write from: s"),
    (f"{{from: {{alerts: [raw, hot]}}, {OUT}}}", 23, "pipeline 'raw' has no alert",
     "write {samples: raw}"),
    (f"{{from: {{alerts: [hot, odd, hot]}}, {OUT}}}", 33, "pipeline 'hot' is here twice",
     "remove one of them"),
    (f"{{from: {{alerts: []}}, {OUT}}}", 22, "too few entries: at least 1",
     "A pipeline; or a list, whose alerts come with the label alert: its name."),
    (f"{{from: {{alerts: 3}}, {OUT}}}", 22, "expected text or a list, found 3",
     "A pipeline; or a list, whose alerts come with the label alert: its name."),
    (f"{{from: {{alerts: [hot, 3]}}, {OUT}}}", 28, "expected text, found 3", ""),
    (f"{{from: {{samples: [raw, hot]}}, {OUT}}}", 23,
     "one pipeline, not a list: only alerts come together",
     "A pipeline whose last step makes samples."),
    (f"{{from: {{windows: [raw, hot]}}, {OUT}}}", 23,
     "one pipeline, not a list: only alerts come together",
     "A pipeline whose last step makes windows."),
    ("{from: {alerts: [odd, p]}, alert: {when: {above: 1}}}", 13,
     "pipelines in a circle: p → p", "one must take from a source"),
    ("{from: {alerts: [hot, many]}, publish: {topic: 'o/{alert}/{device}'}}", 53,
     "not all alerts have this label: 'many' without 'device'", "known here: alert, site"),
    (f"{{from: {{alerts: [hot, many]}}, where: {{channel: x}}, {OUT}}}", 44,
     "not all alerts have this label: 'many' without 'channel'",
     "known here: alert, site"),
    (f"{{from: {{alerts: [hot, odd]}}, where: {{alert: hott}}, {OUT}}}", 50,
     "none of the alerts is called 'hott'", "did you mean 'hot'?"),
    (f"{{from: {{alerts: [hot, odd]}}, where: {{alert: [odd, 'x*']}}, {OUT}}}", 56,
     "none of the alerts is called 'x*'", "known here: hot, odd"),
    ("{from: {alerts: hot}, publish: {topic: 'o/{alert}'}}", 45,
     "the stream has no label 'alert' here", "known here: channel, device, line, site"),
    (f"{{from: {{alerts: [both, many]}}, {OUT}}}", 23, "pipeline 'both' has no alert",
     "write {samples: both}"),
    ("{from: {alerts: [hot, many]}, publish: {topic: 'plant/{site}/x'}}", 53,
     "a loop through the broker: 'plant/{site}/x' is taken by source 's'",
     "its filter is 'plant/{site}/{device}'; publish under another first level"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "column", "what", "hint"), WRONG)
def test_wrong(tmp_path, body, column, what, hint):
    found = problems(tmp_path, gateway=f"{HEAD}  p: {body}\n")
    assert found == [("gateway.yaml", 9, column, what, hint)]


RIGHT = [
    "{from: {alerts: [hot, odd]}, publish: {topic: 'o/{alert}/{site}/{device}/{channel}/{line}'}}",
    "{from: {alerts: [hot]}, publish: {topic: 'o/{alert}/{device}'}}",
    "{from: {alerts: [hot, many]}, publish: {topic: 'o/{alert}/{site}'}}",
    "{from: {alerts: [hot, many]}, where: {alert: hot}, publish: {topic: 'o/{alert}/{device}'}}",
    "{from: {alerts: [hot, many]}, where: {alert: [h*]}, publish: {topic: 'o/{device}'}}",
    "{from: {samples: both}, publish: {topic: 'o/{alert}/{device}'}}",
    (
        "{from: {alerts: [hot, odd]}, group_by: [alert], steps: [votes: {of: device}], "
        "publish: {topic: 'o/{alert}'}}"
    ),
    "{from: {alerts: [hot, odd]}, steps: [rank: {of: device}], publish: {topic: 'o/{alert}'}}",
    (
        "{from: {alerts: [hot, many]}, group_by: [site], steps: [votes: {of: alert}], "
        "values: {v: {by: {alert: {hot: 3}}}}, alert: {when: {above: '{v}'}}}"
    ),
]


@pytest.mark.parametrize("body", RIGHT)
def test_right(tmp_path, body):
    assert loaded(tmp_path, gateway=f"{HEAD}  p: {body}\n").warnings == ()


@pytest.mark.parametrize(("body", "column", "what", "hint"), [
    ("steps: [quorum: {of: alert, at_least: 2}]", 44,
     "quorum never combines these alerts: 'many' without 'device'",
     "name what they have in common: group_by: [site]"),
    ("group_by: [site], steps: [sequence: {of: alert, within: 1m, steps: [is: hot, is: mann]}]", 96,
     "no series here has alert 'mann'", "did you mean 'many'?"),
])  # fmt: skip
def test_steps_that_would_wait_for_what_never_comes(tmp_path, body, column, what, hint):
    head = HEAD.replace("votes: {of: device}", "quorum: {of: device, at_least: 2}")
    path = write(
        tmp_path, gateway=f"{head}  p: {{from: {{alerts: [hot, many]}}, {body}, alert: {{}}}}\n"
    )
    with pytest.raises(ConfigError) as caught:
        load(path, load_all(), DECODERS, {})
    [problem] = caught.value.problems
    assert (problem.line, problem.column, problem.what, problem.hint) == (9, column, what, hint)


def test_alerts_that_are_told_apart_already(tmp_path):
    text = HEAD.replace(
        'both/{alert}/{device}"}', 'both/{alert}/{device}"}, alert: {when: {above: 1}}'
    )
    assert text != HEAD
    text += f"  p: {{from: {{alerts: [many, both]}}, {OUT}}}\n"
    assert problems(tmp_path, gateway=text) == [
        ("gateway.yaml", 9, 29, "alerts of 'both' have a label 'alert' already",
         "combine its series without it, by group_by in both"),
    ]  # fmt: skip


def test_a_circle_through_any_of_them(tmp_path):
    text = HEAD + "".join(
        f"  {name}: {{from: {{alerts: [{above}]}}, alert: {{when: {{above: 1}}}}}}\n"
        for name, above in [("a", "hot, b"), ("b", "odd, c"), ("c", "many, b"), ("d", "hot, c")]
    )
    assert [(p[1], p[3]) for p in problems(tmp_path, gateway=text)] == [
        (10, "pipelines in a circle: b → c → b"),
        (11, "pipelines in a circle: c → b → c"),
    ]


def lattice(levels):
    """Two pipelines on each level that take the alerts of both of the level above."""
    above = "hot, odd"
    for i in range(levels):
        for name in (f"l{i}", f"r{i}"):
            yield (
                f"  {name}: {{from: {{alerts: [{above}]}}, group_by: [site], "
                "steps: [votes: {of: alert}], alert: {when: {above: 1}}}\n"
            )
        above = f"l{i}, r{i}"


def test_as_many_ways_as_there_are_still_end(tmp_path):
    assert loaded(tmp_path, gateway=HEAD + "".join(lattice(15))).warnings == ()
    found = problems(tmp_path, gateway=HEAD + "".join(lattice(200)))
    assert {p[3] for p in found} == {"a chain of more than 16 pipelines"}
    assert len(found) == 2 * (200 - 15)


def test_what_comes_back_through_the_broker_to_any_source_is_a_loop(tmp_path):
    text = """\
sources:
  s: {topic: "s/{device}"}
  t: {topic: "t/{device}"}
pipelines:
  a: {from: s, alert: {when: {above: 3}}}
  b: {from: t, alert: {when: {above: 3}}}
  p: {from: {alerts: [a, b]}, publish: {topic: "t/{device}"}}
"""
    found = [p[1:4] for p in problems(tmp_path, gateway=text)]
    assert (7, 48, "a loop through the broker: 't/{device}' is taken by source 't'") in found
    assert {what for *_, what in found} == {found[0][2]}


AGREE = [
    ("hot", True),
    ("[hot]", True),
    ("[hot, odd]", True),
    ("[]", False),
    ("[hot, hot]", False),
    ("[hot, 3]", False),
    ("{hot: odd}", False),
]


@pytest.mark.parametrize(("alerts", "good"), AGREE)
def test_editors_know_lists_of_alerts(tmp_path, alerts, good):
    text = f"{HEAD}  p: {{from: {{alerts: {alerts}}}, {OUT}}}\n"
    data = parse(text.encode(), "x", {}, tmp_path).root.data()
    assert jsonschema.Draft202012Validator(schema(STEPS)).is_valid(data) is good
    if good:
        loaded(tmp_path, gateway=text)
    else:
        assert problems(tmp_path, gateway=text)


def test_a_list_of_one_is_still_a_list():
    assert Upstream(alerts=["hot"]).pipelines == Upstream(alerts="hot").pipelines == ("hot",)
    assert Upstream(alerts=["hot"]).together
    assert not Upstream(alerts="hot").together
