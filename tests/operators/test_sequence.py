import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipelines.batch import GroupedBatch, samples
from pipelines.operator import load_all
from pipelines.series import make_labels
from tests.graphs import Feed, graph, short
from tests.operators.one_step import clock, kept, runner
from tests.traffic import SECOND

OPERATOR = load_all()["sequence"]
A, B, C, D = ({"is": name} for name in "abcd")
NO_B, NO_C = {"not": "b"}, {"not": "c"}
RAW = {"event": "sample", "hold": 0}


class Played:
    """'a1 b2' are samples of 1.0 of the members a and b at 1 s and 2 s; 'a1=0' is one of 0."""

    def __init__(self, steps, **options):
        self.options = {"steps": steps, "within": "100s"} | RAW | options
        self.step = runner("sequence", self.options)
        self.names = OPERATOR.params.model_validate(self.options).names
        self.counts = []

    def play(self, text):
        words = [w.split("=") for w in text.split()]
        return self.feed([(w[0], float(w[1:]), float(v[0]) if v else 1.0) for w, *v in words])

    def feed(self, events):
        """[(start, end, value)] of what is told; events are (name, second, value)."""
        name, t, x = zip(*events, strict=True)
        t_ns = np.rint(np.array(t) * SECOND).astype(np.int64)
        batch = samples(np.zeros(len(x), np.int32), t_ns, np.array(x))
        slot = np.array([self.names.index(n) for n in name], np.int32)
        return self.noted(kept(self.step.run(GroupedBatch(*batch, slot, slot))))

    def wait(self, second):
        return self.noted(clock(self.step, second))

    def noted(self, out):
        self.counts += out.fields[:, 2].tolist()
        start, end = (out.start_ns / SECOND).tolist(), (out.t_ns / SECOND).tolist()
        return list(zip(start, end, out.value.tolist(), strict=True))


def test_one_after_the_other():
    assert Played([A, B]).play("b1 a2 b3") == [(2, 3, 1)]
    assert Played([A, B]).play("b1 a2 a3 b4 b5") == [(2, 4, 1)]
    assert Played([A, B, A]).play("a1 b2 a3 b4 a5 a6") == [(1, 3, 1)]


def test_what_happens_at_the_same_moment_is_not_a_sequence():
    assert Played([A, B]).play("a1 b1") == []
    assert Played([A, B]).play("b1 a1 b2 a2") == [(1, 2, 1)]
    assert Played([A, NO_C, B]).play("a1 c1 b2") == [(1, 2, 1)]
    for order in ("a1 b2 c2", "a1 c2 b2"):
        assert Played([A, NO_C, B]).play(order) == [(1, 2, 1)]
        assert Played([A, NO_C, B, D]).play(order + " d3") == [(1, 3, 1)]
        assert Played([A, B, C], contiguity="strict").play(order + " c3") == [(1, 3, 1)]
    twice = Played([A, B], after_match="no_skip")
    assert twice.play("a1 a1 b2") == [(1, 2, 1)]
    assert twice.counts == [1]


@pytest.mark.parametrize(("contiguity", "matches"), [("strict", []), ("relaxed", [(1, 3, 1)])])
def test_other_events_in_between(contiguity, matches):
    """The pattern `a b` on a c b1 b2."""
    played = Played([A, B, {"not": "c", "for": "0.1s"}], contiguity=contiguity)
    assert [m[:2] for m in played.play("a1 c2 b3 b4") + played.wait(9)] == [
        (start, end + 0.1) for start, end, _ in matches
    ]


def test_strict_takes_the_very_next():
    strict = {"contiguity": "strict", "after_match": "no_skip"}
    assert Played([A, B], **strict).play("a1 a2 b3 b4") == [(2, 3, 1)]
    assert Played([A, B], **strict).play("a1 b2=0 b3") == []
    assert Played([A, B], **strict, event="change").play("a1 b2=0 b3") == [(1, 3, 1)]
    assert Played([A, B], **strict, event="change").play("a1 a2=0 b3") == []


