"""Files → a checked `Gateway`: includes, step options, decoder options, topology.

Opens files and nothing else.  Operators and decoders come in as arguments, because this package
knows none.
"""

import glob
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ValidationError

from config.binding import bind, bind_what_is_good
from config.errors import ConfigError, Problem, sort_problems
from config.model import Gateway, Included, Pipeline, Source, When, is_name
from config.nodes import Document, Node, read_document
from config.params import Options, Params
from config.parts import Entry, P, StepSpec
from config.references import (
    filled,
    is_number,
    numbers,
    referable,
    reference,
    variants,
    with_table,
    with_tables,
)
from config.tables import Lookup, Table, read_table
from config.topics import TopicFilter
from config.topology import check
from config.wording import nearest

PARTS_MAX: Final = {"sources": 500, "pipelines": 10_000, "tables": 500}
"""What one gateway may have. Each source is compared with each other; pipelines are checked in a
quarter of a millisecond each."""

BUILT_FIRST: Final = (When, Source, Pipeline)
"""Models that are also parts of others, which take over what is built: else each is built twice."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration that can be used."""

    gateway: Gateway
    files: tuple[Path, ...]
    """Every file that was read, the main one first."""
    warnings: tuple[Problem, ...]


def load(
    path: Path,
    steps: Mapping[str, StepSpec],
    decoders: Mapping[str, type[Options]],
    env: Mapping[str, str] | None = None,
) -> Loaded:
    """Read a configuration with all it includes. Raises ConfigError with every problem."""
    loader = _Loader(steps, decoders, os.environ if env is None else env)
    gateway = loader.main(path)
    problems = [p for document in loader.documents for p in document.problems]
    problems += check(loader.sources, loader.pipelines, gateway.gateway if gateway else "gateway")
    if gateway is None or any(p.level == "error" for p in problems):
        raise ConfigError(problems)
    whole = gateway.model_copy(
        update={
            "sources": {n: e.spec for n, e in loader.sources.items()},
            "pipelines": {n: e.spec for n, e in loader.pipelines.items()},
            "tables": loader.known_tables(),
        }
    )
    return Loaded(whole, tuple(loader.files), sort_problems(problems))


