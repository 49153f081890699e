import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipelines.batch import GroupedBatch, samples
from pipelines.chi import quantile
from pipelines.operator import load_all
from pipelines.series import make_labels
from tests.graphs import Feed, b, graph, short
from tests.operators.one_step import SECOND, clock, feed, kept, runner

OPERATOR = load_all()["mahalanobis"]
NAMES = [f"c{i}" for i in range(16)]
PLAIN = {"on_anomaly": "learn", "shrink": 1e-9, "min_std_share": 0, "min_samples": 20}


def options(d, **more):
    return {"channels": NAMES[:d], "halflife": "200s", **PLAIN, **more}


def instants(step, values, times=None):
    """One row of output per row of values (instants, channels)."""
    n, d = values.shape
    t = np.arange(n) if times is None else np.asarray(times, float)
    t_ns = np.repeat(np.rint((t + 1) * SECOND).astype(np.int64), d)
    slot = np.tile(np.arange(d), n).astype(np.int32)
    rows = samples(np.zeros(n * d, np.int32), t_ns, values.ravel())
    return kept(step.run(GroupedBatch(*rows, slot, slot)))


def mixed(n, d, seed):
    rng = np.random.default_rng(seed)
    return rng.normal(0, 1, (n, d)) @ rng.normal(0, 1, (d, d)) + rng.normal(0, 9, d)


@pytest.mark.parametrize("d", [2, 3, 7, 16])
def test_it_is_scipys_distance_from_numpys_weighted_covariance(d):
    distance = pytest.importorskip("scipy.spatial.distance").mahalanobis
    x = mixed(300, d, d)
    times = np.cumsum(np.random.default_rng(d).exponential(2, 300).round(3) + 0.001)
    out = instants(runner("mahalanobis", options(d)), x, times)
    for i in (80, 150, 299):
        w = np.exp2((times[:i] - times[i]) / 200)
        mean, cov = np.average(x[:i], axis=0, weights=w), np.cov(x[:i].T, aweights=w)
        assert out.value[i] == pytest.approx(distance(x[i], mean, np.linalg.inv(cov)), rel=1e-6)
        np.testing.assert_allclose(out.fields[i, 1:], (x[i] - mean) / np.sqrt(np.diag(cov)))


def test_without_forgetting_it_is_the_plain_covariance():
    x = mixed(400, 4, 1)
    out = instants(runner("mahalanobis", options(4, halflife="10000d")), x)
    for i in (50, 399):
        z = x[i] - x[:i].mean(axis=0)
        want = np.sqrt(z @ np.linalg.solve(np.cov(x[:i].T), z))
        assert out.value[i] == pytest.approx(want, rel=1e-6)


@pytest.mark.parametrize("share", [0.5, 0.1, 1e-3, 1e-6, 1e-15])
def test_the_limit_is_scipys_chi_square_quantile(share):
    chi2 = pytest.importorskip("scipy.stats").chi2
    for d in range(1, 17):
        assert quantile(share, d) == pytest.approx(np.sqrt(chi2.isf(share, d)), rel=1e-12)


@pytest.mark.parametrize("d", [2, 5, 9])
def test_of_normal_noise_so_many_are_beyond_as_were_asked_for(d):
    stats = pytest.importorskip("scipy.stats")
    x = mixed(20_000, d, 5)
    out = instants(runner("mahalanobis", options(d, halflife="5000s", p=0.01)), x)
    scores = out.value[5000:]
    assert (scores > out.fields[0, 0]).mean() == pytest.approx(0.01, rel=0.3)
    assert stats.kstest(scores**2, stats.chi2(d).cdf).statistic < 0.02


@given(st.integers(0, 999))
def test_any_affine_map_of_the_channels_changes_no_distance(seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 1, (60, 3))
    turn = np.linalg.qr(rng.normal(0, 1, (3, 3)))[0] @ np.diag(rng.uniform(0.5, 2, 3))
    a = instants(runner("mahalanobis", options(3)), x).value
    c = instants(runner("mahalanobis", options(3)), x @ turn + rng.normal(0, 9, 3)).value
    np.testing.assert_allclose(c[25:], a[25:], rtol=1e-5)


def test_what_is_usual_alone_and_not_together_is_found_with_the_defaults():
    rng = np.random.default_rng(3)
    flow = 50 + np.cumsum(rng.normal(0, 0.3, 5000)) % 20 + rng.normal(0, 0.2, 5000)
    x = np.column_stack((flow, 3 + 0.1 * flow + rng.normal(0, 0.05, 5000), rng.normal(20, 1, 5000)))
    step = runner("mahalanobis", {"channels": NAMES[:3]})
    out = instants(step, x, 60.0 * np.arange(5000))
    usual = out.value[~np.isnan(out.value)]
    assert usual.size > 4800
    assert not (usual > out.fields[0, 0]).any()
    leak = np.array([[x[:, 0].max() - 2, x[:, 1].min() + 0.2, 20]])
    found = instants(step, leak, [60.0 * 5000])
    assert found.value[0] > found.fields[0, 0]
    assert (np.abs(found.fields[0, 1:]) < 3).all()


