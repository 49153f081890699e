"""Tests that users write: those we ship pass, broken pipelines fail them, and the run is true."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
import typer
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import maximum_bipartite_matching
from typer.testing import CliRunner

import daemon.trial
from config.errors import ConfigError
from config.trials import Trial, read_suite
from daemon.cli import commands
from daemon.cli.files import read_config
from daemon.trial import Played, Told, involved, prepare
from daemon.verdict import _claims, happened, judge, offset, timeline

EXAMPLES = Path(__file__).parents[1] / "config" / "examples"
SHIPPED = EXAMPLES / "pipelines.d" / "boilers.test.yaml"
SUITE = read_suite(SHIPPED)
GATEWAY = read_config(EXAMPLES / "gateway.yaml").gateway
S = 1_000_000_000

HOT = """
sources:
  s: {topic: "plant/{site}/{device}", SOURCE}
pipelines:
  hot:
    from: s
    alert: {when: {above: 90}, severity: major, topic: "alerts/{device}"}
"""


def stages(folder, text, config=HOT, source="decode: json"):
    (folder / "gateway.yaml").write_text(config.replace("SOURCE", source))
    path = folder / "hot.test.yaml"
    path.write_text(text)
    suite = read_suite(path)
    return prepare(suite, read_config(suite.config).gateway)


def one(folder, trial, **more):
    [stage] = stages(folder, "tests:\n- " + trial.strip().replace("\n", "\n  "), **more)
    return stage


def failures(stage):
    return [f.text for f in judge(stage.trial, stage.play())]


# --- what we ship --------------------------------------------------------------------------


@pytest.mark.parametrize("index", range(len(SUITE.trials)), ids=lambda i: SUITE.trials[i].name)
def test_a_shipped_test_passes(index):
    assert failures(prepare(SUITE, GATEWAY)[index]) == []


def test_every_shipped_pipeline_has_a_test():
    assert {trial.pipeline for trial in SUITE.trials} == set(GATEWAY.pipelines)


def broken(gateway, pipeline, change):
    """The gateway with one thing of one pipeline changed: (path, value)."""
    spec = gateway.pipelines[pipeline].model_dump(by_alias=True, exclude_none=True)
    *path, last = change[0]
    at = spec
    for part in path:
        at = at[part]
    at[last] = change[1]
    raw = type(gateway.pipelines[pipeline]).model_validate(spec)
    return gateway.model_copy(update={"pipelines": {**gateway.pipelines, pipeline: raw}})


@pytest.mark.parametrize(
    ("pipeline", "path", "value"),
    [
        ("overheat", ("values", "limit", "default"), 97),
        ("overheat", ("values", "limit", "by"), {}),
        ("overheat", ("alert", "when", "on_delay"), "1s"),
        ("overheat", ("alert", "when", "on_delay"), "90s"),
        ("overheat", ("alert", "when", "off_delay"), "5s"),
        ("overheat", ("alert", "severity"), "minor"),
        ("overheat", ("where",), {"channel": "temperature"}),
        ("overheat", ("steps", 0, "options", "max"), 2000),
        ("silent", ("steps", 0, "options", "timeout"), "20m"),
        ("stuck", ("steps", 0, "options", "window"), "5m"),
        ("odd", ("steps", 0, "options", "min_samples"), 5000),
        ("unsteady", ("values", "k", "default"), 100),
        ("heating_fast", ("alert", "when", "outside"), [-5, 5]),
        ("starts_per_hour", ("steps", 0, "options", "unit"), "s"),
        ("per_minute", ("steps", 0, "options", "size"), "30s"),
        ("fahrenheit", ("steps", 1, "options", "band"), 0.0),
        ("power", ("steps", 0, "options", "value"), "voltage + current"),
        ("site_hot", ("steps", 0, "options", "at_least"), 2),
        ("trouble", ("steps", 0, "options", "at_least"), 1),
        ("trouble", ("from", "alerts"), ["silent", "heating_fast"]),
        ("trouble", ("steps", 0, "options", "of"), "device"),
    ],
)
def test_a_shipped_test_sees_a_pipeline_that_was_changed(pipeline, path, value):
    gateway = broken(GATEWAY, pipeline, (path, value))
    chosen = [s for s in prepare(SUITE, gateway) if s.trial.pipeline == pipeline]
    assert any(failures(stage) for stage in chosen)


# --- the run is true -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "source",
    [
        "decode: json",
        "time: {field: ts, unit: ms}",
        "time: {field: ts, unit: s}",
        "time: {field: meta.ts, unit: iso}, seq: n",
        "time: {field: ts, unit: ns}, channels: [temperature]",
        "channels: {temperature: a.b.t}, decode: {json: {each: list, values: v.w}}",
        "time: {field: ts}, decode: {json: {name: n, value: d.v}}",
        "decode: {json: {each: r, name: n, value: v}}",
        "decode: {number: {channel: temperature}}",
        "seq: n",
        "lateness: 30s, time: {field: ts}",
        "idle_after: 1h, lateness: 30s, time: {field: ts}",
    ],
)
def test_samples_arrive_in_any_format_at_their_time(tmp_path, source):
    trial = """
