"""The commands: exit statuses, what goes where, and how fast help comes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from device_sim.cli import app
from device_sim.scenario import load
from tests.mosquitto import free_port
from tests.test_sim_score import alert, fault

ROOT = Path(__file__).parent.parent


def invoke(*arguments, **options):
    return CliRunner().invoke(app, [str(a) for a in arguments], **options)


def lines(path, events):
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    return path


@pytest.fixture
def files(tmp_path):
    alerts = lines(tmp_path / "alerts.jsonl", [alert(12), alert(50)])
    return alerts, lines(tmp_path / "truth.jsonl", [fault(10, 20)])


def test_a_score_is_printed_for_people_and_for_machines(files):
    text = invoke("score", *files)
    assert text.exit_code == 0
    assert "1 of 1 faults found, 1 false alerts of 2" in text.stdout
    machine = invoke("score", *files, "--format", "json")
    assert json.loads(machine.stdout)["f1"] == pytest.approx(2 / 3)


@pytest.mark.parametrize(("limit", "status"), [("0.6", 0), ("0.7", 1)])
def test_a_score_below_the_limit_fails(files, limit, status):
    result = invoke("score", *files, "--fail-under", limit)
    assert result.exit_code == status
    assert ("is below" in result.stderr) == bool(status)


def test_alerts_may_come_on_stdin_and_rubbish_among_them_is_counted(files):
    given = files[0].read_text() + "no json\n[1]\n\n"
    result = invoke("score", "-", files[1], "--format", "json", input=given)
    assert json.loads(result.stdout)["rejected"] == 2
    assert json.loads(result.stdout)["alerts"] == 2


def test_list_names_the_scenarios():
    names = [row["name"] for row in json.loads(invoke("list", "--format", "json").stdout)]
    assert names == ["demo", "hostile", "load"]
    assert "10000 series" in invoke("list").stdout


def test_a_wrong_scenario_says_where_and_exits_with_78(tmp_path):
    path = tmp_path / "wrong.yaml"
    path.write_text("seed: 1\nfleets:\n  f:\n    count: 3\n    topik: a/{id}\n    every: 1\n")
    result = invoke("run", path)
    assert result.exit_code == 78
    assert result.stdout == ""
    assert f"{path}:5:" in result.stderr
    assert "topic" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "demo", "--speed", "fast"],
        ["run", "demo", "--speed", "0x"],
        ["run", "demo", "--rate", "-1"],
        ["run", "demo", "--duration", "60"],
        ["run", "demo", "--start", "yesterday"],
        ["run", "demo", "--broker", "http://localhost"],
        ["run", "demo", "--password-file", "/nowhere"],
        ["replay", "/nowhere.csv", "--topic", "a/{b}"],
        ["replay", "/nowhere.csv", "--topic", "a", "--label", "site"],
        ["replay", "/nowhere.csv", "--topic", "a", "--rate", "5", "--speed", "1x"],
        ["score", "/nowhere", "/nowhere"],
    ],
)
def test_wrong_usage_exits_with_2_and_a_sentence(arguments):
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.strip()


@pytest.mark.parametrize("command", [["run", "demo"], ["replay", "x.csv", "--topic", "a"]])
def test_no_broker_exits_with_69(command):
    result = invoke(*command, "--broker", f"mqtt://127.0.0.1:{free_port()}")
    assert result.exit_code == 69
    assert "no broker at" in result.stderr


def test_help_loads_neither_numpy_nor_paho():
    code = (
        "import sys\n"
        "from device_sim.cli import app\n"
        "app(['run', '--help'], standalone_mode=False)\n"
        "assert not {'numpy', 'paho', 'numba'} & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Examples" in done.stdout


def test_the_scenario_in_the_readme_loads(tmp_path):
    text = (ROOT / "device_sim" / "README.md").read_text()
    path = tmp_path / "readme.yaml"
    path.write_text(text.partition("```yaml\n")[2].partition("```")[0])
    scenario = load(str(path))
    assert scenario.series == 80
    assert [fault.kind for fault in scenario.faults] == ["step", "stuck"]


def test_a_scenario_that_is_not_there_is_named():
    result = invoke("run", "nosuch")
    assert result.exit_code in {2, 78}
    assert "nosuch" in result.stderr


@pytest.mark.broker
def test_a_truth_file_that_cannot_be_written_is_named(mosquitto, tmp_path):
    path = tmp_path / "no" / "truth.jsonl"
    result = invoke("run", "demo", "--broker", mosquitto.url, "--speed", "max", "--truth", path)
    assert result.exit_code == 1
    assert str(path) in result.stderr
