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


def test_a_row_for_each_sample_from_the_latest_of_each_channel():
    got = run(runner("expr", POWER), [(0, VOLTAGE, 230), (1, CURRENT, 2), (2, VOLTAGE, 200)])
    same(got, [(0, NAN, BAD), (1, 460, GOOD), (2, 400, GOOD)])


def test_what_is_older_than_max_age_is_not_known():
    rows = [(0, VOLTAGE, 230), (10, CURRENT, 2), (10.5, CURRENT, 3), (11, VOLTAGE, 100)]
    got = run(runner("expr", POWER), rows)
    same(got, [(0, NAN, BAD), (10, 460, GOOD), (10.5, NAN, BAD), (11, 300, GOOD)])


def test_an_unknown_sample_gives_an_unknown_row_and_replaces_nothing():
    rows = [(0, VOLTAGE, 230), (1, CURRENT, 2), (2, CURRENT, NAN), (3, VOLTAGE, 100)]
    rows += [(4, CURRENT, 9, BAD), (5, CURRENT, 1e200), (6, VOLTAGE, 10)]
    got = run(runner("expr", POWER), rows)
    assert [v for _, v, q in got if q == GOOD] == [460, 200, 20]


def test_an_uncertain_part_makes_an_uncertain_result():
    got = run(runner("expr", POWER), [(0, VOLTAGE, 230, UNCERTAIN), (1, CURRENT, 2)])
    assert got[1] == (1, 460, UNCERTAIN)


def test_time_of_a_group_does_not_go_back_when_its_channels_do():
    rows = [(0, VOLTAGE, 230), (20, CURRENT, 2), (15, VOLTAGE, 100), (5, VOLTAGE, 1)]
    got = run(runner("expr", POWER), rows)
    same(got, [(0, NAN, BAD), (20, NAN, BAD), (20, 200, GOOD), (20, NAN, BAD)])


def test_a_result_that_is_no_number_is_not_known():
    step = runner("expr", {"channel": "c", "value": "a / b"})
    got = run(step, [(0, 0, 1), (1, 1, 0), (2, 1, 4), (3, 1, 2.0**-900), (4, 0, 2.0**400)])
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