name: every format
pipeline: hot
every: 500ms
given: {plant/north/b1.temperature: "80x3 95x2 _ 80"}
expect:
  - {at: 1500ms, within: 0s, type: alert.active, device: b1, value: 95, topic: alerts/b1}
  - {at: 3s, within: 0s, type: alert.cleared, value: 80}
"""
    assert failures(one(tmp_path, trial, source=source)) == []


@pytest.mark.parametrize("name", ["a boiler that falls silent", "ten degrees", "same temperature"])
def test_longer_steps_of_time_change_nothing(name, monkeypatch):
    [stage] = [s for s in prepare(SUITE, GATEWAY) if name in s.trial.name]
    assert daemon.trial.step(stage.trial) > 100_000_000
    coarse = stage.play()
    monkeypatch.setattr(daemon.trial, "step", lambda trial: 100_000_000)
    assert coarse.told == stage.play().told != ()


def test_playing_twice_gives_the_same(tmp_path):
    stage = prepare(SUITE, GATEWAY)[0]
    assert stage.play() == stage.play()


def test_pipelines_that_cannot_have_a_part_are_left_out():
    assert set(involved(GATEWAY, "power").pipelines) == {"power"}
    assert set(involved(GATEWAY, "site_hot").pipelines) == {"site_hot", "overheat"}
    some = {"trouble", "overheat", "heating_fast", "silent", "odd"}
    assert set(involved(GATEWAY, "trouble").pipelines) == some


def test_what_comes_back_through_the_broker_is_played_too(tmp_path):
    config = """
sources:
  s: {topic: "plant/{device}", channels: [t]}
  derived: {topic: "derived/{device}", channels: {t: data.value}}
pipelines:
  doubled: {from: s, steps: [convert: {scale: 2}], publish: {topic: "derived/{device}"}}
  hot: {from: derived, alert: {when: {above: 90}}}
"""
    trial = """
name: chain
pipeline: hot
given: {plant/b1.t: "40 50"}
expect: [{at: 1s, type: alert.active, device: b1, value: 100}]
"""
    assert failures(one(tmp_path, trial, config=config)) == []


def test_what_happens_after_the_end_is_not_judged(tmp_path):
    config = HOT + "  silent: {from: s, steps: [missing: {timeout: 5s}], alert: {}}\n"
    trial = """
name: silence
pipeline: silent
given: {plant/north/b1.t: "80x3"}
expect: []
"""
    assert failures(one(tmp_path, trial, config=config)) == []
    longer = one(tmp_path, trial + "until: 8s", config=config)
    assert failures(longer) == [
        "not expected: alert.active channel=t device=b1 site=north at 7s, value 1"
    ]


def test_what_happened_by_the_end_counts_though_it_is_told_later(tmp_path):
    config = HOT.replace("above: 90", "above: 90, on_delay: 5s")
    trial = """
name: a delay that runs out in silence
pipeline: hot
until: 6s
given: {plant/north/b1.t: "95x3"}
expect: [{at: 5s, within: 0s, type: alert.active}]
"""
    assert failures(one(tmp_path, trial, config=config, source="lateness: 10s")) == []


def test_input_that_did_not_get_through_fails_the_test(tmp_path):
    config = HOT + "limits: {series_max: 1}\n"
    trial = """
name: full
pipeline: hot
given: {plant/north/b1.t: "80x3", plant/north/b2.t: "80x3"}
expect: []
"""
    assert failures(one(tmp_path, trial, config=config)) == [
        "not used: samples dropped (series_full): 3"
    ]


# --- what is said of a failure -------------------------------------------------------------


def test_a_failure_says_what_was_expected_and_what_came_nearest(tmp_path):
    trial = """
name: wrong
pipeline: hot
given: {plant/north/b1.t: "80x60 95x60 80x60", plant/north/b2.t: "80x180"}
expect:
  - {at: 50s, type: alert.active, device: b1, severity: minor, value: {above: 96}}
  - {at: 3m, within: 10s, type: alert.cleared, device: b2}
  - {at: 1m, type: alert.updated}
