import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipelines.batch import GroupedBatch, samples
from pipelines.operator import load_all
from pipelines.series import make_labels
from tests.graphs import Feed, b, graph, short
from tests.operators.one_step import SECOND, clock, feed, kept, runner

OPERATOR = load_all()["peer"]
DEVICE = {"of": "device"}
EXACT = DEVICE | {"min_mad": 1e-12, "min_mad_share": 0}


def columns(step, values, period=1, order=None):
    """Rows of a table (instants, members), polled all at once; unknown where it is NaN."""
    instants, members = values.shape
    order = np.tile(np.arange(members), (instants, 1)) if order is None else order
    t = np.repeat(np.arange(instants) * period * SECOND, members)
    x = np.take_along_axis(values, order, 1).ravel()
    rows = samples(np.zeros(x.size, np.int32), t, x)
    member = order.ravel().astype(np.int32)
    return kept(step.run(GroupedBatch(*rows, member, np.zeros(x.size, np.int32))))


def table(out, shape, period=1):
    """Scores as (instants, members)."""
    found = np.full(shape, np.inf)
    found[out.t_ns // (period * SECOND), out.series] = out.value
    return found


def numpys(values):
    """(instants, members) scores by medians of rows; NaN is left out."""
    stats = pytest.importorskip("scipy.stats")
    median = np.nanmedian(values, axis=1, keepdims=True)
    mad = stats.median_abs_deviation(values, axis=1, scale="normal", nan_policy="omit")
    return (values - median) / np.maximum(mad[:, None], 1e-12)


@pytest.mark.parametrize("members", [5, 6, 17, 64])
def test_polled_together_it_is_numpys_median_across_columns(members):
    rng = np.random.default_rng(members)
    values = np.cumsum(rng.normal(0, 5, (80, 1)), 0) + rng.normal(0, 1, (80, members)).round(1)
    order = rng.permuted(np.tile(np.arange(members), (80, 1)), axis=1)
    out = columns(runner("peer", EXACT), values, order=order)
    got = table(out, values.shape)
    np.testing.assert_allclose(got[1:], numpys(values)[1:], rtol=1e-12)
    # The first instant meets members one by one; only then it is known who there is.
    assert np.isnan(out.value[:4]).all()


def test_at_times_of_their_own_it_is_the_last_value_of_each():
    pd = pytest.importorskip("pandas")
    rng = np.random.default_rng(4)
    t = np.cumsum(rng.integers(1, 9, 600)) * 1000
    member = rng.integers(0, 7, 600).astype(np.int32)
    x = rng.normal(20, 2, 600)
    rows = samples(np.zeros(600, np.int32), t * 1_000_000, x)
    step = runner("peer", EXACT | {"max_age": "60s"})
    out = kept(step.run(GroupedBatch(*rows, member, np.zeros(600, np.int32))))
    last = pd.DataFrame({"t": t, "m": member, "x": x}).pivot(index="t", columns="m", values="x")
    seen = pd.DataFrame({"t": t, "m": member, "at": t}).pivot(index="t", columns="m", values="at")
    young = seen.ffill().rsub(last.index, axis=0) <= 60_000
    values = last.ffill().where(young).to_numpy()
    want = numpys(values)[np.arange(600), member]
    want[(~np.isnan(values)).sum(axis=1) < 5] = np.nan
    assert (out.series == member[: out.size]).all()
    assert out.size == 599  # the last one waits
    np.testing.assert_allclose(out.value, want[:-1], rtol=1e-9)


def test_a_jump_of_all_raises_nobody_and_one_that_stays_behind_is_found():
    values = np.full((40, 20), 100.0) + np.random.default_rng(0).normal(0, 1, (40, 20))
    values[20:] -= 50  # a cloud
    values[30:, 7] += 50
    got = table(columns(runner("peer", DEVICE), values), values.shape)
    found = {(int(t), int(m)) for t, m in zip(*np.nonzero(np.abs(got[1:]) > 6), strict=True)}
    assert found == {(t - 1, 7) for t in range(30, 40)}


@given(st.integers(0, 1000), st.sampled_from([-2.0, 0.5, 8.0]), st.integers(-9, 9))
def test_shift_and_scale_and_order_of_members_change_no_score(seed, scale, shift):
    rng = np.random.default_rng(seed)
    values = rng.integers(-40, 40, (6, 7)) / 8  # exact in binary
    floor = DEVICE | {"min_mad_share": 0, "min_mad": 0.5}
    order = rng.permuted(np.tile(np.arange(7), (6, 1)), axis=1)
    a = table(columns(runner("peer", floor), values, order=order), values.shape)
    other = columns(runner("peer", floor | {"min_mad": 0.5 * abs(scale)}), values * scale + shift)
    want = table(other, values.shape) * np.sign(scale)
    np.testing.assert_array_equal(a[1:], want[1:])


def test_an_instant_is_told_when_all_are_there_or_time_goes_on():
    step = runner("peer", DEVICE | {"min_members": 3})
    for m in range(4):
        feed(step, [m], [0], member=m)
    assert feed(step, [1], [10], member=0).size == 0
    assert feed(step, [1], [10], member=1).size == 0
    assert feed(step, [1], [10], member=2).size == 0
    assert feed(step, [5], [10], member=3).series.tolist() == [0, 1, 2, 3]
    assert feed(step, [1], [20], member=2).size == 0
    assert clock(step, 20).size == 0  # another row may still come at this very time
    out = clock(step, 20.1)
    assert (out.series.tolist(), out.t_ns.tolist()) == ([2], [20 * SECOND])
    assert clock(step, 30).size == 0
    assert feed(step, [1], [31], member=2).size == 0
    assert feed(step, [1], [32], member=1).t_ns.tolist() == [31 * SECOND]


def test_the_last_sample_of_an_instant_counts():
    step = runner("peer", DEVICE | {"min_members": 3})
    for m, x in ((0, 1), (1, 2), (2, 3)):
        feed(step, [x], [0], member=m)
    for m, x in ((0, 9), (0, 1), (1, 2)):
        assert feed(step, [x], [1], member=m).size == 0
    out = feed(step, [3], [1], member=2)
    assert out.fields[:, 0].tolist() == [1, 2, 3]
    assert (out.fields[:, 1] == 2).all()


def test_the_silent_count_no_more_and_the_unknown_are_not_scored():
    step = runner("peer", DEVICE | {"min_members": 3, "max_age": "10s", "min_mad": 1})
    feed(step, [99], [0], member=3)
    for m, x in ((0, 1), (1, 2), (2, 3)):
        out = feed(step, [x], [5], member=m)
    assert clock(step, 6).fields[:, 1].tolist() == [2.5] * 3
    assert np.isnan(feed(step, [np.nan], [9], member=3).value).all()
    for m, x in ((0, 1), (1, 2)):
        assert feed(step, [x], [11], member=m).size == 0
    out = feed(step, [3], [11], member=2)  # the fourth has been silent for 11 s: all are here
    assert out.fields[:, 1].tolist() == [2] * 3


def test_one_from_the_past_is_scored_at_once_unless_it_is_too_old():
    step = runner("peer", DEVICE | {"min_members": 3, "max_age": "10s", "min_mad": 1})
    for m, x in ((0, 1), (1, 2), (2, 3)):
        feed(step, [x], [100], member=m)
    out = feed(step, [12], [95], member=3)
    assert (out.t_ns.tolist(), out.fields[0, 1]) == ([95 * SECOND], 2.5)
    out = feed(step, [12], [89], member=4)
    assert np.isnan(out.value).all()
    assert feed(step, [2.5], [100], member=5).size == 0
    assert clock(step, 101).fields[0, 1] == 2.5  # the last but one does not count


def test_more_members_than_slots_are_scored_and_counted():
    step = runner("peer", DEVICE | {"min_members": 3, "members_max": 3, "min_mad": 1})
    for m, x in ((0, 1), (1, 2), (2, 3)):
        feed(step, [x], [0], member=m)
    assert feed(step, [10], [0], member=3).value.tolist() == pytest.approx([8 / 1.4826022185])
    assert step.counters() == {"not_counted": 1}
    for m, x in ((3, 1), (4, 2), (5, 3)):  # the first three have gone
        out = feed(step, [x], [1000], member=m)
    assert out.fields[:, 1].tolist() == [2] * out.size
    assert step.counters() == {"not_counted": 1}


def test_groups_keep_channels_apart():
    params = OPERATOR.params.model_validate(DEVICE)
    labels = make_labels({"site": "n", "line": "2", "device": "b7", "channel": "t"})
    assert OPERATOR.regroup(params, labels, ()) == (
        make_labels({"site": "n", "line": "2", "channel": "t"}),
        0,
    )
    assert OPERATOR.regroup(params, labels, ("site",))[0] == make_labels(
        {"site": "n", "channel": "t"}
    )
    assert OPERATOR.regroup(params, make_labels({"site": "n"}), ()) is None
    redundant = OPERATOR.params.model_validate({"of": "channel"})
    assert OPERATOR.regroup(redundant, labels, ("device",))[0] == make_labels({"device": "b7"})


@pytest.mark.parametrize("options", [{}, DEVICE | {"min_members": 9, "members_max": 8}])
def test_what_cannot_be_meant_is_refused(options):
    with pytest.raises(ValidationError):
        OPERATOR.params.model_validate(options)


def test_the_alert_is_that_of_the_member():
    made = graph(
        {
            "odd": {
                "from": "boilers",
                "group_by": ["site"],
                "steps": [{"peer": {"of": "device", "min_mad": 0.5}}],
                "alert": {},
            }
        }
    )
    rows = [(t, b(f"b{d}"), 20 + d / 10) for t in range(5) for d in range(6)]
    rows += [(t, b(f"b{d}"), 60 + d / 10 - 30 * (d == 4)) for t in range(5, 9) for d in range(6)]
    told = Feed(made).send(rows)
    assert short(told) == [("odd", "active", "b4", 5)]