def test_how_much_is_learned_of_the_unusual():
    x = np.vstack((mixed(200, 3, 4), mixed(200, 3, 4) + 1000))
    beyond = {}
    for how in ("learn", "clip", "freeze"):
        step = runner("mahalanobis", options(3, halflife="50s", on_anomaly=how, p=1e-6))
        out = instants(step, x)
        beyond[how] = int((out.value[200:] > out.fields[0, 0]).sum())
    assert beyond["learn"] < beyond["clip"]
    assert beyond["freeze"] == 200


def test_channels_that_follow_each_other_or_stand_still_have_a_distance():
    x = mixed(200, 3, 6)
    x[:, 1], x[:, 2] = 2 * x[:, 0], 7.5
    out = instants(runner("mahalanobis", options(3, shrink=0.01, min_std=0.1)), x)
    assert np.isfinite(out.value[30:]).all()
    assert out.value[30:].max() < 10
    x[150, 2] = 8.5
    out = instants(runner("mahalanobis", options(3, shrink=0.01, min_std=0.1)), x)
    assert out.fields[150, 3] == pytest.approx(10)
    assert out.value[150] > 9


def test_a_wild_value_has_a_large_score_and_the_rest_is_well():
    x = mixed(200, 3, 7)
    x[100, 1], x[120, 0] = 1e140, 1e200
    out = instants(runner("mahalanobis", options(3, on_anomaly="clip")), x)
    assert 1e130 < out.value[100] < np.inf
    assert np.isnan(out.value[120])  # too large to be known
    rest = np.delete(out.value, [100, 120])[30:]
    assert rest.max() < 10


def test_an_instant_is_told_once_all_are_there_or_time_goes_on():
    step = runner("mahalanobis", options(3))
    assert feed(step, [1], [1], slot=0).size == 0
    assert feed(step, [1], [1], slot=2).size == 0
    assert feed(step, [1], [1], slot=1).t_ns.tolist() == [SECOND]
    assert feed(step, [1], [2], slot=1).size == 0
    assert clock(step, 2).size == 0
    assert clock(step, 2.5).t_ns.tolist() == [2 * SECOND]
    assert feed(step, [1], [2], slot=0).size == 0
    assert step.counters() == {"late": 1}


def test_the_last_value_stands_for_a_channel_until_it_is_too_old():
    x = mixed(60, 2, 8)
    step = runner("mahalanobis", options(2, max_age="10s"))
    instants(step, x)
    feed(step, [x[0, 0]], [65], slot=0)
    assert np.isfinite(clock(step, 66).value).all()
    feed(step, [x[0, 0]], [71], slot=0)
    assert np.isnan(clock(step, 72).value).all()
    feed(step, [x[0, 0]], [73], slot=0)
    assert np.isnan(feed(step, [np.nan], [73], slot=1).value).all()


def test_slots_are_channels_of_a_device():
    params = OPERATOR.params.model_validate({"channels": ["flow", "power"]})
    labels = make_labels({"device": "b7", "site": "n", "channel": "power"})
    assert OPERATOR.regroup(params, labels, ()) == (make_labels({"device": "b7", "site": "n"}), 1)
    assert OPERATOR.regroup(params, make_labels({"channel": "t"}), ()) is None
    assert OPERATOR.regroup(params, make_labels({"device": "b7"}), ()) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"channels": ["a"]},
        {"channels": ["a", "a"]},
        {"channels": [*NAMES, "more"]},
        {"channels": ["a", "b"], "k": 5, "p": 0.01},
    ],
)
def test_what_cannot_be_meant_is_refused(wrong):
    with pytest.raises(ValidationError):
        OPERATOR.params.model_validate(wrong)


def test_the_alert_is_that_of_the_device():
    step = {"mahalanobis": {"channels": ["x", "y"], "halflife": "100s", "min_samples": 50}}
    made = graph({"odd": {"from": "boilers", "steps": [step], "alert": {}}})
    x = np.random.default_rng(9).normal(0, 1, 200)
    y = x + np.random.default_rng(8).normal(0, 0.1, 200)
    y[180] -= 2
    rows = [(t, b("b1", name), v[t]) for t in range(200) for name, v in (("x", x), ("y", y))]
    assert short(Feed(made).send(rows))[0] == ("odd", "active", "b1", 180)
