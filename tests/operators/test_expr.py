import numpy as np
import pytest
from pydantic import ValidationError

from pipelines.batch import BAD, GOOD, UNCERTAIN, GroupedBatch, samples
from pipelines.operators.expr import OPERATOR, Expr
from pipelines.series import make_labels
from tests.operators.one_step import kept, runner
from tests.traffic import SECOND, START_NS

POWER = {"channel": "power", "value": "voltage * current", "max_age": "10s"}
VOLTAGE, CURRENT = 0, 1


def run(step, rows):
    """Rows of (second, slot, value[, quality]) of one group → [(second, value, quality)]."""
    seconds, slot, value = (np.array([r[k] for r in rows]) for k in range(3))
    plain = samples(
        np.zeros(len(rows), np.int32),
        START_NS + (seconds * SECOND).astype(np.int64),
        value.astype(float),
    )
    for i, row in enumerate(rows):
        if len(row) > 3:
            plain.quality[i] = row[3]
    slot = slot.astype(np.int32)
    out = kept(step.run(GroupedBatch(*plain, member=slot, slot=slot)))
    times = ((out.t_ns - START_NS) / SECOND).tolist()
    return list(zip(times, out.value.tolist(), out.quality.tolist(), strict=True))


def same(got, wanted):
    assert [(t, q) for t, _, q in got] == [(t, q) for t, _, q in wanted]
    np.testing.assert_allclose([v for _, v, _ in got], [v for _, v, _ in wanted], rtol=1e-15)


NAN = np.nan


def at(step, second):
    """What comes out once the group's time is `second`."""
    clock = np.array([START_NS + int(second * SECOND)])
    out = kept(step.tick(clock, 1))
    times = ((out.t_ns - START_NS) / SECOND).tolist()
    return list(zip(times, out.value.tolist(), out.quality.tolist(), strict=True))


def whole(options, rows):
    """What comes of rows and of the time after them."""
    step = runner("expr", options)
    return run(step, rows) + at(step, 1e6)


def test_two_channels_of_one_message_are_one_instant():
    step = runner("expr", POWER)
    assert run(step, [(0, VOLTAGE, 230)]) == []
    assert run(step, [(0, CURRENT, 2)]) == [(0, 460, GOOD)]
    assert run(step, [(1, CURRENT, 3), (1, VOLTAGE, 100), (2, VOLTAGE, 50)]) == [(1, 300, GOOD)]


def test_a_channel_without_a_sample_at_an_instant_has_its_last_one():
    step = runner("expr", POWER)
    got = run(step, [(0, VOLTAGE, 230), (1, CURRENT, 2), (2, VOLTAGE, 200)])
    same(got, [(0, NAN, BAD), (1, 460, GOOD)])
    assert at(step, 2) == []  # the other channel may still come at this very time
    assert at(step, 2.5) == [(2, 400, GOOD)]
    assert at(step, 9) == []


def test_what_is_older_than_max_age_is_not_known():
    rows = [(0, VOLTAGE, 230), (10, CURRENT, 2), (10.5, CURRENT, 3), (11, VOLTAGE, 100)]
    same(whole(POWER, rows), [(0, NAN, BAD), (10, 460, GOOD), (10.5, NAN, BAD), (11, 300, GOOD)])


def test_an_unknown_sample_makes_its_instant_unknown_and_replaces_nothing():
    rows = [(0, VOLTAGE, 230), (0, CURRENT, 2), (2, CURRENT, NAN), (2, VOLTAGE, 99)]
    rows += [(3, VOLTAGE, 100), (4, CURRENT, 9, BAD), (5, CURRENT, 1e200), (6, VOLTAGE, 10)]
    got = whole(POWER, rows)
    assert [(t, v) for t, v, q in got if q == GOOD] == [(0, 460), (3, 200), (6, 20)]
    assert [t for t, _, q in got if q == BAD] == [2, 4, 5]


def test_an_uncertain_part_makes_an_uncertain_result():
    assert whole(POWER, [(0, VOLTAGE, 230, UNCERTAIN), (0, CURRENT, 2)]) == [(0, 460, UNCERTAIN)]


