"""Trial: plays one test of a user through the whole data plane, in virtual time.

Samples become payloads in the format of their source, arrive at the time they are about, and
take the way of every message: transport, decoder, engine, encoder.  What is judged is what a
subscriber would have received.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import orjson

from config.errors import ConfigError, Problem
from config.model import Gateway, Pipeline, Source
from config.topics import TopicFilter, TopicTemplate
from config.trials import Feed, Suite, Trial, check
from daemon import warmup
from daemon.decode import DECODERS
from daemon.decode.contract import Wanted, Write
from daemon.decode.times import SCALE
from daemon.ledger import Count
from daemon.offline import Offline
from pipelines.events import rfc3339, rfc3339_ns
from pipelines.graph import TICK_NS
from pipelines.order import IDLE_FIRST_NS, IDLE_GAPS

START_NS: Final = 1_767_225_600_000_000_000
"""2026-01-01T00:00:00Z, so that windows of whole minutes, hours and days begin with the trial."""
STEP_MAX_NS: Final = 600_000_000_000
STEPS_MAX: Final = 100_000
_KINDS: Final = ("alert", "window", "sample")
_NOT_USED: Final = (
    Count.MESSAGES_REJECTED,
    Count.READINGS_REJECTED,
    Count.SAMPLES_LATE,
    Count.SAMPLES_DUPLICATE,
    Count.SAMPLES_FUTURE,
    Count.SAMPLES_DROPPED,
)


@dataclass(frozen=True, slots=True)
class Told:
    """One event of the pipeline, as a subscriber received it."""

    at_ns: int
    """Since the first sample."""
    type: str
    """alert.active, window, sample, alert.retracted, …"""
    labels: Mapping[str, str]
    data: Mapping[str, Any]
    topic: str
    revision: int = 1


@dataclass(frozen=True, slots=True)
class Played:
    """What came of a trial."""

    told: tuple[Told, ...]
    unused: tuple[str, ...]
    """What of the input did not reach the pipelines, with the reason and how often."""


class _Planned(NamedTuple):
    """One message to be sent."""

    arrival_ns: int
    t_ns: int
    source: str
    topic: str
    values: dict[str, float]


@dataclass(slots=True)
class Stage:
    """A trial with everything it needs to be played."""

    trial: Trial
    gateway: Gateway
    """With the pipelines that can have a part in it."""
    feeds: Sequence[Feed]
    write: Mapping[str, Write]
    """By source: (time, counter, {channel: value}) → payload."""
    seq: int = field(default=0)

    def kernels(self) -> Iterator[warmup.Step]:
        """What will be compiled, see `warmup.steps`."""
        return warmup.steps(Offline(self.gateway, START_NS).engine.graph)

    def play(self) -> Played:
        """From the first sample to the end, and on until all that happened by then was told."""
        offline = Offline(self.gateway, START_NS)
        offline.start()
        end_ns = self.trial.end_ns
        last_ns = end_ns + self._told_after_ns()
        step_ns = step(self.trial)
        messages = self._messages()
        now_ns, k = 0, 0
        while True:
            while k < len(messages) and messages[k].arrival_ns <= now_ns:
                self._publish(offline, messages[k])
                k += 1
            offline.turn()
            if now_ns >= last_ns:
                break
            following = messages[k].arrival_ns if k < len(messages) else last_ns
            to_ns = min(following, now_ns + (step_ns if now_ns < end_ns else STEP_MAX_NS))
            offline.clock.advance(to_ns - now_ns)
            now_ns = to_ns
        ledger = offline.close()
        unused = [
            f"{name.replace('_', ' ')} ({labels.get('reason', labels['source'])}): {n:.0f}"
            for name, labels, n in ledger.rows()
            if name in _NOT_USED and n
            if name != Count.SAMPLES_LATE or not self._amended(offline)
        ]
        told = [t for t in self._heard(offline) if t.at_ns <= end_ns]
        return Played(tuple(told), tuple(unused))

    # --- inside --------------------------------------------------------------------------

    def _messages(self) -> list["_Planned"]:
        """All messages in the order of arrival: one for each topic, time and delay."""
        planned: dict[tuple[int, int, str, str], dict[str, float]] = {}
        for feed in self.feeds:
            for k, value in enumerate(feed.samples):
                if value is None:
                    continue
                t_ns = feed.start_ns + k * self.trial.every
                key = (t_ns + feed.delay_ns, t_ns, feed.source, feed.topic)
                planned.setdefault(key, {})[feed.channel] = value
        made = [_Planned(*key, values) for key, values in planned.items()]
        return sorted(made, key=lambda m: m.arrival_ns)

    def _publish(self, offline: Offline, message: "_Planned") -> None:
        self.seq += 1
        source = self.gateway.sources[message.source]
        time = _time(source, START_NS + message.t_ns)
        payload = self.write[message.source](time, self.seq, message.values)
        offline.transport.publish(message.topic, payload, source.qos)

    def _amended(self, offline: Offline) -> bool:
        """Whether all late samples were taken by a pipeline that corrects what it told."""
        counters = [p.counters() for p in offline.engine.graph.pipelines.values()]
        taken = sum(c.get("amended", 0) for c in counters)
        return taken > 0 and not any(c.get("amend_too_late", 0) for c in counters)

    def _told_after_ns(self) -> int:
        """How long after it happened something may be told: lateness, and noticing silence.

        An alert that may be inhibited is held back for its `wait` besides, and some ticks.
        """
        waits = []
        held = (
            spec.alert.inhibit_by.wait + 2 * TICK_NS
            for spec in self.gateway.pipelines.values()
            if spec.alert is not None and spec.alert.inhibit_by is not None
        )
        for source in self.gateway.sources.values():
            idle = source.idle_after
            if idle is None:
                idle = max(IDLE_FIRST_NS, IDLE_GAPS * self.trial.every)
            waits.append(source.lateness + max(idle, source.lateness) + TICK_NS)
        return max(waits, default=0) + max(held, default=0)

    def _heard(self, offline: Offline) -> Iterator[Told]:
        origin = f"/sensorweir/{self.gateway.gateway}/{self.trial.pipeline}"
        for out in offline.transport.published:
            if out.kind not in _KINDS:
                continue
            event = orjson.loads(out.payload)
            if event["source"] == origin:
                data = event["data"]
                kind = event["type"].removeprefix("sensorweir.")
                at_ns = rfc3339_ns(event["time"]) - START_NS
                yield Told(at_ns, kind, data["labels"], data, out.topic, event["revision"])


def step(trial: Trial) -> int:
    """How far time goes on at once, in nanoseconds: 100 ms as in the daemon, more in long trials.

    A tenth of the distance of samples, at most ten minutes; and no more than 100,000 steps. Delays
    and windows end at their exact time anyway; steps are when that is noticed.
    """
    wanted = max(min(trial.every // 10, STEP_MAX_NS), trial.end_ns // STEPS_MAX, TICK_NS)
    return wanted // TICK_NS * TICK_NS


def prepare(suite: Suite, gateway: Gateway) -> list[Stage]:
    """The trials of a file, ready to be played. Raises ConfigError with all that does not fit."""
    feeds, problems = check(suite, gateway)
    writers: dict[str, Write] = {}
    for feed in {f.source: f for of_trial in feeds for f in of_trial}.values():
        made = _writer(gateway, feed.source)
        if made is None:
            what = f"tests cannot write payloads of source {feed.source!r}"
            hint = f"its format, {_decoder(gateway.sources[feed.source])[0]}, can only be read"
            problems.append(suite.document.problem(feed.node.best, what, hint))
        else:
            writers[feed.source] = made
    problems += [p for of_trial in feeds for p in _unwritable(suite, gateway, of_trial, writers)]
    if problems:
        raise ConfigError(problems)
    return [
        Stage(trial, involved(gateway, trial.pipeline), of_trial, writers)
        for trial, of_trial in zip(suite.trials, feeds, strict=True)
    ]


def involved(gateway: Gateway, pipeline: str) -> Gateway:
    """The gateway with those pipelines alone that can have a part in the events of one of them.

    Those it takes from or is inhibited by, and those whose publications come back in through a
    source.
    """
    filters = [TopicFilter.parse(source.topic) for source in gateway.sources.values()]
    kept: set[str] = set()
    todo = [pipeline]
    todo += [
        name
        for name, spec in gateway.pipelines.items()
        if any(out.overlaps(f) for out in _outputs(gateway, name, spec) for f in filters)
    ]
    while todo:
        name = todo.pop()
        if name in kept:
            continue
        kept.add(name)
        spec = gateway.pipelines[name]
        if not isinstance(spec.from_, str):
            todo += spec.from_.pipelines
        if spec.alert is not None and spec.alert.inhibit_by is not None:
            todo.append(spec.alert.inhibit_by.alerts)
    pipelines = {name: spec for name, spec in gateway.pipelines.items() if name in kept}
    return gateway.model_copy(update={"pipelines": pipelines})


# --- inside --------------------------------------------------------------------------------


def _outputs(gateway: Gateway, name: str, spec: Pipeline) -> Iterator[TopicFilter]:
    """Filters for every topic that a pipeline may publish to."""
    known = {"gateway": gateway.gateway, "pipeline": name}
    topics = [] if spec.publish is None else [spec.publish.topic]
    if spec.alert is not None:
        topics += [t for t in (spec.alert.topic, spec.alert.state_topic) if t is not None]
        if spec.alert.topic is None:
            yield TopicFilter.parse(f"alerts/{name}/#")
            yield TopicFilter.parse(f"state/alerts/{name}/#")
        else:
            topics.append(f"state/{spec.alert.topic}")
    for topic in topics:
        yield TopicTemplate.parse(topic).as_filter(known)


def _decoder(source: Source) -> tuple[str, Mapping[str, Any]]:
    if isinstance(source.decode, str):
        return source.decode, {}
    [(name, options)] = source.decode.items()
    return name, options or {}


def _writer(gateway: Gateway, name: str) -> Write | None:
    source = gateway.sources[name]
    chosen, options = _decoder(source)
    decoder = DECODERS[chosen]
    if decoder.writer is None:
        return None
    wanted = Wanted.of(source, gateway.limits)
    made: Write = decoder.writer(decoder.options.model_validate(options), wanted)
    return made


def _unwritable(
    suite: Suite, gateway: Gateway, feeds: Sequence[Feed], writers: Mapping[str, Write]
) -> Iterator[Problem]:
    """Series with values that the format of their source cannot say."""
    for feed in feeds:
        if feed.source not in writers:
            continue
        known = [x for x in feed.samples if x is not None]
        unlike = [known[0], *[x for x in known if math.isnan(x)][:1]]
        for value in unlike:
            try:
                time = _time(gateway.sources[feed.source], START_NS)
                writers[feed.source](time, 1, {feed.channel: value})
            except ValueError as error:
                yield suite.document.problem(feed.node.place, str(error))
                break


def _time(source: Source, now_ns: int) -> Any:
    """The time as the payload says it."""
    if source.time is None:
        return None
    if source.time.unit == "iso":
        return rfc3339(now_ns)
    whole, rest = divmod(now_ns, SCALE[source.time.unit])
    return whole if rest == 0 else now_ns / SCALE[source.time.unit]


Progress = Callable[[str, int, int], None]


def warm_up(stages: Sequence[Stage], progress: Progress) -> None:
    """Compile what the trials will call, each kernel once; `progress(name, done, of)` before."""
    todo: dict[str, Callable[[], object]] = {}
    for stage in stages:
        for name, compile_it in stage.kernels():
            todo.setdefault(name, compile_it)
    for done, (name, compile_it) in enumerate(todo.items()):
        progress(name, done, len(todo))
        compile_it()
    progress("", len(todo), len(todo))
