"""The command line: data goes to stdout, messages to stderr.

Exit status: 0 done · 1 failure or finding · 2 usage · 69 broker unreachable · 78 configuration.
"""

import gc
import sys
from pathlib import Path
from typing import Annotated

import typer

from daemon import __version__

app = typer.Typer(
    name="sensorweir",
    help="Stream processing for sensor data on an edge gateway.\n\n"
    "Subscribes to MQTT topics, runs windowed operators over the samples, and publishes alerts, "
    "windows and derived samples to MQTT topics.\n\n"
    "First steps:  sensorweir demo  ·  sensorweir validate gateway.yaml  ·  "
    "sensorweir run gateway.yaml",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sensorweir {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it and exit.")
    ] = False,
) -> None:
    """Options of every command stand after the command."""


def main() -> None:
    """Entry point of `sensorweir`."""
    gc.disable()  # imports leave little garbage, and much to look through
    stranger = foreign_package()
    if stranger:
        typer.echo(
            f"sensorweir: the package {stranger} belongs to somebody else; install sensorweir in "
            "an environment of its own (pipx, uv tool, or a fresh virtual environment)",
            err=True,
        )
        sys.exit(1)
    from daemon.cli import commands

    commands.register(app)
    gc.enable()
    app()


def foreign_package() -> str | None:
    """Where one of our four package names resolves outside our own installation, else None."""
    from importlib.util import find_spec

    home = Path(__file__).resolve().parents[2]
    for name in ("config", "pipelines", "daemon", "device_sim"):
        spec = find_spec(name)
        if spec is None or spec.origin is None:
            return name
        if Path(spec.origin).resolve().parents[1] != home:
            return f"{name} ({spec.origin})"
    return None
