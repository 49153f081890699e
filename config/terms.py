"""Small types that every part of the configuration language is made of."""

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

NAME = r"^[A-Za-z_][A-Za-z0-9_-]{0,63}$"
REFERENCE = r"^\{[A-Za-z_][A-Za-z0-9_-]*\}$"

Name = Annotated[str, Field(pattern=NAME)]
Reference = Annotated[str, Field(pattern=REFERENCE)]
Number = float | Reference
"""A number, or `"{name}"` of an entry in the pipeline's `values`."""


def is_name(text: str) -> bool:
    """Whether a source, pipeline, label or value may be called so."""
    return re.fullmatch(NAME, text) is not None


def not_negative(value: float | str) -> float | str:
    """Raises ValueError; a reference is checked with each value it may have."""
    if not isinstance(value, str) and value < 0:
        raise ValueError(f"must not be negative, got {value:g}")
    return value


def positive(value: float | str) -> float | str:
    """Raises ValueError; a reference is checked with each value it may have."""
    if not isinstance(value, str) and value <= 0:
        raise ValueError(f"must be more than 0, got {value:g}")
    return value


QoS = Literal[0, 1, 2]
SECOND = 1_000_000_000


def _listed(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else [value]


def text(value: Any) -> Any:
    """Numbers as the text they were written as."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


Text = Annotated[str, BeforeValidator(text)]
"""Text that may look like a number in YAML, such as a device called 12 or `protocol: 5`."""
OneOrMore = Annotated[tuple[Text, ...], BeforeValidator(_listed)]
Names = Annotated[tuple[Name, ...], Field(min_length=1, json_schema_extra={"uniqueItems": True})]
"""Distinct names in the order of their weight; `topology` says where one is written twice."""
