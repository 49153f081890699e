"""The command line: data goes to stdout, messages to stderr.

Exit status: 0 done · 1 failure or finding · 2 usage · 69 broker unreachable · 78 configuration.
"""

import gc
import os
import sys
from pathlib import Path
from typing import Final

SETTINGS: Final = {
    # numpy's BLAS starts a thread for each processor that spins for a while; our kernels call none.
    "OPENBLAS_NUM_THREADS": "1",
    # Else pydantic reads what every package in the environment declares, and runs its plugins.
    "PYDANTIC_DISABLE_PLUGINS": "__all__",
}
"""For libraries, which look when they are imported; what is set already stays."""


def main() -> None:
    """Entry point of `sensorweir`."""
    gc.disable()  # imports leave little garbage, and much to look through
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    stranger = foreign_package()
    if stranger:
        sys.stderr.write(
            f"sensorweir: the package {stranger} belongs to somebody else; install sensorweir in "
            "an environment of its own (pipx, uv tool, or a fresh virtual environment)\n"
        )
        sys.exit(1)
    from daemon.cli.start import arguments, start

    plain = arguments(sys.argv[1:])
    if plain is not None:
        start(*plain)
        return
    from daemon.cli import commands

    gc.enable()
    commands.register(commands.app)
    commands.app()


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
