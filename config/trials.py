"""Trials: the tests that users write for their own pipelines, `<name>.test.yaml`, as models.

A trial says which samples are given, at equal distances of virtual time, and which events must
come of them. What it means to be expected is decided in `daemon.verdict`.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from config.binding import bind
from config.errors import ConfigError, Problem
from config.model import SECOND, Gateway, Name, Pipeline, Severity, Source, Text
from config.nodes import Document, Node, read_document
from config.notation import Sample, Samples
from config.params import Options
from config.topics import TopicFilter
from config.units import Duration, duration_text
from config.wording import keys_of, nearest

EventType = Literal[
    "alert.active",
    "alert.cleared",
    "alert.updated",
    "alert.retracted",
    "window",
    "window.retracted",
    "sample",
    "sample.retracted",
]
ALERTS: Final[tuple[EventType, ...]] = (
    "alert.active",
    "alert.cleared",
    "alert.updated",
    "alert.retracted",
)
SUFFIXES: Final = (".test.yaml", ".test.yml")
LENGTH_MAX_NS: Final = 366 * 86_400 * SECOND


class Range(Options):
    """A number that lies above one bound, below another, or both."""

    above: float | None = None
    below: float | None = None

    @model_validator(mode="after")
    def _some(self) -> "Range":
        if self.above is None and self.below is None:
            raise ValueError("give above, below, or both")
        return self


Wanted = float | Range | Literal["nan"]


class Expectation(Options):
    """One line of `expect`; every other key is a label that the event must have."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Text] = Field(init=False)

    at: Duration = Field(description="Earliest time of the event, from the first sample on.")
    within: Duration | None = Field(
        None, description="How much later than `at` it may be; default: one `every`."
    )
    type: EventType = Field(description="alert.active, alert.cleared, alert.updated, window, ...")
    labels: dict[Name, Text] = Field(
        default_factory=dict, description="Labels whose names are keys of this mapping, too."
    )
    topic: str | None = Field(None, description="Where it is published.")
    severity: Severity | None = None
    value: Wanted | None = Field(
        None, description="A number, {above: .., below: ..}, or nan: not known."
    )
    data: dict[str, Wanted] = Field(
        default_factory=dict, description="Other numbers of the event, such as {mean: 80}."
    )
    revision: int | None = Field(
        None, ge=1, description="1 for what was told first, 2 and more for corrections of it."
    )
    count: int = Field(1, ge=1, le=100_000, description="So many events, each within the time.")

    @property
    def all_labels(self) -> dict[str, str]:
        """Labels that the event must have, however they were written."""
        return {**(self.__pydantic_extra__ or {}), **self.labels}


class Series(Options):
    """Samples of one channel of one device, with topic and channel written apart."""

    topic: str
    channel: str
    values: Samples
    start: Duration = Field(0, description="Time of the first sample.")
    delay: Duration = Field(
        0, description="Each sample arrives this much after the time that it is about."
    )


class Given(NamedTuple):
    """One series of a trial."""

    key: str | int
    """Key or index in `given`."""
    topic: str
    channel: str | None
    """None: written behind the topic."""
    values: tuple[Sample, ...]
    start: int = 0
    delay: int = 0


class Trial(Options):
    """One test."""

    name: Text = Field(description="What is tested, as a sentence.")
    pipeline: Name = Field(description="The pipeline whose events are judged.")
    every: Duration = Field(
        SECOND, ge=1_000_000, description="Time from one sample of a series to the next."
    )
    given: dict[str, Samples] | tuple[Series, ...] = Field(
        description='{topic.channel: "80x60 95x100"}, or a list of {topic, channel, values}.'
    )
    expect: tuple[Expectation, ...] = Field(
        max_length=500, description="What must happen; [] when nothing may."
    )
    until: Duration | None = Field(
        None, description="Let time go on to here without samples; default: as far as is needed."
    )
    only: tuple[EventType, ...] | None = Field(
        None, description="Types of which none may happen unexpectedly; default: all of alerts."
    )
    allow_more: bool = Field(False, description="More may happen than what is expected.")

    @property
    def series(self) -> Iterator[Given]:
        """What is given, however it was written."""
        if isinstance(self.given, dict):
            yield from (Given(key, key, None, values) for key, values in self.given.items())
        else:
            for i, s in enumerate(self.given):
                yield Given(i, s.topic, s.channel, s.values, s.start, s.delay)

    @property
    def end_ns(self) -> int:
        """When it is over, counted from the first sample: all that is asked for lies before."""
        ends = [g.start + g.delay + len(g.values) * self.every for g in self.series]
        ends += [self.until or 0]
        ends += [e.at + self.within(e) for e in self.expect]
        return max(ends)

    def within(self, expected: Expectation) -> int:
        """How much later than `at` an expected event may be, in nanoseconds."""
        return self.every if expected.within is None else expected.within


