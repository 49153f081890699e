"""`sensorweir schema`: the configuration language for editors."""

from daemon.cli.common import put_json


def schema() -> None:
    """Print the JSON Schema of the configuration language, with every installed operator.

    An editor with a YAML language server completes and checks as you type when the first line of
    the file names the schema:  # yaml-language-server: $schema=sensorweir.schema.json

    Example:  sensorweir schema > sensorweir.schema.json
    """
    from config.schema import json_schema
    from daemon.decode import DECODERS
    from pipelines.operator import load_all

    put_json(json_schema(load_all(), {n: d.options for n, d in DECODERS.items()}))
