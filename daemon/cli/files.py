"""What the commands share and a daemon needs: finding and reading the configuration.

Nothing here imports typer: a start does without it, see `main`.
"""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from config.errors import Problem
    from config.load import Loaded

EX_FAILED, EX_USAGE, EX_UNAVAILABLE, EX_CONFIG = 1, 2, 69, 78
SYSTEM_CONFIG = Path("/etc/sensorweir/gateway.yaml")


def say(text: str) -> None:
    """A message for people, on stderr."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def find_config(given: Path | None) -> Path:
    """The configuration file to use; ends the program when there is none."""
    if given is not None:
        return given
    named = os.environ.get("SENSORWEIR_CONFIG")
    if named:
        return Path(named)
    for path in (Path("gateway.yaml"), SYSTEM_CONFIG):
        if path.exists():
            return path
    say(
        "sensorweir: no configuration: there is no gateway.yaml here and no "
        f"{SYSTEM_CONFIG}\n  name one (sensorweir run my.yaml), or see one work: sensorweir demo"
    )
    raise SystemExit(EX_USAGE)


def read_config(path: Path) -> "Loaded":
    """Read and check a configuration. Raises ConfigError with every problem; touches nothing."""
    from config.load import load
    from daemon.decode import OPTIONS
    from pipelines.operator import OPERATORS

    return load(path, OPERATORS, OPTIONS)


def config_or_exit(path: Path) -> "Loaded":
    """The configuration; with problems it prints them all and ends with status 78."""
    from config.errors import ConfigError

    try:
        return read_config(path)
    except ConfigError as error:
        say_problems(error.problems)
        raise SystemExit(EX_CONFIG) from None


def say_problems(problems: "tuple[Problem, ...]") -> None:
    """Every problem with its place, and how many there are."""
    for problem in problems:
        say(str(problem))
    errors = sum(p.level == "error" for p in problems)
    warnings = len(problems) - errors
    parts = [
        f"{n} {word}{'s' if n > 1 else ''}"
        for n, word in ((errors, "error"), (warnings, "warning"))
        if n
    ]
    if parts:
        say(", ".join(parts))
