"""`"{name}"` in the options of a step: which fields may hold one, and what becomes of them."""

import glob
import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, get_args, get_origin

from pydantic import BeforeValidator
from pydantic.fields import FieldInfo

from config.model import Value
from config.nodes import Node
from config.params import Params
from config.parts import StepSpec
from config.tables import Lookup, Table
from config.wording import members, nearest

VARIANTS_MAX: Final = 1_000
"""Combinations of values that are tried; beyond, each value is tried beside the defaults."""

_REFERENCE: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_-]*)\}")


def reference(value: object) -> str | None:
    """'limit' of the text '{limit}', None of anything else."""
    found = _REFERENCE.fullmatch(value) if isinstance(value, str) else None
    return found[1] if found else None


def referable(step: StepSpec) -> tuple[str, ...]:
    """Options that may be a reference: plain numbers, for `values` holds numbers without units.

    Not those that size the memory of the step, which all series share.
    """
    return tuple(
        field.alias or name
        for name, field in step.params.model_fields.items()
        if is_number(field) and name not in step.sized_by
    )


def is_number(field: FieldInfo) -> bool:
    """Whether a field is a plain number, or such a number or nothing."""
    kinds = set(members(field.annotation))
    return bool(kinds) and kinds <= {int, float} and not _has_unit(field)


def _has_unit(field: FieldInfo) -> bool:
    """Whether text in a notation of its own, such as 30s, becomes the number."""
    extra = list(field.metadata)
    for member in (field.annotation, *get_args(field.annotation)):
        if get_origin(member) is Annotated:
            extra += get_args(member)[1:]
    return any(isinstance(item, BeforeValidator) for item in extra)


def numbers(value: Value, node: Node) -> list[Node | None]:
    """Every number of an entry of `values`, the default (or None) first, with its place."""
    found: list[Node | None] = [None]
    if value.default is not None:
        found = [node.get("default") or node]
    at = node.get("table") or node  # of numbers that stand in a table
    listed: dict[float, Node | None] = {}
    for label, by in value.by.items():
        for pattern, number in by.items():
            listed.setdefault(number, node.get("by", label, pattern) or Node(number, at.place))
    return found + list(listed.values())


def with_table(params: Params, name: str, table: Table) -> Params:
    """The parameters with a table in place of its name. Raises ValidationError."""
    given = params.model_dump(exclude_unset=True, by_alias=True)
    found = {k: Lookup(name, table) for k, v in params if isinstance(v, Lookup) and v.name == name}
    return type(params).model_validate(given | found)


def with_tables(
    values: Mapping[str, Value], tables: Mapping[str, Table]
) -> tuple[dict[str, Value], dict[str, str]]:
    """Values with the numbers of their tables in `by`, and {name: what is wrong}."""
    made, wrong = dict(values), {}
    for name, value in values.items():
        if value.table is None or value.column is None:
            continue
        table = tables.get(value.table)
        try:
            if table is None:
                hint = nearest(value.table, tables)
                raise ValueError(f"unknown table {value.table!r}" + (f"; {hint}" if hint else ""))
            if table.topic is not None:
                raise ValueError("a table that messages fill cannot give numbers")
            if value.column not in (table.columns or ()):
                raise ValueError(f"table {value.table!r} has no column {value.column!r}")
            of = value.of or table.key
            listed = {glob.escape(key): x for key, x in table.numbers(value.column).items()}
        except ValueError as error:
            wrong[name] = str(error)
        else:
            by = {**value.by, of: {**value.by.get(of, {}), **listed}}
            made[name] = Value(default=value.default, by=by)
    return made, wrong


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