def test_samples_from_before_an_instant_that_was_told_are_late_and_still_the_last_known():
    step = runner("expr", POWER)
    rows = [(0, VOLTAGE, 230), (0, CURRENT, 2), (3, CURRENT, 2), (4, CURRENT, 3)]
    run(step, rows)
    assert run(step, [(2, VOLTAGE, 100), (1, VOLTAGE, 7), (0, CURRENT, 8)]) == []
    assert step.counters() == {"late": 3}
    assert at(step, 5) == [(4, 300, GOOD)]


def test_a_second_sample_at_an_instant_that_was_told_is_late():
    step = runner("expr", {"channel": "c", "value": "2 * a"})
    assert run(step, [(0, 0, 1), (0, 0, 2), (1, 0, 3)]) == [(0, 2, GOOD), (1, 6, GOOD)]
    assert step.counters() == {"late": 1}


@pytest.mark.parametrize(
    ("value", "a", "b", "wanted"),
    [
        (f"a {word} b", *row)
        for word, table in {
            "and": [(1, 1, 1), (1, 0, 0), (0, NAN, 0), (NAN, 0, 0), (1, NAN, NAN), (NAN, 1, NAN)],
            "or": [(0, 0, 0), (1, 0, 1), (1, NAN, 1), (NAN, 1, 1), (0, NAN, NAN), (NAN, 0, NAN)],
        }.items()
        for row in table
    ]
    + [("not a or 0 * b", NAN, 1, NAN), ("if(a, b, 7)", 0, NAN, 7), ("if(a, b, 7)", NAN, 1, NAN)],
)
def test_truth_has_three_values(value, a, b, wanted):
    [(_, got, quality)] = whole({"channel": "c", "value": value}, [(0, 0, a), (0, 1, b)])
    assert got == wanted or (np.isnan(wanted) and quality == BAD)


def test_equals_a_table_filled_forward_at_random():
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(5)
    n = 2000
    second = np.sort(rng.integers(0, 900, n))
    table = pandas.DataFrame(
        {"t": second, "slot": rng.integers(0, 2, n), "x": np.round(rng.normal(20, 5, n), 1)}
    ).drop_duplicates(["t", "slot"])
    wide = table.pivot_table(index="t", columns="slot", values="x")
    held = wide.ffill()
    since = wide.notna().apply(lambda c: c.index.to_series().where(c).ffill())
    young = since.rsub(wide.index.to_series(), axis=0) <= 10
    wanted = (held[0] * held[1]).where(young.all(axis=1))
    got = whole(POWER, list(table.itertuples(index=False, name=None)))
    assert [t for t, _, _ in got] == wanted.index.tolist()
    np.testing.assert_array_equal([v for _, v, _ in got], wanted.to_numpy())


def test_a_result_that_is_no_number_is_not_known():
    rows = [(0, 0, 1), (1, 1, 0), (2, 1, 4), (3, 1, 2.0**-900), (4, 0, 2.0**400)]
    got = whole({"channel": "c", "value": "a / b"}, rows)
    assert [v for _, v, q in got if q == GOOD] == [0.25, 2.0**900]
    assert got[4][2] == BAD


@pytest.mark.parametrize(
    ("labels", "group_by", "wanted"),
    [
        ({"channel": "current", "device": "m1", "site": "n"}, (), {"device": "m1", "site": "n"}),
        ({"channel": "current", "device": "m1", "site": "n"}, ("site",), {"site": "n"}),
        ({"channel": "noise", "device": "m1"}, (), None),
        ({"device": "m1"}, (), None),
    ],
)
def test_which_group_a_series_belongs_to(labels, group_by, wanted):
    got = OPERATOR.regroup(Expr.model_validate(POWER), make_labels(labels), group_by)
    if wanted is None:
        assert got is None
    else:
        assert got == (make_labels(wanted | {"channel": "power"}), CURRENT)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("voltage * sqr(current)", "unknown function sqr; did you mean sqrt\\?, at character 11"),
        ("1 + 2", "at least one channel"),
        ("a +", "at character 4"),
    ],
)
def test_a_formula_that_cannot_be_used(value, message):
    with pytest.raises(ValidationError, match=message):
        Expr.model_validate({"channel": "c", "value": value})
