"""State: all that a graph remembers, as sections of bytes, and into a fresh graph again.

A graph that goes on from a restored state gives the events of one that never stopped, bit for
bit.  Each source and pipeline is a part with two marks.  `plan` is a digest of all that its state
depends on, its operators' versions and the parts above it included: a part whose plan differs
begins anew.  `rules` is one of what may change while the state stays good, as at a reload.

What is not in it: counters of the ledger, samples that no turn has taken, outputs that the broker
has not taken, and what was learned of topics, because it is met again with the next message.
"""

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final, NamedTuple

import numpy as np
import orjson

from config.model import Gateway
from config.model import Pipeline as Spec
from config.tables import Table
from pipelines import alerts
from pipelines.frozen import UNFIT, Freezer, StateError, Thawer, Writer
from pipelines.graph import Graph, above_of, in_order, plan_of
from pipelines.operator import Operator, columns
from pipelines.sparse import Buffers, dense, kind, size_of
from pipelines.values import with_tables

VERSION: Final = 2
"""Raised when the form of what is written changes, or what it means."""
LIMITS: Final = ("series_max", "state_bytes_max", "reorder_samples_max", "amend_rows_max")
"""Those that state depends on."""

Sections = dict[str, list[bytes | memoryview]]
"""By name: pieces that belong one after the other."""


class Marks(NamedTuple):
    """Digests of what the state of one part depends on."""

    plan: str
    rules: str


class Restored(NamedTuple):
    """What became of a state."""

    kept: tuple[str, ...]
    """Parts that go on: 'source boilers', 'pipeline hot'."""
    anew: dict[str, str]
    """Why the others begin anew, where there was a state of them."""


class Captured:
    """A state as it was; what `Capturer.take` is called for later may use its memory."""

    def __init__(self, frozen: dict[str, Any], marks: dict[str, Marks], tables: Any) -> None:
        self._frozen, self._marks, self._tables = frozen, marks, tables

    def sections(self) -> Sections:
        """The same as bytes. Takes its time, in any thread."""
        writer = Writer()
        parts = {
            name: {**self._marks[name]._asdict(), "state": writer.tagged(frozen)}
            for name, frozen in self._frozen.items()
        }
        arrays = writer.arrays
        state = {
            "version": VERSION,
            "parts": parts,
            "tables": self._tables,
            "arrays": [[a.dtype, a.shape, a.blocks.size] for a in arrays],
        }
        return {
            "state": [orjson.dumps(state)],
            "arrays": [x.view(np.uint8).data for a in arrays for x in (a.blocks, a.data) if x.size],
        }


