import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipelines.operator import load_all
from pipelines.runlength import rank_scan_length
from tests.operators.one_step import feed, runner

stats = pytest.importorskip("scipy.stats")
OPERATOR = load_all()["change_point"]
NO_FLOOR = {"min_std": 1e-12, "min_std_share": 0}


def noise(n, seed=0, level=0.0, scale=1.0):
    return np.random.default_rng(seed).normal(level, scale, n)


@pytest.mark.parametrize(("before", "after"), [(2, 2), (16, 16), (30, 7), (5, 60), (33, 32)])
def test_a_score_is_welchs_t_of_scipy(before, after):
    x = np.r_[noise(150, 1, 40, 3), noise(100, 2, 44, 0.5), noise(150, 3, 1e6, 2)]
    out = feed(runner("change_point", {"before": before, "after": after} | NO_FLOOR), x)
    assert np.isnan(out.value[: before + after - 1]).all()
    for i in range(before + after - 1, x.size):
        new, old = x[i + 1 - after : i + 1], x[i + 1 - after - before : i + 1 - after]
        want = stats.ttest_ind(new, old, equal_var=False).statistic
        np.testing.assert_allclose(out.value[i], want, rtol=1e-7, atol=1e-7)
        np.testing.assert_allclose(out.fields[i, 1:3], [old.mean(), new.mean()], rtol=1e-12)


def test_scores_of_noise_are_as_many_as_students_t_says():
    out = feed(runner("change_point", {"before": 10, "after": 10} | NO_FLOOR), noise(80_000, 4))
    apart = out.value[19::20]
    assert stats.kstest(apart, "t", (18,)).pvalue > 0.01


@pytest.mark.parametrize("step", [3, -3])
def test_the_onset_is_where_the_step_was(step):
    found = []
    for seed in range(30):
        x = np.r_[noise(100, seed), noise(60, seed + 100, step)]
        out = feed(runner("change_point", {"before": 60, "after": 20}), x, 10.0 * np.arange(160))
        signal = np.flatnonzero(np.abs(out.value) > 6)
        assert np.sign(out.value[signal[0]]) == np.sign(step)
        ages = out.fields[signal, 3]
        found += (signal * 10 - ages).tolist()
    assert np.median(found) == 1000
    assert np.mean(np.abs(np.array(found) - 1000) <= 10) > 0.9


@given(st.lists(st.integers(-3, 3), min_size=8, max_size=40))
def test_the_onset_leaves_the_smallest_squares_around_two_means(values):
    x = np.r_[np.array(values, float), 50.0, 51.0]
    options = {"before": x.size - 2, "after": 2, "k": 1e-6, "min_std": 1e-3}
    out = feed(runner("change_point", options), x)
    at = round(x.size - 1 - out.fields[-1, 3])
    rest = [x[:j].var() * j + x[j:].var() * (x.size - j) for j in range(1, x.size)]
    assert rest[at - 1] == pytest.approx(min(rest), abs=1e-9)
    assert np.isnan(out.fields[:-1, 3]).all()


def test_a_change_is_seen_while_it_is_between_the_windows_and_then_forgotten():
    x = np.r_[noise(200), noise(300, 1, 5)]
    beyond = np.flatnonzero(np.abs(feed(runner("change_point", {}), x).value) > 6)
    assert 203 < beyond[0] < 235
    assert 280 < beyond[-1] < 320
    assert (np.diff(beyond) == 1).all()


def test_one_wild_sample_is_no_change():
    x = noise(400)
    x[200] = 1e9
    assert np.nanmax(np.abs(feed(runner("change_point", {}), x).value)) < 6


def test_a_difference_that_does_not_matter_is_none():
    x = np.r_[np.zeros(20), np.full(20, 0.5)]
    options = {"before": 10, "after": 10, "min_std": 0.01}
    small = feed(runner("change_point", options | {"min_effect": 0.51}), x)
    assert (small.value[19:] == 0).all()
    enough = feed(runner("change_point", options | {"min_effect": 0.5}), x)
    np.testing.assert_allclose(enough.value[29], 0.5 / (0.01 * np.sqrt(0.2)))
    assert (enough.value[19:29] == 0).all()


