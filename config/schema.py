"""JSON Schema of the configuration, for editors: completion, descriptions, red underlines."""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from config.model import REFERENCE, Gateway, Included, Step
from config.parts import StepSpec
from config.references import referable

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_REF: Final = "#/$defs/{model}"
_SUBSTITUTION: Final = {"type": "string", "pattern": r"\$\{[^}]+\}"}


def schema(steps: Mapping[str, StepSpec]) -> dict[str, Any]:
    """Schema of a main or an included file, with the options of every operator under `steps`."""
    models: list[type[BaseModel]] = [Gateway, Included]
    _, made = models_json_schema([(m, "validation") for m in models], ref_template=_REF)
    defs: dict[str, Any] = made["$defs"]
    for name in sorted(steps):
        own = steps[name].params.model_json_schema(ref_template=_REF)
        defs.update(own.pop("$defs", {}))
        defs[f"step-{name}"] = _with_references(own, referable(steps[name]))
    _shorthands(defs)
    defs[Step.__name__] = _step(steps)
    for definition in defs.values():
        _substitutable(definition)
    _only_names(defs)
    whole = {**defs.pop(Gateway.__name__), "$defs": dict(sorted(defs.items()))}
    whole["$defs"].pop(Included.__name__, None)
    return {"$schema": DIALECT, **whole, "title": "sensorweir configuration"}


def schema_text(steps: Mapping[str, StepSpec]) -> str:
    """The same as the text of `sensorweir.schema.json`."""
    return json.dumps(schema(steps), indent=1, ensure_ascii=False) + "\n"


def _step(steps: Mapping[str, StepSpec]) -> dict[str, Any]:
    """One key, the operator's name, or the bare name."""
    bare = {"enum": sorted(steps), "description": "An operator with all its defaults."}
    keyed = {
        "type": "object",
        "properties": {
            name: {
                "description": steps[name].summary,
                "anyOf": [{"$ref": _REF.format(model=f"step-{name}")}, {"type": "null"}],
            }
            for name in sorted(steps)
        },
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 1,
    }
    return {"description": "One use of an operator.", "anyOf": [bare, keyed]}


def _with_references(own: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """Plain numbers may also be a reference to an entry of `values`."""
    for name in names:
        written = own["properties"][name]
        notes = {k: written.pop(k) for k in ("title", "description", "default") if k in written}
        reference = {"type": "string", "pattern": REFERENCE}
        options = written.pop("anyOf", [written])
        own["properties"][name] = {"anyOf": [*options, reference], **notes}
    return own


def _shorthands(defs: dict[str, Any]) -> None:
    """Forms that the models take before validation and that pydantic does not know of."""
    properties = defs["Pipeline"]["properties"]
    _each_value(properties["values"], lambda own: {"anyOf": [own, {"type": "number"}]})
    one = {"type": ["string", "number"]}
    _each_value(properties["where"], lambda _: {"anyOf": [one, {"type": "array", "items": one}]})
    labels = defs["Source"]["properties"]["labels"]
    _each_value(labels, lambda _: one)
    protocol = defs["Broker"]["properties"]["protocol"]
    protocol["enum"] = [*protocol["enum"], 5]
    del protocol["type"]


def _each_value(mapping: dict[str, Any], change: Callable[[Any], Any]) -> None:
    """Change what may stand under each name."""
    for pattern, own in mapping["patternProperties"].items():
        mapping["patternProperties"][pattern] = change(own)


def _only_names(node: Any) -> None:
    """Keys of a mapping that do not look like names are wrong, not ignored."""
    if isinstance(node, list):
        for inner in node:
            _only_names(inner)
    elif isinstance(node, dict):
        for inner in node.values():
            _only_names(inner)
        if isinstance(node.get("patternProperties"), dict):
            node.setdefault("additionalProperties", False)


def _substitutable(node: Any) -> None:
    """Where a number, a choice or patterned text stands, `${VAR}` may stand too."""
    for inner in node.get("properties", {}).values():
        kinds = inner.get("anyOf", [inner])
        plain = any(k.get("type") in ("number", "integer", "boolean") for k in kinds)
        if plain or any("pattern" in k or "enum" in k for k in kinds):
            notes = {k: inner.pop(k) for k in ("title", "description", "default") if k in inner}
            options = inner.pop("anyOf", None) or [dict(inner)]
            inner.clear()
            inner.update({"anyOf": [*options, _SUBSTITUTION], **notes})
