"""The operator contract: what one file in `pipelines/operators` declares, and how it is found."""

import enum
import importlib
import pkgutil
from collections import namedtuple
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Final, Literal, get_args, get_origin

import numpy as np

from config.model import When
from config.params import Params, Span
from pipelines.batch import I4
from pipelines.jit import Kernel
from pipelines.series import Labels

GROUP: Final = "sensorweir.operators"


class Makes(enum.IntEnum):
    """What values of an operator are to those that it takes."""

    LATER = 0
    """Of a time that is over: told when a tick would tell of it, if no sample came."""
    SAME = 1
    """As they came, so that a limit can be held against those."""
    BETWEEN = 2
    """Between those that came of late, so that these seldom lead to one that is beyond them."""
    OTHER = 3


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator: everything else (schema, docs, state, contract tests) derives from it.

    `step(batch, first, state, params, out) -> int` takes the rows of `batch` from `first` on, in
    order, and appends to `out` (`out.count[0]` is the next free row).  It returns the next row to
    take: `batch.series.size` when done, or the row for which a ring is full and must be widened
    (then nothing of that row has been written to state or out).
    `tick(clock_ns, first, last, state, params, out) -> None` handles series rows [first, last)
    whose time has come to `clock_ns[row]` without a sample (NEVER: no sample so far).
    Neither allocates, raises, or reads a clock.  `params` holds one array per parameter with a
    row for each distinct set of values: `params.limit[params.row[s]]`.
    """

    name: str
    summary: str
    params: type[Params]
    state: type[Any]
    rows: type[Any]
    step: Kernel
    example: str
    tick: Kernel | None = None
    dozes: Kernel | None = None
    """(rows, state) → whether `tick` finds nothing to do for any of so many series until one of them
    has a sample."""
    emits: Literal["sample", "window", "score"] = "sample"
    fields: Callable[[Any], tuple[str, ...]] = lambda params: ()  # noqa: ARG005
    """Names of the columns of `Batch.fields` that `out` gets."""
    fanout: Callable[[Any], int] = lambda params: 1  # noqa: ARG005
    """Rows written at most for one input row, or for one series in one tick."""
    condition: Callable[[Any], When] | None = None
    """The alert condition of a detector that the user gives no `when` for."""
    regroup: Callable[[Any, Labels, tuple[str, ...]], tuple[Labels, int] | None] | None = None
    """(params, labels, group_by) → labels of the group and a slot number, None to ignore the
    series. The step then gets a `GroupedBatch`, and its state has a row per group."""
    per_member: bool = False
    """With `regroup`: rows of `out` are series that came in (`batch.member`), not groups."""
    alone: bool = False
    """With `regroup`: each series is a group by itself, so none has to wait for others."""
    slowest: bool = False
    """A `regroup` operator whose group has come as far in time as the slowest of its members."""
    delay_ns: Callable[[Any], int] = lambda params: 0  # noqa: ARG005
    """How far the rows of a `regroup` operator lag behind its group's time at most."""
    expected: Callable[[Any], tuple[Labels, ...]] | None = None
    """Labels that shall have a row from the start, before any sample."""
    renumber: Callable[[Any, Any, I4], None] | None = None
    """(state, params, moved): rows of members (`batch.member`) that stand in the state are now
    `moved[row]`, FULL when the series was forgotten."""
    makes: Makes | Callable[[Any], Makes] = Makes.OTHER
    """What its values are to those that it takes; where that depends on parameters, (params) →."""
    source: str = ""
    """Where its algorithm is described."""
    version: int = 1
    """Raised when the meaning of the state changes."""

    def makes_of(self, sets: Iterable[Params]) -> Makes:
        """What its values are to those that it takes, whichever of these parameters a series has."""
        return self.makes if isinstance(self.makes, Makes) else max(map(self.makes, sets))

    @property
    def sized_by(self) -> frozenset[str]:
        """Parameters that the widths of state arrays follow from, so that all series share them.

        A width that is no parameter itself follows from those that the model's class variable
        `SIZED_BY` names; without that from any of them.
        """
        widths = {col.width for col in columns(self.state).values() if isinstance(col.width, str)}
        known = set(self.params.model_fields)
        if widths - known:
            widths |= set(getattr(self.params, "SIZED_BY", known))
        return frozenset(widths & known)


# --- state -------------------------------------------------------------------------------

RING: Final = -1
GROWING: Final = -2
SINGLE: Final = -3


