"""OPERATING.md speaks of things that are there."""

import re

import yaml

from config.load import Loaded
from config.model import Gateway
from daemon.app import App
from daemon.clock import ManualClock
from daemon.gauges import gauges
from daemon.ledger import Reason
from daemon.metrics import registry
from tests.deployed import DEPLOY

TEXT = (DEPLOY / "OPERATING.md").read_text()


def test_every_metric_is_one(tmp_path):
    kept = {"folder": str(tmp_path), "size": "64MiB"}
    made = Gateway.model_validate({"broker": {"url": "memory://"}, "state": kept})
    app = App(Loaded(made, (), ()), lambda: None, ManualClock())
    known = set()
    for family in registry(app.ledger, gauges(app)).collect():
        known |= (
            {family.name, f"{family.name}_total"} if family.type == "counter" else {family.name}
        )
    named = set(re.findall(r"(?<![/\w])sensorweir_[a-z_]+", TEXT))  # a file's name follows a slash
    app.durability.close(app.engine)
    assert named - known == set()
    assert len(named) > 10


def test_every_reason_is_one():
    rows = [line for line in TEXT.splitlines() if line.startswith("| rise of")]
    named = {word for row in rows for word in re.findall(r"`([a-z]+_[a-z]+|refused)`", row)}
    assert named - {str(reason) for reason in Reason} == set()
    assert len(named) > 5


def test_the_configuration_is_valid():
    [text] = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    made = Gateway.model_validate(yaml.safe_load(text))
    assert made.broker.publisher.tls.cert.endswith("-out.crt")
    unit = (DEPLOY / "sensorweir.service").read_text()
    assert "LoadCredential=sensorweir:/etc/sensorweir/credentials" in unit
    assert text.count("/sensorweir_press-shop-1-") == 2


def test_folders_are_those_of_the_unit():
    rules = (DEPLOY / "sensorweir.tmpfiles").read_text()
    assert re.search(r"^d /etc/sensorweir/credentials +0700 root root", rules, re.MULTILINE)
