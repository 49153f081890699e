"""`sensorweir demo`: broker, simulator and daemon at work, scored against the injected faults."""

import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from daemon.cli.broker import Choice
from daemon.cli.files import EX_FAILED, EX_UNAVAILABLE, say

if TYPE_CHECKING:
    from daemon.cli.broker import DemoBroker
    from daemon.cli.show import Show

PIPELINES: Final = Path(__file__).parents[2] / "config" / "examples" / "demo" / "pipelines.yaml"
READY_S: Final = 180.0
TAIL_S: Final = 2.0
"""How long alerts may take after the simulator has ended; less than its silence is told in."""


def demo(
    duration: Annotated[
        float, typer.Option("--duration", "-d", min=10, help="Seconds of simulated traffic.")
    ] = 60,
    scenario: Annotated[
        str, typer.Option(help="Scenario of the simulator: a bundled one, or a file.")
    ] = "demo",
    choice: Annotated[
        Choice, typer.Option("--broker", help="auto: Mosquitto where it is installed, else amqtt.")
    ] = Choice.auto,
) -> None:
    """See it work: a broker, 40 simulated boilers with faults, and the daemon, on this machine.

    Prints each alert as it arrives at an ordinary MQTT subscriber, and at the end how many of the
    injected faults were found. Uses Mosquitto when it is installed, else amqtt; a free loopback
    port; leaves no process and no file behind. Ctrl-C ends it earlier, with the score so far.

    Example:  sensorweir demo --duration 30
    """
    from daemon.cli import broker
    from daemon.cli.show import Show

    for number in (signal.SIGINT, signal.SIGTERM):  # also when a shell had them ignored
        signal.signal(number, _interrupt)
    with tempfile.TemporaryDirectory(prefix="sensorweir-demo-") as folder:
        home = Path(folder)
        try:
            ours = broker.start(home, choice)
        except broker.NoBrokerError as error:
            say(f"sensorweir: {error}")
            raise typer.Exit(EX_UNAVAILABLE) from None
        children: list[subprocess.Popen[bytes]] = []
        show = Show(ours)
        try:
            say(f"broker    {ours.name}, listening on {ours.url}")
            _play(home, ours, children, show, (duration, scenario))
        except KeyboardInterrupt:
            say("\nended early")
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # the way out is short: finish it
            for child in reversed(children):
                broker.end(child)
            show.stop()
            ours.stop()
    if not show.report():
        raise typer.Exit(EX_FAILED)


def _play(
    home: Path,
    ours: "DemoBroker",
    children: "list[subprocess.Popen[bytes]]",
    show: "Show",
    wanted: tuple[float, str],
) -> None:
    """Start the daemon, then the simulator, and wait until it has ended."""
    from daemon.cli.broker import free_port

    health = free_port()
    config = home / "gateway.yaml"
    config.write_text(_config(ours, health))
    config.chmod(0o600)  # it holds a password, if only of a broker that lives a minute
    children.append(_start("run", str(config)))
    _wait_ready(children[0], health)
    show.start()
    secret = home / "password"
    secret.write_text(ours.password)
    login = ["--username", ours.username, "--password-file", str(secret)] if ours.username else []
    duration, scenario = wanted
    children.append(
        _start("sim", "run", scenario, "--broker", ours.url, "--duration", f"{duration:g}s", *login)
    )
    show.watch_begins()
    until = time.monotonic() + duration + 30
    while children[1].poll() is None and time.monotonic() < until:
        if children[0].poll() is not None:
            say("sensorweir: the daemon ended by itself, see its messages above")
            return
        time.sleep(0.2)
    time.sleep(TAIL_S)


def _start(*command: str) -> "subprocess.Popen[bytes]":
    """One of our own commands as a process of its own; what it says goes to our stderr."""
    return subprocess.Popen(
        [sys.executable, "-m", "daemon", *command],
        stdout=subprocess.DEVNULL,
        cwd=Path(__file__).parents[2],
        start_new_session=True,  # Ctrl-C is ours to pass on, in the right order
    )


def _config(ours: "DemoBroker", health: int) -> str:
    login = f", username: {ours.username}, password: {ours.password}" if ours.username else ""
    return (
        "gateway: demo\n"
        f"broker: {{url: '{ours.url}'{login}}}\n"
        f"http: {{listen: '127.0.0.1:{health}'}}\n"
        "log: {format: console, level: warning}\n"
        f"include: ['{PIPELINES}']\n"
    )


def _wait_ready(daemon: "subprocess.Popen[bytes]", port: int) -> None:
    until = time.monotonic() + READY_S
    while time.monotonic() < until:
        if daemon.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    say("sensorweir: the daemon did not become ready, see its messages above")
    raise typer.Exit(EX_FAILED)


def _interrupt(number: int, frame: object) -> None:
    """SIGTERM ends the demonstration as Ctrl-C does."""
    del number, frame
    raise KeyboardInterrupt