@dataclass(slots=True)
class _Loader:
    steps: Mapping[str, StepSpec]
    decoders: Mapping[str, type[Options]]
    env: Mapping[str, str]
    files: list[Path] = field(default_factory=list)
    documents: list[Document] = field(default_factory=list)
    sources: dict[str, Entry[Source]] = field(default_factory=dict)
    pipelines: dict[str, Entry[Pipeline]] = field(default_factory=dict)
    tables: dict[str, Entry[Table]] = field(default_factory=dict)

    def main(self, path: Path) -> Gateway | None:
        document = self._read(path)
        for model in BUILT_FIRST:
            model.model_rebuild()
        gateway, _ = bind_what_is_good(document, _without_parts(document.root), Gateway)
        for name, node in _named(document, "tables", self.tables):
            bound = bind_what_is_good(document, node, Table)
            self._table(Entry(name, document, node, *bound), path.parent)
        self._parts(document)
        for node in _items(document.root.get("include")):
            for file in self._found(document, node, path):
                included = self._read(file)
                bind(included, _without_parts(included.root), Included)
                self._parts(included)
        return gateway

    # --- files ---------------------------------------------------------------------------

    def _read(self, path: Path) -> Document:
        document = read_document(path, self.env)
        self.files.append(path)
        self.documents.append(document)
        return document

    def _found(self, document: Document, node: Node, path: Path) -> list[Path]:
        """The files of one `include` pattern in lexical order; tests beside them are left out."""
        pattern = node.value
        if not isinstance(pattern, str):
            return []  # said when the gateway was bound
        try:
            names = sorted(glob.glob(os.path.join(glob.escape(str(path.parent)), pattern)))  # noqa: PTH118, PTH207 - Path.glob takes no absolute pattern
        except (ValueError, OSError) as error:
            document.add(node, f"not a pattern for files: {error}")
            return []
        if not names and not glob.has_magic(pattern):
            document.add(node, f"there is no file {pattern!r}", f"looked beside {path.name}")
        found = [Path(n) for n in names if not n.endswith((".test.yaml", ".test.yml"))]
        return [f for f in found if f.is_file() and f not in self.files]

    # --- parts ---------------------------------------------------------------------------

    def _parts(self, document: Document) -> None:
        for name, node in _named(document, "sources", self.sources):
            self._source(Entry(name, document, node, *bind_what_is_good(document, node, Source)))
        for name, node in _named(document, "pipelines", self.pipelines):
            bound = bind_what_is_good(document, node, Pipeline)
            self._pipeline(Entry(name, document, node, *bound))

    def known_tables(self) -> dict[str, Table]:
        """Every table that can be used."""
        return {n: e.spec for n, e in self.tables.items() if e.spec is not None}

    def _table(self, entry: Entry[Table], folder: Path) -> None:
        self.tables[entry.name] = entry
        if entry.spec is not None and entry.spec.file is not None:
            path = folder / entry.spec.file
            entry.spec, document = read_table(entry.spec, path)
            self.files.append(path)
            self.documents.append(document)
        self._taken(entry)

    def _taken(self, entry: Entry[Table] | Entry[Source]) -> None:
        """A problem where messages of this source or table also fill another table."""
        topic = entry.spec.topic if entry.spec is not None else None
        for name, other in self.tables.items():
            filled = other.spec.topic if other.spec is not None else None
            if other is entry or topic is None or filled is None:
                continue
            if TopicFilter.parse(topic).overlaps(TopicFilter.parse(filled)):
                what = f"messages on {topic!r} also fill table {name!r}, from {filled!r}"
                entry.document.add(entry.at("topic"), what)

    def _source(self, entry: Entry[Source]) -> None:
        self.sources[entry.name] = entry
        if entry.spec is None:
            return
        self._taken(entry)
        document, written = entry.document, entry.at("decode")
        if not isinstance(entry.spec.decode, dict):
            name, place, options = entry.spec.decode, written.place, Node({}, written.best)
        elif len(entry.spec.decode) == 1 and isinstance(written.value, dict):
            [(name, options)] = written.value.items()
            place = options.best
        else:
            document.add(written, "expected one decoder, such as {json: {...}}")
            return
        if name in self.decoders:
            bind(document, options, self.decoders[name])
        else:
            hint = nearest(name, sorted(self.decoders))
            document.add(place, f"unknown decoder {name!r}", hint)

    def _pipeline(self, entry: Entry[Pipeline]) -> None:
        self.pipelines[entry.name] = entry
        spec = entry.spec
        if spec is None:
            return
        values, wrong = with_tables(spec.values, self.known_tables())
        for name, what in wrong.items():
            entry.document.add(entry.at("values", name, "table"), what)
        spec = entry.spec = spec.model_copy(update={"values": values})
        bound = [self._step(entry, i, step.name) for i, step in enumerate(spec.steps)]
        good = [b for b in bound if b is not None]
        entry.steps = good if len(good) == len(bound) else None
        if spec.alert is not None:
            when = entry.node.get("alert", "when")
            update_by = entry.node.get("alert", "update_by")
            if when is not None and self._refer(entry, when):
                _each_variant(entry, when, When)
            if update_by is not None and self._refer(entry, update_by):
                outer = Node({"update_by": update_by}, update_by.place)
                _each_variant(entry, outer, type(spec.alert))

    def _step(
        self, entry: Entry[Pipeline], index: int, name: str
    ) -> tuple[StepSpec, Params] | None:
        """The operator of a step and its options, None with problems when they do not fit."""
        at = entry.at("steps", index)
        written = at.get(name)
        operator = self.steps.get(name)
        if operator is None:
            place = at.place if written is None else written.best
            hint = nearest(name, sorted(self.steps))
            entry.document.add(place, f"unknown operator {name!r}", hint)
            return None
        node = Node({}, at.place) if written is None or written.value is None else written
        fine = self._refer(entry, node)
        allowed = referable(operator)
        for key, value in node.value.items() if isinstance(node.value, dict) else ():
            known = key in operator.params.model_fields and key not in allowed
            if known and any(reference(n.value) for n in value.walk()):
                hint = f"these can: {', '.join(allowed)}" if allowed else ""
                why = "cannot differ by device"
                if key in operator.sized_by and is_number(operator.params.model_fields[key]):
                    why, hint = f"sizes the memory of the step and {why}", "write a number"
                entry.document.add(value, f"{key!r} {why}", hint)
                fine = False
        bound = _each_variant(entry, node, operator.params) if fine else None
        for key, value in bound or ():
            if isinstance(value, Lookup) and bound is not None:
                fine = self._look_up(entry, node.get(key) or node, value.name, bound) and fine
        return None if bound is None else (operator, bound)

    def _look_up(self, entry: Entry[Pipeline], at: Node, name: str, params: Params) -> bool:
        """Whether there is a table with what a step needs of it; a problem where not."""
        found = self.tables.get(name)
        if found is None:
            entry.document.add(at, f"unknown table {name!r}", nearest(name, self.tables))
            return False
        if found.spec is None:
            return False
        columns = found.spec.columns
        lacking = [c for c in params.columns_needed if columns is not None and c not in columns]
        if lacking:
            hint = nearest(lacking[0], sorted(columns or ()))
            entry.document.add(at, f"table {name!r} has no column {lacking[0]!r}", hint)
            return False
        try:
            with_table(params, name, found.spec)
        except ValidationError as error:
            [first, *_] = error.errors(include_url=False)
            entry.document.add(at, f"table {name!r}: {first['msg'].removeprefix('Value error, ')}")
            return False
        return True

    def _refer(self, entry: Entry[Pipeline], node: Node) -> bool:
        """Whether every reference below `node` has an entry in `values`; a problem where not."""
        assert entry.spec is not None
        fine = True
        for inner in node.walk():
            name = reference(inner.value)
            if name is None:
                continue
            entry.used.add(name)
            if name not in entry.spec.values:
                hint = nearest(name, entry.spec.values) or f"add it: values: {{{name}: ...}}"
                entry.document.add(inner, f"no value is called {name!r}", hint)
                fine = False
        return fine


