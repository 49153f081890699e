"""Numbers that differ by device: which value a series gets, and where that was written."""

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from config.model import Value
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
    for label, numbers in value.by.items():
        if label not in have:
            continue
        for pattern, number in numbers.items():
            if fnmatchcase(have[label], pattern):
                return Resolved(number, f"values.{name}.by.{label}.{pattern}")
    return Resolved(value.default, f"values.{name}.default")


def matches(where: Mapping[str, tuple[str, ...]], labels: Labels) -> bool:
    """Whether a series has, for every label of `where`, one of the listed values or patterns."""
    have = dict(labels)
    return all(
        label in have and any(fnmatchcase(have[label], pattern) for pattern in patterns)
        for label, patterns in where.items()
    )
