"""The daemon is killed, and nothing is missing; and the checker that says so sees every fault."""

import itertools
import json
import random
from collections import Counter

import pytest

from daemon.cli.files import read_config
from daemon.offline import Offline
from tests.kills.checker import FAULTS, check, topic
from tests.kills.harness import NAME, run
from tests.kills.oracle import expected
from tests.kills.plan import AMENDED, PIPELINES, configuration
from tests.kills.workload import START_MS, Workload

MESSAGES = 4_000
CHAINED = ("warm_site", "odd_site")


class Played:
    """A daemon that nobody kills, in this process: what was sent, and what it told."""

    def __init__(self, folder):
        path = folder / "gateway.yaml"
        path.write_text(json.dumps(configuration("memory://", NAME, "none", folder)))
        workload, rng = Workload(1), random.Random(1)
        self.sent = [*itertools.islice(workload.messages(), MESSAGES), *workload.closing()]
        offline = Offline(read_config(path).gateway, START_MS * 10**6 + 30 * 86_400 * 10**9)
        offline.start()
        for message in self.sent:
            offline.transport.publish(message.topic(NAME), message.payload, 1)
            if rng.random() < 0.05:
                offline.clock.advance(rng.randrange(10**8))
                offline.turn()
        for _ in range(3):
            offline.clock.advance(10**8)
            offline.turn()
        told = [out for out in offline.transport.published if "/out/" in out.topic]
        self.payloads = [out.payload for out in told if not out.topic.startswith("state/")]
        last = {o.topic.removeprefix("state/"): o.payload for o in told if o.kind == "state"}
        self.states = {at: json.loads(body) for at, body in last.items() if body}
        self.wanted = expected(self.sent)
        self.events = [json.loads(body) for body in self.payloads]

    def once(self, pipeline):
        """[(place, event)] of a pipeline's events that were told once; copies."""
        ids = Counter(event["id"] for event in self.events)
        return [
            (place, json.loads(self.payloads[place]))
            for place, event in enumerate(self.events)
            if event["source"].endswith(f"/{pipeline}") and ids[event["id"]] == 1
        ]

    def check(self, payloads=None, wanted=None, states=None):
        return check(
            self.wanted if wanted is None else wanted,
            self.payloads if payloads is None else payloads,
            self.states if states is None else states,
        )


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    return Played(tmp_path_factory.mktemp("played"))


def counts(report):
    """{fault: how many} of those that there are."""
    return {name: len(getattr(report, name)) for name in FAULTS if getattr(report, name)}


def told_of(lines):
    """Names of the pipelines that lines of a report are about."""
    return Counter(line.split()[0] for line in lines)


def written(event):
    return json.dumps(event).encode()


def numbered(event):
    """(holder, name) of the first number in `data` that is not 0."""
    places = [(event["data"], name) for name in ("value", "mean", "sum", "count")]
    return next(((at, name) for at, name in places if at.get(name)), None)


def test_a_daemon_that_is_left_alone_tells_just_what_the_oracle_expects(played):
    report = played.check()
    assert report.clean, list(report.examples())
    assert report.revised > 10
    told = {(each.key.pipeline, each.key.type) for each in played.wanted}
    for pipeline, spec in PIPELINES.items():
        kinds = {kind for name, kind in told if name == pipeline}
        wanted = {"alert.active", "alert.cleared"} if "alert" in spec else kinds
        assert kinds, f"the workload is too tame for {pipeline}"
        assert kinds == wanted, f"the workload is too tame for {pipeline}"


def test_an_event_that_is_lost_is_found(played):
    lost = {played.once(pipeline)[-1][0] for pipeline in PIPELINES}
    report = played.check([p for i, p in enumerate(played.payloads) if i not in lost])
    assert told_of(report.missing) == dict.fromkeys(PIPELINES, 1)
    assert set(counts(report)) <= {"missing", "disordered"}  # an alert below may name it


def test_a_value_that_is_off_a_little_is_found(played):
    payloads = played.payloads.copy()
    for pipeline in PIPELINES:
        place, event = next((i, e) for i, e in played.once(pipeline) if numbered(e))
        holder, name = numbered(event)
        holder[name] *= 1 + 1e-6
        payloads[place] = written(event)
    report = played.check(payloads)
    assert told_of(report.wrong) == dict.fromkeys(PIPELINES, 1)
    assert set(counts(report)) == {"wrong"}


def test_an_event_that_nothing_led_to_is_found(played):
    more = []
    for pipeline in PIPELINES:
        _, event = played.once(pipeline)[0]
        more.append(event | {"time": "2025-01-01T00:00:00.001Z", "id": f"{len(more):032}"})
    report = played.check([*played.payloads, *map(written, more)])
    assert told_of(report.spurious) == dict.fromkeys(PIPELINES, 1)
    assert set(counts(report)) == {"spurious"}


