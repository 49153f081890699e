import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipelines.operator import load_all
from tests.operators.one_step import feed, runner

OPERATOR = load_all()["page_hinkley"]


def noise(n, seed=0, level=0.0):
    return np.random.default_rng(seed).normal(level, 1, n)


def signals(x, **options):
    out = feed(runner("page_hinkley", {"std": 1, **options}), x)
    return np.flatnonzero(np.abs(out.value) > options.get("threshold", 50))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"threshold": 20},
        {"threshold": 10, "delta": 0.2, "min_instances": 5},
        {"threshold": 8, "alpha": 0.95, "delta": 0},
    ],
)
def test_signals_are_those_of_river(seed, options):
    river = pytest.importorskip("river.drift")
    x = np.r_[noise(500, seed), noise(500, seed + 50, 2), noise(500, seed + 90, -1)]
    theirs = river.PageHinkley(**options)
    want = []
    for i, value in enumerate(x.tolist()):
        theirs.update(value)
        if theirs.drift_detected:
            want.append(i)
    ours = {"min_samples": options.get("min_instances", 30)} | options
    ours.pop("min_instances", None)
    assert signals(x, **ours).tolist() == want
    assert len(want) >= 2


@given(st.lists(st.integers(-40, 40), min_size=2, max_size=50), st.sampled_from([0, 0.125, 1]))
def test_without_forgetting_a_score_is_the_largest_of_any_stretch_that_ends_here(values, delta):
    x = np.array(values) / 8
    options = {"std": 1, "delta": delta, "alpha": 1, "min_samples": 1, "on_signal": "go_on"}
    out = feed(runner("page_hinkley", options), x)
    d = x - np.cumsum(x) / np.arange(1, x.size + 1)
    np.testing.assert_allclose(out.fields[:, 1], x - d, atol=1e-12)
    for i in range(x.size):
        up = max(np.sum(d[j : i + 1] - delta) for j in range(1, i + 2))
        down = max(np.sum(-d[j : i + 1] - delta) for j in range(1, i + 2))
        np.testing.assert_allclose(np.abs(out.value[i]), max(up, down), atol=1e-9)
        if abs(up - down) > 1e-9:
            assert (out.value[i] > 0) == (up > down) or out.value[i] == 0


@pytest.mark.parametrize(
    ("options", "each"),
    [({"threshold": 20}, 250), ({"threshold": 50}, 1600), ({"delta": 0.25}, 22_000)],
)
def test_false_alarms_of_noise_are_as_many_as_the_page_says(options, each):
    assert signals(noise(1_000_000), **options).size == pytest.approx(1e6 / each, rel=0.25)


def test_up_is_positive_and_down_is_negative():
    for shift in (3, -3):
        out = feed(runner("page_hinkley", {"std": 1}), np.r_[noise(100), shift + noise(100, 1)])
        signal = out.value[np.abs(out.value) > 50]
        assert (np.sign(signal) == np.sign(shift)).all()
        assert signal.size


def test_after_a_restart_the_new_mean_is_what_counts():
    x = np.r_[noise(200), 5 + noise(400, 1)]
    found = signals(x)
    assert found.size == 1
    assert 200 <= found[0] < 230
    assert signals(x, on_signal="go_on").size > 100


def test_no_score_before_min_samples_of_each_start():
    x = np.r_[np.zeros(50), np.full(60, 100.0)]
    out = feed(runner("page_hinkley", {"std": 1, "min_samples": 20}), x)
    assert np.isnan(out.value[:19]).all()
    assert np.isfinite(out.value[19:51]).all()
    assert out.value[50] > 50
    assert np.isnan(out.value[51:70]).all()
    assert (out.value[70:] == 0).all()


def test_the_deviation_is_learned_from_the_first_samples_alone():
    x = np.r_[noise(40, 1) * 3, noise(60, 2)]
    learned = feed(runner("page_hinkley", {"learn": 40}), x)
    given = feed(runner("page_hinkley", {"std": x[:40].std(ddof=1)}), x[40:])
    assert np.isnan(learned.value[:40]).all()
    np.testing.assert_allclose(learned.value[40:], given.value, rtol=1e-9)


@pytest.mark.parametrize("scale", [0.25, 1000])
def test_level_and_unit_do_not_matter_once_learned(scale):
    x = np.r_[noise(300), noise(100, 1, 1)]
    options = {"learn": 50, "min_std_share": 0}
    plain = feed(runner("page_hinkley", options), x).value
    other = feed(runner("page_hinkley", options), 700 + scale * x).value
    np.testing.assert_allclose(other, plain, rtol=1e-6, atol=1e-6)


def test_the_default_condition_and_what_cannot_be_meant():
    assert OPERATOR.condition(OPERATOR.params(threshold=9)).outside == (-9, 9)
    with pytest.raises(ValidationError, match="leave out `std`"):
        OPERATOR.params.model_validate({"std": 3, "on_signal": "relearn"})
