"""What holds for every operator, found by itself: a new file in pipelines/operators is in here."""

import numpy as np
import pytest

from pipelines.batch import BAD, take
from pipelines.numerics import LARGEST
from pipelines.operator import GROWING, RING, SINGLE, Makes, columns, load_all
from tests import operator_bounds
from tests.operator_runs import (
    Case,
    assert_same,
    by_series,
    cases,
    copy_of,
    events_of,
    example_options,
    interpreted,
    part,
    rows_of,
    run,
    twin_of,
    widened,
)
from tests.traffic import MARK, flat, only, with_unknown

CASES = cases()
OPERATORS = [pytest.param(op, id=name) for name, op in load_all().items()]
every_case = pytest.mark.parametrize("case", CASES)
every_operator = pytest.mark.parametrize("operator", OPERATORS)


@every_operator
def test_has_what_a_reader_needs(operator):
    assert operator.params.model_validate(example_options(operator))
    assert "Equivalent to" in (operator.step.__doc__ or "")
    assert all(f.description for f in operator.params.model_fields.values())
    twin = twin_of(operator.name)
    assert twin is not None, f"tests/naive/{operator.name}.py is missing"
    assert max(len(case) for case in twin.CASES) > 1, "no case with values that differ by series"
    assert (operator.tick is None) or "Equivalent to" in (operator.tick.__doc__ or "")


@every_operator
def test_a_state_with_rings_says_how_it_ends(operator):
    known = columns(operator.state)
    if any(col.width in (RING, GROWING) for col in known.values()):
        assert known["ring_fixed"].width == SINGLE
        assert (known["truncated"].dtype, known["truncated"].width) == ("i8", SINGLE)


@every_case
@pytest.mark.parametrize("size", [1, 7, 1024])
def test_same_however_the_stream_is_cut(case, size):
    made = case.traffic(1)
    cuts = range(0, made.batch.series.size, size)
    assert_same(run(case, made, cuts), run(case, made))


@every_case
def test_same_when_cut_at_random(case):
    made, rng = case.traffic(2), np.random.default_rng(2)
    cuts = rng.integers(0, made.batch.series.size, 9)
    assert_same(run(case, made, cuts), run(case, made))


@every_case
def test_series_do_not_touch_each_other(case):
    made = case.traffic(3)
    whole = run(case, made)
    for s in range(made.series):
        alone = run(case, only(made, s))
        assert_same(rows_of(case, made, alone, s), rows_of(case, made, whole, s))


@every_case
def test_goes_on_from_a_copy_of_its_state(case):
    made = case.traffic(4)
    cuts = range(0, made.batch.series.size, 90)
    copied = run(case, made, cuts, between=lambda r: copy_of(case, r, made.series))
    assert_same(copied, run(case, made))


@every_case
def test_more_rows_and_wider_rings_change_nothing(case):
    made, calls = case.traffic(5), []

    def grow(runner):
        calls.append(1)
        runner.ensure(min(runner.capacity + 1, 1000) if len(calls) % 3 == 0 else 1)
        return widened(runner, 2 if len(calls) in (2, 5) else 1)

    grown = run(case, made, range(0, made.batch.series.size, 60), between=grow)
    assert_same(grown, run(case, made))


@every_case
def test_a_tick_tells_nothing_that_the_next_sample_would_not(case):
    made = case.traffic(11)
    late = made._replace(ticks=made.ticks[-1:])
    assert_same(by_series(run(case, late)), by_series(run(case, made)))


@every_case
def test_unknown_samples_change_no_state(case):
    made = case.traffic(6)
    more = run(case, with_unknown(made, 6))
    assert_same(take(more, np.flatnonzero(more.t_ns % 1000 != MARK)), run(case, made))


@every_case
def test_what_is_not_finite_is_bad(case):
    out = run(case, case.traffic(7))
    assert not np.isinf(out.value).any()
    assert (out.quality[np.isnan(out.value)] == 2).all()
    assert np.isnan(out.value[out.quality == 2]).all()


@every_case
def test_input_is_left_alone(case):
    made = case.traffic(8)
    before = part(made.batch, 0, made.batch.series.size)
    before = type(before)(*(a.copy() for a in before))
    run(case, made)
    for kept, now in zip(before, made.batch, strict=True):
        np.testing.assert_array_equal(kept, now)


