"""Streams: which pipelines take from which, and the labels of what flows between them.

Labels of a stream: a source gives those of its topic, its fixed ones and `channel`; alerts of
several pipelines are told apart by `alert`; a step that combines series gives what its `regroup`
says for dummy values, unless it tells of each member; other steps keep them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from config.model import Pipeline, Source
from config.params import Params
from config.parts import Entry, Labels, StepSpec
from config.topics import TopicFilter

CHAIN_MAX: Final = 16
"""Pipelines that may follow each other; events carry as many hops."""
ALERT: Final = "alert"
"""Label that tells alerts of several pipelines apart."""

Sources = Mapping[str, Entry[Source]]
Pipelines = Mapping[str, Entry[Pipeline]]


@dataclass(frozen=True, slots=True)
class Stream:
    """Labels of what flows somewhere, with values where they are fixed ('' if not)."""

    parts: Mapping[str, Mapping[str, str]]
    """By pipeline that the rows came from in a list of alerts; one part, '', without a list."""

    @property
    def labels(self) -> dict[str, str]:
        """Those that every row has."""
        first, *others = self.parts.values()
        return {
            name: value if all(other[name] == value for other in others) else ""
            for name, value in first.items()
            if all(name in other for other in others)
        }

    def lacking(self, name: str) -> list[str]:
        """Pipelines whose rows do not have this label, though those of others do."""
        without = [part for part, labels in self.parts.items() if name not in labels]
        return without if len(without) < len(self.parts) else []

    def fixed(self, name: str) -> set[str]:
        """All values this label can have; empty when that is not known."""
        values = {labels.get(name, "") for labels in self.parts.values()}
        return set() if "" in values else values

    def where(self, wanted: Mapping[str, tuple[str, ...]]) -> "Stream":
        """What is left when labels have to match."""
        exact = {n: p[0] for n, p in wanted.items() if len(p) == 1 and not set("*?[") & set(p[0])}
        left = {
            part: {name: exact.get(name, value) for name, value in labels.items()}
            for part, labels in self.parts.items()
            if all(
                not labels.get(name) or any(fnmatchcase(labels[name], p) for p in patterns)
                for name, patterns in wanted.items()
            )
        }
        return Stream(left or self.parts)

    def groups(
        self, operator: StepSpec, params: Params, group_by: tuple[str, ...]
    ) -> dict[str, dict[str, str]]:
        """By part that a step takes: labels of the groups it makes; empty when not known."""
        found = {}
        for part, labels in self.parts.items():
            dummy: Labels = tuple(sorted((n, v or "x") for n, v in labels.items()))
            try:
                chosen = operator.regroup(params, dummy, group_by) if operator.regroup else None
            except (KeyError, ValueError, StopIteration):
                return {}
            if chosen is not None:
                found[part] = {n: (v if labels.get(n) == v else "") for n, v in chosen[0]}
        return found


class Streams:
    """What flows between the parts of one configuration."""

    def __init__(self, sources: Sources, pipelines: Pipelines) -> None:
        self.sources, self.pipelines = sources, pipelines
        self._above = {name: self._parents(entry) for name, entry in pipelines.items()}
        self._depth = _depths(self._above)
        self.taken = {parent for parents in self._above.values() for parent in parents}
        """Pipelines that another one takes from."""
        self._roots: dict[str, dict[str, None]] = {}
        for name in self._depth:
            spec = pipelines[name].spec
            direct = {spec.from_: None} if spec and isinstance(spec.from_, str) else {}
            inherited = [self._roots[parent] for parent in self._above[name]]
            self._roots[name] = {s: None for some in (direct, *inherited) for s in some}
        self._known: dict[str, list[Stream]] = {}

    def wrong_way(self, name: str) -> tuple[str, str] | None:
        """What is wrong with where a pipeline takes from, and a hint."""
        if self._depth.get(name, 0) > CHAIN_MAX:
            what = f"a chain of more than {CHAIN_MAX} pipelines"
            return what, "take from one nearer to the source"
        circle = [] if name in self._depth else _circle(name, self._above)
        if circle:
            return f"pipelines in a circle: {' → '.join(circle)}", "one must take from a source"
        return None

    def roots(self, name: str) -> list[Entry[Source]]:
        """The sources at the beginning of the chain, without those that are not known."""
        return [self.sources[s] for s in self._roots.get(name, ()) if s in self.sources]

    def incoming(self, entry: Entry[Pipeline]) -> Stream | None:
        """What a pipeline takes; None when that cannot be known."""
        spec = entry.spec
        if spec is None or self._depth.get(entry.name, CHAIN_MAX + 1) > CHAIN_MAX:
            return None
        if isinstance(spec.from_, str):
            source = self.sources.get(spec.from_)
            if source is None or source.spec is None:
                return None
            names = (*TopicFilter.parse(source.spec.topic).labels, "channel")
            return Stream({"": dict.fromkeys(names, "") | dict(source.spec.labels)})
        found = {}
        for name in spec.from_.pipelines:
            above = self.pipelines.get(name)
            stream = self.outgoing(above) if above is not None else None
            if stream is None or not spec.from_.together:
                return stream
            found[name] = stream.labels | {ALERT: name}
        return Stream(found)

    def outgoing(self, entry: Entry[Pipeline]) -> Stream | None:
        """What leaves the last step; None when that cannot be known."""
        streams = self.along(entry)
        return streams[-1] if len(streams) == len(entry.steps or ()) + 1 else None

    def along(self, entry: Entry[Pipeline]) -> list[Stream]:
        """What flows before each step and after the last one, as far as that can be known."""
        if entry.name not in self._known:
            self._known[entry.name] = list(self._along(entry))
        return self._known[entry.name]

    def _along(self, entry: Entry[Pipeline]) -> Iterator[Stream]:
        spec, stream = entry.spec, self.incoming(entry)
        if stream is None or spec is None or entry.steps is None:
            return
        stream = stream.where(spec.where)
        yield stream
        for operator, params in entry.steps:
            if operator.regroup is not None:
                groups = stream.groups(operator, params, spec.group_by)
                if not groups:
                    return
                members = {part: stream.parts[part] for part in groups}
                stream = Stream(members if operator.per_member else groups)
            yield stream

    def _parents(self, entry: Entry[Pipeline]) -> list[str]:
        if entry.spec is None or isinstance(entry.spec.from_, str):
            return []
        return [n for n in dict.fromkeys(entry.spec.from_.pipelines) if n in self.pipelines]


def _depths(above: Mapping[str, list[str]]) -> dict[str, int]:
    """Pipelines on the longest way up, itself among them, each after those above it.

    Those in a circle, and those below one, are left out.
    """
    below: dict[str, list[str]] = {name: [] for name in above}
    for name, parents in above.items():
        for parent in parents:
            below[parent].append(name)
    missing = {name: len(parents) for name, parents in above.items()}
    ready = [name for name, n in missing.items() if not n]
    depth: dict[str, int] = {}
    for name in ready:  # which grows on the way
        depth[name] = 1 + max((depth[parent] for parent in above[name]), default=0)
        for other in below[name]:
            missing[other] -= 1
            if not missing[other]:
                ready.append(other)
    return depth


def _circle(name: str, above: Mapping[str, list[str]]) -> list[str]:
    """The shortest way from a pipeline up to itself, both ends included; empty without one."""
    came_from: dict[str, str] = {}
    ways = [name]
    for here in ways:  # which grows on the way
        for parent in above[here]:
            if parent == name:
                way = [here]
                while way[-1] != name:
                    way.append(came_from[way[-1]])
                return [*way[::-1], name]
            if parent not in came_from:
                came_from[parent] = here
                ways.append(parent)
    return []
