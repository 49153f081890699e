"""Base of every options model, and the types that operators declare their parameters with."""

from typing import Annotated, Any, NamedTuple

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    GetCoreSchemaHandler,
    PlainSerializer,
    WithJsonSchema,
)
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from config.units import duration_ns, duration_text


def _no_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise PydanticCustomError("no_bool", "expected a number, found a boolean")
    return value


def _scalars_apart(schema: Any, model: type[BaseModel]) -> Any:
    """The schema of `model` with booleans that take only true and false, and numbers that take neither.

    Other models in it have been through this.
    """
    if type(schema) in (list, tuple):  # not a NamedTuple: that is somebody's default value
        return type(schema)(_scalars_apart(item, model) for item in schema)
    if not isinstance(schema, dict) or schema.get("cls", model) is not model:
        return schema
    apart = {k: _scalars_apart(value, model) for k, value in schema.items() if k != "metadata"}
    if "metadata" in schema:
        apart["metadata"] = schema["metadata"]
    if apart.get("type") == "bool":
        return apart | {"strict": True}
    numeric = apart.get("type") in ("int", "float")
    if apart.get("type") == "literal":
        numeric = any(type(choice) is int for choice in apart["expected"])
    if numeric:
        return core_schema.no_info_before_validator_function(_no_bool, apart)
    return apart


class Options(BaseModel):
    """A mapping in a configuration file: unknown keys and NaN are errors, values never change."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
        defer_build=True,  # most of them are parts of others, or in nobody's configuration
    )

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """As pydantic makes it, but true is not 1 and "on" is not true."""
        made: CoreSchema = handler(source)
        return made if cls.__pydantic_complete__ else _scalars_apart(made, cls)


class Params(Options):
    """Parameters of one operator; each field becomes one column that its kernel reads."""

    @property
    def climbs(self) -> bool:
        """Whether what comes out is above what went in, in an order without circles."""
        return False

    @property
    def columns_needed(self) -> tuple[str, ...]:
        """Columns that a table named in these parameters must have."""
        return ()


class Span(NamedTuple):
    """How far a window reaches back: a time, or a number of samples. The other one is 0."""

    ns: int
    n: int


def _span(value: Any) -> Span:
    if isinstance(value, Span):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        if value < 1:
            raise ValueError(f"a window needs at least 1 sample, got {value}")
        return Span(0, value)
    ns = duration_ns(value)
    if ns == 0:
        raise ValueError("a window must be longer than 0s")
    return Span(ns, 0)


def _span_text(span: Span) -> str | int:
    return span.n or duration_text(span.ns)


Window = Annotated[
    Span,
    BeforeValidator(_span),
    PlainSerializer(_span_text),
    WithJsonSchema({"type": ["string", "integer"], "examples": ["60s", 31]}),
]
"""Trailing window: '60s' is (t - 60 s, t], a whole number is that many samples."""
