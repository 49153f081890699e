"""`"{name}"` in the options of a step: which fields may hold one, and what becomes of them."""

import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, get_args, get_origin

from pydantic import BaseModel, BeforeValidator
from pydantic.fields import FieldInfo

from config.model import Value
from config.nodes import Node
from config.units import duration_ns, size_bytes
from config.wording import members

VARIANTS_MAX: Final = 1_000
"""Combinations of values that are tried; beyond, each value is tried beside the defaults."""

_REFERENCE: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_-]*)\}")


def reference(value: object) -> str | None:
    """'limit' of the text '{limit}', None of anything else."""
    found = _REFERENCE.fullmatch(value) if isinstance(value, str) else None
    return found[1] if found else None


def referable(model: type[BaseModel]) -> tuple[str, ...]:
    """Fields that may be a reference: plain numbers, for `values` holds numbers without units."""
    return tuple(
        field.alias or name for name, field in model.model_fields.items() if is_number(field)
    )


def is_number(field: FieldInfo) -> bool:
    """Whether a field is a plain number, or such a number or nothing."""
    kinds = set(members(field.annotation))
    return bool(kinds) and kinds <= {int, float} and not _has_unit(field)


def _has_unit(field: FieldInfo) -> bool:
    extra = list(field.metadata)
    for member in (field.annotation, *get_args(field.annotation)):
        if get_origin(member) is Annotated:
            extra += get_args(member)[1:]
    return any(
        isinstance(item, BeforeValidator) and item.func in (duration_ns, size_bytes)
        for item in extra
    )


def numbers(value: Value, node: Node) -> list[Node | None]:
    """Every number of an entry of `values`, the default (or None) first, with its place."""
    found: list[Node | None] = [None]
    if value.default is not None:
        found = [node.get("default") or node]
    for label, by in value.by.items():
        found += [node.get("by", label, pattern) for pattern in by]
    return found


def variants(choices: Mapping[str, list[Node | None]]) -> Iterator[dict[str, Node | None]]:
    """Combinations of numbers that a series may have, all defaults first."""
    total = 1
    for options in choices.values():
        total *= len(options)
    if total <= VARIANTS_MAX:
        for chosen in itertools.product(*choices.values()):
            yield dict(zip(choices, chosen, strict=True))
        return
    default = {name: options[0] for name, options in choices.items()}
    yield default
    for name, options in choices.items():
        for option in options[1:]:
            yield default | {name: option}


def filled(node: Node, chosen: Mapping[str, Node | None]) -> Node | None:
    """The tree with its references replaced; None, and left out, where a series has no number."""
    name = reference(node.value)
    if name is not None and name in chosen:
        return chosen[name]
    value: Any = node.value
    if isinstance(value, dict):
        below = {k: filled(v, chosen) for k, v in value.items()}
        value = {k: v for k, v in below.items() if v is not None}
    elif isinstance(value, list):
        value = [v for v in (filled(v, chosen) for v in value) if v is not None]
    return Node(value, node.place, node.key, node.written)
