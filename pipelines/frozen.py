"""Frozen: objects that name their state, as a copy nobody changes, as JSON, and the way back.

A class whose objects have state says so itself: `STATE` names the attributes that are it, `REMADE`
all others, which come from the configuration or follow from the state; `remake()`, where there is
one, makes those that follow.  Nothing is executed or imported because a file says so: JSON with
tags, and arrays as they are.

    3, 0.5, "text", true, null    themselves; [..] a list
    {"f": "nan"}                  a number that JSON does not know
    {"t": [..]} {"s": [..]} {"d": [[key, value], ..]} {"q": [longest, [..]]}   other containers
    {"e": ["Given", "raise"]} {"r": ["Event", [..]]}     members of `ENUMS`, objects of `RECORDS`
    {"a": 7} {"n": ["Times", {name: value}]}             array 7, a named tuple of arrays
    {"L": [7, 8, 9, 10]}          labels of series, an `Index`, in these arrays
    {"o": {attribute: value}} {"=": 0}                   an object with state; one told already
"""

import dataclasses
import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from pipelines.amend import Told
from pipelines.batch import Batch
from pipelines.events import Event, Standing
from pipelines.history import Rows
from pipelines.lifecycle import Alarm, Given, Place, Shelf
from pipelines.occurrence import Occurrence
from pipelines.series import Index
from pipelines.sparse import Buffers, Sparse, sparse

RECORDS: Final = {t.__name__: t for t in (Event, Standing, Place, Told, Occurrence, Rows, Batch)}
ENUMS: Final = {t.__name__: t for t in (Alarm, Given, Shelf)}
_LEAVES: Final = frozenset(
    (type(None), bool, int, float, str, tuple, Event, Standing, Place, Alarm, Given, Shelf)
)
"""What is never changed once it is there. A plain tuple holds nothing that is."""


UNFIT: Final = (KeyError, TypeError, ValueError, IndexError, AttributeError, MemoryError)
"""What comes of reading something that is not what it should be."""


class StateError(ValueError):
    """A state that does not fit, or that cannot be read; the text says why."""


class _Object(NamedTuple):
    attributes: dict[str, Any]


class _Same(NamedTuple):
    """An object that was frozen before, by another way to it."""


class _Named(NamedTuple):
    name: str
    fields: dict[str, Any]


class _Packed(NamedTuple):
    columns: tuple[bytes, ...]


class Freezer:
    """Copies what may change, as fast as may be: everything waits meanwhile."""

    def __init__(self, buffers: Buffers) -> None:
        self._buffers = buffers
        self._seen: set[int] = set()

    def object(self, thing: Any) -> Any:
        """The state of an object, a copy."""
        if id(thing) in self._seen:
            return _Same()
        self._seen.add(id(thing))
        return _Object({name: self._value(getattr(thing, name)) for name in type(thing).STATE})

    def _value(self, value: Any) -> Any:
        kind = type(value)
        if kind in _LEAVES:
            return value
        if kind is np.ndarray:
            return sparse(value, self._buffers)
        if kind is dict:
            if _LEAVES.issuperset(map(type, value.values())):
                return value.copy()
            return {key: self._value(x) for key, x in value.items()}
        if kind is list:
            return [self._value(x) for x in value]
        if kind in (set, deque):
            return value.copy()
        if kind is Index:
            return _Packed(value.packed())
        if hasattr(kind, "STATE"):
            return self.object(value)
        if hasattr(kind, "_fields"):
            named = zip(kind._fields, value, strict=True)
            return _Named(kind.__name__, {name: self._value(x) for name, x in named})
        if kind.__name__ in RECORDS:
            fields = dataclasses.fields(kind)
            return _Named(
                kind.__name__, {f.name: self._value(getattr(value, f.name)) for f in fields}
            )
        raise TypeError(f"nobody knows how to keep {kind.__name__}: {value!r}")


class Writer:
    """Frozen things as plain JSON; arrays are collected on the way."""

    def __init__(self) -> None:
        self.arrays: list[Sparse] = []

    def tagged(self, value: Any) -> Any:
        """Plain JSON."""
        kind = type(value)
        if kind in (type(None), bool, int, str):
            return value
        if kind is float:
            return value if math.isfinite(value) else {"f": repr(value)}
        if kind is list:
            return self._each(value)
        if kind is tuple:
            return {"t": self._each(value)}
        if kind is dict:
            return {"d": [[self.tagged(k), self.tagged(x)] for k, x in value.items()]}
        if kind is set:
            return {"s": self._each(sorted(value))}
        if kind is deque:
            return {"q": [value.maxlen, self._each(value)]}
        if kind is Sparse:
            self.arrays.append(value)
            return {"a": len(self.arrays) - 1}
        if kind is _Object:
            return {"o": {name: self.tagged(x) for name, x in value.attributes.items()}}
        if kind is _Same:
            return {"=": 0}
        return self._special(value)

    def _special(self, value: Any) -> Any:
        kind = type(value)
        if kind is _Packed:
            columns = [np.frombuffer(column, np.uint8) for column in value.columns]
            return {"L": [self.tagged(sparse(x, Buffers()))["a"] for x in columns]}
        if kind is _Named:
            fields = {name: self.tagged(x) for name, x in value.fields.items()}
            if value.name in RECORDS:
                return {"r": [value.name, list(fields.values())]}
            return {"n": [value.name, fields]}
        if kind.__name__ in ENUMS:
            return {"e": [kind.__name__, value.value]}
        if kind is Place:
            return {"r": ["Place", self._each(value)]}
        if kind in (Event, Standing):
            each = [getattr(value, f.name) for f in dataclasses.fields(kind)]
            return {"r": [kind.__name__, self._each(each)]}
        raise TypeError(f"nobody knows how to write {kind.__name__}: {value!r}")

    def _each(self, values: Iterable[Any]) -> list[Any]:
        return [self.tagged(x) for x in values]