def _named(value: Any) -> Any:
    """A test without a name is called by its pipeline, so that a first test needs none."""
    if isinstance(value, dict) and "name" not in value and isinstance(value.get("pipeline"), str):
        return {**value, "name": value["pipeline"]}
    return value


class TrialFile(Options):
    """A test file."""

    config: str | None = Field(
        None,
        description="Configuration to test, beside this file; default: the nearest gateway.yaml "
        "here or above, else X.yaml of X.test.yaml.",
    )
    tests: tuple[Annotated[Trial, BeforeValidator(_named)], ...]

    @model_validator(mode="after")
    def _some(self) -> "TrialFile":
        if not self.tests:
            raise ValueError("there is no test in this file")
        return self


@dataclass(frozen=True, slots=True)
class Feed:
    """What one series of a trial becomes: samples of a channel on a topic of a source."""

    source: str
    topic: str
    channel: str
    samples: tuple[Sample, ...]
    node: Node
    start_ns: int = 0
    delay_ns: int = 0


@dataclass(frozen=True, slots=True)
class Suite:
    """A test file that was read, and which configuration it is about."""

    path: Path
    config: Path
    document: Document
    trials: tuple[Trial, ...]

    def node(self, index: int, *path: str | int) -> Node:
        """Where something of a trial is written, or the nearest above it."""
        node = self.document.root
        for part in ("tests", index, *path):
            node = node.get(part) or node
        return node

    def line(self, index: int, *path: str | int) -> int:
        """The line of it."""
        return self.node(index, *path).best.line


def read_suite(path: Path, env: Mapping[str, str] | None = None) -> Suite:
    """Read a test file. Raises ConfigError with every problem."""
    document = read_document(path, os.environ if env is None else env)
    bound = None if document.problems else bind(document, document.root, TrialFile)
    if bound is None:
        raise ConfigError(document.problems)
    config = path.parent / bound.config if bound.config else _nearest(path)
    if config is None or not config.is_file():
        at = document.root.get("config") or document.root
        what = f"there is no file {str(config)!r}" if config else "no configuration to test"
        hint = "name it: config: ../gateway.yaml"
        raise ConfigError([document.problem(at, what, hint)])
    return Suite(path, config, document, bound.tests)


def _nearest(path: Path) -> Path | None:
    for folder in path.absolute().parents:
        if (folder / "gateway.yaml").is_file():
            return Path(os.path.relpath(folder / "gateway.yaml"))
    name = next(
        path.name.removesuffix(s) for s in (*SUFFIXES, path.suffix) if path.name.endswith(s)
    )
    beside = [path.with_name(f"{name}{suffix}") for suffix in (".yaml", ".yml")]
    return next((b for b in beside if b.is_file() and b != path), None)


