"""Writes pipelines/OPERATORS.md out of what the operators declare: `python -m tests.write_docs`."""

import sys
from pathlib import Path

from pipelines.operator import load_all

PAGE = Path(__file__).parent.parent / "pipelines" / "OPERATORS.md"
HEAD = """# Operators

Generated from `pipelines/operators/*.py` by `make docs`; `sensorweir operators describe NAME` says the same.

Common to all: a sample whose value is not known (NaN, not a number, bad quality) goes through as *not known* and changes
no state. A trailing window of 60s is (t - 60 s, t]; a bucket of `aggregate` is [start, end). Detectors score a sample
against the past alone, then learn it. A number written `"{name}"` is taken from the pipeline's `values` for each series.

"""


def kind(about):
    choices = [c for c in about.get("anyOf", [about]) if c.get("type") != "null"]
    words = []
    for c in choices:
        if "enum" in c:
            words.append(" \\| ".join(f"`{e}`" for e in c["enum"]))
        elif c.get("examples"):
            words.append("e.g. " + ", ".join(f"`{e}`" for e in c["examples"]))
        else:
            kinds = c.get("type", "value")
            words.append(" or ".join(kinds) if isinstance(kinds, list) else str(kinds))
    return " or ".join(dict.fromkeys(words))


def default(about):
    if "default" not in about:
        return "required"
    return "" if about["default"] in (None, [], ()) else f"`{about['default']}`"


def meaning(doc):
    _, _, text = doc.partition("Equivalent to")
    return " ".join(text.split("\n\n")[0].split()).lstrip(": ")


def page():
    text = [HEAD]
    for name, op in sorted(load_all().items()):
        schema = op.params.model_json_schema()
        text.append(
            f"## {name}\n\n{op.summary} Emits a {op.emits}.\n\n```yaml\n- {op.example}\n```\n"
        )
        text.append("\n| parameter | value | default | |\n|---|---|---|---|\n")
        for field, about in schema.get("properties", {}).items():
            words = about.get("description", "").replace("|", "\\|")
            text.append(f"| `{field}` | {kind(about)} | {default(about)} | {words} |\n")
        text.append(f"\nEquivalent to: {meaning(op.step.__doc__ or '')}\n\n")
    return "".join(text).rstrip() + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
    print(f"wrote {PAGE.name}", file=sys.stderr)
