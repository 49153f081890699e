"""Whether sources and pipelines fit together: pure checks over what was loaded.

Labels of a stream: a source gives those of its topic, its fixed ones and `channel`; a step that
combines series gives what its `regroup` says for dummy values, unless it tells of each member;
other steps keep them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from config.errors import Problem
from config.model import Pipeline, Source
from config.nodes import Place
from config.parts import Entry, Labels
from config.topics import TopicFilter, TopicTemplate
from config.wording import nearest

FIXED_NAMES: Final = ("gateway", "pipeline")
"""Names that every template may use besides the labels."""
CHAIN_MAX: Final = 16
"""Pipelines that may follow each other; events carry as many hops."""

Sources = Mapping[str, Entry[Source]]
Pipelines = Mapping[str, Entry[Pipeline]]


def check(sources: Sources, pipelines: Pipelines, gateway: str) -> list[Problem]:
    """Everything that does not fit; parts with problems of their own are passed over."""
    return list(_Topology(sources, pipelines, gateway).problems())


@dataclass(slots=True)
class _Topology:
    sources: Sources
    pipelines: Pipelines
    gateway: str
    looping: dict[str, list[str]] = field(default_factory=dict)
    filters: dict[str, TopicFilter] = field(default_factory=dict)
    """What each source takes."""
    feeding: dict[str, list[tuple[tuple[str, ...], str, Entry[Source]]]] = field(
        default_factory=dict
    )
    """By pipeline, see `_published_to`."""

    def problems(self) -> Iterator[Problem]:
        self.looping = looping = self._looping()
        self.filters = {
            name: TopicFilter.parse(entry.spec.topic)
            for name, entry in self.sources.items()
            if entry.spec is not None
        }
        for entry in self.pipelines.values():
            if entry.spec is None:
                continue
            yield from self._origin(entry, entry.spec)
            if entry.name in looping:
                yield entry.document.problem(entry.at("from"), *_wrong_way(looping[entry.name]))
            if entry.whole:  # else what is missing here may be what was left out
                yield from self._output(entry, entry.spec)
            yield from self._inhibitor(entry, entry.spec)
            yield from self._values(entry, entry.spec)
            if entry.name not in looping:
                yield from self._labels(entry, entry.spec)
                yield from self._through_broker(entry, entry.spec)
        yield from self._sources()

    # --- where samples come from ---------------------------------------------------------

    def _origin(self, entry: Entry[Pipeline], spec: Pipeline) -> Iterator[Problem]:
        at, problem = entry.at("from"), entry.document.problem
        if isinstance(spec.from_, str):
            if spec.from_ in self.sources:
                return
            if spec.from_ in self.pipelines:
                hint = f"{spec.from_} is a pipeline: write from: {{samples: {spec.from_}}}"
            else:
                hint = nearest(spec.from_, self.sources)
            yield problem(at, f"unknown source {spec.from_!r}", hint)
            return
        kind, name = spec.from_.kind, spec.from_.pipeline
        at = entry.at("from", kind)
        upstream = self.pipelines.get(name)
        if upstream is None:
            hint = f"{name} is a source: write from: {name}"
            hint = hint if name in self.sources else nearest(name, self.pipelines)
            yield problem(at, f"unknown pipeline {name!r}", hint)
        elif upstream.spec is not None and kind == "alerts" and upstream.spec.alert is None:
            yield problem(at, f"pipeline {name!r} has no alert", f"write {{samples: {name}}}")
        elif kind == "windows" and not _makes_windows(upstream):
            hint = f"its last step makes no windows: write {{samples: {name}}}"
            yield problem(at, f"pipeline {name!r} has no windows", hint)

    def _inhibitor(self, entry: Entry[Pipeline], spec: Pipeline) -> Iterator[Problem]:
        if spec.alert is None or spec.alert.inhibit_by is None:
            return
        by, problem = spec.alert.inhibit_by, entry.document.problem
        at = entry.at("alert", "inhibit_by", "alerts")
        other = self.pipelines.get(by.alerts)
        if other is None:
            yield problem(at, f"unknown pipeline {by.alerts!r}", nearest(by.alerts, self.pipelines))
        elif other is entry:
            yield problem(at, "an alert cannot inhibit itself", "name another pipeline")
        elif other.spec is not None and other.spec.alert is None:
            yield problem(at, f"pipeline {by.alerts!r} has no alert", "give it one")
        else:
            known = self._outgoing(other)
            for i, name in enumerate(by.same):
                if known is not None:
                    place = entry.at("alert", "inhibit_by", "same", i).place
                    yield from _unknown(entry, place, name, known)

    def _looping(self) -> dict[str, list[str]]:
        """Pipelines that take from themselves, or from too long a chain: name → the way."""
        found = {}
        for name in self.pipelines:
            way = [name]
            while (above := self._above(way[-1])) is not None and above not in way:
                way.append(above)
                if len(way) > CHAIN_MAX:
                    break
            if above == name or len(way) > CHAIN_MAX:
                found[name] = [*way, name] if above == name else way
        return found

    def _above(self, name: str) -> str | None:
        """The pipeline that this one takes from, None for a source or nothing known."""
        spec = self.pipelines[name].spec
        if spec is None or isinstance(spec.from_, str):
            return None
        return spec.from_.pipeline if spec.from_.pipeline in self.pipelines else None

    def _root(self, entry: Entry[Pipeline]) -> Entry[Source] | None:
        """The source at the beginning of the chain."""
        seen: set[str] = set()
        while (above := self._above(entry.name)) is not None and above not in seen:
            seen.add(above)
            entry = self.pipelines[above]
        spec = entry.spec
        return self.sources.get(spec.from_) if spec and isinstance(spec.from_, str) else None

    # --- what leaves ---------------------------------------------------------------------

    def _output(self, entry: Entry[Pipeline], spec: Pipeline) -> Iterator[Problem]:
        problem = entry.document.problem
        consumed = any(self._above(name) == entry.name for name in self.pipelines)
        if spec.alert is None and spec.publish is None and not consumed:
            hint = "give it an alert or publish, or let another pipeline take from it"
            yield problem(entry.node.best, f"nothing leaves pipeline {entry.name!r}", hint)
        if entry.steps is None:
            return
        if spec.alert is not None and not self._has_condition(entry, spec):
            last = f"the last step, {entry.steps[-1][0].name}, is" if entry.steps else "there is"
            hint = f"add when: {{above: ...}}; {last} no detector with a condition of its own"
            yield problem(entry.at("alert").best, "an alert without a condition", hint)
        if spec.group_by and not any(op.regroup is not None for op, _ in entry.steps):
            at = entry.at("group_by").best
            hint = "remove it, or add a step that combines series, such as quorum"
            yield problem(at, "group_by has no effect: no step combines series", hint)

    def _has_condition(self, entry: Entry[Pipeline], spec: Pipeline) -> bool:
        when = spec.alert.when if spec.alert is not None else None
        if when is not None and when.has_limit:
            return True
        return (
            bool(entry.steps)
            and entry.steps is not None
            and (entry.steps[-1][0].condition is not None)
        )

    def _values(self, entry: Entry[Pipeline], spec: Pipeline) -> Iterator[Problem]:
        for name in spec.values:
            if name not in entry.used:
                close = next((n for n in sorted(entry.used) if n not in spec.values), None)
                hint = f"refer to it by {{{name}}} in quotes, or remove it"
                hint = f"{close!r} is used and not defined" if close else hint
                at = entry.at("values", name).best
                yield entry.document.problem(at, f"value {name!r} is never used", hint)

    # --- labels --------------------------------------------------------------------------

    def _incoming(self, entry: Entry[Pipeline]) -> dict[str, str] | None:
        """Labels of the stream a pipeline takes, with values where they are fixed ('' if not)."""
        spec = entry.spec
        if spec is None:
            return None
        if not isinstance(spec.from_, str):
            upstream = self.pipelines.get(spec.from_.pipeline)
            return None if upstream is None else self._outgoing(upstream)
        source = self.sources.get(spec.from_)
        if source is None or source.spec is None:
            return None
        names = (*TopicFilter.parse(source.spec.topic).labels, "channel")
        return dict.fromkeys(names, "") | dict(source.spec.labels)

    def _outgoing(self, entry: Entry[Pipeline]) -> dict[str, str] | None:
        """Labels of what leaves the last step; None when that cannot be known."""
        streams = list(self._streams(entry))
        return streams[-1] if len(streams) == len(entry.steps or ()) + 1 else None

    def _streams(self, entry: Entry[Pipeline]) -> Iterator[dict[str, str]]:
        """Labels before each step and after the last one, as far as that can be known."""
        spec = entry.spec
        labels = None if entry.name in self.looping else self._incoming(entry)
        if labels is None or spec is None or entry.steps is None:
            return
        for name, wanted in spec.where.items():
            if name in labels and len(wanted) == 1 and not set("*?[") & set(wanted[0]):
                labels[name] = wanted[0]
        yield labels
        for operator, params in entry.steps:
            if operator.regroup is not None:
                dummy: Labels = tuple(sorted((n, v or "x") for n, v in labels.items()))
                try:
                    chosen = operator.regroup(params, dummy, spec.group_by)
                except (KeyError, ValueError, StopIteration):
                    return
                if chosen is None:
                    return
                known = labels
                if not operator.per_member:
                    labels = {n: (v if known.get(n) == v else "") for n, v in chosen[0]}
            yield labels

    def _labels(self, entry: Entry[Pipeline], spec: Pipeline) -> Iterator[Problem]:
        incoming, outgoing = self._incoming(entry), self._outgoing(entry)
        if incoming is not None:
            for name in spec.where:
                yield from _unknown(entry, entry.at("where", name).best, name, incoming)
            for i, name in enumerate(spec.group_by):
                yield from _unknown(entry, entry.at("group_by", i).place, name, incoming)
        streams = zip(entry.steps or (), self._streams(entry), strict=False)
        for i, ((operator, params), labels) in enumerate(streams):
            member = getattr(params, "of", None)
            if isinstance(member, str):
                at = entry.at("steps", i, operator.name, "of").place
                yield from _unknown(entry, at, member, labels)
        both = {**(incoming or {}), **(outgoing or {})}
        if incoming is not None and outgoing is not None:
            for value, given in spec.values.items():
                for name in given.by:
                    at = entry.at("values", value, "by", name).best
                    yield from _unknown(entry, at, name, both)
        if outgoing is not None:
            yield from self._alert_labels(entry, spec, outgoing)
            for path, topic in _topics(spec):
                for name in TopicTemplate.parse(topic).names:
                    if name not in FIXED_NAMES:
                        yield from _unknown(entry, entry.at(*path).place, name, outgoing)

    def _alert_labels(
        self, entry: Entry[Pipeline], spec: Pipeline, outgoing: Mapping[str, str]
    ) -> Iterator[Problem]:
        if spec.alert is None:
            return
        for i, name in enumerate(spec.alert.first_out or ()):
            yield from _unknown(entry, entry.at("alert", "first_out", i).place, name, outgoing)
        for i, name in enumerate(spec.alert.inhibit_by.same if spec.alert.inhibit_by else ()):
            place = entry.at("alert", "inhibit_by", "same", i).place
            yield from _unknown(entry, place, name, outgoing)

    # --- topics --------------------------------------------------------------------------

    def _through_broker(self, entry: Entry[Pipeline], spec: Pipeline) -> Iterator[Problem]:
        """What is published must not come back in through the pipeline's own source."""
        source = self._root(entry)
        if source is None or source.spec is None:
            return
        taken = TopicFilter.parse(source.spec.topic)
        upward = any(params.climbs for _, params in entry.steps or ())
        for path, topic, other in self._published_to(entry, spec):
            at = entry.at(*path)
            if other is not source:
                if source.name in self._reached(other.name, set()):
                    what = f"a loop through the broker: {topic!r} is taken by source {other.name!r}"
                    hint = f"what comes of it leads back to source {source.name!r}"
                    yield entry.document.problem(at, what, hint)
            elif source.spec.feedback and not upward:
                what = "what comes back in must get further up each time, and would not"
                hint = "feedback needs a step group: {hierarchy: ..., levels: 1}"
                yield entry.document.problem(at, what, hint)
            elif not source.spec.feedback:
                what = f"a loop through the broker: {topic!r} is taken by source {source.name!r}"
                hint = f"its filter is {source.spec.topic!r}; publish under another first level"
                yield entry.document.problem(at, what, hint)
        if spec.alert is not None and spec.alert.topic is None:
            default = TopicTemplate.parse(f"alerts/{entry.name}")
            below = TopicFilter.parse(f"{default.text}/#")
            if below.overlaps(taken):
                what = f"a loop through the broker: alerts are taken by source {source.name!r}"
                hint = f"the default topic is {default.text}/...; give the alert a topic"
                yield entry.document.problem(entry.at("alert").best, what, hint)

    def _published_to(
        self, entry: Entry[Pipeline], spec: Pipeline
    ) -> list[tuple[tuple[str, ...], str, Entry[Source]]]:
        """(path, topic, source) of every source that takes what a pipeline publishes."""
        if entry.name not in self.feeding:
            known = {n: v for n, v in (self._outgoing(entry) or {}).items() if v}
            known |= {"gateway": self.gateway, "pipeline": entry.name}
            published = [
                (path, topic, TopicTemplate.parse(topic).as_filter(known))
                for path, topic in _topics(spec)
            ]
            self.feeding[entry.name] = [
                (path, topic, self.sources[name])
                for path, topic, made in published
                for name, taken in self.filters.items()
                if made.overlaps(taken)
            ]
        return self.feeding[entry.name]

    def _reached(self, name: str, seen: set[str]) -> set[str]:
        """Sources that are fed, over however many pipelines, by what comes of a source."""
        if name in seen:
            return seen
        seen.add(name)
        for entry in self.pipelines.values():
            root = self._root(entry) if entry.spec is not None else None
            if entry.spec is not None and root is not None and root.name == name:
                for _, _, source in self._published_to(entry, entry.spec):
                    self._reached(source.name, seen)
        return seen

    def _notices(self, entry: Entry[Source], spec: Source) -> Iterator[Problem]:
        """Topics on which a source tells of late samples and of clocks that run ahead."""
        taken = TopicFilter.parse(spec.topic)
        devices = dict.fromkeys(taken.labels, "") | dict(spec.labels)
        known = {"gateway": self.gateway, "source": entry.name, **spec.labels}
        wanted = [("future_topic", "quarantine", spec.future_topic, devices)]
        if spec.late == "side":
            wanted.append(("late_topic", "late", spec.late_topic, {**devices, "channel": ""}))
        for option, first, given, labels in wanted:
            default = "/".join((first, "{source}", *[f"{{{name}}}" for name in sorted(labels)]))
            template, at = TopicTemplate.parse(given or default), entry.at(option)
            for name in template.names:
                if name not in ("gateway", "source"):
                    yield from _unknown(entry, at.place, name, labels)
            if template.as_filter(known).overlaps(taken):
                what = f"a loop through the broker: {template.text!r} is taken by this source"
                hint = f"its filter is {spec.topic!r}; give {option} another first level"
                level: Literal["error", "warning"] = "error" if given else "warning"
                yield entry.document.problem(at.best, what, hint, level=level)

    def _sources(self) -> Iterator[Problem]:
        good = [e for e in self.sources.values() if e.spec is not None]
        for entry in good:
            if entry.spec is not None:
                yield from self._notices(entry, entry.spec)
        filters = {e.name: TopicFilter.parse(e.spec.topic) for e in good if e.spec is not None}
        for i, entry in enumerate(good):
            for other in good[:i]:
                if filters[entry.name].overlaps(filters[other.name]):
                    what = f"sources {other.name!r} and {entry.name!r} take the same topics"
                    hint = f"{filters[other.name].text!r} is at {other.document.file}:" + str(
                        other.at("topic").place.line
                    )
                    yield entry.document.problem(entry.at("topic"), what, hint)
        used = {e.spec.from_ for e in self.pipelines.values() if e.spec is not None}
        if any(e.spec is None or not e.whole for e in self.pipelines.values()):
            return
        for entry in good:
            if entry.name not in used:
                what = f"source {entry.name!r} is never used"
                yield entry.document.problem(entry.node.best, what, level="warning")


