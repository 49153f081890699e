"""Every command of `sensorweir`, mounted on the application; each lives in a file of its own."""

import typer


def register(app: typer.Typer) -> None:
    """Mount the commands. Only light modules are imported here, so that --help stays fast."""
    from daemon.cli import demo, doctor, echo, operators, replay, run, schema, test, validate
    from device_sim import cli as sim

    app.command("run")(run.run)
    app.command("validate")(validate.validate)
    app.command("test", help=test.HELP)(test.run_tests)
    app.command("replay", help=replay.HELP)(replay.replay)
    app.command("doctor", help=doctor.HELP)(doctor.doctor)
    app.command("demo")(demo.demo)
    app.command("echo")(echo.echo)
    app.command("schema")(schema.schema)
    app.add_typer(operators.app, name="operators")
    app.add_typer(sim.app, name="sim")
