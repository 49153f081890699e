import numpy as np
import pytest
from pydantic import ValidationError

from pipelines.batch import GroupedBatch, samples
from pipelines.operators.join import OPERATOR, Join
from pipelines.series import make_labels
from tests.graphs import Feed, b, graph, short
from tests.operators.one_step import kept, runner
from tests.traffic import SECOND, START_NS

PAIR = {"left": "supply", "right": "return", "tolerance": "5s"}
L, R = 1, 0
NAN = np.nan


def feed(step, rows):
    """Rows of (second, side, value) of one pair → [(second, value, (left, right, third))]."""
    second, side, value = (np.array(column, float) for column in zip(*rows, strict=True))
    t_ns = START_NS + np.rint(second * SECOND).astype(np.int64)
    side = side.astype(np.int32)
    plain = samples(np.zeros(len(rows), np.int32), t_ns, value)
    return shown(step.run(GroupedBatch(*plain, member=side, slot=side)))


def shown(out):
    out = kept(out)
    times = ((out.t_ns - START_NS) / SECOND).tolist()
    return list(zip(times, out.value.tolist(), map(tuple, out.fields.tolist()), strict=True))


def clock(step, second):
    return shown(step.tick(np.array([START_NS + round(second * SECOND)]), 1))


def whole(options, rows):
    step = runner("join", options)
    return feed(step, rows) + clock(step, 1e6)


def test_the_partner_is_the_last_one_not_later():
    rows = [(0, R, 40), (1, L, 60), (2, R, 50), (2, L, 61), (3, R, 1)]
    assert whole(PAIR, rows) == [(1, 20, (60, 40, 1)), (2, 11, (61, 50, 0))]


def test_a_partner_at_the_same_time_that_comes_after_counts_too():
    assert whole(PAIR, [(2, L, 61), (2, R, 50)]) == [(2, 11, (61, 50, 0))]


@pytest.mark.parametrize(("gap", "found"), [(5, True), (5.000000001, False)])
def test_the_tolerance_is_included(gap, found):
    [(_, value, _)] = whole(PAIR, [(0, R, 40), (gap, L, 60)])
    assert (value == 20) is found


def test_a_row_is_told_once_time_has_passed_its_partners():
    step = runner("join", PAIR | {"strategy": "nearest"})
    assert feed(step, [(0, R, 40), (3, L, 60)]) == []
    assert clock(step, 8) == []  # one at 8 s would be a partner still
    assert clock(step, 8.1) == [(3, 20, (60, 40, 3))]


def test_nearest_looks_both_ways_and_prefers_the_earlier_of_two():
    options = PAIR | {"strategy": "nearest", "value": "right"}
    got = whole(options, [(0, R, 1), (2, L, 0), (4, R, 2), (5, L, 0), (7.5, L, 0), (10, R, 3)])
    assert [v for _, v, _ in got] == [1, 2, 3]


def test_window_is_the_mean_on_both_sides():
    options = PAIR | {"strategy": "window", "value": "right"}
    rows = [(t, R, t) for t in range(5)] + [(6, L, 0)] + [(t, R, t) for t in range(7, 15)]
    [(at, value, (_, right, count))] = whole(options, rows)
    assert (at, value, right, count) == (6, right, pytest.approx(55 / 9), 9)


def test_without_a_partner_a_row_is_not_known_or_dropped():
    rows = [(0, L, 60), (1, L, NAN), (2, R, 40), (9, L, 50)]
    assert [np.isnan(v) for _, v, _ in whole(PAIR, rows)] == [True, True, True]
    assert [t for t, _, _ in whole(PAIR | {"unmatched": "drop"}, rows)] == [1]


def test_an_unknown_right_sample_is_no_partner():
    assert whole(PAIR, [(0, R, 40), (1, R, NAN), (2, L, 60)]) == [(2, 20, (60, 40, 2))]


def test_one_side_may_come_behind_the_other_by_wait():
    rows = [(0, L, 60), (3, L, 61), (0, R, 40), (3, R, 41), (6, L, 62)]
    got = whole(PAIR | {"wait": "3s"}, rows)
    assert [(t, v) for t, v, _ in got] == [(0, 20), (3, 20), (6, 21)]
    step = runner("join", PAIR)
    feed(step, rows)
    assert step.counters() == {"late": 1, "forced": 0}


