"""Rules of the house that a machine can hold: layers, homes, sizes, words."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("config", "pipelines", "daemon", "device_sim")
MAY_IMPORT = {
    "config": set(),
    "pipelines": {"config"},
    "daemon": {"config", "pipelines"},
    "device_sim": {"config"},
}
COMPOSITION_ROOT = "daemon/cli/"  # the command line also mounts the simulator
ONLY_IN = {
    "paho": ("daemon/transport/", "device_sim/"),
    "yaml": ("config/",),
    "numba": ("pipelines/jit.py", "pipelines/primitives.py"),
    "socket": (
        "daemon/transport/",
        "daemon/health.py",
        "daemon/notify.py",
        "daemon/cli/",
        "device_sim/",
    ),
    "threading": ("daemon/",),
    "subprocess": ("daemon/cli/",),
    "pickle": (),
    "random": ("daemon/transport/backoff.py",),  # jitter of reconnects; never where events are made
}
CLOCK_HOMES = ("daemon/clock.py", "daemon/cli/", "device_sim/")
CLOCK = re.compile(
    r"\b(time\.(time|time_ns|sleep|monotonic|monotonic_ns|perf_counter)|datetime\.(now|utcnow|today))\("
)
FILE_MAX, FUNCTION_MAX = 400, 70
BANNED = re.compile(
    r"\b(TODO|FIXME|XXX|HACK)\b|\beval\(|\bexec\(|fastmath=True|except\s*:|# type: ignore$"
)


def sources():
    return [p for package in PACKAGES for p in sorted((ROOT / package).rglob("*.py"))]


def name(path):
    return path.relative_to(ROOT).as_posix()


every_file = pytest.mark.parametrize("path", sources(), ids=name)


def imports(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, a.name) for a in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.lineno, node.module


@every_file
def test_imports_go_down_only(path):
    package = name(path).split("/")[0]
    for line, module in imports(ast.parse(path.read_text())):
        top = module.split(".")[0]
        allowed = MAY_IMPORT[package] | {package}
        if name(path).startswith(COMPOSITION_ROOT):
            allowed = allowed | {"device_sim"}
        assert top not in PACKAGES or top in allowed, f"{name(path)}:{line} imports {module}"


@every_file
def test_what_has_one_home_stays_there(path):
    for line, module in imports(ast.parse(path.read_text())):
        homes = ONLY_IN.get(module.split(".")[0])
        assert homes is None or name(path).startswith(homes), (
            f"{name(path)}:{line} imports {module}; its home is {' '.join(homes) or 'nowhere'}"
        )


@every_file
def test_only_the_clock_reads_the_clock(path):
    if not name(path).startswith(CLOCK_HOMES):
        found = CLOCK.search(path.read_text())
        assert not found, f"{name(path)} calls {found[0]}...; take a Clock"


@every_file
def test_files_and_functions_stay_small(path):
    text = path.read_text()
    assert text.count("\n") <= FILE_MAX, f"{name(path)} has {text.count(chr(10))} lines"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = node.end_lineno - node.lineno + 1
            assert lines <= FUNCTION_MAX, (
                f"{name(path)}:{node.lineno} {node.name} has {lines} lines"
            )


@every_file
def test_nothing_banned(path):
    for number, line in enumerate(path.read_text().splitlines(), 1):
        found = BANNED.search(line)
        assert not found, f"{name(path)}:{number}: {found[0]}"


@every_file
def test_every_file_says_what_it_is_for(path):
    assert ast.get_docstring(ast.parse(path.read_text())), f"{name(path)} has no docstring"


def test_catching_everything_has_few_homes():
    homes = {name(p) for p in sources() if re.search(r"except (Base)?Exception\b", p.read_text())}
    known = ("daemon/transport/", "daemon/cli/", "daemon/turns.py")
    assert all(h.startswith(known) for h in homes), homes


def test_top_level_is_as_given():
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split()
    tops = {p.split("/")[0] for p in tracked}
    known = {*PACKAGES, "tests", "deploy", ".ci", "pyproject.toml", "README.md", "Makefile"}
    known |= {"CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", ".gitignore"}
    assert tops <= known


def test_a_planted_break_of_the_rules_is_seen():
    assert list(imports(ast.parse("import paho.mqtt.client"))) == [(1, "paho.mqtt.client")]
    assert CLOCK.search("now = time.time_ns()")
    assert BANNED.search("except:")
