"""Compares what a subscriber heard with what should have been told, and says what is wrong."""

import json
from dataclasses import dataclass, field

from tests.kills.oracle import Key, same
from tests.kills.plan import AMENDED

EXAMPLES = 5
FAULTS = ("missing", "spurious", "wrong", "disordered", "differing", "stale")


@dataclass
class Report:
    """Figures of one run; each fault as a line that says which event."""

    expected: int = 0
    heard: int = 0
    repeated: int = 0
    revised: int = 0
    missing: list = field(default_factory=list)
    spurious: list = field(default_factory=list)
    wrong: list = field(default_factory=list)
    disordered: list = field(default_factory=list)
    differing: list = field(default_factory=list)
    stale: list = field(default_factory=list)

    @property
    def clean(self):
        return not any(getattr(self, name) for name in FAULTS)

    def __str__(self):
        figures = ", ".join(f"{len(getattr(self, name)):,} {name}" for name in FAULTS)
        return (
            f"{self.expected:,} events expected: {figures}; {self.heard:,} messages heard, "
            f"{self.repeated:,} of them again, {self.revised:,} revisions"
        )

    def faults(self):
        """All of them, a line each."""
        return [f"{name}: {line}" for name in FAULTS for line in getattr(self, name)]

    def examples(self):
        """A few lines about each kind of fault."""
        for name in FAULTS:
            found = getattr(self, name)
            yield from (f"{name}: {line}" for line in found[:EXAMPLES])
            if len(found) > EXAMPLES:
                yield f"{name}: and {len(found) - EXAMPLES:,} more"


def check(wanted, payloads, states):
    """`wanted`: what `oracle.expected` gives; `payloads`: every event as the subscriber got it;
    `states`: the retained ones, by topic of the alert."""
    report = Report(expected=len(wanted), heard=len(payloads))
    heard = _Heard(payloads, report)
    contents = {each.key: each.content for each in wanted}
    if len(contents) != len(wanted):
        raise AssertionError("the workload leads to two events with one name")
    for key, content in contents.items():
        event = heard.standing.get(key)
        if event is None:
            report.missing.append(f"{_name(key)} {content}")
            continue
        said = {name: event["data"].get(name, {}) for name in content}
        if not same(content, said):
            report.wrong.append(f"{_name(key)} expected {content}, heard {said} at {event['id']}")
    report.spurious += [
        f"{_name(key)} {event['data']}"
        for key, event in heard.standing.items()
        if key not in contents
    ]
    places = {each.key: place for place, each in enumerate(wanted)}
    _in_order(heard, places, report)
    _states(wanted, states, report)
    return report


class _Heard:
    """Events as they stand at last, and when each was heard first."""

    def __init__(self, payloads, report):
        self.first = {}  # (id, revision) → (place, event)
        self.ids = {}  # key → id
        newest = {}
        bodies = {}
        for place, body in enumerate(payloads):
            event = json.loads(body)
            name = event["id"], event["revision"]
            if name in bodies:
                report.repeated += 1
                if bodies[name] != body:
                    report.differing.append(
                        f"{_name(_key(event))} first {bodies[name]} then {body}"
                    )
                continue
            bodies[name] = body
            self.first[name] = place, event
            report.revised += event["revision"] > 1
            if event["revision"] >= newest.get(event["id"], event)["revision"]:
                newest[event["id"]] = event
        self.standing = {}
        for event in newest.values():
            self._stand(event, report)

    def _stand(self, event, report):
        key = _key(event)
        before = self.ids.setdefault(key, event["id"])
        if before != event["id"]:
            report.spurious.append(f"{_name(key)} with two ids, {before} and {event['id']}")
        if "retracts" not in event["data"]:
            self.standing[key] = event
        elif key.pipeline not in AMENDED:
            report.spurious.append(f"{_name(key)} retracted, though nothing came late")


def _in_order(heard, places, report):
    """Within a series by time, an alert after its causes, a revision after those before it."""
    reached, newest, told = {}, {}, set()
    for (event_id, revision), (_, event) in heard.first.items():
        key = _key(event)
        if revision < newest.get(event_id, 0):
            report.disordered.append(f"{_name(key)} revision {revision} after a later one")
        newest[event_id] = max(revision, newest.get(event_id, 0))
        place = places.get(key)
        if key.pipeline.endswith("_site") and "alert" in key.type:
            report.disordered += [
                f"{_name(key)} before its cause {cause}"
                for cause in event["data"]["causes"]
                if cause not in told
            ]
        told.add(event_id)
        if place is None or key.pipeline in AMENDED:
            continue
        series = key.pipeline, key.subject
        if place < reached.get(series, -1):
            report.disordered.append(f"{_name(key)} after a later one of its series")
        reached[series] = max(place, reached.get(series, -1))


def _states(wanted, states, report):
    """The retained state of each alert says whether it is active, and since when."""
    standing = {}
    for each in wanted:
        if "state" in each.content:
            standing[topic(each.key)] = each.content
    active = {t: c["since"] for t, c in standing.items() if c["state"] == "active"}
    found = {t: event["data"]["since"] for t, event in states.items()}
    for at in sorted({*active, *found}):
        if active.get(at) != found.get(at):
            report.stale.append(f"{at} active since {active.get(at)}, retained {found.get(at)}")


def topic(key):
    """Where an alert of this series is told, see `plan`."""
    labels = dict(pair.split("=") for pair in key.subject.split(","))
    levels = ("kills", "out", key.pipeline, labels["site"], labels.get("device"))
    return "/".join(level for level in levels if level)


def _key(event):
    kind = event["data"].get("retracts", event["type"]).removeprefix("sensorweir.")
    return Key(event["source"].rsplit("/", 1)[1], event["subject"], kind, event["time"])


def _name(key):
    return f"{key.pipeline} {key.subject} {key.type} {key.time}"
