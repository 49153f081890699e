"""A start imports what its configuration needs, and nothing else."""

import json
import subprocess
import sys
from pathlib import Path

from pipelines.operator import OPERATORS, load_all

ROOT = Path(__file__).parent.parent


def loaded_by(code):
    """Modules that are there after `code`, in a fresh process."""
    code = f"import sys, json\n{code}\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_only_operators_that_are_named_are_imported(tmp_path):
    config = tmp_path / "gateway.yaml"
    config.write_text(
        "sources: {s: {topic: 'a/{device}'}}\n"
        "pipelines: {p: {from: s, steps: [validate: {min: 0}], publish: {topic: 'b/{device}'}}}\n"
    )
    code = "from pathlib import Path; from daemon.cli.files import read_config\n"
    found = loaded_by(f"{code}read_config(Path({str(config)!r}))")
    named = {m.rpartition(".")[2] for m in found if m.startswith("pipelines.operators.")}
    assert named == {"validate"}


def test_one_by_one_they_are_the_same_as_all_together():
    assert set(OPERATORS) == set(load_all())
    assert all(OPERATORS[name] is load_all()[name] for name in OPERATORS)
    assert "no_such_operator" not in OPERATORS
    assert len(OPERATORS) == len(load_all())
