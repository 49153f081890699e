"""Options that commands share, and how they print data."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer


class Format(StrEnum):
    """How data is printed."""

    text = "text"
    json = "json"


FormatOption = Annotated[
    Format, typer.Option("--format", "-f", help="text for people, json for programs.")
]
ConfigArgument = Annotated[
    Path | None,
    typer.Argument(
        help="Configuration file. Default: $SENSORWEIR_CONFIG, ./gateway.yaml, "
        "/etc/sensorweir/gateway.yaml.",
        show_default=False,
    ),
]


def put_json(data: Any) -> None:
    """Data for programs, on stdout."""
    import orjson

    sys.stdout.buffer.write(orjson.dumps(data, option=orjson.OPT_INDENT_2) + b"\n")
    sys.stdout.buffer.flush()
