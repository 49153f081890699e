"""What can be said of an operator out of what it declares: for the terminal and for its page."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from config.nodes import parse
from config.params import Span
from config.units import duration_text
from pipelines.operator import SINGLE, Operator, columns

COUNTERS: Final = {
    "dropped": "samples of series that are not in the table",
    "forced": "samples that had their turn early, for want of room",
    "forgotten": "what was given up for want of room while it could still have mattered",
    "gaps": "gaps longer than max_gap",
    "impossible": "samples that are no latitude or longitude",
    "irregular": "spectra not made because of uneven times",
    "late": "samples that came when what they belong to had been told",
    "left_out": "samples that repeat an earlier one",
    "not_counted": "samples of more members than there is room for",
    "replaced": "values that were replaced",
    "truncated": "samples that left a window early, as it would have outgrown state_bytes_max",
}
"""What each counter of an operator counts, by its name."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter as it is written in a configuration."""

    name: str
    kind: str
    """What may be written: its type, choices and bounds."""
    default: str | None
    """As it would be written; '' for nothing, None where it must be given."""
    meaning: str

    @property
    def default_words(self) -> str:
        """In words."""
        if self.default is None:
            return "no default: must be given"
        return f"default {self.default}" if self.default else "default: not set"


@dataclass(frozen=True, slots=True)
class Description:
    """All about one operator."""

    name: str
    summary: str
    emits: str
    example: str
    parameters: tuple[Parameter, ...]
    fields: tuple[str, ...]
    """Further numbers of each row, with the parameters of the example."""
    meaning: str
    """What its results are equal to."""
    source: str
    """Where its algorithm is described."""
    counters: dict[str, str]
    """What it counts, and what that means."""

    def as_dict(self) -> dict[str, Any]:
        """For programs."""
        return asdict(self)


def describe(operator: Operator) -> Description:
    """Read it off the operator."""
    model = operator.params
    listed = model.model_json_schema().get("properties", {})
    fields = {f.alias or name: f for name, f in model.model_fields.items()}
    return Description(
        name=operator.name,
        summary=operator.summary,
        emits=operator.emits,
        example=operator.example,
        parameters=tuple(
            Parameter(
                name,
                _kind(about),
                None if "default" not in about else _default(fields[name].default, about),
                " ".join(about.get("description", "").split()),
            )
            for name, about in listed.items()
        ),
        fields=operator.fields(model.model_validate(_options(operator))),
        meaning=_meaning(operator.step.__doc__ or ""),
        source=operator.source,
        counters={
            name: COUNTERS[name]
            for name, col in columns(operator.state).items()
            if col.width == SINGLE and col.dtype == "i8"
        },
    )


def _options(operator: Operator) -> dict[str, Any]:
    """Those in the operator's own example."""
    example = parse(operator.example.encode(), "example", {}, Path()).root.data()
    return {} if isinstance(example, str) else (example[operator.name] or {})


def _kind(about: dict[str, Any]) -> str:
    choices = [c for c in about.get("anyOf", [about]) if c.get("type") != "null"]
    words = " or ".join(dict.fromkeys(_word(c) for c in choices))
    return " ".join((words, *(bounds for c in choices if (bounds := _bounds(c)))))


def _bounds(about: dict[str, Any]) -> str:
    low, high = about.get("minimum"), about.get("maximum")
    if low is not None and high is not None:
        return f"from {low:g} to {high:g}"
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    return " and ".join(f"{sign} {about[key]:g}" for key, sign in signs.items() if key in about)


def _word(about: dict[str, Any]) -> str:
    if "enum" in about:
        return " | ".join(map(str, about["enum"]))
    if "ns|us" in about.get("pattern", ""):
        return "duration"
    if about.get("examples") == ["60s", 31]:
        return "duration or number of samples"
    if about.get("type") == "array":
        return "list"
    if about.get("examples"):
        return f"such as {' or '.join(map(str, about['examples']))}"
    kinds = about.get("type", "value")
    return " or ".join(kinds) if isinstance(kinds, list) else str(kinds)


def _default(value: Any, about: dict[str, Any]) -> str:
    if isinstance(value, Span):
        return str(value.n) if value.n else duration_text(value.ns)
    if _word(about) == "duration":
        return duration_text(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None or value == ():
        return ""
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(str, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _meaning(doc: str) -> str:
    _, _, meaning = doc.partition("Equivalent to")
    return " ".join(meaning.split("\n\n")[0].split()).lstrip(": ")
