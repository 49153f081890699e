"""Whether sources and pipelines fit together: one file per wrong thing, one problem each."""

import pytest

from tests.test_config_load import loaded, problems

HEAD = """\
sources:
  s: {topic: "plant/{site}/{device}", labels: {line: a}}
pipelines:
  hot: {from: s, alert: {when: {above: 3}, topic: "alerts/{site}/{device}"}}
"""
OUT = "publish: {topic: out}"
VOTES = "steps: [votes: {of: device}]"

# what stands in line 5 for pipeline p, (column of the problem, what, hint)
WRONG = [
    (f"{{from: t, {OUT}}}", 13, "unknown source 't'", "known here: s"),
    (f"{{from: boilers, {OUT}}}", 13, "unknown source 'boilers'", "known here: s"),
    (f"{{from: hot, {OUT}}}", 13, "unknown source 'hot'",
     "hot is a pipeline: write from: {samples: hot}"),
    (f"{{from: {{samples: hott}}, {OUT}}}", 23, "unknown pipeline 'hott'", "did you mean 'hot'?"),
    (f"{{from: {{samples: s}}, {OUT}}}", 23, "unknown pipeline 's'",
     "s is a source: write from: s"),
    (f"{{from: {{windows: hot}}, {OUT}}}", 23, "pipeline 'hot' has no windows",
     "its last step makes no windows: write {samples: hot}"),
    (f"{{from: {{samples: p}}, {OUT}}}", 13, "pipelines in a circle: p → p",
     "one must take from a source"),
    ("{from: s}", 3, "nothing leaves pipeline 'p'",
     "give it an alert or publish, or let another pipeline take from it"),
    ("{from: s, alert: {}}", 16, "an alert without a condition",
     "add when: {above: ...}; there is no detector with a condition of its own"),
    ("{from: s, alert: {when: {deadband: 1}}}", 16, "an alert without a condition",
     "add when: {above: ...}; there is no detector with a condition of its own"),
    ("{from: s, steps: [score, rolling: {window: 3}], alert: {}}", 54,
     "an alert without a condition",
     "add when: {above: ...}; the last step, rolling, is no detector with a condition of its own"),
    (f"{{from: s, group_by: [site], {OUT}}}", 16, "group_by has no effect: no step combines series",
     "remove it, or add a step that combines series, such as quorum"),
    (f"{{from: s, group_by: [sit], {VOTES}, {OUT}}}", 27, "the stream has no label 'sit' here",
     "did you mean 'site'?"),
    (f"{{from: s, where: {{chanel: x}}, {OUT}}}", 24, "the stream has no label 'chanel' here",
     "did you mean 'channel'?"),
    ("{from: s, publish: {topic: 'o/{gatway}/{devic}'}}", 33, "the stream has no label 'devic' here",
     "did you mean 'device'?"),
    (f"{{from: s, group_by: [site], {VOTES}, publish: {{topic: 'o/{{device}}'}}}}", 81,
     "the stream has no label 'device' here", "known here: site"),
    ("{from: s, values: {v: 3}, publish: {topic: o}}", 25, "value 'v' is never used",
     "refer to it by {v} in quotes, or remove it"),
    ("{from: s, alert: {when: {above: '{v}'}}, values: {v: {by: {dev: {a: 1}}}}}", 65,
     "the stream has no label 'dev' here", "did you mean 'device'?"),
    ("{from: s, publish: {topic: 'plant/{site}/mean'}}", 33,
     "a loop through the broker: 'plant/{site}/mean' is taken by source 's'",
     "its filter is 'plant/{site}/{device}'; publish under another first level"),
    ("{from: {samples: hot}, publish: {topic: '{site}/x/y'}}", 46,
     "a loop through the broker: '{site}/x/y' is taken by source 's'",
     "its filter is 'plant/{site}/{device}'; publish under another first level"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "column", "what", "hint"), WRONG)
def test_wrong(tmp_path, body, column, what, hint):
    found = problems(tmp_path, gateway=f"{HEAD}  p: {body}\n")
    assert ("gateway.yaml", 5, column, what, hint) in [
        (f, line, c, w, h) for f, line, c, w, h in found
    ]
    assert len(found) <= 2


RIGHT = [
    f"{{from: {{alerts: hot}}, group_by: [site], {VOTES}, publish: {{topic: 'o/{{site}}'}}}}",
    "{from: s, group_by: [site], steps: [rank: {of: device}], publish: {topic: 'o/{device}'}}",
    "{from: s, steps: [score], alert: {when: {deadband: 1}}}",
    "{from: s, publish: {topic: 'o/{gateway}/{pipeline}/{site}/{device}/{channel}/{line}'}}",
    "{from: s, where: {site: north}, publish: {topic: '{site}/x/y'}}",
    "{from: s, publish: {topic: 'plant/{site}/{device}/mean'}}",
]


@pytest.mark.parametrize("body", RIGHT)
def test_right(tmp_path, body):
    assert loaded(tmp_path, gateway=f"{HEAD}  p: {body}\n").warnings == ()


def test_alerts_of_a_pipeline_without_alert(tmp_path):
    text = f"{HEAD}  p: {{from: s, {OUT}}}\n  q: {{from: {{alerts: p}}, publish: {{topic: q}}}}\n"
    assert problems(tmp_path, gateway=text) == [
        ("gateway.yaml", 6, 22, "pipeline 'p' has no alert", "write {samples: p}")
    ]