def test_windows_that_stand_still_keep_exactly_no_difference():
    x = np.r_[noise(50, 1, 1e6), np.full(100, 1e6 + 0.1)]
    out = feed(runner("change_point", {"before": 20, "after": 20}), x)
    assert (out.value[90:] == 0).all()


def test_a_wild_sample_takes_no_digits_with_it():
    x = noise(300, 5, 1e6)
    x[100] = 1e13
    out = feed(runner("change_point", {"before": 20, "after": 20} | NO_FLOOR), x)
    for i in (120, 140, 141, 200):
        want = stats.ttest_ind(x[i - 19 : i + 1], x[i - 39 : i - 19], equal_var=False).statistic
        np.testing.assert_allclose(out.value[i], want, rtol=1e-7)


@pytest.mark.parametrize(("before", "after"), [(16, 16), (30, 12), (20, 60)])
def test_ks_is_that_of_scipy(before, after):
    x = np.r_[noise(150, 1, 40, 3), noise(100, 2, 40, 0.5), np.round(noise(150, 3, 41, 2))]
    options = {"test": "ks", "before": before, "after": after, "k": 3}
    out = feed(runner("change_point", options), x)
    assert np.isnan(out.value[: before + after - 1]).all()
    for i in range(before + after - 1, x.size):
        new, old = x[i + 1 - after : i + 1], x[i + 1 - after - before : i + 1 - after]
        want = stats.ks_2samp(old, new, method="asymp")
        scale = 2 * np.sqrt(before * after / (before + after))
        assert abs(out.value[i]) == pytest.approx(scale * want.statistic, abs=1e-12)
        one_sided = [stats.ks_2samp(old, new, a, "asymp").statistic for a in ("greater", "less")]
        if one_sided[0] != pytest.approx(one_sided[1]):
            assert (out.value[i] > 0) == (one_sided[0] > one_sided[1])


@pytest.mark.parametrize("scale", [6, 1 / 6])
def test_ks_sees_that_the_spread_changed_and_when(scale):
    found = []
    for seed in range(20):
        x = np.r_[noise(150, seed), noise(100, seed + 50, scale=scale)]
        options = {"before": 60, "after": 60, "k": 4}
        assert np.nanmax(np.abs(feed(runner("change_point", options), x).value)) < 6
        out = feed(runner("change_point", options | {"test": "ks"}), x, 10.0 * np.arange(250))
        first = np.flatnonzero(np.abs(out.value) > 4)[0]
        found.append(first - out.fields[first, 3] / 10)
    assert np.median(found) == pytest.approx(150, abs=8)


@pytest.mark.parametrize(("limit", "before", "after"), [(4, 60, 60), (4, 30, 90)])
def test_ks_of_noise_signals_about_as_seldom_as_theory_says(limit, before, after):
    options = {"test": "ks", "before": before, "after": after, "k": limit}
    size = np.abs(feed(runner("change_point", options), noise(400_000, 9)).value)
    signals, armed = 0, True
    for score in size[np.isfinite(size)]:
        signals += armed and score > limit
        armed = score < limit / 2 or (armed and score <= limit)
    assert 0.5 < size.size / signals / rank_scan_length(before, after, limit) < 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"before": 1001}, "at most 1000 samples"),
        ({"min_effect": 1}, "take `test: welch`"),
        ({"before": 18, "after": 18}, "never above k 6: take longer windows"),
    ],
)
def test_what_ks_cannot_do(options, message):
    with pytest.raises(ValidationError, match=message):
        OPERATOR.params.model_validate({"test": "ks"} | options)


def test_the_default_condition():
    assert OPERATOR.condition(OPERATOR.params(k=7)).outside == (-7, 7)