def _wrong_way(way: list[str]) -> tuple[str, str]:
    if way[0] == way[-1]:
        return f"pipelines in a circle: {' → '.join(way)}", "one must take from a source"
    return f"a chain of more than {CHAIN_MAX} pipelines", "take from one nearer to the source"


def _makes_windows(entry: Entry[Pipeline]) -> bool:
    """Whether the last step emits windows; taken for granted when the steps are not known."""
    return entry.steps is None or (bool(entry.steps) and entry.steps[-1][0].emits == "window")


def _topics(spec: Pipeline) -> Iterator[tuple[tuple[str, ...], str]]:
    """(path, topic) of every topic a pipeline says it publishes to."""
    if spec.alert is not None and spec.alert.topic is not None:
        yield ("alert", "topic"), spec.alert.topic
        if spec.alert.state_topic is None:
            yield ("alert", "topic"), f"state/{spec.alert.topic}"
    if spec.alert is not None and spec.alert.state_topic is not None:
        yield ("alert", "state_topic"), spec.alert.state_topic
    if spec.alert is not None and spec.alert.on_retract is not None:
        yield ("alert", "on_retract", "publish"), spec.alert.on_retract.publish
    if spec.publish is not None:
        yield ("publish", "topic"), spec.publish.topic


def _unknown(
    entry: Entry[Any], at: Place, name: str, labels: Mapping[str, str]
) -> Iterator[Problem]:
    if name not in labels:
        what = f"the stream has no label {name!r} here"
        yield entry.document.problem(at, what, nearest(name, sorted(labels)))
