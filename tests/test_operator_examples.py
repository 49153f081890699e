"""Every operator has an example that a plant could run, and tests of it that pass and can fail."""

import sys
from dataclasses import replace

import pytest

from config.model import Publish, When
from daemon.verdict import judge
from pipelines.operator import load_all
from tests.operator_examples import FOLDER, config_path, loaded, stages

LINES_MAX = 30
NEVER = When(above=sys.float_info.max)
every_operator = pytest.mark.parametrize("name", sorted(load_all()))


@every_operator
def test_example_is_valid_and_short(name):
    assert loaded(name).warnings == ()
    text = config_path(name).read_text()
    assert text.count("\n") <= LINES_MAX
    uses = [step.name for p in loaded(name).gateway.pipelines.values() for step in p.steps]
    assert name in uses


@every_operator
def test_example_does_what_its_tests_say(name):
    for stage in stages(name):
        assert judge(stage.trial, stage.play()) == [], stage.trial.name


@every_operator
def test_tests_of_the_example_fail_without_the_operator(name):
    """An alert by the condition of the operator is then never raised."""
    assert len(stages(name)) >= 2
    failed = [
        stage.trial.name for stage in stages(name) if judge(stage.trial, without(name, stage))
    ]
    assert failed


def without(name, stage):
    """What comes of the trial when steps of this operator are taken out."""
    made = {}
    for key, spec in stage.gateway.pipelines.items():
        kept = tuple(s for s in spec.steps if s.name != name)
        update = {"steps": kept}
        if len(kept) < len(spec.steps) and spec.alert and not has_limit(spec):
            update["alert"] = spec.alert.model_copy(update={"when": NEVER})
        if any("add" in s.options for s in set_aside(spec, kept)) and spec.publish:
            update["publish"] = Publish(topic="labels/are/missing")
        made[key] = spec.model_copy(update=update)
    return replace(stage, gateway=stage.gateway.model_copy(update={"pipelines": made})).play()


def set_aside(spec, kept):
    return [s for s in spec.steps if s not in kept]


def has_limit(spec):
    return spec.alert.when is not None and spec.alert.when.has_limit


@every_operator
def test_every_pipeline_of_the_example_is_tested(name):
    gateway = loaded(name).gateway
    tested = {stage.trial.pipeline for stage in stages(name)}
    above = [p.from_ for p in gateway.pipelines.values() if not isinstance(p.from_, str)]
    inner = {name for upstream in above for name in upstream.pipelines}
    assert set(gateway.pipelines) == tested | (inner - tested)


def test_no_example_is_of_an_operator_that_is_gone():
    assert {p.name.split(".")[0] for p in FOLDER.glob("*.yaml")} == set(load_all())