def _each_variant(
    entry: Entry[Pipeline], node: Node, model: type[Params] | type[Options]
) -> "Params | None":
    """Bind `node` with each number that its references may stand for; the result of the first."""
    assert entry.spec is not None
    names = {n: None for inner in node.walk() if (n := reference(inner.value)) is not None}
    choices = {n: numbers(entry.spec.values[n], entry.at("values", n)) for n in names}
    first: BaseModel | None = None
    for index, chosen in enumerate(variants(choices)):
        tree = filled(node, chosen)
        bound = None if tree is None else bind(entry.document, tree, model)
        first = bound if index == 0 else first
    return first  # type: ignore[return-value]  # callers that use it gave a Params model


def _named(
    document: Document, part: str, known: Mapping[str, Entry[P]]
) -> Iterator[tuple[str, Node]]:
    """Entries of `sources`, `pipelines` or `tables` whose name is good and new."""
    node = document.root.get(part)
    if node is None or not isinstance(node.value, dict):
        return
    for name, entry in node.value.items():
        if not is_name(name):
            what = f"expected a name of letters, digits, _ and -, a letter first, found {name!r}"
            document.add(entry.best, what)
        elif name in known:
            first = known[name]
            where = f"{first.document.file}:{first.node.best.line}"
            document.add(entry.best, f"{name!r} is defined twice", f"the first is at {where}")
        elif len(known) >= PARTS_MAX[part]:
            what = f"more than {PARTS_MAX[part]} {part}"
            document.add(entry.best, what, "share them between gateways")
            return
        else:
            yield name, entry


def _without_parts(root: Node) -> Node:
    """The root with sources, pipelines and tables emptied: their entries are bound one by one."""
    if not isinstance(root.value, dict):
        return root
    kept = dict(root.value)
    for part in ("sources", "pipelines", "tables"):
        if part in kept and isinstance(kept[part].value, dict):
            kept[part] = Node({}, kept[part].place, kept[part].key)
    return Node(kept, root.place)


def _items(node: Node | None) -> list[Node]:
    return node.value if node is not None and isinstance(node.value, list) else []
