"""A start imports what its configuration needs, and nothing else."""

import json
import os
import subprocess
import sys
from pathlib import Path

from daemon.decode import DECODERS
from pipelines.operator import OPERATORS, load_all

ROOT = Path(__file__).parent.parent
MEMORY = """
broker: {url: "memory://"}
sources: {s: {topic: "a/{device}"}}
pipelines: {p: {from: s, steps: [validate: {min: 0}], alert: {when: {above: 3}}}}
"""
"""It has no other side: a run reads it, says so, and ends."""


def after(code):
    """What `code` prints last as JSON, in a fresh process."""
    left_out = ("OPENBLAS_NUM_THREADS", "PYDANTIC_DISABLE_PLUGINS")
    done = subprocess.run(
        [sys.executable, "-c", f"import sys, json\n{code}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        env={k: v for k, v in os.environ.items() if k not in left_out},
    )
    return json.loads(done.stdout.splitlines()[-1])


def loaded_by(code):
    """Modules that are there after `code`, in a fresh process."""
    return set(after(f"{code}\nprint(json.dumps(sorted(sys.modules)))"))


def test_reading_a_configuration_starts_no_threads_and_looks_for_nobodys_plugins(tmp_path):
    config = tmp_path / "gateway.yaml"
    config.write_text(MEMORY)
    threads, status = after(
        "import importlib.metadata, os, daemon.cli\n"
        "importlib.metadata.entry_points = importlib.metadata.version = None\n"
        f"sys.argv = ['sensorweir', 'run', {str(config)!r}]\n"
        "try: daemon.cli.main()\n"
        "except SystemExit as end: status = end.code\n"
        "import numpy\n"
        "print(json.dumps([len(os.listdir('/proc/self/task')), status]))"
    )
    assert (threads, status) == (1, 78)


def reading(folder):
    """Code that reads a configuration."""
    config = folder / "gateway.yaml"
    config.write_text(MEMORY)
    code = "from pathlib import Path; from daemon.cli.files import read_config\n"
    return f"{code}read_config(Path({str(config)!r}))\n"


def test_only_operators_and_decoders_that_are_named_are_imported(tmp_path):
    found = loaded_by(reading(tmp_path))
    named = {m.rpartition(".")[2] for m in found if m.startswith("pipelines.operators.")}
    assert named == {"validate"}
    formats = {f"daemon.decode.{name}" for name in DECODERS}
    assert found & formats == {"daemon.decode.json"} < formats


def test_a_daemon_imports_nothing_that_others_need(tmp_path):
    found = loaded_by(f"{reading(tmp_path)}import daemon.app, daemon.cli.start")
    assert {"daemon.transport.mqtt", "paho.mqtt.client"} <= found
    for name in (
        *("numba", "llvmlite", "typer", "rich", "prometheus_client", "http.server", "asyncio"),
        *("daemon.cli.commands", "daemon.durability", "daemon.durable.recorder", "daemon.health"),
        *("daemon.metrics", "daemon.replay", "device_sim"),
    ):
        assert name not in found


def test_each_model_of_the_language_is_built_once_at_most(tmp_path):
    built = after(
        "from config.params import Options\n"
        "built, made = [], Options.__get_pydantic_core_schema__.__func__\n"
        "def noted(cls, source, handler):\n"
        "    if not cls.__pydantic_complete__: built.append(cls.__name__)\n"
        "    return made(cls, source, handler)\n"
        "Options.__get_pydantic_core_schema__ = classmethod(noted)\n"
        f"{reading(tmp_path)}"
        "print(json.dumps(built))"
    )
    assert {"Gateway", "Pipeline", "Alert", "When", "Validate"} <= set(built)
    assert len(built) == len(set(built))


def test_one_by_one_they_are_the_same_as_all_together():
    assert set(OPERATORS) == set(load_all())
    assert all(OPERATORS[name] is load_all()[name] for name in OPERATORS)
    assert "no_such_operator" not in OPERATORS
    assert len(OPERATORS) == len(load_all())