class Thawer:
    """Puts a state that was read in place of that of fresh objects: all of it, or nothing."""

    def __init__(self, arrays: Sequence[Any]) -> None:
        self._arrays = arrays
        self._found: list[tuple[Any, str, Any]] = []
        self._objects: list[Any] = []

    def take(self, thing: Any, told: Any) -> None:
        """Read the state of `thing`. Raises StateError when it has another form."""
        try:
            self._object(thing, told["o"])
        except UNFIT as error:
            raise StateError(f"{type(thing).__name__}: {error}") from error

    def apply(self) -> None:
        """Put what was taken in place.

        Raises StateError when parts of it do not belong together; what has it cannot be used then.
        """
        for thing, name, value in self._found:
            setattr(thing, name, value)
        for thing in self._objects:
            if hasattr(thing, "remake"):
                try:
                    thing.remake()
                except UNFIT as error:
                    raise StateError(f"{type(thing).__name__}: {error}") from error

    def _object(self, thing: Any, told: dict[str, Any]) -> None:
        kind = type(thing)
        if set(told) != set(kind.STATE):
            raise StateError(f"{kind.__name__} has {sorted(kind.STATE)}, found {sorted(told)}")
        for name in kind.STATE:
            current = getattr(thing, name)
            value = self._fitting(current, told[name], f"{kind.__name__}.{name}")
            if value is not current:
                self._found.append((thing, name, value))
        self._objects.append(thing)

    def _fitting(self, current: Any, told: Any, where: str) -> Any:
        """The value told, of the same form as the one that is there; objects are kept."""
        if hasattr(type(current), "STATE"):
            if told != {"=": 0}:
                self._object(current, told["o"])
            return current
        if isinstance(current, list) and current and hasattr(type(current[0]), "STATE"):
            for each, of_it in zip(current, told, strict=True):
                self._fitting(each, of_it, where)
            return current
        return _like(current, self.value(told), where)

    def value(self, told: Any) -> Any:
        """The way back of `Writer.tagged`, except for objects."""
        if isinstance(told, list):
            return [self.value(x) for x in told]
        if not isinstance(told, dict):
            return told
        ((tag, x),) = told.items()
        if tag == "t":
            return tuple([self.value(y) for y in x])
        if tag == "d":
            return {self.value(k): self.value(y) for k, y in x}
        if tag == "s":
            return {self.value(y) for y in x}
        if tag == "q":
            return deque([self.value(y) for y in x[1]], maxlen=x[0])
        if tag == "a":
            return self._arrays[x]
        if tag == "L":
            return Index.of(*[self._arrays[i].tobytes() for i in x])
        if tag == "f":
            return float(x)
        if tag == "e":
            return ENUMS[x[0]](x[1])
        if tag == "r":
            return RECORDS[x[0]](*[self.value(y) for y in x[1]])
        if tag == "n":
            return _Named(x[0], {name: self.value(y) for name, y in x[1].items()})
        raise StateError(f"unknown tag {tag!r}")


def _like(current: Any, value: Any, where: str) -> Any:
    """`value`, when it has the form of what is there; named tuples become what is there."""
    kind = type(current)
    if isinstance(value, _Named):
        if kind.__name__ != value.name or kind._fields != tuple(value.fields):
            raise StateError(f"{where}: other columns than {', '.join(kind._fields)}")
        value = kind(**value.fields)
    if type(value) is not kind:
        raise StateError(f"{where}: expected {kind.__name__}, found {type(value).__name__}")
    for old, new in zip(_arrays(current), _arrays(value), strict=True):
        if (old.dtype, old.ndim) != (new.dtype, new.ndim):
            raise StateError(f"{where}: expected {old.dtype} {old.ndim}d, found {new.dtype}")
    return value


def _arrays(value: Any) -> Iterator[Any]:
    if isinstance(value, np.ndarray):
        yield value
    elif hasattr(type(value), "_fields"):
        yield from (x for x in value if isinstance(x, np.ndarray))