"""
    stage = one(tmp_path, trial)
    assert failures(stage) == [
        (
            "expected alert.active device=b1 severity minor value above 96 from 50s to 51s\n"
            "nearest  alert.active channel=t device=b1 site=north at 1m, value 95: "
            "severity is major, value is 95, 9s too late"
        ),
        (
            "expected alert.cleared device=b2 from 3m to 3m10s\n"
            "nearest  alert.cleared channel=t device=b1 site=north at 2m, value 80: "
            "device is b1, 1m too early"
        ),
        "expected alert.updated from 1m to 1m1s\nno alert.updated happened",
    ]
    told = stage.play().told
    assert happened(told) == [
        "alert.active channel=t device=b1 site=north at 1m, value 95",
        "alert.cleared channel=t device=b1 site=north at 2m, value 80",
    ]
    assert timeline(stage.trial, told) == [
        "0s                                                     3m10s",
        "..................###################.......................  channel=t device=b1 site=north",
    ]


UNEXPECTED = """
name: more
pipeline: hot
given: {plant/north/b1.t: "80x3 95x3 80x3"}
expect: [{at: 3s, type: alert.active}]
"""


def test_what_nobody_expected_fails_the_test(tmp_path):
    what = "not expected: alert.{} channel=t device=b1 site=north at {}s, value {}"
    assert failures(one(tmp_path, UNEXPECTED)) == [what.format("cleared", 6, 80)]
    nothing = UNEXPECTED.replace("[{at: 3s, type: alert.active}]", "[]")
    assert failures(one(tmp_path, nothing)) == [
        what.format("active", 3, 95),
        what.format("cleared", 6, 80),
    ]


def test_more_is_allowed_when_the_test_says_so(tmp_path):
    assert failures(one(tmp_path, UNEXPECTED + "only: [alert.active]")) == []
    assert failures(one(tmp_path, UNEXPECTED + "allow_more: true")) == []
    assert len(failures(one(tmp_path, UNEXPECTED + "only: [alert.cleared]"))) == 1


def test_windows_are_judged_when_nothing_or_no_other_may_happen(tmp_path):
    [stage] = [s for s in prepare(SUITE, GATEWAY) if s.trial.name == "one row a minute"]
    assert len(judge(stage.trial.model_copy(update={"expect": ()}), stage.play())) == 2
    fewer = stage.trial.model_copy(update={"expect": stage.trial.expect[:1]})
    labels = "channel=temperature device=b1 site=north"
    assert [f.text for f in judge(fewer, stage.play())] == [
        f"not expected: window {labels} at 2m, mean 30, min 30, max 30, count 6"
    ]
    assert judge(fewer.model_copy(update={"only": None}), stage.play()) == []


def test_an_event_counts_once_and_a_line_counts_exactly(tmp_path):
    trial = """
name: two
pipeline: hot
given: {plant/north/b1.t: "95x3", plant/north/b2.t: "95x3"}
expect: EXPECT
"""

    def with_(expect):
        return failures(one(tmp_path, trial.replace("EXPECT", expect)))

    line = "{at: 0s, type: alert.active}"
    assert with_(f"[{line}, {line}]") == []
    assert with_("[{at: 0s, type: alert.active, count: 2}]") == []
    assert len(with_(f"[{line}]")) == 1
    assert with_(f"[{line}, {line}, {line}]") == [
        (
            "expected alert.active from 0s to 1s\n"
            "nearest  alert.active channel=t device=b1 site=north at 0s, value 95: "
            "another line expects it"
        )
    ]
    assert with_("[{at: 0s, type: alert.active, count: 3}]") == [
        "expected alert.active from 0s to 1s\nfound    2 of 3\nno other alert.active happened"
    ]


def test_data_that_an_event_does_not_have_is_told_apart_from_unknown():
    trial = Trial.model_validate(
        {
            "name": "x",
            "pipeline": "p",
            "given": {"a.b": 1},
            "expect": [{"at": "0s", "type": "window", "value": 1, "data": {"mean": 2}}],
        }
    )
    told = Told(0, "window", {}, {"mean": None, "quality": "bad"}, "t")
    [failure] = judge(trial, Played((told,), ()))
    assert failure.text.endswith("has no number value, it has mean, mean is not known")


def test_a_value_that_is_not_known_can_be_expected(tmp_path):
    text = """
