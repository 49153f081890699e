"""`sensorweir run`: the daemon itself."""

from pathlib import Path
from typing import Annotated

import typer

from daemon.cli.common import ConfigArgument
from daemon.cli.start import start


def run(
    config: ConfigArgument = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            "--kernel-cache",
            help="Where compiled kernels are kept. Default: $CACHE_DIRECTORY, else inside the "
            "environment that sensorweir is installed in, else ~/.cache/sensorweir.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Run the daemon until it is told to stop.

    SIGTERM or Ctrl-C: finishes what has arrived, then ends with status 0. SIGHUP: reads the
    configuration again; an invalid one is refused and the old one goes on.

    Example:  sensorweir run /etc/sensorweir/gateway.yaml
    """
    start(config, cache)
