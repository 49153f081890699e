"""Retained states that somebody else wrote: no text there stops a daemon, now or at its next start."""

import copy
import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from daemon.ledger import Count
from tests.test_commands import CMD, ask
from tests.test_control import HOT, MANY, SOURCE, hot, states
from tests.wired import Wired

TOPIC = "state/alerts/b1/hot"
PIPELINES = {"hot": HOT, "many": MANY}


def kept():
    """What a daemon keeps of an alert that was acknowledged, commented, and is shelved."""
    wired = Wired(PIPELINES, SOURCE, command_topic=CMD)
    hot(wired, "b1", 99)
    alert = json.loads(states(wired)[0][1])["data"]["alert"]
    for command in (
        {"acknowledge": alert, "by": "ann"},
        {"alert": alert, "comment": "on my way"},
        {"shelve": alert, "for": "1h"},
    ):
        answer, _ = ask(wired, command)
        assert json.loads(answer.payload)["done"]
    return json.loads(dict(states(wired))[TOPIC])


KEPT = kept()


def places(value, way=()):
    """Every place within a state."""
    yield way
    inner = value.items() if isinstance(value, dict) else ()
    inner = enumerate(value) if isinstance(value, list) else inner
    for key, below in inner:
        yield from places(below, (*way, key))


PLACES = [way for way in places(KEPT) if way]


def changed(way, value):
    state = copy.deepcopy(KEPT)
    holder = state
    for key in way[:-1]:
        holder = holder[key]
    if value is DELETED:
        del holder[way[-1]]
    else:
        holder[way[-1]] = value
    return state


DELETED = object()
ODD = st.one_of(
    st.just(DELETED),
    st.sampled_from(
        [
            *(None, True, 0, -1, 2**63, 1e300, "", "x", "\0", "end", "active", "high", [], {}),
            *([[]], {"a": {}}, {"device": 5}, "9999-12-31T23:59:59Z", "1969-12-31T23:59:59Z"),
            *("2025-11-24T16:00:00.5.5Z", "2025-11-24T16:00:00", "0000", {"until": 5}),
            *({"device": "b1"}, {"device": "b1", "channel": "x"}, {"device": "b1\0"}),
            *({"device": "b1", "channel": "x", "site": "n", "a/b": "c"}, {"until": "9999"}),
        ]
    ),
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=4)),
        lambda x: st.one_of(st.lists(x, max_size=2), st.dictionaries(st.text(max_size=3), x)),
        max_leaves=4,
    ),
)


def survives(payload):
    """A daemon that finds it goes on, tells of others' alerts, and comes to an end in order."""
    wired = Wired(PIPELINES, SOURCE, retained=[(TOPIC, payload)], command_topic=CMD)
    wired.turn()
    for value in (99, 20, 99):
        for device in ("b1", "b2"):
            hot(wired, device, value)
    wired.wait(1)
    assert ("alerts/b2/hot", "active") in wired.events()
    wired.close()
    return wired.ledger.value(Count.MESSAGES_REJECTED, reason="bad_shape", source="control")


def test_the_state_of_these_tests_is_a_good_one():
    assert survives(json.dumps(KEPT).encode()) == 0


@given(st.sampled_from(PLACES), ODD)
@example(("data", "labels"), [])
@example(("data", "labels"), {"device": "b1"})
@example(("data", "since"), "9999-12-31T23:59:59Z")
@example(("data", "since"), 5)
@example(("data", "value"), "x")
@example(("data", "acknowledged"), 5)
@example(("data", "shelved"), {"until": "9999"})
@settings(max_examples=60)
def test_a_state_with_anything_in_any_place_stops_nobody(way, value):
    survives(json.dumps(changed(way, value)).encode())


@given(st.binary(max_size=200), st.sampled_from([b"", b"{", b'{"data":', b"[" * 2000]))
@settings(max_examples=30)
def test_bytes_for_a_state_stop_nobody(raw, head):
    survives(head + raw)


@pytest.mark.nightly
@given(st.lists(st.tuples(st.sampled_from(PLACES), ODD), min_size=1, max_size=1))
@settings(max_examples=5000)
def test_a_state_with_anything_in_any_place_stops_nobody_at_length(changes):
    for way, value in changes:
        survives(json.dumps(changed(way, value)).encode())


@pytest.mark.parametrize(
    ("way", "value"),
    [
        (("data", "labels"), {"device": "b2", "channel": "temperature", "site": "north"}),
        (("data", "labels"), {"device": "b1", "channel": "temperature", "site": 5}),
        (("data", "since"), "9999-12-31T23:59:59Z"),
        (("data", "state"), "maybe"),
        (("data", "value"), True),
        (("data", "comments"), [5]),
        (("data", "shelved", "until"), DELETED),
        (("time",), DELETED),
    ],
)
def test_what_we_would_not_have_written_is_refused_whole(way, value):
    assert survives(json.dumps(changed(way, value)).encode()) == 1
