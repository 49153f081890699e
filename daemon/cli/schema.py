"""`sensorweir schema`: the configuration language for editors."""

import typer


def schema() -> None:
    """Print the JSON Schema of the configuration language, with every installed operator.

    An editor with a YAML language server completes and checks as you type when the first line of
    the file names the schema:  # yaml-language-server: $schema=sensorweir.schema.json

    Example:  sensorweir schema > sensorweir.schema.json
    """
    from config.schema import schema_text
    from pipelines.operator import load_all

    typer.echo(schema_text(load_all()), nl=False)
