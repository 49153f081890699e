"""The command line: data goes to stdout, messages to stderr.

Exit status: 0 done · 1 failure or finding · 2 usage · 69 broker unreachable · 78 configuration.
"""

import gc
import sys
from pathlib import Path


def main() -> None:
    """Entry point of `sensorweir`."""
    gc.disable()  # imports leave little garbage, and much to look through
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
