"""The command line as people and scripts meet it: processes, exit statuses, what goes where."""

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import pytest
import typer
from typer.main import get_command

from daemon import __version__
from daemon.app import DRAIN_S
from daemon.cli import commands
from daemon.cli.start import arguments
from tests.daemons import CACHE, ROOT, gateway, hot
from tests.mosquitto import free_port
from tests.wires import until

EXAMPLE = ROOT / "config" / "examples" / "gateway.yaml"


def sensorweir(*arguments, **options):
    """Run a command to its end; text of stdout and stderr, status in `returncode`."""
    command = [sys.executable, "-m", "daemon", *map(str, arguments)]
    options = {"cwd": ROOT, "capture_output": True, "text": True, "timeout": 60, **options}
    return subprocess.run(command, check=False, **options)


def cpu_s(*arguments):
    """(seconds of CPU that the command took, how it ended)"""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = sensorweir(*arguments)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done


def every_command():
    app = typer.Typer()
    commands.register(app)

    def below(command, path):
        yield path
        for name, sub in sorted(getattr(command, "commands", {}).items()):
            yield from below(sub, (*path, name))

    return list(below(get_command(app), ()))


@pytest.fixture
def good(tmp_path):
    path = tmp_path / "good.yaml"
    path.write_text(json.dumps(gateway("mqtt://localhost:1", "cli", {"hot": hot()})))
    return path


