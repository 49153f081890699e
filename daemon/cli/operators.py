"""`sensorweir operators`: what the steps of a pipeline can be."""

from difflib import get_close_matches
from typing import Annotated, Any

import typer

from daemon.cli.common import EX_USAGE, Format, FormatOption, put_json, say

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
    from pipelines.operator import load_all

    operator = load_all().get(name)
    if operator is None:
        near = get_close_matches(name, load_all(), 1)
        hint = f"did you mean {near[0]}?" if near else "see: sensorweir operators list"
        say(f"sensorweir: no operator is called {name!r}; {hint}")
        raise typer.Exit(EX_USAGE)
    schema = operator.params.model_json_schema()
    if output is Format.json:
        put_json(
            {
                "name": name,
                "summary": operator.summary,
                "emits": operator.emits,
                "example": operator.example,
                "params": schema,
            }
        )
        return
    typer.echo(f"{name}: {operator.summary}\n\nparameters:")
    for field, about in schema.get("properties", {}).items():
        typer.echo(f"  {field}  {_kind(about)}, default {_default(about)}")
        if "description" in about:
            typer.echo(f"      {about['description']}")
    typer.echo(f"\nequivalent to:\n  {_meaning(operator.step.__doc__ or '')}")
    typer.echo(f"\nemits: {operator.emits}\nexample:\n  - {operator.example}")


def _kind(about: dict[str, Any]) -> str:
    choices = about.get("anyOf", [about])
    if "enum" in about:
        return " | ".join(map(str, about["enum"]))
    words = [
        "duration"
        if "pattern" in c and "ns|us" in c["pattern"]
        else "window"
        if c.get("examples") == ["60s", 31]
        else " or ".join(c["type"])
        if isinstance(c.get("type"), list)
        else " | ".join(map(str, c["enum"]))
        if "enum" in c
        else str(c.get("type", "value"))
        for c in choices
        if c.get("type") != "null"
    ]
    bounds = [
        f"{sign} {about[key]}"
        for key, sign in (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"))
        if key in about
    ]
    return " ".join([" or ".join(words), *bounds])


def _default(about: dict[str, Any]) -> str:
    if "default" not in about:
        return "none: must be given"
    return "not set" if about["default"] is None else str(about["default"])


def _meaning(doc: str) -> str:
    _, _, meaning = doc.partition("Equivalent to")
    return " ".join(meaning.split("\n\n")[0].split()).lstrip(": ")
