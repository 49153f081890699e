from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipelines.batch import GOOD, UNCERTAIN
from pipelines.operators.quantile import Quantile
from tests.operators.one_step import feed, feed_ns, kept, runner
from tests.traffic import SECOND, START_NS

HOUR = 3600 * SECOND
BEGIN = START_NS // HOUR * HOUR
Q = [0, 0.01, 0.1, 0.5, 0.9, 0.95, 0.99, 0.999, 1]


def window(options, x):
    """(quantiles, samples, error) of one window that holds all of x."""
    step = runner("quantile", {"window": "1h", "q": Q} | options)
    feed_ns(step, x, BEGIN + np.arange(len(x)))
    [fields] = kept(step.tick(np.array([BEGIN + HOUR]), 1)).fields
    return fields[:-2], fields[-2], fields[-1]


def shapes(rng, n):
    return {
        "room temperatures": rng.normal(21, 0.6, n),
        "around zero": rng.normal(0, 1, n),
        "below zero": -rng.gamma(2, 8, n),
        "latency": rng.lognormal(-3, 1.5, n),
        "heavy tail": rng.pareto(0.7, n) + 1e-3,
        "half zeros": rng.exponential(1, n) * rng.integers(0, 2, n),
        "coarse": np.round(rng.normal(0, 3, n)),
        "all magnitudes": rng.choice([-1, 1], n) * 10.0 ** rng.uniform(-8, 150, n),
    }


@pytest.mark.parametrize("accuracy", ["0.2%", "1%", "10%"])
@pytest.mark.parametrize("shape", list(shapes(np.random.default_rng(0), 2)))
def test_no_quantile_is_further_off_than_the_error_told(shape, accuracy):
    for seed in range(4):
        x = shapes(np.random.default_rng(seed), 3001)[shape]
        found, samples, error = window({"accuracy": accuracy}, x)
        assert samples == 3001
        # With n - 1 = 3000 the rank of each of these quantiles is whole: no interpolation.
        true = np.quantile(x, Q, method="lower")
        assert (np.abs(found - true) <= error * np.abs(true) * (1 + 1e-9) + 1e-9).all()
        if shape in {"room temperatures", "below zero", "coarse"}:  # no factor of 28 000
            assert error == pytest.approx(float(accuracy[:-1]) / 100)


def test_two_quantiles_of_one_sign_keep_the_error_between_ranks():
    x = np.random.default_rng(3).gamma(3, 2, 998)
    found, _, error = window({}, x)
    assert (np.abs(found - np.quantile(x, Q)) <= error * np.quantile(x, Q) * (1 + 1e-9)).all()


@given(st.lists(st.floats(-1e150, 1e150), min_size=1, max_size=60))
def test_error_is_kept_whatever_the_numbers(x):
    found, _, error = window({"q": [0, 1], "smallest": 1e-300}, x)
    for y, true in zip(found, (min(x), max(x)), strict=True):
        assert abs(y - true) <= error * abs(true) * (1 + 1e-6) + 1e-300
    assert min(x) <= found[0] <= found[1] <= max(x)


@given(st.lists(st.floats(-1e150, 1e150), min_size=1, max_size=80))
def test_exact_is_numpys_quantile(x):
    found, samples, error = window({"sketch": "exact"}, x)
    np.testing.assert_allclose(found, np.quantile(x, Q), rtol=1e-12, atol=1e-12 * max(map(abs, x)))
    assert (samples, error) == (len(x), 0)


def test_a_wild_sample_costs_accuracy_and_does_not_blur_the_rest():
    x = np.append(np.random.default_rng(4).normal(20, 1, 999), 1e9)
    found, _, error = window({"q": [0.5, 1]}, x)
    assert 0.01 < error < 0.025
    assert found[0] == pytest.approx(np.median(x), rel=error)
    assert found[1] == pytest.approx(1e9, rel=error)


def counts(step, series=0):
    """{(side, key): samples} of the open window, from the state."""
    state, found = step.state, Counter()
    for side, bins in enumerate((state.positive, state.negative)):
        for j in np.flatnonzero(bins[series]):
            found[side, int(state.base[series, side] + j)] = int(bins[series, j])
    found["zero"] = int(state.zeros[series])
    return found


def test_sketches_of_parts_add_up_to_the_sketch_of_all():
    rng = np.random.default_rng(5)
    # Each part alone needs its bins joined once, and so do all together.
    ends = [1e-4, 1e3, -1e-4, -1e3, 0.0]
    parts = [np.append(rng.normal(0, 1, 500) * 10.0 ** rng.uniform(-3, 2, 500), ends)] * 2
    parts[1] = rng.permutation(parts[1]) * np.where(rng.random(505) < 0.5, 1, -1)
    step = runner("quantile", {"window": "1h"})
    for series, x in enumerate((*parts, np.concatenate(parts))):
        feed_ns(step, x, BEGIN + np.arange(len(x)), series=series)
    assert set(step.state.level[:3]) == {1}
    assert counts(step, 0) + counts(step, 1) == counts(step, 2)


def test_order_of_samples_does_not_matter():
    rng = np.random.default_rng(6)
    x = rng.normal(0, 1, 300) * 10.0 ** rng.uniform(-6, 9, 300)
    told = [window({}, order) for order in (x, np.sort(x), np.sort(x)[::-1], rng.permutation(x))]
    for other in told[1:]:
        np.testing.assert_array_equal(other[0], told[0][0])
        assert other[1:] == told[0][1:]


def test_windows_are_those_of_the_clock_and_start_afresh():
    step = runner("quantile", {"window": "1m", "q": [1, 0]})
    t = BEGIN / SECOND + np.array([30, 59.9, 60, 200])
    out = feed(step, [5.0, 7.0, -3.0, 1.0], t)
    assert [s - BEGIN for s in out.start_ns] == [0, 60 * SECOND]
    assert [e - BEGIN for e in out.t_ns] == [60 * SECOND, 120 * SECOND]
    assert out.fields.tolist() == [[7, 5, 2, pytest.approx(0.01)], [-3, -3, 1, pytest.approx(0.01)]]
    assert out.quality.tolist() == [UNCERTAIN, GOOD]
    assert step.operator.fields(Quantile(window="1m", q=[0.5, 0.999])) == (
        "p50",
        "p99.9",
        "samples",
        "error",
    )


def test_a_sample_of_a_closed_window_is_counted_as_late():
    step = runner("quantile", {"window": "1h", "q": [0.5]})
    feed_ns(step, [1.0], [BEGIN])
    assert step.tick(np.array([BEGIN + HOUR - 1]), 1).size == 0
    assert step.tick(np.array([BEGIN + HOUR]), 1).size == 1
    assert feed_ns(step, [1.0], [BEGIN + 1]).size == 0
    assert step.counters()["late"] == 1
    assert step.tick(np.array([BEGIN + 2 * HOUR]), 1).size == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": "1m", "q": [0.5, 0.5]}, "names one quantile twice"),
        ({"window": "1m", "q": [95]}, "less than or equal to 1"),
        ({"window": "1m", "accuracy": 0.01}, "'1%', '2%'"),
        ({"window": "0s"}, "greater than 0"),
        ({"window": "1m", "sketch": "tdigest"}, "'ddsketch' or 'exact'"),
    ],
)
def test_what_cannot_be_asked_for(options, message):
    with pytest.raises(ValidationError, match=message):
        Quantile.model_validate(options)