@pytest.fixture
def bad(tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text(
        "gateway: cli\n"
        "sources:\n"
        "  boilers: {topic: 'plant/{device}', latness: 5s}\n"
        "pipelines:\n"
        "  hot:\n"
        "    from: boiler\n"
        "    steps: [{roling: {stat: mean, window: 60s}}]\n"
        "    alert: {when: {above: 90}}\n"
    )
    return path


# --- help, version, usage --------------------------------------------------------------------


@pytest.mark.parametrize("command", every_command(), ids=" ".join)
def test_help_comes_at_once(command):
    took, done = cpu_s(*command, "--help")
    assert done.returncode == 0
    assert "Usage: " in done.stdout
    assert done.stderr == ""
    assert took < 1.0, f"{took:.2f} s of CPU"


def test_version():
    assert sensorweir("--version").stdout == f"sensorweir {__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [["--nonsense"], ["nonsense"], ["validate", "--nonsense"], ["demo", "--duration", "1"]],
    ids=" ".join,
)
def test_usage_errors_have_status_2_and_say_so_on_stderr(arguments):
    done = sensorweir(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert arguments[-1].lstrip("-") in done.stderr or "Usage" in done.stderr


def test_without_any_configuration_it_says_how_to_go_on(tmp_path):
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    env.pop("SENSORWEIR_CONFIG", None)
    for command in ("run", "validate", "echo"):
        done = sensorweir(command, cwd=tmp_path, env=env)
        assert done.returncode == 2
        assert "no configuration" in done.stderr
        assert "sensorweir demo" in done.stderr


def test_the_configuration_is_found_by_environment_and_folder(good, tmp_path):
    env = {**os.environ, "PYTHONPATH": str(ROOT), "SENSORWEIR_CONFIG": str(good)}
    assert sensorweir("validate", cwd="/", env=env).returncode == 0
    good.rename(tmp_path / "gateway.yaml")
    env.pop("SENSORWEIR_CONFIG")
    assert sensorweir("validate", cwd=tmp_path, env=env).returncode == 0


# --- validate --------------------------------------------------------------------------------


def test_validate_says_yes_on_stderr_and_nothing_on_stdout(good):
    done = sensorweir("validate", good)
    assert (done.returncode, done.stdout) == (0, "")
    assert "ok · 1 sources, 1 pipelines, 1 alerts" in done.stderr


def test_validate_shows_every_problem_with_its_place_and_a_way_out(bad):
    done = sensorweir("validate", bad)
    assert (done.returncode, done.stdout) == (78, "")
    for line, column, wrong, right in (
        (3, 38, "latness", "lateness"),
        (6, 11, "boiler", "boilers"),
        (7, 14, "roling", "rolling"),
    ):
        source = bad.read_text().split("\n")[line - 1]
        assert source[column - 1 :].startswith(wrong)
        assert f"{bad}:{line}:{column}: error: " in done.stderr
        assert f"did you mean '{right}'" in done.stderr
        shown = done.stderr.split(f"{bad}:{line}:{column}: ")[1].split("\n")
        at = next(i for i, text in enumerate(shown) if text.lstrip().startswith(f"{line} |"))
        assert shown[at].endswith(source)
        caret = shown[at + 1]
        assert shown[at][caret.index("^") :].startswith(wrong)
    assert "3 errors" in done.stderr


def test_validate_for_machines_and_strictly(bad, good, tmp_path):
    done = sensorweir("validate", bad, "--format", "json")
    told = json.loads(done.stdout)
    assert (done.returncode, done.stderr, told["ok"]) == (78, "", False)
    assert [(p["line"], p["column"]) for p in told["problems"] if p["level"] == "error"] == [
        (3, 38),
        (6, 11),
        (7, 14),
    ]
    assert json.loads(sensorweir("validate", good, "--format", "json").stdout)["ok"] is True
    unused = json.loads(good.read_text())
    unused["sources"]["spare"] = {"topic": "spare/#"}
    warned = tmp_path / "warned.yaml"
    warned.write_text(json.dumps(unused))
    done = sensorweir("validate", warned)
    assert done.returncode == 0
    assert "warning" in done.stderr
    assert sensorweir("validate", warned, "--strict").returncode == 78


@pytest.mark.parametrize("command", ["validate", "run", "echo"])
def test_a_file_that_is_not_there(command, tmp_path):
    done = sensorweir(command, tmp_path / "none.yaml")
    assert (done.returncode, done.stdout) == (78, "")
    assert "none.yaml" in done.stderr
    assert "Traceback" not in done.stderr


def test_validate_is_fit_for_an_editor():
    code = (
        "import sys; sys.argv = ['sensorweir', 'validate', sys.argv[1]]\n"
        "import daemon.cli\n"
        "try: daemon.cli.main()\n"
        "finally: print([m for m in ('numba', 'paho', 'device_sim.signals') if m in sys.modules])"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-c", code, str(EXAMPLE)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    took = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"validate takes {took:.2f} s of CPU")
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
    assert took < 1.5


# --- run -------------------------------------------------------------------------------------


def test_run_refuses_what_is_wrong_before_it_touches_anything(bad, tmp_path):
    done = sensorweir("run", bad)
    assert (done.returncode, done.stdout) == (78, "")
    assert f"{bad}:7:14: error: " in done.stderr
    assert "^" in done.stderr
    memory = tmp_path / "memory.yaml"
    memory.write_text("gateway: cli\nbroker: {url: 'memory://'}\n")
    done = sensorweir("run", memory)
    assert done.returncode == 78
    assert "mqtt://host:1883" in done.stderr


def test_run_stays_up_without_a_broker_and_says_so(daemons):
    url = f"mqtt://127.0.0.1:{free_port()}"
    daemon = daemons(gateway(url, "alone", {"hot": hot()}), start=False).start(ready=False)
    until(lambda: daemon.said("No connection to the broker, trying again", "warning"))
    away = ["not connected to the broker, or not subscribed yet"]
    until(lambda: json.loads(daemon.get("/readyz")[1])["reasons"] == away)  # kernels are loaded
    assert daemon.get("/readyz")[0] == 503
    assert daemon.get("/healthz")[0] == 200
    # A signal waits for the kernel that is being compiled; after two turns none is.
    until(lambda: daemon.metrics()["turns"] >= 2)
    assert daemon.stop() == 0
    print(f"ended in {daemon.stopped_in_s:.2f} s")
    assert daemon.stopped_in_s < DRAIN_S, "it waited for a broker that is away"


def test_run_says_who_may_have_its_port(daemons):
    url = f"mqtt://127.0.0.1:{free_port()}"
    first = daemons(gateway(url, "one", {"hot": hot()}), start=False).start(ready=False)
    second = gateway(url, "two", {"hot": hot()}, http={"listen": first.address})
    path = first.path.with_name("second.yaml")
    path.write_text(json.dumps(second))
    done = sensorweir("run", path, "--kernel-cache", CACHE)
    assert done.returncode == 1
    assert f"cannot listen on {first.address}: Address already in use" in done.stderr
    assert "http.listen" in done.stderr
    assert "Traceback" not in done.stderr


# --- operators, schema, echo -----------------------------------------------------------------


def test_operators_are_listed_and_described():
    listed = sensorweir("operators", "list")
    names = [line.split()[0] for line in listed.stdout.splitlines()]
    assert names == sorted(names)
    assert {"rolling", "mad", "missing", "quorum"} <= set(names)
    machine = json.loads(sensorweir("operators", "list", "--format", "json").stdout)
    assert {o["name"] for o in machine} == set(names)
    text = sensorweir("operators", "describe", "rolling").stdout
    assert re.search(r"^  window  .*default", text, re.MULTILINE)
    assert "example:" in text
    about = json.loads(sensorweir("operators", "describe", "rolling", "-f", "json").stdout)
    assert "window" in about["params"]["properties"]


def test_an_unknown_operator_has_a_hint():
    done = sensorweir("operators", "describe", "roling")
    assert (done.returncode, done.stdout) == (2, "")
    assert "did you mean rolling?" in done.stderr
    assert "operators list" in sensorweir("operators", "describe", "xyzzy").stderr


def test_the_schema_is_the_one_that_is_committed():
    assert sensorweir("schema").stdout == (ROOT / "config/sensorweir.schema.json").read_text()


def test_echo_fills_in_and_masks(good):
    config = json.loads(good.read_text())
    config["broker"] |= {"username": "gw", "password": "open-sesame"}
    good.write_text(json.dumps(config))
    done = sensorweir("echo", good)
    assert "open-sesame" not in done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert told["broker"]["username"] == "gw"
    assert told["broker"]["keepalive"] == "20s"
    assert list(json.loads(sensorweir("echo", good, "-p", "hot").stdout)) != []
    done = sensorweir("echo", good, "-p", "hott")
    assert (done.returncode, done.stdout) == (2, "")


# --- demo ------------------------------------------------------------------------------------


class Demo:
    """A demonstration as a process, in a temporary folder of its own, and whoever belongs to it."""

    def __init__(self, folder, *arguments):
        self.mark = f"SENSORWEIR_TEST={uuid.uuid4().hex}"
        self.folder = folder
        name, value = self.mark.split("=")
        env = {**os.environ, name: value, "TMPDIR": str(folder), "XDG_CACHE_HOME": str(CACHE)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "daemon", "demo", *arguments],
            cwd=ROOT,
            env={**env, "CACHE_DIRECTORY": str(CACHE)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.out, self.err = [], []
        self._readers = [
            threading.Thread(target=self._read, args=(stream, lines))
            for stream, lines in ((self.process.stdout, self.out), (self.process.stderr, self.err))
        ]
        for thread in self._readers:
            thread.start()

    @staticmethod
    def _read(stream, lines):
        with stream:
            lines.extend(iter(stream.readline, ""))

    def relatives(self):
        """Processes that carry our mark in their environment."""
        found = []
        for place in Path("/proc").glob("[0-9]*"):
            try:
                if self.mark.encode() in (place / "environ").read_bytes():
                    found.append(int(place.name))
            except OSError:
                continue
        return found

    def shows(self, text, lines):
        until(lambda: any(text in line for line in list(lines)), 110, text)

    def interrupt(self):
        self.process.send_signal(signal.SIGINT)

    def end(self):
        """Its status, after which nothing of it may be left."""
        status = self.process.wait(60)
        for thread in self._readers:
            thread.join(10)
        assert self.relatives() == []
        assert list(self.folder.iterdir()) == []
        assert "Traceback" not in "".join(self.err)
        return status

    def close(self):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(30)


@pytest.fixture
def demo(tmp_path, closing):
    return lambda *arguments: closing(Demo(tmp_path, *arguments))


def found(lines):
    """(faults injected, detected) by the score on stdout."""
    [line] = [x for x in lines if x.startswith("truth ")]
    return tuple(map(int, re.search(r"(\d+) faults injected, (\d+) detected", line).groups()))


@pytest.mark.broker
def test_the_demonstration_ends_by_itself_with_a_score(demo):
    began = time.monotonic()
    process = demo("--duration", "10", "--broker", "mosquitto")
    process.shows("listening to", process.err)
    assert len(process.relatives()) >= 3
    assert process.end() == 0
    faults, detected = found(process.out)
    print(f"{detected} of {faults} found, {time.monotonic() - began:.1f} s in all")
    assert faults == 8
    assert detected >= 2
    assert any("mosquitto version" in line for line in process.err)
    assert any(" active " in line for line in process.out)


def test_without_mosquitto_and_ended_by_ctrl_c_after_a_detection(demo):
    process = demo("--duration", "12", "--broker", "amqtt")
    process.shows(" active ", process.out)
    process.shows("amqtt (MQTT 3.1.1)", process.err)
    process.interrupt()
    assert process.end() == 0
    assert found(process.out)[1] >= 1
    assert any("ended early" in line for line in process.err)


@pytest.mark.broker
def test_ctrl_c_before_anything_was_detected(demo):
    process = demo("--duration", "30", "--broker", "mosquitto")
    process.shows("listening to", process.err)
    process.interrupt()
    assert process.end() == 1
    assert found(process.out)[1] == 0
    assert any("nothing was detected" in line for line in process.err)


# --- warmup ----------------------------------------------------------------------------------


@pytest.mark.timeout(600)  # it compiles, unless other tests did
def test_warmup_compiles_once_and_what_cannot_be_written_is_read(tmp_path, daemons):
    config = tmp_path / "gateway.yaml"
    url = f"mqtt://127.0.0.1:{free_port()}"
    config.write_text(json.dumps(gateway(url, "quick", {"hot": hot()})))
    first = sensorweir("warmup", config, "--kernel-cache", CACHE, timeout=500)
    assert first.returncode == 0, first.stderr
    folder = Path(first.stderr.splitlines()[-1].partition(" in ")[2])
    assert folder.parent.parent == CACHE
    made = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    again = sensorweir("warmup", config, "--kernel-cache", CACHE)
    assert (again.returncode, "compil" in again.stderr) == (0, False)
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == made
    copy = tmp_path / "cache" / folder.parent.name / folder.name
    shutil.copytree(folder, copy)
    before = sorted(copy.iterdir())
    for path in (copy, copy.parent, copy.parent.parent):
        path.chmod(0o555)
    daemon = daemons(config.read_text(), start=False)
    daemon.command[-1] = str(tmp_path / "cache")
    daemon.start(ready=False)
    assert daemon.said("Started")[-1]["kernels_compiled"] == "ahead of time"
    assert daemon.without_numba
    assert sorted(copy.iterdir()) == before
    for path in (copy.parent.parent, copy.parent, copy):
        path.chmod(0o755)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("run", (None, None)),
        ("run a.yaml", ("a.yaml", None)),
        ("run --kernel-cache c a.yaml", ("a.yaml", "c")),
        ("run a.yaml --kernel-cache=c", ("a.yaml", "c")),
    ],
)
def test_a_plain_run_needs_no_typer(words, expected):
    found = tuple(path and str(path) for path in arguments(words.split()))
    assert found == expected


@pytest.mark.parametrize(
    "words", ["", "validate a", "run -h", "run a b", "run --kernel-cache", "run --no-such a"]
)
def test_everything_else_is_looked_at_by_typer(words):
    assert arguments(words.split()) is None


def test_warmup_of_a_wrong_configuration(bad):
    assert sensorweir("warmup", bad).returncode == 78
