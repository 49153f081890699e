"""Whether sources and pipelines fit together: pure checks over what was loaded."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Final, Literal

from config.errors import Problem
from config.model import Pipeline, Source
from config.nodes import Place
from config.parts import Entry
from config.streams import ALERT, Pipelines, Sources, Stream, Streams
from config.topics import TopicFilter, TopicTemplate
from config.wording import nearest

FIXED_NAMES: Final = ("gateway", "pipeline")
"""Names that every template may use besides the labels."""


def check(sources: Sources, pipelines: Pipelines, gateway: str) -> list[Problem]:
    """Everything that does not fit; parts with problems of their own are passed over."""
    return list(_Topology(sources, pipelines, gateway, Streams(sources, pipelines)).problems())


@dataclass(slots=True)
class _Topology:
    sources: Sources
    pipelines: Pipelines
    gateway: str
    streams: Streams
    filters: dict[str, TopicFilter] = field(default_factory=dict)
    """What each source takes."""
    feeding: dict[str, list[tuple[tuple[str, ...], str, Entry[Source]]]] = field(
        default_factory=dict
    )
    """By pipeline, see `_published_to`."""

    def problems(self) -> Iterator[Problem]:
        self.filters = {
            name: TopicFilter.parse(entry.spec.topic)
            for name, entry in self.sources.items()
            if entry.spec is not None
        }
        for entry in self.pipelines.values():
            if entry.spec is None:
                continue
            yield from self._origin(entry, entry.spec)
            wrong_way = self.streams.wrong_way(entry.name)
            if wrong_way is not None:
                yield entry.document.problem(entry.at("from"), *wrong_way)
            if entry.whole:  # else what is missing here may be what was left out
                yield from self._output(entry, entry.spec)
            yield from self._inhibitor(entry, entry.spec)
            yield from self._values(entry, entry.spec)
            if wrong_way is None:
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
        kind, together = spec.from_.kind, spec.from_.together
        for i, name in enumerate(spec.from_.pipelines):
            at = entry.at("from", kind, i) if together else entry.at("from", kind)
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
            elif name in spec.from_.pipelines[:i]:
                yield problem(at, f"pipeline {name!r} is here twice", "remove one of them")
            elif together:
                stream = self.streams.outgoing(upstream)
                if stream is not None and ALERT in stream.labels:
                    what = f"alerts of {name!r} have a label {ALERT!r} already"
                    yield problem(at, what, f"combine its series without it, by group_by in {name}")

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
            known = self.streams.outgoing(other)
            for i, name in enumerate(by.same):
                if known is not None:
                    place = entry.at("alert", "inhibit_by", "same", i).place
                    yield from _unknown(entry, place, name, known)

    # --- what leaves ---------------------------------------------------------------------

    def _output(self, entry: Entry[Pipeline], spec: Pipeline) -> Iterator[Problem]:
        problem = entry.document.problem
        consumed = entry.name in self.streams.taken
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

    def _labels(self, entry: Entry[Pipeline], spec: Pipeline) -> Iterator[Problem]:
        incoming, outgoing = self.streams.incoming(entry), self.streams.outgoing(entry)
        if incoming is not None:
            for name in spec.where:
                yield from _unknown(entry, entry.at("where", name).best, name, incoming)
            for i, name in enumerate(spec.group_by):
                yield from _unknown(entry, entry.at("group_by", i).place, name, incoming)
            alerts = incoming.fixed(ALERT)
            for i, pattern in enumerate(spec.where.get(ALERT, ())):
                if alerts and not any(fnmatchcase(alert, pattern) for alert in alerts):
                    at = entry.at("where", ALERT, i).place
                    what = f"none of the alerts is called {pattern!r}"
                    yield entry.document.problem(at, what, nearest(pattern, sorted(alerts)))
        for i, stream in enumerate(self.streams.along(entry)[: len(entry.steps or ())]):
            yield from self._step(entry, spec, i, stream)
        if incoming is not None and outgoing is not None:
            for value, given in spec.values.items():
                for name in given.by:
                    at = entry.at("values", value, "by", name).best
                    known = outgoing if name in outgoing.labels else incoming
                    yield from _unknown(entry, at, name, known)
        if outgoing is not None:
            yield from self._alert_labels(entry, spec, outgoing)
            for path, topic in _topics(spec):
                for name in TopicTemplate.parse(topic).names:
                    if name not in FIXED_NAMES:
                        yield from _unknown(entry, entry.at(*path).place, name, outgoing)

    def _step(
        self, entry: Entry[Pipeline], spec: Pipeline, i: int, stream: Stream
    ) -> Iterator[Problem]:
        """Whether a step finds the labels that it names, and its groups what belongs together."""
        assert entry.steps is not None, "else it has no stream"
        operator, params = entry.steps[i]
        member = getattr(params, "of", None)
        if isinstance(member, str):
            yield from _unknown(
                entry, entry.at("steps", i, operator.name, "of").place, member, stream
            )
            known = stream.fixed(member)
            for name in getattr(params, "names", ()) if known else ():
                if name not in known:
                    at = entry.at("steps", i, operator.name, "steps").best
                    what = f"no series here has {member} {name!r}"
                    yield entry.document.problem(at, what, nearest(name, sorted(known)))
        groups = stream.groups(operator, params, spec.group_by)
        differing = [
            (without, name)
            for name in {name: None for labels in groups.values() for name in labels}
            if (without := [part for part, labels in groups.items() if name not in labels])
        ]
        if differing:
            at = entry.at("steps", i).place
            what = f"{operator.name} never combines these alerts: {_lack(*differing[0])}"
            common = (n for n in stream.labels if n not in (member, "channel"))
            hint = f"name what they have in common: group_by: [{', '.join(common)}]"
            yield entry.document.problem(at, what, hint)

    def _alert_labels(
        self, entry: Entry[Pipeline], spec: Pipeline, outgoing: Stream
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
        for source in self.streams.roots(entry.name):
            if source.spec is not None:
                yield from self._back_into(source, source.spec, entry, spec)

    def _back_into(
        self, source: Entry[Source], origin: Source, entry: Entry[Pipeline], spec: Pipeline
    ) -> Iterator[Problem]:
        taken = TopicFilter.parse(origin.topic)
        upward = any(params.climbs for _, params in entry.steps or ())
        for path, topic, other in self._published_to(entry, spec):
            at = entry.at(*path)
            if other is not source:
                if source.name in self._reached(other.name, set()):
                    what = f"a loop through the broker: {topic!r} is taken by source {other.name!r}"
                    hint = f"what comes of it leads back to source {source.name!r}"
                    yield entry.document.problem(at, what, hint)
            elif origin.feedback and not upward:
                what = "what comes back in must get further up each time, and would not"
                hint = "feedback needs a step group: {hierarchy: ..., levels: 1}"
                yield entry.document.problem(at, what, hint)
            elif not origin.feedback:
                what = f"a loop through the broker: {topic!r} is taken by source {source.name!r}"
                hint = f"its filter is {origin.topic!r}; publish under another first level"
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
            stream = self.streams.outgoing(entry)
            known = {n: v for n, v in stream.labels.items() if v} if stream else {}
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
            if entry.spec is not None and name in {r.name for r in self.streams.roots(entry.name)}:
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
                    yield from _unknown(entry, at.place, name, Stream({"": labels}))
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


def _unknown(entry: Entry[Any], at: Place, name: str, stream: Stream) -> Iterator[Problem]:
    known = stream.labels
    if name not in known:
        what = f"the stream has no label {name!r} here"
        lacking = stream.lacking(name)
        if lacking:
            what = f"not all alerts have this label: {_lack(lacking, name)}"
        yield entry.document.problem(at, what, nearest(name, sorted(known)))


def _lack(pipelines: list[str], label: str) -> str:
    return f"{' and '.join(map(repr, pipelines))} without {label!r}"
