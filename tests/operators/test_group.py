import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from config.tables import Lookup, Table, since_ns
from pipelines.batch import GroupedBatch, samples
from pipelines.hierarchy import hierarchy, key_of
from pipelines.operators.group import Group
from pipelines.series import make_labels
from tests.graphs import T0, Feed, S, b, graph
from tests.operator_runs import interpreted
from tests.operators.one_step import kept, runner
from tests.traffic import SECOND

START = 1_764_000_000 * SECOND


def feed(step, rows, key=lambda name: 0, group=0):
    """Rows of (second, member, value) → [(second, row, value, members, absent, quality)]."""
    second, member, value = zip(*rows, strict=True)
    t_ns = START + np.rint(np.array(second, float) * SECOND).astype(np.int64)
    batch = samples(np.full(len(rows), group, np.int32), t_ns, np.array(value, float))
    number = np.array([key_of(str(m)) for m in member], np.int32)
    return shown(step.run(GroupedBatch(*batch, member=number, slot=number)))


def shown(out):
    out = kept(out)
    columns = (out.series, out.value, *out.fields.astype(int).T, out.quality)
    times = ((out.t_ns - START) / SECOND).tolist()
    return list(zip(times, *(c.tolist() for c in columns), strict=True))


def clock(step, second, rows=1):
    return shown(step.tick(np.full(rows, START + round(second * SECOND)), rows))


EVERY = {"every": "10s", "max_age": "30s", "wait": 0}


def test_told_at_the_multiples_that_samples_lead_to_and_nothing_in_silence():
    step = runner("group", EVERY)
    assert feed(step, [(1, "a", 1), (2, "b", 2), (3, "a", 5)]) == []
    assert clock(step, 10) == []
    assert clock(step, 10.1) == [(10, 0, 7, 2, 0, 0)]
    assert clock(step, 29) == []
    assert feed(step, [(35, "a", 6), (41, "b", 1)]) == [(40, 0, 6, 1, 1, 1)]


def test_a_sample_at_a_multiple_belongs_to_it():
    assert feed(runner("group", EVERY), [(10, "a", 1), (10.1, "a", 2)]) == [(10, 0, 1, 1, 0, 0)]


def test_when_all_are_too_old_that_is_told_once():
    step = runner("group", EVERY)
    feed(step, [(5, "a", 1)])
    told = clock(step, 500)
    assert [(t, members, absent, quality) for t, _, _, members, absent, quality in told] == [
        (10, 1, 0, 0),
        (40, 0, 1, 2),
    ]
    assert clock(step, 5000) == []


def test_one_that_is_forgotten_is_missed_no_more():
    step = runner("group", EVERY | {"forget": "60s"})
    got = feed(step, [(t, "a", 1) for t in range(0, 200, 5)])
    again = runner("group", EVERY | {"forget": "60s"})
    with_b = feed(again, [(0, "b", 1), *((t, "a", 1) for t in range(0, 200, 5))])
    assert [x[4] for x in with_b] == [0] * 4 + [1] * 3 + [0] * 13
    assert [x[:4] for x in with_b][4:] == [x[:4] for x in got][4:]


def test_members_may_be_apart_by_wait():
    rows = [(9, "a", 1), (12, "a", 2), (8, "b", 10), (13, "a", 3)]
    assert feed(runner("group", EVERY | {"wait": "3s"}), [*rows, (14, "b", 1)]) == [
        (10, 0, 11, 2, 0, 0)
    ]
    step = runner("group", EVERY)
    assert feed(step, [*rows, (21, "a", 4)]) == [(10, 0, 1, 1, 0, 0), (20, 0, 13, 2, 0, 0)]
    assert step.counters() == {"late": 1, "not_counted": 0}


def test_more_members_than_there_is_room_for_are_counted():
    step = runner("group", EVERY | {"members_max": 2})
    got = feed(step, [(1, m, 1) for m in "abcab"] + [(11, "a", 1)])
    assert (got, step.counters()["not_counted"]) == ([(10, 0, 2, 2, 0, 0)], 1)


def test_sums_lose_no_digits_however_long_they_run():
    step = runner("group", EVERY)
    rng = np.random.default_rng(1)
    for k in range(200):
        values = rng.normal(0, 10.0 ** rng.integers(-8, 12, 40), 40)
        rows = [(10 * k + 1 + i / 100, i, x) for i, x in enumerate(values)]
        feed(step, rows)
        [(_, _, total, members, *_)] = clock(step, 10 * k + 10.5)
        assert members == 40
        assert total == pytest.approx(math.fsum(values), rel=1e-15, abs=1e-12)


