"""Operators are found by themselves: a file in the folder, or an entry point of another package."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
THEIRS = '''
"""twice: twice the value."""
from typing import NamedTuple
from config.params import Params
from pipelines.batch import I8
from pipelines.jit import kernel
from pipelines.operator import Operator, column, rows_of

class Twice(Params):
    """Nothing to choose."""

class State(NamedTuple):
    seen: I8 = column("i8")

@kernel
def step(batch, first, state, params, out):
    """Equivalent to 2 x."""
    n = out.count[0]
    for i in range(first, batch.series.size):
        out.series[n], out.t_ns[n], out.start_ns[n] = batch.series[i], batch.t_ns[i], batch.t_ns[i]
        out.value[n], out.quality[n] = 2 * batch.value[i], batch.quality[i]
        n += 1
    out.count[0] = n
    return batch.series.size

OPERATOR = Operator(name="{name}", summary="Doubles.", params=Twice, state=State,
                    rows=rows_of(Twice), step=step, example="{name}")
'''


def sensorweir(tmp_path, *args):
    return subprocess.run(
        [sys.executable, "-m", "daemon", *args],
        cwd=ROOT,
        env={"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


def install(tmp_path, name):
    (tmp_path / "their_package.py").write_text(THEIRS.replace("{name}", name))
    info = tmp_path / "their_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[sensorweir.operators]\n{name} = their_package\n")


def test_an_operator_of_another_package_is_found_and_used(tmp_path):
    install(tmp_path, "twice")
    listed = sensorweir(tmp_path, "operators", "list")
    assert "twice" in listed.stdout, listed.stderr
    config = tmp_path / "gateway.yaml"
    config.write_text(
        "sources: {s: {topic: 'a/{device}'}}\n"
        "pipelines: {p: {from: s, steps: [twice], publish: {topic: 'b/{device}'}}}\n"
    )
    good = sensorweir(tmp_path, "validate", str(config))
    assert good.returncode == 0, good.stderr


def test_a_second_operator_of_one_name_is_refused(tmp_path):
    install(tmp_path, "rolling")
    listed = sensorweir(tmp_path, "operators", "list")
    assert listed.returncode != 0
    assert "two operators are called 'rolling'" in listed.stderr


@pytest.mark.parametrize("name", ["config", "pipelines"])
def test_a_package_of_the_same_name_elsewhere_is_refused(tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); sys.path.append({str(ROOT)!r})\n"
    code += "import daemon.cli; sys.argv = ['sensorweir', '--version']; daemon.cli.main()"
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 1
    assert f"the package {name}" in ran.stderr
