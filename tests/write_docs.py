"""Writes the pages of the operators out of what they declare: `python -m tests.write_docs`.

`pipelines/OPERATORS.md` lists them; each has a page and a picture in `pipelines/docs`, both made
from its example in `config/examples/operators`.
"""

import sys
from pathlib import Path

from daemon.cli.describe import describe
from pipelines.operator import load_all
from tests.operator_examples import config_path
from tests.plots import svg

PIPELINES = Path(__file__).parent.parent / "pipelines"
INDEX, FOLDER = PIPELINES / "OPERATORS.md", PIPELINES / "docs"
MADE = "<!-- Made by `make docs` from pipelines/operators and config/examples/operators. -->\n"
HEAD = f"""{MADE}# Operators

What a step of a pipeline can be. `sensorweir operators describe NAME` says the same on a terminal.

Common to all: a sample whose value is not known (NaN, not a number, bad quality) goes through as *not known* and changes
no state. A trailing window of 60s is (t - 60 s, t]; a bucket of `aggregate` is [start, end). Detectors score a sample
against the past alone, then learn it. A number written `"{{name}}"` is taken from the pipeline's `values` for each series.

A *sample* is passed on to the next step or published. A *window* is a row about a span of time. A *score* says how unusual
a sample is; as the last step it has a condition of its own, so that `alert: {{severity: minor}}` is all that is needed.

| operator | what it does | emits |
|---|---|---|
"""
NOTE = "Dots are the samples given, arrows those outside of the scale, crosses those of no known value."


def index():
    """The list of all."""
    rows = [
        f"| [{name}](docs/{name}.md) | {op.summary} | {op.emits} |\n"
        for name, op in sorted(load_all().items())
    ]
    return HEAD + "".join(rows)


def page(name):
    """All about one operator."""
    about = describe(load_all()[name])
    parts = [
        f"{MADE}# {name}\n\n{about.summary} Emits a {about.emits}.\n\n",
        f"![{name}, drawn]({name}.svg)\n\n{NOTE}\n\n",
        f"```yaml\n{example(name)}```\n\n",
        (
            f"The whole [example](../../config/examples/operators/{name}.yaml) and "
            f"[its test](../../config/examples/operators/{name}.test.yaml): "
            f"`sensorweir test config/examples/operators/{name}.test.yaml`\n\n"
        ),
        "## Parameters\n\n| name | value | default | |\n|---|---|---|---|\n",
        *(parameter(p) for p in about.parameters),
        f"\n## Semantics\n\nEquivalent to: {about.meaning}\n",
    ]
    if about.fields:
        names = ", ".join(f"`{f}`" for f in about.fields)
        parts.append(f"\nFields of each row, for `{about.example}`: {names}.\n")
    if about.counters:
        parts.append("\n## Counters\n\n")
        parts += [f"- `{name}.{key}`: {words}\n" for key, words in about.counters.items()]
    if about.source:
        parts.append(f"\n## Source\n\n{about.source}.\n")
    return "".join(parts)


def parameter(p):
    cells = (f"`{p.name}`", p.kind, "required" if p.default is None else p.default, p.meaning)
    return "| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |\n"


def example(name):
    """The pipelines of the example, as they are written there."""
    text = config_path(name).read_text()
    return text[text.index("pipelines:\n") :]


def pages():
    """{path: text} of every generated page and picture."""
    made = {INDEX: index()}
    for name in load_all():
        made[FOLDER / f"{name}.md"] = page(name)
        made[FOLDER / f"{name}.svg"] = svg(name)
    return made


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    made = pages()
    for path, text in made.items():
        path.write_text(text)
    for path in set(FOLDER.iterdir()) - set(made):
        path.unlink()
    print(f"wrote {len(made)} files below {PIPELINES.name}", file=sys.stderr)
