"""Every command of `sensorweir`, mounted on the application; each lives in a file of its own."""

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


def register(app: typer.Typer) -> None:
    """Mount the commands. Only light modules are imported here, so that --help stays fast."""
    from daemon.cli import (
        demo,
        doctor,
        echo,
        operators,
        replay,
        run,
        schema,
        test,
        validate,
        warmup,
    )
    from device_sim import cli as sim

    app.command("run")(run.run)
    app.command("validate")(validate.validate)
    app.command("test", help=test.HELP)(test.run_tests)
    app.command("replay", help=replay.HELP)(replay.replay)
    app.command("warmup", help=warmup.HELP)(warmup.warmup)
    app.command("doctor", help=doctor.HELP)(doctor.doctor)
    app.command("demo")(demo.demo)
    app.command("echo")(echo.echo)
    app.command("schema")(schema.schema)
    app.add_typer(operators.app, name="operators")
    app.add_typer(sim.app, name="sim")
