"""What pydantic found wrong, in words for people who write YAML."""

import difflib
import types
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Final, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from config.nodes import Node, Place
from config.units import duration_ns, duration_text

_EXPECTED: Final = {
    "float_type": "a number",
    "float_parsing": "a number",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "list_type": "a list",
    "tuple_type": "a list",
    "no_bool": "a number",
}
_PATTERNS: Final = {
    r"^\{[A-Za-z_][A-Za-z0-9_-]*\}$": '"{name}" of an entry in values',
    r"^[A-Za-z_][A-Za-z0-9_-]{0,63}$": "a name of letters, digits, _ and -, a letter first",
}
_BOUNDS: Final = {
    "greater_than": ("more than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
}
_NUMBERS: Final = frozenset(_BOUNDS) | {"finite_number"}


@dataclass(frozen=True, slots=True)
class Fault:
    """One pydantic error, and the node it is about."""

    node: Node
    """The node itself, or the nearest one above when the file has none there."""
    path: tuple[str | int, ...]
    unions: tuple[tuple[tuple[str | int, ...], str | int], ...]
    """(path, alternative) wherever one of several alternatives was tried, the outermost first."""
    item: Any
    models: tuple[type[BaseModel], ...]
    """Models that may stand where the wrong key was found or is missing."""
    field: FieldInfo | None

    @classmethod
    def at(cls, root: Node, model: type[BaseModel], item: Any) -> "Fault":
        """Follow pydantic's `loc`, which also holds names of union members, through the nodes."""
        node, path = root, ()
        unions: list[tuple[tuple[str | int, ...], str | int]] = []
        walk: list[str | int] = list(item["loc"])
        if item["type"] == "missing":
            walk.pop()
        for part in walk:
            inner = node.get(part)
            if inner is not None:
                node, path = inner, (*path, part)  # type: ignore[assignment]  # grows
            elif part != "[key]" and all(at != path for at, _ in unions):
                unions.append((path, part))
        above = path[:-1] if item["type"] == "extra_forbidden" else path
        models = tuple(t for t, _ in _types_at(model, above) if _is_model(t))
        fields = [f for _, f in _types_at(model, path) if f is not None]
        return cls(node, path, tuple(unions), item, models, fields[0] if fields else None)

    @property
    def kind(self) -> str:
        """Pydantic's name of the error."""
        return str(self.item["type"])

    def union(self, level: int) -> tuple[str | int, ...] | None:
        """Path of the union so far inside, None when there is none."""
        return self.unions[level][0] if level < len(self.unions) else None

    def tag(self, level: int) -> str | int | None:
        """Which alternative of it this is about."""
        return self.unions[level][1] if level < len(self.unions) else None

    def is_mismatch(self, level: int) -> bool:
        """Another kind of thing was expected here, rather than another value of this kind."""
        return self.path == self.union(level) and (
            self.kind in _EXPECTED
            or (self.kind == "string_pattern_mismatch" and _expectation(self) is not None)
        )

    @property
    def value(self) -> Any:
        """What the file says, without what `${...}` gave."""
        return self.node.value

    @property
    def hidden(self) -> list[Node]:
        """Nodes whose value must not be shown."""
        return [n for n in self.node.walk() if n.written is not None]

    @property
    def secret(self) -> bool:
        return self.field is not None and "Secret" in str(self.field.annotation)


def said(faults: list[Fault], level: int = 0) -> Iterator[tuple[Place, str, str]]:
    """(place, what, hint) of faults; alternatives of one union become one of them."""
    groups: dict[tuple[str | int, ...], list[Fault]] = {}
    for fault in faults:
        union = fault.union(level)
        groups.setdefault(fault.path if union is None else union, []).append(fault)
    for group in groups.values():
        meant = _meant(group, level)
        if any(level + 1 < len(f.unions) for f in meant):
            yield from said(meant, level + 1)
        else:
            yield from _together(meant, level)


def _meant(faults: list[Fault], level: int) -> list[Fault]:
    """Of the alternatives of a union only those that fit the kind of thing the user wrote.

    `{alertz: x}` where a name or a mapping may stand is a wrong mapping, not a wrong name.
    """
    of_tag: dict[str | int, list[Fault]] = {}
    for fault in faults:
        tag = fault.tag(level)
        if tag is not None:
            of_tag.setdefault(tag, []).append(fault)
    fitting = {t for t, some in of_tag.items() if not all(f.is_mismatch(level) for f in some)}
    return [f for f in faults if f.tag(level) is None or not fitting or f.tag(level) in fitting]


def _together(faults: list[Fault], level: int) -> Iterator[tuple[Place, str, str]]:
    one = {f.tag(level) for f in faults}
    mismatched = [f for f in faults if _expectation(f) is not None]
    if len(one) > 1 and len(mismatched) == len(faults):
        phrases = list(dict.fromkeys(filter(None, map(_expectation, faults))))
        yield _one(faults[0], " or ".join(phrases))
        return
    for fault in faults:
        yield _one(fault, _expectation(fault))


def _one(fault: Fault, expected: str | None) -> tuple[Place, str, str]:
    hint = ""
    if fault.kind == "missing":
        return _missing(fault)
    if fault.kind == "extra_forbidden":
        key = str(fault.path[-1])
        return fault.node.best, f"unknown key {key!r}", nearest(key, keys_of(fault.models))
    if "[key]" in fault.item["loc"]:
        return fault.node.best, f"expected {expected}, found {fault.path[-1]!r}", ""
    if expected is not None:
        if fault.kind == "literal_error":
            hint = _literal_hint(fault)
        elif looks_like_reference(fault.node):
            hint = f'put a reference in quotes: "{{{next(iter(fault.value))}}}"'
        elif fault.kind.startswith("bool") and str(fault.value).lower() in _SPOKEN_BOOLEANS:
            hint = f"write {_SPOKEN_BOOLEANS[str(fault.value).lower()]}"
        what = f"expected {expected}, found {found(fault.node, secret=fault.secret)}"
    else:
        what = _message(fault)
    place = fault.node.place if fault.value is not None else fault.node.best
    return place, what, hint or _about(fault)


_SPOKEN_BOOLEANS: Final = {
    "on": "true",
    "yes": "true",
    "y": "true",
    "1": "true",
    "true": "true",
    "off": "false",
    "no": "false",
    "n": "false",
    "0": "false",
    "false": "false",
}


def _missing(fault: Fault) -> tuple[Place, str, str]:
    name = str(fault.item["loc"][-1])
    field = next((f for m in fault.models for n, f in _fields(m) if n == name), None)
    hint = field.description if field is not None and field.description else ""
    return fault.node.best, f"{name!r} is missing", hint


def _expectation(fault: Fault) -> str | None:
    """What should stand here, when the error is of the kind 'expected this, found that'."""
    context = fault.item.get("ctx", {})
    if fault.kind in _EXPECTED:
        return _EXPECTED[fault.kind]
    if fault.kind in _BOUNDS:
        words, key = _BOUNDS[fault.kind]
        return f"{words} {_bound(context[key], fault.value)}"
    if fault.kind == "finite_number":
        return "a finite number"
    if fault.kind == "literal_error":
        return f"{context['expected']}"
    if fault.kind == "string_pattern_mismatch" and context["pattern"] in _PATTERNS:
        return _PATTERNS[context["pattern"]]
    return None


def _bound(bound: float, value: Any) -> str:
    """A bound in the words of the value: nanoseconds are no words for '5s'."""
    if isinstance(bound, int) and isinstance(value, str):
        try:
            duration_ns(value)
        except ValueError:
            return f"{bound}"
        return duration_text(bound)
    return f"{bound:g}" if isinstance(bound, float) else f"{bound}"


def _message(fault: Fault) -> str:
    """The validator's own sentence; a value that came out of `${...}` is left out of it."""
    cause = fault.item.get("ctx", {}).get("error")
    text = str(cause) if isinstance(cause, ValueError) else str(fault.item["msg"])
    if fault.hidden or fault.secret:
        shown = found(fault.node, secret=True)
        return f"{shown} is not valid here"
    if fault.kind == "too_short":
        return f"too few entries: at least {fault.item['ctx']['min_length']}"
    if fault.kind == "string_pattern_mismatch":
        return f"{found(fault.node)} does not fit here"
    return text.replace("Input should", "should").replace("String should", "the text should")


def _literal_hint(fault: Fault) -> str:
    words = [
        w.strip(" '") for w in str(fault.item["ctx"]["expected"]).replace(" or ", ",").split(",")
    ]
    return nearest(str(fault.value), words, or_list=False) if isinstance(fault.value, str) else ""


def _about(fault: Fault) -> str:
    return (fault.field.description or "") if fault.field is not None else ""


def found(node: Node, *, secret: bool = False) -> str:
    """What the file has there, in words: text 'abc', 12, a list, nothing."""
    if node.written is not None:
        return f"the value of {node.written}"
    value = node.value
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if value is None:
        return "nothing"
    if secret:
        return "the value"
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value)