@dataclass(frozen=True, slots=True)
class Column:
    """Declares one array of an operator's state. All state starts as zeros."""

    dtype: str
    width: int | str = 0


def column(dtype: str, width: int | str = 0) -> Any:
    """Declare a state array, as the default of a field of the state's NamedTuple.

    width 0: (S,), one value per series · n: (S, n) · the name of an int parameter: (S, largest
    value of it) · RING: (S, W), a ring that holds positions `first[s] <= p < seen[s]` at slot
    `p % W` (the state must have int64 columns `first` and `seen`) · GROWING: (S, W), the same W,
    widened by copying · SINGLE: (1,), one value for all series.
    """
    return Column(dtype, width)


RING_START: Final = 16
COPIED_ROWS: Final = 1024


def _shape(col: Column, rows: int, ring: int, params: Any) -> tuple[int, ...]:
    if isinstance(col.width, str):
        return (rows, int(getattr(params, col.width).max()))
    if col.width in (RING, GROWING):
        return (rows, ring)
    if col.width == SINGLE:
        return (1,)
    return (rows, col.width) if col.width else (rows,)


def columns(state: type[Any]) -> dict[str, Column]:
    """The declared arrays of a state type by name."""
    return dict(state._field_defaults)


def new_state(state: type[Any], rows: int, params: Any, ring: int = RING_START) -> Any:
    """Zeroed arrays for `rows` series; untouched rows cost no memory (calloc)."""
    return state(
        **{
            name: np.zeros(_shape(col, rows, ring, params), col.dtype)
            for name, col in columns(state).items()
        }
    )


def shapes(state: type[Any], rows: int, params: Any, ring: int) -> list[tuple[int, ...]]:
    """Shapes of the arrays that `new_state` makes."""
    return [_shape(col, rows, ring, params) for col in columns(state).values()]


def ring_width(state: Any) -> int:
    """W of the state's RING and GROWING columns, 0 where it has none."""
    for name, col in columns(type(state)).items():
        if col.width in (RING, GROWING):
            return int(getattr(state, name).shape[1])
    return 0


def resized(state: Any, rows: int, ring: int, params: Any) -> Any:
    """The same state with room for more series, or with wider rings. Nothing is lost.

    What is zero stays memory that nobody has touched.
    """
    fresh = new_state(type(state), rows, params, ring)
    old_ring = ring_width(state)
    for name, col in columns(type(state)).items():
        old, new = getattr(state, name), getattr(fresh, name)
        if col.width == SINGLE:
            new[:] = old
            continue
        for begin in range(0, old.shape[0], COPIED_ROWS):  # some at a time, to bound memory
            some = slice(begin, begin + COPIED_ROWS)
            if not old[some].view(np.uint8).any():  # of bytes: -0.0 is not nothing
                continue
            if col.width == RING and ring != old_ring:
                _relay(old[some], new[some], state.first[some], state.seen[some])
            elif old.ndim == 2:
                width = min(old.shape[1], new.shape[1])
                new[some, :width][: old.shape[0] - begin] = old[some, :width]
            else:
                new[some][: old.shape[0] - begin] = old[some]
    return fresh


def _relay(old: Any, new: Any, first: Any, seen: Any) -> None:
    """Move ring contents to their slots in a ring that is a multiple as wide."""
    width, laps = old.shape[1], new.shape[1] // old.shape[1]
    at, lap, slot = first % width, first // width, np.arange(width)
    end = at + (seen - first)
    begun = slot >= at[:, None]  # in the lap of the oldest; the other slots are in the next one
    there = np.where(begun, slot < end[:, None], slot < end[:, None] - width)
    for k in range(laps):
        here, next_ = lap % laps == k, (lap + 1) % laps == k
        mine = there & np.where(begun, here[:, None], next_[:, None])
        np.copyto(new[:, k * width : (k + 1) * width], old, where=mine)


# --- parameters --------------------------------------------------------------------------