@every_case
def test_time_does_not_go_back_within_a_series(case):
    made = case.traffic(9)
    out = by_series(run(case, made))
    same = out.series[1:] == out.series[:-1]
    assert (np.diff(out.t_ns)[same] >= 0).all()
    assert (out.start_ns <= out.t_ns).all()


@every_case
def test_values_are_what_it_says_it_makes(case):
    for one in (case._replace(sets=(params,)) for params in case.sets):
        made = one.traffic(12)
        assert_makes(one.operator.makes_of(one.sets), made, run(one, made))


def assert_makes(makes, made, out):
    batch = made.batch
    for s in range(made.series if makes != Makes.OTHER else 0):
        known = (batch.series == s) & (batch.quality != BAD) & (abs(batch.value) <= LARGEST)
        values, rows = batch.value[known], take(out, np.flatnonzero(out.series == s))
        told = rows.value[np.isfinite(rows.value)]
        if makes == Makes.SAME:
            assert np.isin(told, values).all()
        elif makes == Makes.BETWEEN and told.size:
            assert values.min() - 1e-6 <= told.min()
            assert told.max() <= values.max() + 1e-6
        elif makes == Makes.LATER:
            last_ns = max([batch.t_ns[known].max(initial=0), *[t[s] for _, t in made.ticks]])
            assert (rows.t_ns <= last_ns).all()


@every_case
def test_compiled_equals_interpreted(case):
    made = case.traffic(10, n=350)
    compiled = run(case, made)
    with interpreted():
        plain = run(case, made)
    assert_same(plain, compiled)


@every_case
@pytest.mark.parametrize("kind", [20, 21, 22, "flat", "flat and large"])
def test_matches_the_naive_version(case, kind):
    if isinstance(kind, str):
        made = flat(300, 21.5 if kind == "flat" else 1e9 + 0.1, slots=case.slots)
    else:
        made = case.traffic(kind, n=1500)
    assert_matches_twin(case, run(case, made), made)


def assert_matches_twin(case: Case, out, made):
    rtol, atol = getattr(case.twin, "RTOL", 1e-9), getattr(case.twin, "ATOL", 1e-9)
    for s in range(made.series):
        params = case.sets[s % len(case.sets)]
        want = list(case.twin.naive(params, events_of(made, s)))
        got = rows_of(case, made, out, s)
        if case.operator.per_member:
            np.testing.assert_array_equal(got.series, [r.member for r in want])
        np.testing.assert_array_equal(got.t_ns, [r.t_ns for r in want])
        np.testing.assert_array_equal(got.start_ns, [r.start_ns for r in want])
        np.testing.assert_array_equal(got.quality, [r.quality for r in want])
        np.testing.assert_allclose(got.value, [r.value for r in want], rtol=rtol, atol=atol)
        fields = np.array([r.fields for r in want], float).reshape(got.fields.shape)
        np.testing.assert_allclose(got.fields, fields, rtol=rtol, atol=atol)


@pytest.mark.parametrize(
    "case", [p for p in CASES if "ring_fixed" in columns(p.values[0].operator.state)]
)
def test_a_full_ring_forgets_the_oldest_and_counts_it(case):
    made = case.traffic(12)
    out = run(case, made, runner=case.runner(made.series, state_bytes_max=0))
    cut = case.runner(made.series, state_bytes_max=0)
    assert_same(run(case, made, range(0, 1000, 7), runner=cut), out)
    roomy = case.runner(made.series)
    run(case, made, runner=roomy)
    assert roomy.counters()["truncated"] == 0
    assert (cut.counters()["truncated"] > 0) == (roomy.state_bytes() > cut.state_bytes())


@pytest.mark.timeout(480)  # whoever comes first waits for a child that compiles everything
@pytest.mark.parametrize("param", [pytest.param(p, id=p.id) for p in CASES])
def test_checked_bounds_change_nothing(param, bounds_child):
    [case] = param.values
    checked = bounds_child.outputs()
    out = run(case, case.traffic(operator_bounds.SEED), cuts=(100, 101, 640))
    for name in out._fields:
        np.testing.assert_array_equal(getattr(out, name), checked[f"{param.id}/{name}"])