def test_events_of_a_series_in_the_wrong_order_are_found(played):
    payloads, ordered = played.payloads.copy(), [p for p in PIPELINES if p not in AMENDED]
    for pipeline in ordered:
        first = {}
        for place, event in played.once(pipeline):
            before = first.setdefault(event["subject"], place)
            if before != place:
                break
        payloads[before], payloads[place] = payloads[place], payloads[before]
    report = played.check(payloads)
    assert set(told_of(report.disordered)) == set(ordered)
    assert set(counts(report)) == {"disordered"}


def test_an_alert_that_is_told_before_its_causes_is_found(played):
    payloads, causes = played.payloads.copy(), {}
    for pipeline in CHAINED:
        place, event = played.once(pipeline)[0]
        payloads.remove(played.payloads[place])
        payloads.insert(0, played.payloads[place])
        causes[pipeline] = len(event["data"]["causes"])
    report = played.check(payloads)
    assert told_of(report.disordered) == causes
    assert set(counts(report)) == {"disordered"}


def test_the_same_again_is_fine_and_anything_else_under_its_id_is_not(played):
    chosen = [played.once(pipeline)[-1] for pipeline in PIPELINES]
    again = played.check([*played.payloads, *(played.payloads[place] for place, _ in chosen)])
    assert again.clean
    assert again.repeated == len(PIPELINES)
    other = [written({**event, "subject": "other"}) for _, event in chosen]
    assert counts(played.check([*played.payloads, *other])) == {"differing": len(PIPELINES)}


def test_the_same_event_under_a_second_id_is_found(played):
    place, event = played.once("minutes")[-1]
    other = written({**event, "id": "f" * 32})
    report = played.check([*played.payloads[: place + 1], other, *played.payloads[place + 1 :]])
    assert counts(report) == {"spurious": 1}


def test_a_revision_that_comes_after_a_later_one_or_never_is_found(played):
    newest = {event["id"]: i for i, event in enumerate(played.events)}
    place = next(i for i in newest.values() if played.events[i]["revision"] > 1)
    without = played.payloads[:place] + played.payloads[place + 1 :]
    before = played.events[place]["revision"] - 1
    assert counts(played.check([played.payloads[place], *without])) == {"disordered": before}
    assert not played.check(without).clean


def test_a_state_that_stays_or_is_forgotten_is_found(played):
    at, event = next(iter(played.states.items()))
    assert counts(played.check(states={})) == {"stale": len(played.states)}
    over = {topic(e.key) for e in played.wanted if "state" in e.content} - set(played.states)
    left = {**played.states, min(over): event}
    assert counts(played.check(states=left)) == {"stale": 1}
    event = {**event, "data": {**event["data"], "since": "2025-01-01T00:00:00Z"}}
    assert counts(played.check(states={**played.states, at: event})) == {"stale": 1}


@pytest.mark.parametrize("source", ["line", "loose", "heat"])
def test_a_message_whose_effects_are_lost_is_found(played, source):
    """Whatever state it is that lacks one message, in the middle of the run."""
    known = [i for i, m in enumerate(played.sent) if m.source == source]
    at = next(i for i in known[len(known) // 2 :] if None not in played.sent[i].values.values())
    wanted = expected(played.sent[:at] + played.sent[at + 1 :])
    assert not played.check(wanted=wanted).clean


def nothing_lost(outcome, least):
    """The figures on one line, and what is wrong in detail."""
    print(outcome)
    for fault in outcome.report.faults():
        print(fault)
    assert outcome.report.clean, str(outcome)
    assert outcome.complaints == []
    assert sum(kill.ready for kill in outcome.kills) >= least / 3
    assert sum(not kill.ready for kill in outcome.kills) >= least / 5


@pytest.mark.broker
@pytest.mark.timeout(600)
def test_nothing_is_lost_in_60_kills(tmp_path):
    nothing_lost(run(tmp_path, seed=1, kills=60), 60)


@pytest.mark.soak
@pytest.mark.broker
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("seed", range(10, 20))
def test_nothing_is_lost_in_1000_kills(tmp_path, seed):
    nothing_lost(run(tmp_path, seed=seed, kills=100, fresh_share=0.1), 100)


@pytest.mark.broker
@pytest.mark.timeout(600)
def test_kills_lose_events_where_nothing_is_kept(tmp_path):
    """The same without a durable state: a harness that finds nothing here would be none."""
    outcome = run(tmp_path, seed=3, kills=3, durability="none", fresh_share=0)
    print(outcome)
    found = counts(outcome.report)
    assert found["missing"] > 20
    assert found["wrong"] > 5