def check(suite: Suite, gateway: Gateway) -> tuple[list[list[Feed]], list[Problem]]:
    """For each trial what its series become, and what does not fit the configuration."""
    problems: list[Problem] = []
    labels = {"channel"}
    for source in gateway.sources.values():
        labels |= {*TopicFilter.parse(source.topic).labels, *source.labels}
    for pipeline in gateway.pipelines.values():
        for step in pipeline.steps:  # what comes out of tables
            labels.update(step.options.get("add", ()))
    feeds = []
    for index, trial in enumerate(suite.trials):
        feeds.append(list(_feeds(suite, index, gateway.sources, problems)))
        spec = gateway.pipelines.get(trial.pipeline)
        if spec is None:
            at = suite.node(index, "pipeline").place
            what = f"{suite.config} has no pipeline {trial.pipeline!r}"
            problems.append(
                suite.document.problem(at, what, nearest(trial.pipeline, gateway.pipelines))
            )
        else:
            problems += _expectations(suite, index, spec, labels)
        if trial.end_ns > LENGTH_MAX_NS:
            at = suite.node(index, "until" if trial.until else "every").best
            what = f"longer than a year: {duration_text(trial.end_ns // SECOND * SECOND)}"
            problems.append(suite.document.problem(at, what))
    return feeds, problems


def _feeds(
    suite: Suite, index: int, sources: Mapping[str, Source], problems: list[Problem]
) -> Iterator[Feed]:
    seen: set[tuple[str, str, int, int]] = set()
    for given in suite.trials[index].series:
        written, channel_ = given.topic, given.channel
        node = suite.node(index, "given", given.key)
        ways = [(written, channel_)] if channel_ is not None else _splits(written)
        fitting = [w for w in ways if _source(*w, sources) is not None]
        taken = [w for w in ways if _source(w[0], None, sources) is not None]
        if not fitting:
            if taken:
                name = _source(taken[0][0], None, sources)
                listed = sources[name or ""].channels or ()
                what = f"source {name!r} has no channel {taken[0][1]!r}"
                hint = nearest(taken[0][1], listed)
            else:
                what = f"no source takes {written!r}"
                topics = ", ".join(s.topic for s in sources.values())
                hint = f"write topic.channel; topics of the sources: {topics}"
            problems.append(suite.document.problem(node.best, what, hint))
            continue
        topic, channel = fitting[0]
        if (topic, channel, given.start, given.delay) in seen:
            problems.append(suite.document.problem(node.best, f"{channel!r} is given twice"))
        seen.add((topic, channel, given.start, given.delay))
        source = _source(topic, channel, sources)
        assert source is not None, "it is one of those that fit"
        if given.delay and sources[source].time is None:
            at = suite.node(index, "given", given.key, "delay").best
            what = f"samples of source {source!r} cannot come late: it has no time"
            hint = "they are about the time they arrive at; give the source a time field"
            problems.append(suite.document.problem(at, what, hint))
        yield Feed(source, topic, channel, given.values, node, given.start, given.delay)


def _splits(key: str) -> list[tuple[str, str]]:
    """(topic, channel) for each dot that may stand between them, the last one first."""
    dots = [i for i, c in enumerate(key) if c == "." and 0 < i < len(key) - 1]
    return [(key[:i], key[i + 1 :]) for i in reversed(dots) if "/" not in key[i:]]


def _source(topic: str, channel: str | None, sources: Mapping[str, Source]) -> str | None:
    """The source that takes this topic and, unless None, knows this channel."""
    if set("+#") & set(topic):
        return None
    for name, source in sources.items():
        known = channel is None or source.channels is None or channel in source.channels
        if known and TopicFilter.parse(source.topic).match(topic) is not None:
            return name
    return None


def _expectations(suite: Suite, index: int, spec: Pipeline, labels: set[str]) -> Iterator[Problem]:
    trial, problem = suite.trials[index], suite.document.problem
    for i, expected in enumerate(trial.expect):
        alert = expected.type in ALERTS
        if (spec.alert if alert else spec.publish) is None:
            has = " and ".join(n for n in ("alert", "publish") if getattr(spec, n) is not None)
            what = f"pipeline {trial.pipeline!r} has no {'alert' if alert else 'publish'}"
            hint = f"it has {has}" if has else "other pipelines take from it, test those"
            yield problem(suite.node(index, "expect", i, "type").place, what, hint)
        known = [*keys_of([Expectation]), *sorted(labels)]
        for name in expected.all_labels:
            if name not in labels:
                at = suite.node(
                    index, "expect", i, *(("labels",) if name in expected.labels else ()), name
                )
                yield problem(at.best, f"neither a key nor a label: {name!r}", nearest(name, known))