def test_windows_of_an_aggregate(tmp_path):
    text = f"{HEAD}  p: {{from: s, steps: [aggregate: {{window: 1m}}]}}\n"
    text += "  q: {from: {windows: p}, publish: {topic: 'w/{device}'}}\n"
    assert loaded(tmp_path, gateway=text).warnings == ()


def test_a_longer_circle_and_what_hangs_on_it(tmp_path):
    text = HEAD + "".join(
        f"  {name}: {{from: {{samples: {above}}}, publish: {{topic: 'o/{{x}}'}}}}\n"
        for name, above in [("a", "b"), ("b", "c"), ("c", "b")]
    )
    assert [(p[1], p[3]) for p in problems(tmp_path, gateway=text)] == [
        (6, "pipelines in a circle: b → c → b"),
        (7, "pipelines in a circle: c → b → c"),
    ]


def test_a_chain_too_long(tmp_path):
    text = HEAD + "".join(
        f"  p{i}: {{from: {{samples: {f'p{i - 1}' if i else 'hot'}}}, {OUT}}}\n" for i in range(400)
    )
    found = problems(tmp_path, gateway=text)
    assert {p[3] for p in found} == {"a chain of more than 16 pipelines"}
    assert len(found) == 400 - 15


def test_two_sources_of_one_topic(tmp_path):
    text = HEAD.replace("pipelines:", "  t: {topic: plant/+/b7}\npipelines:")
    [problem] = [p for p in problems(tmp_path, gateway=text) if "used" not in p[3]]
    assert problem == (
        "gateway.yaml", 3, 14, "sources 's' and 't' take the same topics",
        f"'plant/{{site}}/{{device}}' is at {tmp_path}/gateway.yaml:2",
    )  # fmt: skip


def test_a_source_that_nothing_uses_is_a_warning(tmp_path):
    text = HEAD.replace("pipelines:", "  t: {topic: other}\npipelines:")
    [warning] = loaded(tmp_path, gateway=text).warnings
    assert (
        str(warning).replace(str(tmp_path), "")
        == """\
/gateway.yaml:3:3: warning: source 't' is never used
    3 |   t: {topic: other}
      |   ^"""
    )


def test_default_alert_topic_under_the_own_source(tmp_path):
    text = "sources: {s: {topic: 'alerts/#'}}\npipelines: {p: {from: s, alert: {when: {above: 1}}}}"
    assert [p[1:4] for p in problems(tmp_path, gateway=text)] == [
        (2, 26, "a loop through the broker: alerts are taken by source 's'")
    ]


def test_state_topic_under_the_own_source(tmp_path):
    text = "sources: {s: {topic: 'state/#'}}\n"
    text += "pipelines: {p: {from: s, alert: {topic: a, when: {above: 1}}}}"
    assert [p[1:4] for p in problems(tmp_path, gateway=text)] == [
        (2, 41, "a loop through the broker: 'state/a' is taken by source 's'")
    ]


def test_parts_with_problems_of_their_own_still_have_their_names(tmp_path):
    text = HEAD + "  p: {from: s, nonsense: 1}\n  q: {from: {samples: p}, publish: {topic: q}}\n"
    assert [p[3] for p in problems(tmp_path, gateway=text)] == ["unknown key 'nonsense'"]


def source(options):
    """A file in which line 2 ends with these options of source s."""
    text = HEAD.replace("}\npipelines", f", {options}}}\npipelines", 1)
    assert text != HEAD
    return text


NOTICES = [
    ("late: side, late_topic: 'late/{devic}'", "the stream has no label 'devic' here",
     "did you mean 'device'?"),
    ("future_topic: 'ahead/{channel}'", "the stream has no label 'channel' here",
     "known here: device, line, site"),
    ("future_topic: 'plant/{site}/ahead'",
     "a loop through the broker: 'plant/{site}/ahead' is taken by this source",
     "its filter is 'plant/{site}/{device}'; give future_topic another first level"),
    ("late: side, late_topic: 'plant/{line}/{channel}'",
     "a loop through the broker: 'plant/{line}/{channel}' is taken by this source",
     "its filter is 'plant/{site}/{device}'; give late_topic another first level"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "what", "hint"), NOTICES)
def test_topics_of_late_samples_and_of_clocks_that_run_ahead(tmp_path, options, what, hint):
    [(_, line, _, found, advice)] = problems(tmp_path, gateway=source(options))
    assert (line, found, advice) == (2, what, hint)


def test_topics_of_a_source_that_fit(tmp_path):
    for options in (
        "late: side",
        "late: side, late_topic: 'late/{gateway}/{source}/{line}/{channel}'",
        "late: drop, future_topic: 'ahead/{source}/{site}/{device}'",
    ):
        assert loaded(tmp_path, gateway=source(options)).warnings == ()


@pytest.mark.parametrize("late", ["", "late: drop, ", "late: amend, "])
def test_late_topic_without_late_samples_to_publish(tmp_path, late):
    [(_, line, _, what, _)] = problems(
        tmp_path, gateway=source(f"{late}late_topic: 'x/{{device}}'")
    )
    assert line == 2
    assert "late_topic goes with late: side" in what


def test_a_source_that_would_take_its_own_notices_is_warned_of(tmp_path):
    text = "sources:\n  s: {topic: '{site}/{device}/#'}\npipelines:\n"
    text += f"  p: {{from: s, {OUT}}}\n"
    [warning] = loaded(tmp_path, gateway=text).warnings
    assert warning.what == (
        "a loop through the broker: 'quarantine/{source}/{device}/{site}' is taken by this source"
    )