@pytest.mark.parametrize(
    ("after_match", "matches", "count"),
    [("no_skip", [(1, 4, 1)], 3), ("skip_past_last", [(1, 4, 1)], 1)],
)
def test_every_begin_or_only_the_first(after_match, matches, count):
    """`b c` on b1 b2 b3 c: matches (b1 c), (b2 c), (b3 c), of which skipping leaves the first."""
    played = Played([{"is": "b"}, C], after_match=after_match)
    out = played.step
    assert played.play("b1 b2 b3 c4") == matches
    assert out._out.fields[0].tolist() == [2, 3, count]
    assert played.play("c5") == []


def test_an_event_of_a_match_begins_no_other():
    assert Played([A, A]).play("a1 a2 a3 a4") == [(1, 2, 1), (3, 4, 1)]
    some = Played([A, A], after_match="no_skip")
    assert some.play("a1 a2 a3 a4") == [(1, 2, 1), (2, 3, 1), (3, 4, 1)]


def test_not_in_between():
    assert Played([A, NO_B, C]).play("a1 c2") == [(1, 2, 1)]
    assert Played([A, NO_B, C]).play("a1 b2 c3") == []
    assert Played([A, NO_B, C]).play("a1 b2 a3 c4") == [(3, 4, 1)]
    assert Played([A, NO_B, C]).play("b1 a2 c3") == [(2, 3, 1)]


def test_not_for_a_time_and_then():
    steps = [A, {"not": "b", "for": "5s"}, C]
    assert Played(steps).play("a1 c7") == [(1, 7, 1)]
    assert Played(steps).play("a1 c6") == [(1, 6, 1)]  # the 5 s are over just then
    assert Played(steps).play("a1 c5 c8") == [(1, 8, 1)]  # too early, and no harm
    assert Played(steps).play("a1 b3 c7") == []
    assert Played(steps).play("a1 b6 c7") == [(1, 7, 1)]


def test_not_for_a_time_at_the_end_is_told_by_the_clock_or_the_next_sample():
    steps = [A, {"not": "b", "for": "5s"}]
    by_clock, by_sample = Played(steps), Played(steps)
    assert by_clock.play("a1") == by_clock.wait(5.9) == []
    assert by_clock.wait(6) == [(1, 6, 1)]
    assert by_clock.wait(60) == []
    assert by_sample.play("a1 b8") == [(1, 6, 1)]
    assert Played(steps).play("a1 b5 b9") == []
    assert Played(steps).play("a1 b6") == [(1, 6, 1)]


def test_not_at_the_end_without_a_time_means_within():
    played = Played([A, NO_B], within="20s")
    assert played.play("a1") == played.wait(20.9) == []
    assert played.wait(21) == [(1, 21, 1)]
    assert Played([A, NO_B], within="20s").play("a1 b20 a50") == []


def test_not_for_a_time_before():
    steps = [{"not": "b", "for": "5s"}, A]
    assert Played(steps).play("b1 a9") == [(9, 9, 1)]
    assert Played(steps).play("b1 a6") == [(6, 6, 1)]
    assert Played(steps).play("b1 a5.9") == []
    assert Played(steps).play("b1 b9 a9") == [(9, 9, 1)]  # at the same moment is not before
    assert Played(steps).play("b1 b7 b9 a9") == []
    assert Played(steps).play("a3 a8") == [(8, 8, 1)]  # nobody knows what was before 3 s


def test_several_nots_hold_side_by_side():
    steps = [A, {"not": "b", "for": "5s"}, {"not": "c", "for": "2s"}, NO_C | {"above": 7}, D]
    assert Played(steps).play("a1 c4 d6") == [(1, 6, 1)]
    assert Played(steps).play("a1 c2 d6") == []
    assert Played(steps).play("a1 c4=9 d6") == []


def test_what_takes_too_long_is_dropped_or_told():
    assert Played([A, B], within="10s").play("a1 b11") == [(1, 11, 1)]
    assert Played([A, B], within="10s").play("a1 b11.1 a50") == []
    telling = Played([A, B, C], within="10s", on_timeout="emit")
    assert telling.play("a1 b4") == telling.wait(11) == []
    assert telling.wait(11.1) == [(1, 11, 0)]
    assert telling.step._out.fields[0].tolist() == [2, 10, 1]
    assert Played([A, NO_B, C], within="10s", on_timeout="emit").play("a1 b2 a50") == []


