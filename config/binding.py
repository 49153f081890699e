"""Nodes bound to models: every problem at once, each at the word that is wrong."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from config.errors import ConfigError, Problem
from config.nodes import Document, Node, read_document
from config.wording import Fault, said, suggestion

M = TypeVar("M", bound=BaseModel)

ROUNDS_MAX: Final = 8
"""Times that a mapping is read again without what was wrong with it."""


def read(path: Path, model: type[M], env: Mapping[str, str] | None = None) -> M:
    """Read a YAML file into a model. Raises ConfigError with all problems.

    `env` fills `${VAR}`; default: the environment of the process.
    """
    document = read_document(path, os.environ if env is None else env)
    bound = bind(document, document.root, model)
    if bound is None or document.problems:
        raise ConfigError(document.problems)
    return bound


def bind(document: Document, node: Node, model: type[M], data: Any = None) -> M | None:
    """The model made from `node`; None when that failed, and `document.problems` says why.

    `data` replaces the node's own values, which then only give the places.
    """
    bound, whole = bind_what_is_good(document, node, model, data)
    return bound if whole else None


def bind_what_is_good(
    document: Document, node: Node, model: type[M], data: Any = None
) -> tuple[M | None, bool]:
    """The model made from what is good in `node`, and whether that is all of it.

    What is wrong goes into `document.problems` and is left out, so that one mistake hides no
    other.  None when too little is left.
    """
    values = node.data() if data is None else data
    if values is None and node.value is None:
        values = {}
    problems_before = len(document.problems)
    gone: set[tuple[int | str, ...]] = set()
    for _ in range(ROUNDS_MAX):
        try:
            bound = model.model_validate(values)
        except ValidationError as error:
            faults = error.errors(include_url=False)
            if any(f["type"] == "missing" and f["loc"] in gone for f in faults):
                break  # it was there, and what is wrong with it is said
            document.problems += problems_of(document, node, model, error)
            if not all(_left_out(values, f["loc"], f["type"], gone) for f in faults):
                break
        else:
            return bound, len(document.problems) == problems_before
    return None, False


def _left_out(
    values: Any, loc: tuple[int | str, ...], kind: str, gone: set[tuple[int | str, ...]]
) -> bool:
    """Take what `loc` points at out of `values`, in place; False when it cannot be left out.

    Tags of unions in `loc` are no keys and are skipped.  Entries of lists stay, because places
    are found by their number; then the whole list goes.
    """
    holder, key, at, end = None, None, values, 0
    for i, part in enumerate(loc):
        if isinstance(at, list):
            break
        if isinstance(at, dict) and part in at:
            holder, key, at, end = at, part, at[part], i + 1
    if holder is None:
        return bool(loc) and kind != "missing" and isinstance(values, dict)  # gone already
    holder.pop(key, None)
    gone.add(loc[:end])
    return True


def problems_of(
    document: Document, node: Node, model: type[BaseModel], error: ValidationError
) -> list[Problem]:
    """A validation error as placed problems; alternatives of one union become one problem."""
    faults = [Fault.at(node, model, item) for item in error.errors(include_url=False)]
    meant = {(f.path[:-1], suggestion(f)) for f in faults if f.kind == "extra_forbidden"}
    told = [
        fault
        for fault in faults  # but not what is misspelt, which is said already
        if fault.kind != "missing" or (fault.path, fault.item["loc"][-1]) not in meant
    ]
    return [document.problem(where, what, hint) for where, what, hint in said(told)]
