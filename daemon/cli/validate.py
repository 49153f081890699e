"""`sensorweir validate`: is this configuration good? Touches nothing, connects to nothing."""

from typing import Annotated

import typer

from daemon.cli.common import ConfigArgument, Format, FormatOption, put_json
from daemon.cli.files import EX_CONFIG, find_config, read_config, say, say_problems


def validate(
    config: ConfigArgument = None,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings are errors.")] = False,
    output: FormatOption = Format.text,
) -> None:
    """Check a configuration and everything it includes, without running it.

    Prints every problem at once with its place and a way out. Exit status 0 when it is good,
    78 when it is not. Imports no compiler, opens no connection: fit for an editor or a hook.

    Example:  sensorweir validate gateway.yaml
    """
    from config.errors import ConfigError

    path = find_config(config)
    try:
        loaded = read_config(path)
        problems = loaded.warnings
    except ConfigError as error:
        loaded, problems = None, error.problems
    good = loaded is not None and not (strict and problems)
    if output is Format.json:
        put_json({"ok": good, "problems": [p.as_dict() for p in problems]})
    else:
        say_problems(problems)
        if loaded is not None and good:
            gateway = loaded.gateway
            published = sum(p.alert is not None for p in gateway.pipelines.values())
            say(
                f"{path}: ok · {len(gateway.sources)} sources, {len(gateway.pipelines)} pipelines, "
                f"{published} alerts, no loops · {len(loaded.files)} files, broker not contacted"
            )
    if not good:
        raise typer.Exit(EX_CONFIG)