def test_a_match_stands_for_a_while():
    played = Played([A, B], hold="10s")
    assert played.play("a1 b2") == [(1, 2, 1)]
    assert played.wait(12) == []
    assert played.wait(12.1) == [(12, 12, 0)]
    assert played.play("a20 b21 a30 b31") == [(20, 21, 1), (30, 31, 1)]  # at its end: goes on
    assert played.play("a60") == [(41, 41, 0)]


def test_a_condition_that_stays_true_happens_once():
    once = Played([A, B], event="change", after_match="no_skip")
    assert once.play("a1 a2 a3 b4 b5 a6") == [(1, 4, 1)]
    assert once.play("b7 b8=0 b9") == []  # a never became true again
    assert once.play("a10=0 a11 b12=0 b13") == [(11, 13, 1)]


def test_limits():
    steps = [{"is": "a", "above": 2}, {"is": "a", "below": 1}, {"is": "a", "above": 4, "below": 6}]
    assert Played(steps).play("a1=2 a2=0 a3=5 a4=2.1 a5=1 a6=0.9 a7=4 a8=6 a9=5.9") == [(3, 9, 1)]


def test_unknown_values_are_no_events():
    played = Played([A, NO_B, C])
    assert played.feed([("a", 1, 1.0), ("b", 2, np.nan), ("c", 3, 1.0)]) == [(1, 3, 1)]


def test_the_least_advanced_gives_way_where_there_is_no_room():
    played = Played([A, B, C], attempts_max=2, after_match="no_skip")
    assert played.play("a1 b2 a3 a4 a5") == []
    assert played.step.counters() == {"forgotten": 2}
    assert played.play("b6 c7") == [(1, 7, 1)]
    assert played.step._out.fields[0, 2] == 2


# --- all matches, from the definition --------------------------------------------------------

SECONDS = {"max_value": 3, "min_value": 0}
PATTERNS = (
    [A, B],
    [A, B, C],
    [A, NO_B, C],
    [A, {"not": "b", "for": "2s"}, C],
    [A, B, NO_C, {"not": "a", "for": "3s"}, B],
    [A, {"not": "c", "for": "3s"}],
    [A, B, NO_C],
    [{"not": "c", "for": "2s"}, A, B],
)


def by_definition(params, events):
    """{(begin, end)} of every choice of events that is a match, choices tried one by one."""
    parts, choices, begin = params.steps, [], events[0][1] if events else 0
    before, happened, held = {}, set(), set()
    for i, (name, _, x) in enumerate(events):
        if x > 0.5:
            held.add(i)
            if params.event == "sample" or not before.get(name):
                happened.add(i)
        before[name] = x > 0.5
    at = [t * SECOND for _, t, _ in events]
    changed = {i for i, (n, _, x) in enumerate(events)
               if (x > 0.5) != next((y > 0.5 for m, _, y in events[:i][::-1] if m == n), False)}  # fmt: skip
    stirs = range(len(events)) if params.event == "sample" else changed
    stages = [c for c, p in enumerate(parts) if p.is_]

    def seen(part, after, until):
        return any(events[i][0] == part.name and after < at[i] < until for i in held)

    def step_on(i, j, k):
        """Whether event j may follow event i as the k-th, others aside."""
        nots = parts[stages[k - 1] + 1 : stages[k]]
        return (
            j in happened
            and events[j][0] == parts[stages[k]].name
            and at[j] > at[i]
            and all(at[j] >= at[i] + (p.for_ or 0) for p in nots)
            and not any(seen(p, at[i], at[i] + p.for_ if p.for_ else at[j]) for p in nots)
            and not (params.contiguity == "strict" and any(at[i] < at[o] < at[j] for o in stirs))
        )

    for chosen in itertools.combinations(range(len(events)), len(stages)):
        first, last = chosen[0], chosen[-1]
        good = first in happened and events[first][0] == parts[stages[0]].name
        for k, (i, j) in enumerate(itertools.pairwise(chosen), 1):
            good = good and step_on(i, j, k)
            good = good and not any(step_on(i, o, k) and at[o] < at[j] for o in range(len(events)))
        for p in parts[: stages[0]]:
            early = at[first] - p.for_ < begin * SECOND
            good = good and not early and not seen(p, at[first] - p.for_, at[first])
        end = at[last]
        for p in parts[stages[-1] + 1 :]:
            stop = at[last] + p.for_ if p.for_ else at[first] + params.within
            good = good and not seen(p, at[last], stop)
            end = max(end, stop)
        if good and end <= at[first] + params.within:
            choices.append((at[first] / SECOND, end / SECOND))
    return set(choices)


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(**SECONDS), st.sampled_from([1.0, 1.0, 0.0])),
        min_size=1,
        max_size=12,
    ),
    st.sampled_from(PATTERNS),
    st.sampled_from(["4s", "9s", "100s"]),
    st.sampled_from(["sample", "change"]),
    st.booleans(),
    st.booleans(),
)
def test_matches_are_those_of_the_definition(rows, steps, within, event, skip, strict):
    allowed = not any("not" in s for s in steps[1:-1])
    after = "skip_past_last" if skip else "no_skip"
    options = {"within": within, "event": event, "after_match": after}
    options |= {"contiguity": "strict" if strict and allowed else "relaxed", "hold": 0}
    played = Played(steps, **options)
    t = np.cumsum([gap for _, gap, _ in rows]).tolist()
    events = [(n, at, x) for (n, _, x), at in zip(rows, t, strict=True) if n in played.names]
    if not events:
        return
    got = played.feed(events) + played.wait(10_000)
    want, counts, done = [], [], -1
    found = sorted(by_definition(OPERATOR.params.model_validate(played.options), events),
                   key=lambda m: (m[1], m[0]))  # fmt: skip
    for end, same in itertools.groupby(found, key=lambda m: m[1]):
        starts = [start for start, _ in same if not skip or start > done]
        if starts:
            want.append((starts[0], end, 1))
            counts.append(1 if skip else len(starts))
            done = end
    assert got == want
    assert played.counts == counts