def test_when_there_is_no_room_the_oldest_has_its_turn():
    step = runner("join", PAIR | {"wait": "1h", "buffer": 4})
    rows = [(0, R, 1)] + [(t, L, t) for t in range(1, 9)]
    assert [t for t, _, _ in feed(step, rows)] == [1, 2, 3, 4]
    assert step.counters() == {"late": 0, "forced": 5}
    assert feed(step, [(2, R, 9)]) == []
    assert step.counters() == {"late": 1, "forced": 5}


@pytest.mark.parametrize("strategy", ["asof", "nearest"])
def test_equals_merge_asof(strategy):
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(7)
    n = 3000
    times = np.sort(rng.choice(n * 3, n, replace=False)) * 0.25
    side = rng.integers(0, 2, n)
    value = np.round(rng.normal(20, 5, n), 1)
    sides = [
        pandas.DataFrame({"t": (times[side == s] * SECOND).astype(int), "x": value[side == s]})
        for s in (L, R)
    ]
    wanted = pandas.merge_asof(
        *sides,
        on="t",
        tolerance=int(1.5 * SECOND),
        direction="backward" if strategy == "asof" else "nearest",
    )
    got = whole(
        PAIR | {"strategy": strategy, "tolerance": "1.5s"},
        list(zip(times, side, value, strict=True)),
    )
    assert 0.02 < wanted.x_y.isna().mean() < 0.9
    np.testing.assert_array_equal([v for _, v, _ in got], wanted.x_x - wanted.x_y)


def test_a_pump_is_compared_with_its_return_line_by_name_of_device():
    steps = [{"join": {"left": "inlet", "right": "outlet", "of": "device", "tolerance": "2s"}}]
    made = graph({"lost": {"from": "boilers", "steps": steps, "publish": {"topic": "d/{site}"}}})
    feed_ = Feed(made)
    feed_.send([(0, b("outlet"), 40), (0, b("outlet", "pressure"), 3), (1, b("inlet"), 60)])
    feed_.send([(1, b("inlet", "pressure"), 5), (1, b("other"), 1)])
    told = feed_.until(30)
    values = {dict(e.labels)["channel"]: e.data["value"] for e in told}
    assert values == {"temperature": 20, "pressure": 2}
    assert {e.labels for e in told} == {
        make_labels({"site": "north", "channel": c}) for c in values
    }
    assert {at for *_, at in short(told)} == {1}


@pytest.mark.parametrize(
    ("options", "labels", "wanted"),
    [
        ({}, {"channel": "supply", "d": "1"}, ({"channel": "supply-return", "d": "1"}, L)),
        ({"channel": "lift"}, {"channel": "return"}, ({"channel": "lift"}, R)),
        ({}, {"channel": "noise"}, None),
        ({}, {"device": "1"}, None),
    ],
)
def test_which_pair_a_series_belongs_to(options, labels, wanted):
    got = OPERATOR.regroup(Join.model_validate(PAIR | options), make_labels(labels), ())
    assert got == (wanted if wanted is None else (make_labels(wanted[0]), wanted[1]))


@pytest.mark.parametrize(
    ("options", "message"),
    [({"right": "supply"}, "both 'supply'"), ({"of": "device", "channel": "x"}, "joined by")],
)
def test_what_makes_no_pair(options, message):
    with pytest.raises(ValidationError, match=message):
        Join.model_validate(PAIR | options)


def test_rows_keep_the_worst_quality():
    step = runner("join", PAIR)
    plain = samples(np.zeros(2, np.int32), START_NS + np.arange(2) * SECOND, np.array([4.0, 6.0]))
    plain.quality[0] = 1
    side = np.array([R, L], np.int32)
    step.run(GroupedBatch(*plain, member=side, slot=side))
    out = kept(step.tick(np.array([START_NS + 9 * SECOND]), 1))
    assert (out.value.tolist(), out.quality.tolist()) == ([2], [1])