def looks_like_reference(node: Node) -> bool:
    """`{limit}` without quotes is a mapping to YAML: {limit: null}."""
    value = node.value
    return (
        isinstance(value, dict) and len(value) == 1 and all(v.value is None for v in value.values())
    )


def nearest(word: str, known: Iterable[str], *, or_list: bool = True) -> str:
    """'did you mean ...?', else the words that are known here."""
    names = list(known)
    close = _closest(word, names)
    if close is not None:
        return f"did you mean {close!r}?"
    return f"known here: {', '.join(names[:30])}" if names and or_list else ""


def _closest(word: str, names: list[str]) -> str | None:
    close = difflib.get_close_matches(word[:64], names, n=1)
    close = close or difflib.get_close_matches(word[:64].lower(), names, n=1)
    return close[0] if close else None


def suggestion(fault: Fault) -> str | None:
    """The key that was probably meant by an unknown one."""
    return _closest(str(fault.path[-1]), keys_of(fault.models))


def keys_of(models: Iterable[type[BaseModel]]) -> list[str]:
    """The keys that may stand in a mapping of these models."""
    return [name for model in models for name, _ in _fields(model)]


def _fields(model: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        yield field.alias or name, field


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def members(kind: Any) -> Iterator[Any]:
    """The alternatives of an annotation, without Annotated and None."""
    origin = get_origin(kind)
    if origin is Annotated:
        yield from members(get_args(kind)[0])
    elif origin in (Union, types.UnionType):
        for member in get_args(kind):
            yield from members(member)
    elif kind is not type(None):
        yield kind


def _types_at(model: Any, path: tuple[str | int, ...]) -> list[tuple[Any, FieldInfo | None]]:
    """What may stand at a path, and the field that it is the value of."""
    here: list[tuple[Any, FieldInfo | None]] = [(model, None)]
    for part in path:
        below: list[tuple[Any, FieldInfo | None]] = []
        for kind, _ in here:
            if _is_model(kind):
                below += [
                    (t, f) for n, f in _fields(kind) if n == part for t in members(f.annotation)
                ]
            elif get_args(kind):
                inner = get_args(kind)[1 if get_origin(kind) is dict else 0]
                below += [(t, None) for t in members(inner)]
        here = below
    return here