# --- in a pipeline ----------------------------------------------------------------------------


def test_the_group_is_the_device_unless_group_by_says_otherwise():
    params = OPERATOR.params.model_validate({"steps": [A, B], "within": "1m"})
    labels = make_labels({"site": "north", "device": "b7", "channel": "b"})
    device = make_labels({"site": "north", "device": "b7"})
    assert OPERATOR.regroup(params, labels, ()) == (device, 1)
    assert OPERATOR.regroup(params, labels, ("site",)) == (make_labels({"site": "north"}), 1)
    assert OPERATOR.regroup(params, make_labels({"site": "n", "channel": "x"}), ()) is None


def test_an_entry_without_a_badge_raises_an_alert_that_ends():
    steps = [{"is": "door"}, {"not": "badge", "for": "5s"}, {"is": "motion"}]
    spec = {
        "from": "boilers",
        "steps": [{"sequence": {"steps": steps, "within": "1m"}}],
        "alert": {"severity": "major"},
    }
    feed = Feed(graph({"entry": spec}))

    def at(second, device, channel, value=1.0):
        return (second, {"device": device, "channel": channel, "site": "north"}, value)

    quiet = [at(0, d, c, 0.0) for d in ("g1", "g2") for c in ("door", "badge", "motion")]
    seen = feed.send(quiet)
    seen += feed.send([at(1, "g1", "door"), at(1, "g2", "door"), at(3, "g2", "badge")])
    seen += feed.send([at(9, "g1", "motion"), at(9, "g2", "motion")])
    assert short(seen) == [("entry", "active", "g1", 9)]
    later = [at(t, "g1", "motion", 0.0) for t in range(10, 80, 5)]
    assert short(feed.send(later)) == [("entry", "cleared", "g1", 69)]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"steps": [A]}, "at least 2"),
        ({"steps": [NO_B, NO_C]}, "something that happens"),
        ({"steps": [A, {"is": "b", "for": "5s"}]}, "belongs to `not`"),
        ({"steps": [A, {"is": "b", "not": "c"}]}, "a step is"),
        ({"steps": [A, {"above": 1}]}, "a step is"),
        ({"steps": [A, {"is": "b", "above": 3, "below": 3}]}, "nothing is above 3"),
        ({"steps": [NO_B, A]}, "how long"),
        ({"steps": [A, NO_B, C], "contiguity": "strict"}, "strict"),
        ({"steps": [A, {"not": "b", "for": "2m"}, C]}, "takes 2m"),
        ({"steps": [A, B], "within": 0}, "greater than 0"),
    ],
)
def test_what_cannot_be_meant_is_refused(options, words):
    with pytest.raises(ValidationError, match=words):
        OPERATOR.params.model_validate({"within": "1m"} | options)