class Capturer:
    """Takes the state of one graph, again and again."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._marks = marks(graph.gateway, graph.operators)
        self._buffers = Buffers()

    def take(self) -> Captured:
        """All of it as it is between two turns, copied. The one before must be done with."""
        self._buffers.again()
        self._graph.settle()
        frozen = {name: Freezer(self._buffers).object(part) for name, part in _parts(self._graph)}
        current = self._graph.tables.current
        tables = {
            n: {"mark": _mark_of_table(t), "rows": t.rows}
            for n, t in current.items()
            if t.topic is not None
        }
        return Captured(frozen, self._marks, tables)


def restore(graph: Graph, sections: Mapping[str, bytes | memoryview]) -> Restored:
    """Let a fresh graph go on from a state. Raises StateError for one that cannot be read.

    A part is restored as a whole or not at all.
    """
    try:
        state = orjson.loads(sections["state"])
        if state["version"] != VERSION:
            raise StateError(f"form {state['version']}, expected {VERSION}")
        arrays = _arrays(state["arrays"], sections["arrays"])
        told = {
            name: (Marks(part["plan"], part["rules"]), part["state"])
            for name, part in state["parts"].items()
        }
        _restore_tables(graph, state["tables"])
    except UNFIT as error:
        raise StateError(f"the state cannot be read: {error}") from error
    expected, kept, anew = marks(graph.gateway, graph.operators), list[str](), dict[str, str]()
    for name, part in _parts(graph):
        if name not in told:
            continue
        told_marks, told_state = told[name]
        try:
            if not _above(graph.gateway, name) <= set(kept):
                raise StateError("a part above it begins anew")
            if told_marks.plan != expected[name].plan:
                raise StateError("its configuration, or that of a part above it, has changed")
            thawer = Thawer(arrays)
            thawer.take(part, told_state)
        except StateError as error:
            anew[name] = str(error)
            continue
        thawer.apply()
        if told_marks.rules != expected[name].rules:
            _other_rules(graph, name)
        kept.append(name)
    graph.again()
    return Restored(tuple(kept), anew)


def marks(gateway: Gateway, operators: Mapping[str, Operator]) -> dict[str, Marks]:
    """The marks of every part."""
    limits = {name: getattr(gateway.limits, name) for name in LIMITS}
    base = [VERSION, gateway.gateway, limits]
    made = {
        f"source {name}": Marks(_digest([base, source.model_dump(mode="json")]), "")
        for name, source in gateway.sources.items()
    }
    tables = [table.model_dump(mode="json") for table in gateway.tables.values()]
    for name in in_order(gateway):
        spec = gateway.pipelines[name]
        steps = [_form(operators[step.name]) for step in spec.steps]
        above = [made[part].plan for part in sorted(_above(gateway, f"pipeline {name}"))]
        plan = _digest([base, above, steps, _form(alerts.OPERATOR), plan_of(spec)])
        rules = spec.model_dump(mode="json", exclude={"description", "publish"})
        made[f"pipeline {name}"] = Marks(plan, _digest([rules, tables]))
    return made


# --- inside ------------------------------------------------------------------------------


def _parts(graph: Graph) -> list[tuple[str, Any]]:
    """Everything that has a state of its own, what others take from first."""
    sources = [(f"source {name}", stage) for name, stage in graph.sources.items()]
    return sources + [(f"pipeline {name}", pipeline) for name, pipeline in graph.pipelines.items()]


def _above(gateway: Gateway, part: str) -> set[str]:
    """Names of the parts that this one takes from."""
    kind, name = part.split(" ", 1)
    if kind == "source":
        return set()
    spec = gateway.pipelines[name]
    pipelines = {f"pipeline {other}" for other in above_of(spec)}
    return pipelines or {f"source {spec.from_}"}


def _form(operator: Operator) -> list[Any]:
    """What the state of an operator looks like, and which meaning of it this is."""
    listed = [[name, col.dtype, col.width] for name, col in columns(operator.state).items()]
    return [operator.name, operator.version, listed]


def _digest(value: Any) -> str:
    text = orjson.dumps(value, default=repr, option=orjson.OPT_SORT_KEYS)
    return blake2b(text, digest_size=16).hexdigest()


def _mark_of_table(table: Table) -> str:
    return _digest([table.topic, table.key])


def _restore_tables(graph: Graph, told: dict[str, Any]) -> None:
    """Tables that messages filled are as they were, and known to the steps."""
    restored = False
    for name, table in graph.tables.current.items():
        if name in told and told[name]["mark"] == _mark_of_table(table):
            rows = told[name]["rows"]
            graph.tables.current[name] = Table.model_construct(
                key=table.key,
                file=None,
                topic=table.topic,
                rows=None if rows is None else tuple(rows),
            )
            restored = True
    for name, pipeline in graph.pipelines.items() if restored else ():
        pipeline.present(_filled(graph, name))


def _other_rules(graph: Graph, part: str) -> None:
    """What may change without touching the state has changed while nothing ran."""
    name = part.removeprefix("pipeline ")
    graph.pipelines[name].anew(_filled(graph, name))


def _filled(graph: Graph, name: str) -> Spec:
    return with_tables(graph.gateway.pipelines[name], graph.operators, graph.tables.current)


def _arrays(listed: Sequence[Any], data: bytes | memoryview) -> list[Any]:
    found, at = list[Any](), 0
    for dtype, shape, count in listed:
        blocks = np.frombuffer(data, np.int32, count, at).copy()
        at += blocks.nbytes
        size = size_of(blocks, int(np.prod(shape)) * kind(dtype).itemsize)
        found.append(dense(dtype, shape, blocks, np.frombuffer(data, np.uint8, size, at)))
        at += size
    if at != len(data):
        raise ValueError(f"arrays of {at} bytes, found {len(data)}")
    return found
