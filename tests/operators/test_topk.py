import heapq
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipelines.batch import GOOD, UNCERTAIN, GroupedBatch, samples
from pipelines.operator import load_all
from pipelines.series import make_labels
from tests.graphs import Feed, b, graph
from tests.operators.one_step import SECOND, clock, feed, kept, runner

OPERATOR = load_all()["topk"]
MINUTE = {"of": "device", "size": "1m", "wait": 0}


def say(step, t, member, x, key=None):
    key = np.zeros(len(t), np.int32) if key is None else np.asarray(key, np.int32)
    t_ns = np.rint(np.asarray(t, float) * SECOND).astype(np.int64)
    rows = samples(np.zeros(len(t), np.int32), t_ns, np.asarray(x, float))
    return kept(step.run(GroupedBatch(*rows, np.asarray(member, np.int32), key)))


def ranked(out):
    """{end: [(member, value), …]} in the order of the rows, whose ranks must be 1, 2, …"""
    found = {}
    columns = (out.t_ns // SECOND, out.series, out.value, out.fields[:, 1])
    for end, member, value, rank in zip(*(c.tolist() for c in columns), strict=True):
        found.setdefault(end, []).append((member, value))
        assert rank == len(found[end])
    return found


def traffic(seed, n=900, members=12):
    rng = np.random.default_rng(seed)
    t = np.sort(rng.uniform(0, 600, n).round(3))
    return t, rng.integers(0, members, n), rng.normal(50, 9, n).round(1)


@pytest.mark.parametrize("order", ["largest", "smallest"])
@pytest.mark.parametrize("by", ["mean", "max", "min", "sum", "last", "count"])
def test_it_is_heapq_over_pandas_groups(by, order):
    pd = pytest.importorskip("pandas")
    t, member, x = traffic(1)
    step = runner("topk", MINUTE | {"k": 4, "by": by, "order": order})
    out = say(step, t, member, x)
    frame = pd.DataFrame({"end": (t // 60 + 1).astype(int) * 60, "m": member, "x": x})
    of_all = frame.groupby(["end", "m"])["x"].agg(by)
    got = ranked(out)
    assert sorted(got) == list(range(60, 600, 60))  # the last one is open still
    for end, rows in got.items():
        first = heapq.nlargest if order == "largest" else heapq.nsmallest
        want = first(4, of_all[end].items(), key=lambda item: item[1])
        np.testing.assert_allclose([v for _, v in rows], [v for _, v in want], rtol=1e-12)
        for m, value in rows:
            assert value == pytest.approx(of_all[end][m], rel=1e-12)
        assert len({m for m, _ in rows}) == 4


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(-3, 3)), min_size=1, max_size=60),
    st.integers(1, 12),
    st.sampled_from(["largest", "smallest"]),
)
def test_who_is_told_is_the_head_of_all_sorted(rows, k, order):
    step = runner("topk", MINUTE | {"k": k, "by": "last", "order": order})
    key = {m: (m * 7) % 4 for m in range(10)}
    members = [m for m, _ in rows]
    say(step, range(len(rows)), members, [x for _, x in rows], [key[m] for m in members])
    last = dict(rows)
    sign = -1 if order == "largest" else 1
    want = sorted(last, key=lambda m: (sign * last[m], key[m], m))[:k]
    assert [m for m, _ in ranked(clock(step, 60)).get(60, [])] == want


@given(st.integers(0, 999))
def test_within_the_wait_the_order_of_members_changes_nothing(seed):
    t, member, x = traffic(seed, 200, 5)
    options = MINUTE | {"size": "30s", "wait": "20s", "by": "sum", "k": 5}
    step = runner("topk", options)
    want = kept_all(step, say(step, t, member, x), 700)
    behind = np.array([0, 19.9, 5, 12, 1])
    order = np.argsort(t + behind[member], kind="stable")
    step = runner("topk", options)
    got = kept_all(step, say(step, t[order], member[order], x[order]), 700)
    assert got == want
    assert step.counters()["late"] == 0


def kept_all(step, out, until):
    rest = clock(step, until)
    return {**ranked(out), **ranked(rest)}


def test_a_window_is_told_when_the_wait_is_over_and_then_never_again():
    step = runner("topk", MINUTE | {"wait": "5s"})
    say(step, [10, 20], [1, 2], [5, 6])
    assert clock(step, 64.999).size == 0
    assert say(step, [61], [1], [9]).size == 0
    assert say(step, [59], [3], [7]).size == 0  # another member may be behind
    assert ranked(clock(step, 65)) == {60: [(3, 7), (2, 6), (1, 5)]}
    assert clock(step, 100).size == 0
    assert say(step, [58], [2], [99]).size == 0
    assert step.counters() == {"late": 1, "not_counted": 0}
    assert ranked(clock(step, 126)) == {120: [(1, 9)]}
    assert clock(step, 1e6).size == 0


def test_a_sample_at_the_end_belongs_to_the_next_window():
    step = runner("topk", MINUTE)
    out = say(step, [0, 60, 119, 120], [1, 2, 1, 3], [1, 2, 3, 4])
    assert ranked(out) == {60: [(1, 1)], 120: [(1, 3), (2, 2)]}
    assert out.start_ns.tolist() == [0, 60 * SECOND, 60 * SECOND]


def test_the_window_that_was_joined_late_is_uncertain():
    step = runner("topk", MINUTE)
    out = say(step, [30, 70, 130], [1, 1, 1], [1, 2, 3])
    assert out.quality.tolist() == [UNCERTAIN, GOOD]


def test_members_beyond_the_limit_are_counted_and_not_ranked():
    step = runner("topk", MINUTE | {"members_max": 2})
    say(step, [1, 2, 3, 4, 61], [1, 2, 3, 1, 3], [5, 6, 7, 8, 9])
    assert step.counters() == {"late": 0, "not_counted": 1}
    assert ranked(clock(step, 120)) == {120: [(3, 9)]}


def test_unknown_samples_rank_nobody():
    step = runner("topk", MINUTE)
    say(step, [1, 2, 3], [1, 2, 3], [5, np.nan, 1e200])
    assert ranked(clock(step, 60)) == {60: [(1, 5)]}


def test_groups_do_not_mix():
    step = runner("topk", MINUTE)
    feed(step, [1], [0], series=0, member=1)
    feed(step, [2], [0], series=1, member=2)
    out = clock(step, 60, rows=2)
    assert out.series.tolist() == [1, 2]


def test_the_key_of_a_member_is_its_name_not_its_turn():
    params = OPERATOR.params.model_validate(MINUTE)
    names = [make_labels({"site": "n", "device": f"b{i}", "channel": "t"}) for i in range(9)]
    groups, keys = zip(*(OPERATOR.regroup(params, n, ("site",)) for n in names), strict=True)
    assert set(groups) == {make_labels({"site": "n", "channel": "t"})}
    assert len(set(keys)) == 9
    assert all(0 <= key < 1 << 31 for key in keys)
    assert OPERATOR.regroup(params, make_labels({"site": "n"}), ()) is None


@pytest.mark.parametrize("options", [{}, MINUTE | {"wait": "61s"}, MINUTE | {"k": 0}])
def test_what_cannot_be_meant_is_refused(options):
    with pytest.raises(ValidationError):
        OPERATOR.params.model_validate(options)


def test_windows_of_members_are_published_with_their_rank():
    made = graph(
        {
            "worst": {
                "from": "boilers",
                "group_by": ["site"],
                "steps": [{"topk": {"of": "device", "k": 2, "size": "10s"}}],
                "publish": {"topic": "worst/{site}/{device}"},
            }
        }
    )
    rows = [(t, b(f"b{d}"), 20.0 + d) for t, d in itertools.product(range(14), range(5))]
    told = Feed(made).send(rows)
    assert [(dict(e.labels)["device"], e.data["mean"], e.data["rank"]) for e in told] == [
        ("b4", 24, 1),
        ("b3", 23, 2),
    ]