name: x
pipeline: hot
given: {plant/a/b.t: "80 nan 81"}
expect:
  - {at: 0s, type: sample, value: 80}
  - {at: 1s, type: sample, value: nan}
  - {at: 2s, type: sample, value: VALUE}
only: [sample]
"""
    publish = HOT + '    publish: {topic: "t/{device}"}\n'
    more = {"config": publish, "source": "channels: [t]"}
    assert failures(one(tmp_path, text.replace("VALUE", "81"), **more)) == []
    [failure, *_] = failures(one(tmp_path, text.replace("VALUE", "nan"), **more))
    assert "value not known" in failure
    assert "value is 81" in failure


@pytest.mark.parametrize("seed", range(40))
def test_lines_share_out_the_events_as_well_as_can_be(seed):
    rng = np.random.default_rng(seed)
    devices = ("b1", "b2", "b3")
    told = [
        Told(int(t) * S, "alert.active", {"device": str(rng.choice(devices))}, {}, "")
        for t in np.sort(rng.integers(0, 12, 9))
    ]
    expect = [
        {"at": f"{rng.integers(0, 9)}s", "within": f"{rng.integers(0, 9)}s", "type": "alert.active"}
        | ({"device": str(rng.choice(devices))} if rng.random() < 0.6 else {})
        | {"count": int(rng.integers(1, 3))}
        for _ in range(6)
    ]
    trial = Trial.model_validate(
        {"name": "x", "pipeline": "p", "given": {"a.b": 1}, "expect": expect}
    )
    slots = [e for e in trial.expect for _ in range(e.count)]
    fits = [
        [
            e.at <= t.at_ns <= e.at + e.within
            and e.all_labels.get("device", t.labels["device"]) == t.labels["device"]
            for t in told
        ]
        for e in slots
    ]
    most = (maximum_bipartite_matching(csr_matrix(np.array(fits)), perm_type="column") >= 0).sum()
    claims = _claims(trial, told)
    assert sum(map(len, claims)) == most
    assert len(set().union(*claims)) == most


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "0s"),
        (S, "1s"),
        (130 * S, "2m10s"),
        (3600 * S, "1h"),
        (250000000, "0.25s"),
        (86400 * S + 1, "1d0.000000001s"),
    ],
)
def test_times_are_told_as_people_write_them(ns, text):
    assert offset(ns) == text


# --- files ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("tests: []", (1, 1), "there is no test in this file"),
        ("tests: [{pipeline: hat, given: {plant/a/b.t: 1}, expect: []}]", (1, 20), "no pipeline"),
        ("tests: [{pipeline: hot, given: {plant/a/b.t: 1 1y}, expect: []}]", (1, 46), "'1y'"),
        ("tests: [{pipeline: hot, given: {plant/a/b.t: _x3}, expect: []}]", (1, 46), "no sample"),
        ("tests: [{pipeline: hot, given: {plant/b.t: 1}, expect: []}]", (1, 33), "no source takes"),
        ("tests: [{pipeline: hot, given: {plant/a/+.t: 1}, expect: []}]", (1, 33), "no source"),
        ("tests: [{pipeline: hot, given: {plant/a/b: 1}, expect: []}]", (1, 33), "no source"),
        ("tests: [{pipeline: hot, given: {plant/a/b.t: nan}, expect: []}]", (1, 46), "not known"),
        ("tests: [{pipeline: hot, given: {plant/a/b.t: 1}}]", (1, 9), "'expect' is missing"),
        (
            "tests: [{pipeline: hot, given: {plant/a/b.t: 1}, expect: [{at: 1s, type: window}]}]",
            (1, 74),
            "pipeline 'hot' has no publish",
        ),
        (
            (
                "tests: [{pipeline: hot, given: {plant/a/b.t: 1}, expect: "
                "[{at: 1s, type: alert.active, devise: b}]}]"
            ),
            (1, 88),
            "neither a key nor a label: 'devise'",
        ),
        (
            (
                "tests: [{pipeline: hot, given: [{topic: plant/a/b, channel: t, values: 1}, "
                "{topic: plant/a/b, channel: t, values: 1}], expect: []}]"
            ),
            (1, 76),
            "'t' is given twice",
        ),
        (
            "tests: [{pipeline: hot, given: {plant/a/b.t: 1}, expect: [], until: 999d}]",
            (1, 62),
            "longer than a year",
        ),
    ],
)
def test_a_wrong_file_is_told_with_its_place(tmp_path, text, where, what):
    with pytest.raises(ConfigError) as caught:
        stages(tmp_path, text)
    [problem] = caught.value.problems
    assert what in problem.what
    assert (problem.line, problem.column) == where


def test_names_with_dots_are_read_or_written_apart(tmp_path):
    [dotted, apart] = stages(
        tmp_path,
        """