@pytest.mark.parametrize("stat", ["sum", "mean", "min", "max", "count"])
def test_equals_columns_filled_forward(stat):
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(4)
    n = 3000
    second = np.sort(rng.integers(0, 6000, n)) / 2 + 0.25
    table = pandas.DataFrame({"t": second, "m": rng.integers(0, 12, n), "x": rng.normal(9, 3, n)})
    step = runner("group", {"stat": stat, "every": "10s", "max_age": "40s", "wait": 0})
    got = feed(step, list(table.itertuples(index=False, name=None))) + clock(step, 3020)
    wide = table.pivot_table(index="t", columns="m", values="x", aggfunc="last")
    at = np.arange(10, 3010, 10)
    whole = wide.reindex(wide.index.union(at)).sort_index()
    age = whole.index.to_numpy()[:, None] - whole.notna().apply(
        lambda c: c.index.to_series().where(c).ffill()
    )
    wanted = whole.ffill().where(age <= 40).loc[at].agg(stat, axis=1)
    assert [t for t, *_ in got] == at.tolist()
    np.testing.assert_allclose([x[2] for x in got], wanted, rtol=1e-12)


# --- hierarchies -----------------------------------------------------------------------

ROWS = [
    {"device": "a", "parent": "g1"},
    {"device": "b", "parent": "g1"},
    {"device": "b", "parent": "g2", "from": "2025-11-24T16:00:30Z"},
    {"device": "c", "parent": "g2"},
    {"device": "g1", "parent": "all"},
    {"device": "g2", "parent": "all"},
]
TREE = Table(key="device", rows=ROWS)
MOVED = 30  # seconds after START
ALL, G1, G2, HUB = range(4)


def rollup(rows=TREE, **options):
    made = {"of": "device", **EVERY, **options, "hierarchy": Lookup("t", rows)}
    return runner("group", made)


def test_the_table_moves_a_member_at_its_time():
    assert since_ns(ROWS[2]) == START + MOVED * SECOND
    made = hierarchy(TREE, "parent")
    assert (made.members, made.parents) == (("a", "b", "c", "g1", "g2"), ("all", "g1", "g2"))
    assert [made.above(1, START + s * SECOND) for s in (29, 30)] == [1, 2]


def test_every_level_is_told_and_follows_the_move():
    step = rollup()
    said = (("a", 1), ("b", 2), ("c", 4))
    got = feed(step, [(t, m, x) for t in (1, 11, 21, 31) for m, x in said], group=HUB)
    got += clock(step, 45, 4)
    by_time = {t: {row: v for at, row, v, *_ in got if at == t} for t in (10, 20, 30, 40)}
    assert by_time[10] == by_time[20] == {ALL: 7, G1: 3, G2: 4}
    assert by_time[30] == by_time[40] == {ALL: 7, G1: 1, G2: 6}


def test_who_never_spoke_makes_its_groups_uncertain():
    step = rollup()
    feed(step, [(1, "a", 1), (2, "b", 2)], group=HUB)
    got = {row: rest for _, row, *rest in clock(step, 11, 4)}
    assert got[G1] == [3, 2, 0, 0]
    assert got[ALL] == [3, 2, 1, 1]
    assert math.isnan(got[G2][0])
    assert got[G2][1:] == [0, 1, 2]


def test_with_one_level_a_sample_counts_in_its_own_parent_alone():
    step = rollup(levels=1)
    got = feed(step, [(1, "a", 1), (1, "b", 2), (1, "c", 4), (2, "g1", 30)], group=HUB)
    got = {row: value for _, row, value, *_ in clock(step, 11, 4)}
    assert got == {ALL: 30, G1: 3, G2: 4}


def test_a_group_without_members_comes_to_nothing():
    rows = [
        {"device": "a", "parent": "g1"},
        {"device": "a", "parent": "g2", "from": ROWS[2]["from"]},
    ]
    step = rollup(Table(key="device", rows=rows))
    got = feed(step, [(1, "a", 5), (31, "a", 6)], group=2) + clock(step, 50, 3)
    assert [x[:3] + x[5:] for x in got] == [
        *((10, 0, 5, 0), (10, 1, 0, 0)),
        *((40, 0, 0, 0), (40, 1, 6, 0)),
    ]


NAMES = [f"m{i}" for i in range(6)]


@st.composite
def moves(draw):
    """Leaves that change between four groups, which change between two."""
    rows = []
    for name in NAMES:
        since = sorted(draw(st.sets(st.integers(1, 9), max_size=3)) | {0})
        rows += [(name, f"g{draw(st.integers(0, 3))}", s) for s in since]
    for g in range(4):
        since = sorted(draw(st.sets(st.integers(1, 9), max_size=2)) | {0})
        rows += [(f"g{g}", f"h{draw(st.integers(0, 1))}", s) for s in since]
    rows += [("h0", "top", 0), ("h1", "top", 0)]
    return rows


