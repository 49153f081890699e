"""Numbers that differ by device: which value a series gets, and where that was written."""

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from config import references
from config.model import Pipeline, Value
from config.tables import Lookup, Table
from config.wording import members
from pipelines.series import Labels


@dataclass(frozen=True, slots=True)
class Resolved:
    """One number for one series; `origin` names its place in the configuration."""

    number: float | None
    origin: str


def reference(value: object) -> str | None:
    """'limit' of the text '{limit}', None of anything else."""
    if isinstance(value, str) and value.startswith("{") and value.endswith("}"):
        return value[1:-1]
    return None


def resolve(values: Mapping[str, Value], name: str, labels: Labels) -> Resolved:
    """The first entry of `by` that matches the labels, in the order written, else the default."""
    value = values[name]
    have = dict(labels)
    for label, (plain, wild, numbers) in value.places.items():
        if label not in have:
            continue
        first = plain.get(have[label], len(numbers))
        for place, pattern in wild:
            if place > first:
                break
            if fnmatchcase(have[label], pattern):
                first = place
        if first < len(numbers):
            pattern = list(value.by[label])[first]
            return Resolved(numbers[first], f"values.{name}.by.{label}.{pattern}")
    return Resolved(value.default, f"values.{name}.default")


def with_tables(
    spec: Pipeline, operators: Mapping[str, Any], tables: Mapping[str, Table]
) -> Pipeline:
    """The pipeline with tables in place of their names, in its steps and its values."""
    steps = []
    for step in spec.steps:
        model, options = operators[step.name].params, dict(step.options)
        for field, declared in model.model_fields.items():
            if Lookup in members(declared.annotation) and isinstance(options.get(field), str):
                options[field] = Lookup(options[field], tables.get(options[field]))
        steps.append(step.model_copy(update={"options": options}))
    values, _ = references.with_tables(spec.values, tables)
    return spec.model_copy(update={"steps": tuple(steps), "values": values})


def matches(where: Mapping[str, tuple[str, ...]], labels: Labels) -> bool:
    """Whether a series has, for every label of `where`, one of the listed values or patterns."""
    have = dict(labels)
    return all(
        label in have and any(_fits(have[label], pattern) for pattern in patterns)
        for label, patterns in where.items()
    )


def is_plain(pattern: str) -> bool:
    """Whether only the text itself matches: a pattern costs fifty times as much when first met."""
    return "*" not in pattern and "?" not in pattern and "[" not in pattern


def _fits(value: str, pattern: str) -> bool:
    return value == pattern if is_plain(pattern) else fnmatchcase(value, pattern)