tests:
  - {pipeline: hot, given: {plant/a/b.1.t: 99}, expect: [{at: 0s, type: alert.active, device: b.1}]}
  - pipeline: hot
    given: [{topic: plant/a/b, channel: in.t, values: 99}]
    expect: [{at: 0s, type: alert.active, labels: {device: b, channel: in.t}}]
""",
    )
    assert failures(dotted) == failures(apart) == []


def test_a_channel_with_a_dot_that_the_source_lists(tmp_path):
    trial = (
        "{pipeline: hot, given: {plant/a/b.in.t: 99}, expect: [{at: 0s, type: alert.active, "
        "device: b, channel: in.t}]}"
    )
    assert failures(one(tmp_path, trial, source="channels: [in.t]")) == []


def test_the_configuration_is_the_named_the_nearest_or_the_one_beside(tmp_path):
    text = "tests: [{pipeline: p, given: {a.b: 1}, expect: []}]"
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    test_file = below / "x.test.yaml"
    test_file.write_text(text)
    with pytest.raises(ConfigError, match="no configuration to test"):
        read_suite(test_file)
    (below / "x.yaml").write_text("")
    assert read_suite(test_file).config == below / "x.yaml"
    (tmp_path / "gateway.yaml").write_text("")
    assert read_suite(test_file).config.resolve() == (tmp_path / "gateway.yaml").resolve()
    test_file.write_text(text + "\nconfig: x.yaml")
    assert read_suite(test_file).config == below / "x.yaml"
    test_file.write_text(text + "\nconfig: none.yaml")
    with pytest.raises(ConfigError, match=r"2:9: error: there is no file"):
        read_suite(test_file)


# --- the command ---------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path, monkeypatch):
    app = typer.Typer()
    commands.register(app)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gateway.yaml").write_text(HOT.replace("SOURCE", "decode: json"))

    def invoke(*arguments, **files):
        for name, text in files.items():
            (tmp_path / f"{name}.test.yaml").write_text(text)
        return CliRunner().invoke(app, ["test", *arguments])

    return invoke


GOOD = "tests: [{name: fine, pipeline: hot, given: {plant/a/b.t: 80}, expect: []}]"
WRONG = "tests: [{name: <bad>, pipeline: hot, given: {plant/a/b.t: 99}, expect: []}]"


def test_exit_status_says_how_it_went(run):
    assert run().exit_code == 2
    done = run(good=GOOD)
    assert (done.exit_code, done.stdout.splitlines()[0]) == (0, "ok   good.test.yaml:1  fine")
    failed = run(wrong=WRONG)
    assert failed.exit_code == 1
    assert failed.stdout.splitlines()[1:-1] == [
        "FAIL wrong.test.yaml:1  <bad>",
        "     not expected: alert.active channel=t device=b site=a at 0s, value 99",
        "     what happened:",
        "       alert.active channel=t device=b site=a at 0s, value 99",
        "       0s                                                        1s",
        (
            "       ############################################################  "
            "channel=t device=b site=a"
        ),
    ]
    assert run("-k", "FINE").exit_code == 0
    assert run("-k", "nobody").exit_code == 2
    assert run("good.test.yaml").exit_code == 0
    broken = run(broken="tests: [")
    assert broken.exit_code == 78
    assert "broken.test.yaml:2:1: error: not YAML" in broken.stderr
    assert run("absent.test.yaml").exit_code == 78


def test_reports_for_programs(run, tmp_path):
    done = run("--format", "json", "--junit", "report.xml", good=GOOD, wrong=WRONG)
    assert done.exit_code == 1
    told = json.loads(done.stdout)
    assert (told["passed"], told["failed"]) == (1, 1)
    assert [t["passed"] for t in told["tests"]] == [True, False]
    assert told["tests"][1]["events"][0]["labels"] == {"channel": "t", "device": "b", "site": "a"}
    suite = ET.parse(tmp_path / "report.xml").getroot()
    assert suite.attrib | {"time": ""} == {
        "name": "sensorweir",
        "tests": "2",
        "failures": "1",
        "errors": "0",
        "skipped": "0",
        "time": "",
    }
    good, wrong = suite.findall("testcase")
    assert good.find("failure") is None
    assert wrong.get("name") == "<bad>"
    assert wrong.find("failure").text.splitlines()[0] == wrong.find("failure").get("message")