def rows_of(params: type[Params]) -> type[Any]:
    """The NamedTuple of arrays that a kernel reads these parameters from.

    Fields: `row` (S,) i4, which set of values a series uses, then per parameter an array (R,):
    float → f8 (None → NaN), int and duration → i8 (None → -1), bool → i8, a Literal → i8 index
    of the choice, a Window → two arrays `<name>_ns` and `<name>_n`.  Others (text, lists) are
    left out; an operator turns them into numbers by a class method `extra_rows(sets)`, which
    returns an array for each name in the class variable `EXTRA_ROWS`, one entry per set.  Where
    one of these is the width of a state array, `SIZED_BY` names the parameters it follows from.
    """
    names = ["row"]
    for name, field in params.model_fields.items():
        if field.annotation is Span:
            names += [f"{name}_ns", f"{name}_n"]
        elif _kind(field.annotation) is not None:
            names.append(name)
    names += getattr(params, "EXTRA_ROWS", ())
    made = namedtuple("Rows", names)  # type: ignore[misc]  # noqa: PYI024 - made from the model
    made.__module__ = params.__module__  # numba's cache pickles it by this name
    made.__qualname__ = "Rows"
    return made


def _kind(annotation: Any) -> str | None:
    """'f' float, 'i' whole number, 'c' choice; None when no kernel can read it."""
    if get_origin(annotation) is Literal:
        return "c"
    plain = [a for a in get_args(annotation) if a is not type(None)] or [annotation]
    if len(plain) != 1:
        return None
    if get_origin(plain[0]) is Annotated:  # a duration that may be left out
        plain = [get_args(plain[0])[0]]
    if get_origin(plain[0]) is Literal:
        return "c"
    if plain[0] is float:
        return "f"
    if plain[0] in (int, bool):
        return "i"
    return "c" if isinstance(plain[0], type) and issubclass(plain[0], enum.IntEnum) else None


def choices(annotation: Any) -> tuple[Any, ...]:
    """The values of a Literal, also inside `| None`."""
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    return next((get_args(a) for a in get_args(annotation) if get_origin(a) is Literal), ())


def pack(operator: Operator, sets: list[Params], capacity: int) -> Any:
    """Parameter arrays for the distinct `sets` of values; every series uses set 0 at first."""
    arrays: dict[str, Any] = {"row": np.zeros(capacity, np.int32)}
    for name, field in operator.params.model_fields.items():
        values = [getattr(p, name) for p in sets]
        if field.annotation is Span:
            arrays[f"{name}_ns"] = np.array([v.ns for v in values], np.int64)
            arrays[f"{name}_n"] = np.array([v.n for v in values], np.int64)
            continue
        kind = _kind(field.annotation)
        if kind == "f":
            arrays[name] = np.array([np.nan if v is None else v for v in values], np.float64)
        elif kind == "i":
            arrays[name] = np.array([-1 if v is None else int(v) for v in values], np.int64)
        elif kind == "c":
            known = choices(field.annotation)
            arrays[name] = np.array(
                [known.index(v) if v in known else -1 for v in values], np.int64
            )
    extra = getattr(operator.params, "extra_rows", None)
    if extra is not None:
        arrays.update(extra(sets))
    return operator.rows(**arrays)


# --- discovery ---------------------------------------------------------------------------


class _Operators(Mapping[str, Operator]):
    """Operators by name, each imported when it is first asked for; who lists them imports all."""

    def __getitem__(self, name: str) -> Operator:
        if name not in _files():
            return load_all()[name]
        return _from_file(name)

    def __iter__(self) -> Iterator[str]:
        return iter(load_all())

    def __len__(self) -> int:
        return len(load_all())


OPERATORS: Final[Mapping[str, Operator]] = _Operators()


@cache
def load_all() -> Mapping[str, Operator]:
    """Every operator: the files of `pipelines/operators`, then installed entry points.

    Raises ValueError when two have one name, TypeError when an entry point is no `Operator`.
    """
    from importlib.metadata import entry_points  # noqa: PLC0415 - 40 ms that a daemon seldom needs

    found = {name: _from_file(name) for name in sorted(_files())}
    for entry in sorted(entry_points(group=GROUP), key=lambda e: e.name):
        module = entry.load()
        operator = getattr(module, "OPERATOR", module)
        if not isinstance(operator, Operator):
            raise TypeError(f"entry point in {GROUP} is no Operator: {operator!r}")
        if operator.name in found:
            raise ValueError(f"two operators are called {operator.name!r}")
        found[operator.name] = operator
    return found


@cache
def _files() -> frozenset[str]:
    package = importlib.import_module("pipelines.operators")
    return frozenset(module.name for module in pkgutil.iter_modules(package.__path__))


def _from_file(name: str) -> Operator:
    """The operator of `pipelines/operators/<name>.py`, which is called as its file is."""
    operator = importlib.import_module(f"pipelines.operators.{name}").OPERATOR
    assert isinstance(operator, Operator)
    assert operator.name == name, f"{name}.py declares an operator called {operator.name!r}"
    return operator