@given(
    moves(),
    st.lists(st.tuples(st.sampled_from(NAMES), st.floats(-1e6, 1e6)), min_size=1, max_size=60),
)
@settings(max_examples=60)
def test_parents_are_the_sum_of_their_children_and_the_top_that_of_the_leaves(rows, values):
    def when(tens):
        at = START // SECOND + 10 * tens
        return {"from": np.datetime_as_string(np.datetime64(at, "s")) + "Z"} if tens else {}

    table = Table(key="device", rows=[{"device": m, "parent": p, **when(s)} for m, p, s in rows])
    made = hierarchy(table, "parent")
    step = rollup(table, max_age="1h")
    sent = [(i * 2 + 1, m, x) for i, (m, x) in enumerate(values)]
    told = feed(step, sent, group=len(made.parents))
    told += clock(step, 2 * len(sent) + 20, len(made.parents) + 1)
    at = {t: {made.parents[row]: v for s, row, v, *_ in told if s == t} for t, *_ in told}
    assert len(at) == -(-(2 * len(sent) - 1) // 10)
    for t, sums in at.items():
        latest = {m: x for s, m, x in sent if s <= t}
        above = {name: parent for name, parent, since in rows if 10 * since <= t}
        for parent in made.parents:
            below = [x for m, x in latest.items() if parent in chain(above, m)]
            members = [m for m, p in above.items() if p == parent]
            if below or set(under(above, parent)) <= set(made.parents):
                assert sums[parent] == pytest.approx(math.fsum(below), rel=1e-12, abs=1e-9)
                children = [sums[m] if m in sums else latest.get(m, 0.0) for m in members]
                children = [0.0 if math.isnan(x) else x for x in children]
                assert sums[parent] == pytest.approx(math.fsum(children), rel=1e-12, abs=1e-6)
            else:
                assert math.isnan(sums[parent])


def chain(above, name):
    found = []
    while name in above:
        name = above[name]
        found.append(name)
    return found


def under(above, parent):
    return [name for name in above if parent in chain(above, name)]


def test_compiled_equals_interpreted_and_cuts_change_nothing():
    rng = np.random.default_rng(2)
    rows = [(t / 3, "abc"[rng.integers(3)], rng.normal()) for t in range(300)]
    whole = feed(rollup(wait="2s"), rows, group=HUB)
    cut = rollup(wait="2s")
    parts = [feed(cut, rows[i : i + 7], group=HUB) for i in range(0, 300, 7)]
    with interpreted():
        plain = feed(rollup(wait="2s"), rows, group=HUB)
    assert len(whole) > 20
    assert repr(list(itertools.chain(*parts))) == repr(whole) == repr(plain)


def test_a_change_of_the_table_at_run_time_keeps_what_members_said():
    def spec(rows):
        group = {"hierarchy": "plant", "every": "10s", "max_age": "5m", "channel": "power"}
        return (
            {
                "p": {
                    "from": "boilers",
                    "steps": [{"group": group}],
                    "publish": {"topic": "t/{device}"},
                }
            },
            {"plant": {"key": "device", "rows": rows}},
        )

    def values(told):
        return {dict(e.labels)["device"]: e.data["value"] for e in told}

    before, tables = spec([{"device": "a", "parent": "x"}, {"device": "b", "parent": "x"}])
    first = graph(before, tables=tables)
    feed_ = Feed(first)
    assert feed_.send([(1, b("a"), 1), (2, b("b"), 2)]) == []
    feed_.until(11)
    assert values(feed_.send([(13, b("a"), 1)])) == {"x": 3}
    rows = [{"device": "a", "parent": "w"}, {"device": "b", "parent": "y"}]
    rows += [{"device": d, "parent": "top"} for d in "wy"]
    pipelines, tables = spec(rows)
    after = graph(pipelines, keep=first, tables=tables)
    assert after.pipelines["p"] is first.pipelines["p"]
    again = Feed(after)
    assert values(again.send([(24, b("a"), 5)])) == {"w": 1, "y": 2, "top": 3}
    assert values(again.send([(34, b("b"), 5)])) == {"w": 5, "y": 2, "top": 7}
    assert again.send([(34, b("stranger"), 5)]) == []


def test_by_labels_a_group_has_those_and_no_other():
    steps = [{"group": {"every": "1s", "wait": 0, "channel": "total"}}]
    made = graph(
        {
            "p": {
                "from": "boilers",
                "group_by": ["site"],
                "steps": steps,
                "publish": {"topic": "t/{site}"},
            }
        }
    )
    told = Feed(made).send(
        [(0.5, b("a"), 1), (0.5, b("b"), 2), (0.5, b("c", site="south"), 4), (1.5, b("a"), 1)]
    )
    [event] = told
    assert event.labels == make_labels({"site": "north", "channel": "total"})
    assert (event.data["value"], event.time_ns) == (3, T0 + S)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("a", "b"), ("b", "a")], "in a circle"),
        ([("a", "a")], "in a circle"),
        ([(f"m{i}", f"m{i + 1}") for i in range(20)], "deeper than 16"),
    ],
)
def test_what_makes_no_hierarchy(rows, message):
    table = Table(key="device", rows=[{"device": m, "parent": p} for m, p in rows])
    with pytest.raises(ValidationError, match=message):
        Group(hierarchy=Lookup("t", table))


def test_what_can_never_count_is_refused():
    with pytest.raises(ValidationError, match="max_age is at least every"):
        Group.model_validate({"every": "1m", "max_age": "30s"})
