"""`sensorweir operators`: what the steps of a pipeline can be."""

from difflib import get_close_matches
from typing import Annotated

import typer

from daemon.cli.common import Format, FormatOption, put_json
from daemon.cli.files import EX_USAGE, say

app = typer.Typer(help="What the steps of a pipeline can be.", no_args_is_help=True)


@app.command("list")
def list_operators(output: FormatOption = Format.text) -> None:
    """List every operator with one sentence each.

    Example:  sensorweir operators list
    """
    from pipelines.operator import load_all

    known = load_all()
    if output is Format.json:
        put_json([{"name": o.name, "summary": o.summary, "emits": o.emits} for o in known.values()])
        return
    width = max(map(len, known))
    for name, operator in sorted(known.items()):
        typer.echo(f"{name:{width}}  {operator.summary}")
    say("\nmore on one of them: sensorweir operators describe NAME")


@app.command()
def describe(
    name: Annotated[str, typer.Argument(help="Name of an operator.")],
    output: FormatOption = Format.text,
) -> None:
    """Say what an operator does, its parameters with units and defaults, and show an example.

    Example:  sensorweir operators describe rolling
    """
    from daemon.cli.describe import describe as about_operator
    from pipelines.operator import load_all

    operator = load_all().get(name)
    if operator is None:
        near = get_close_matches(name, load_all(), 1)
        hint = f"did you mean {near[0]}?" if near else "see: sensorweir operators list"
        say(f"sensorweir: no operator is called {name!r}; {hint}")
        raise typer.Exit(EX_USAGE)
    about = about_operator(operator)
    if output is Format.json:
        put_json(about.as_dict() | {"params": operator.params.model_json_schema()})
        return
    typer.echo(f"{name}: {about.summary}\n\nparameters:")
    for p in about.parameters:
        typer.echo(f"  {p.name}  {p.kind}, {p.default_words}")
        if p.meaning:
            typer.echo(f"      {p.meaning}")
    typer.echo(f"\nequivalent to:\n  {about.meaning}")
    typer.echo(f"\nemits: {about.emits}")
    if about.fields:
        typer.echo(f"fields (of the example): {', '.join(about.fields)}")
    for counter, meaning in about.counters.items():
        typer.echo(f"counts {name}.{counter}: {meaning}")
    if about.source:
        typer.echo(f"source: {about.source}")
    typer.echo(f"example:\n  - {about.example}")
