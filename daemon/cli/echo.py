"""`sensorweir echo`: the configuration as the daemon understands it."""

from typing import Annotated

import typer

from daemon.cli.common import ConfigArgument, put_json
from daemon.cli.files import config_or_exit, find_config


def echo(
    config: ConfigArgument = None,
    only: Annotated[
        str | None, typer.Option("--pipeline", "-p", help="Show this pipeline alone.")
    ] = None,
) -> None:
    """Print the whole configuration with includes, variables and defaults filled in, as JSON.

    Passwords are masked. Use it to see what a default is, or to compare two versions:

    Example:  diff <(sensorweir echo old.yaml) <(sensorweir echo new.yaml)
    """
    gateway = config_or_exit(find_config(config)).gateway
    data = gateway.model_dump(mode="json", by_alias=True, exclude_none=True)
    if only is not None:
        if only not in data["pipelines"]:
            known = ", ".join(data["pipelines"]) or "none"
            raise typer.BadParameter(f"no pipeline is called {only!r}; there are: {known}")
        data = data["pipelines"][only]
    put_json(data)
