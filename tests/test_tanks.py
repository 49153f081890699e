"""The example of alerts with levels: its tests pass, and see what is changed."""

from pathlib import Path

import pytest

from tests.test_trial import broken, judge, prepare, read_config, read_suite

TANKS = Path(__file__).parents[1] / "config" / "examples" / "tanks"
SUITE = read_suite(TANKS / "tanks.test.yaml")
GATEWAY = read_config(SUITE.config).gateway


def failing(gateway):
    """Numbers of the trials that fail."""
    stages = prepare(SUITE, gateway)
    return [i for i, stage in enumerate(stages) if judge(stage.trial, stage.play())]


def test_the_shipped_tests_pass():
    assert failing(GATEWAY) == []
    assert {trial.pipeline for trial in SUITE.trials} == set(GATEWAY.pipelines)


@pytest.mark.parametrize(
    ("path", "value", "seen_by"),
    [
        (("alert", "when", "levels", "high_high", "severity"), "major", 0),
        (("alert", "when", "levels", "high", "above"), 98.0, 0),
        (("alert", "when", "off_delay"), "5s", 0),
        (("alert", "escalate", "after"), "25m", 1),
        (("alert", "escalate", "severity"), "critical", 1),
        (("alert", "remind"), "20m", 1),
        (("alert", "inhibit_by", "same"), [], 2),
        (("alert", "inhibit_by"), None, 2),
    ],
)
def test_a_shipped_test_sees_what_was_changed(path, value, seen_by):
    assert seen_by in failing(broken(GATEWAY, "tank_level", (path, value)))
