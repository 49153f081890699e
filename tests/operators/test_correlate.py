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

OPERATOR = load_all()["correlate"]
SIDES = {"left": "flow", "right": "power"}
QUICK = SIDES | {"halflife": "10s", "baseline_halflife": "100s", "min_pairs": 3}


def pairs(step, x, y, times=None):
    """One row of output per pair of samples of the same time."""
    t = np.arange(len(x)) if times is None else np.asarray(times, float)
    t = np.repeat(np.rint(t * SECOND).astype(np.int64), 2)
    both = np.ravel(np.column_stack((x, y)))
    rows = samples(np.zeros(both.size, np.int32), t + SECOND, both)
    slot = np.tile([0, 1], len(x)).astype(np.int32)
    return kept(step.run(GroupedBatch(*rows, slot, slot)))


def noise(n, seed, share=0.7):
    rng = np.random.default_rng(seed)
    x = np.cumsum(rng.normal(0, 1, n))
    return x, share * x + rng.normal(0, 1, n)


@pytest.mark.parametrize("halflife", [3, 10, 200])
def test_it_is_pandas(halflife):
    pd = pytest.importorskip("pandas")
    x, y = noise(500, halflife)
    options = QUICK | {"halflife": f"{halflife}s", "baseline_halflife": "1000s"}
    out = pairs(runner("correlate", options), x, y)
    r = pd.Series(x).ewm(halflife=halflife).corr(pd.Series(y)).to_numpy()
    usual = pd.Series(x).ewm(halflife=1000).corr(pd.Series(y)).shift(1).to_numpy()
    np.testing.assert_allclose(out.fields[10:, 0], r[10:], atol=1e-9)
    np.testing.assert_allclose(out.fields[10:, 1], usual[10:], atol=1e-9)
    np.testing.assert_allclose(out.value[10:], (r - usual)[10:], atol=1e-9)


def test_at_irregular_times_it_is_numpys_weighted_covariance():
    rng = np.random.default_rng(1)
    times = np.cumsum(rng.exponential(4, 300).round(3) + 0.001)
    x, y = noise(300, 2)
    out = pairs(runner("correlate", QUICK | {"halflife": "30s"}), x + 1e4, y, times)
    for i in range(20, 300, 7):
        w = np.exp2(-(times[i] - times[: i + 1]) / 30)
        c = np.cov(x[: i + 1], y[: i + 1], aweights=w)
        assert out.fields[i, 0] == pytest.approx(c[0, 1] / np.sqrt(c[0, 0] * c[1, 1]), abs=1e-9)


@given(st.integers(0, 999), st.sampled_from([-4, 0.5, 2]), st.integers(-8, 8))
def test_scale_changes_nothing_and_sign_only_the_sign(seed, scale, shift):
    rng = np.random.default_rng(seed)
    x, y = rng.integers(-99, 99, (2, 30)) / 8
    step = {"min_std_share": 0}
    a = pairs(runner("correlate", QUICK | step), x, y).fields[:, 0]
    c = pairs(runner("correlate", QUICK | step), x * scale + shift, y).fields[:, 0]
    swapped = pairs(runner("correlate", QUICK | step), y, x).fields[:, 0]
    np.testing.assert_allclose(c, a * np.sign(scale), atol=1e-9)
    np.testing.assert_allclose(swapped, a, atol=1e-12)


def test_a_pump_that_runs_dry_is_found_with_the_defaults_and_a_usual_week_is_not():
    rng = np.random.default_rng(7)
    n = 7 * 1440
    day = np.sin(np.arange(n) / 1440 * 2 * np.pi)
    flow = 50 + 10 * day + np.convolve(rng.normal(0, 6, n), np.ones(5) / 5, "same")
    power = 3 + 0.12 * flow + rng.normal(0, 0.05, n)
    times = 60.0 * np.arange(n)
    usual = pairs(runner("correlate", SIDES), flow, power, times)
    assert not (np.abs(usual.value[100:]) > 0.5).any()
    assert np.isfinite(usual.value[100:]).all()
    power[6000:] = 9 + rng.normal(0, 0.05, n - 6000)
    broken = pairs(runner("correlate", SIDES), flow, power, times).value
    first = 6000 + int(np.argmax(broken[6000:] < -0.5))
    assert 6000 < first < 6150  # some halflives of 30 min


def test_a_flat_series_and_too_few_pairs_have_no_correlation():
    x, _ = noise(30, 1)
    out = pairs(runner("correlate", QUICK), x, np.full(30, 7.5))
    assert np.isnan(out.value).all()
    out = pairs(runner("correlate", QUICK | {"min_pairs": 5}), *noise(30, 1))
    known = np.isfinite(out.fields[:, 0])
    w = np.exp2(-np.arange(30) / 10)
    amounts = [w[:i].sum() ** 2 / (w[:i] ** 2).sum() >= 5 for i in range(1, 31)]
    assert known.tolist() == amounts


def test_after_a_long_silence_two_pairs_are_no_correlation():
    x, y = noise(60, 3)
    times = np.r_[np.arange(50), 5000 + np.arange(10)]
    out = pairs(runner("correlate", QUICK), x, y, times)
    assert np.isnan(out.fields[50:52, 0]).all()
    assert np.isfinite(out.fields[55:, 0]).all()


def test_an_instant_is_told_once_both_are_there_or_time_goes_on():
    step = runner("correlate", QUICK | {"max_age": "5s"})
    assert feed(step, [1], [1], slot=0).size == 0
    assert feed(step, [1], [1], slot=1).t_ns.tolist() == [SECOND]
    assert feed(step, [2], [2], slot=1).size == 0
    assert clock(step, 2).size == 0
    assert clock(step, 2.1).t_ns.tolist() == [2 * SECOND]
    assert clock(step, 3).size == 0
    assert feed(step, [9], [2], slot=0).size == 0
    assert step.counters() == {"late": 1}
    assert feed(step, [3], [3], slot=1).size == 0
    assert feed(step, [3], [4], slot=0).t_ns.tolist() == [3 * SECOND]


def test_what_is_unknown_or_old_makes_no_pair():
    x, y = noise(40, 5)
    step = runner("correlate", QUICK | {"max_age": "5s"})
    whole = runner("correlate", QUICK | {"max_age": "5s"})
    y[20] = np.nan
    out = pairs(step, x, y)
    keep = np.arange(40) != 20
    want = pairs(whole, x[keep], y[keep], np.arange(40)[keep])
    assert np.isnan(out.value[20])
    np.testing.assert_array_equal(out.value[keep], want.value)
    feed(step, [1], [50], slot=0)
    assert np.isnan(clock(step, 51).fields[0, 0])  # the other one's last sample is 10 s old


def test_a_given_baseline_counts_from_the_start():
    x, y = noise(40, 5)
    out = pairs(runner("correlate", QUICK | {"baseline": 0.25, "drop": 0.5}), x, y)
    np.testing.assert_array_equal(out.value, out.fields[:, 0] - 0.25)
    assert out.fields[9, 1:].tolist() == [0.25, -0.25, 0.75]


def test_sides_are_channels_of_a_device_or_devices():
    params = OPERATOR.params.model_validate(SIDES)
    labels = make_labels({"device": "b7", "site": "n", "channel": "flow"})
    assert OPERATOR.regroup(params, labels, ()) == (make_labels({"device": "b7", "site": "n"}), 0)
    other = make_labels({"device": "b7", "site": "n", "channel": "t"})
    assert OPERATOR.regroup(params, other, ()) is None
    twins = OPERATOR.params.model_validate({"of": "device", "left": "b6", "right": "b7"})
    group = make_labels({"site": "n", "channel": "flow"})
    assert OPERATOR.regroup(twins, labels, ("site",)) == (group, 1)


@pytest.mark.parametrize(
    "options",
    [
        {"left": "a", "right": "a"},
        SIDES | {"halflife": "1h", "baseline_halflife": "1h"},
        SIDES | {"baseline": 1.5},
    ],
)
def test_what_cannot_be_meant_is_refused(options):
    with pytest.raises(ValidationError):
        OPERATOR.params.model_validate(options)


def test_the_alert_is_that_of_the_device():
    made = graph({"dry": {"from": "boilers", "steps": [{"correlate": QUICK}], "alert": {}}})
    x, y = noise(200, 9, share=5)
    y[150:] = -y[150:]
    rows = [
        (t, b("b1", channel), value)
        for t in range(200)
        for channel, value in (("flow", x[t]), ("power", y[t]))
    ]
    told = short(Feed(made).send(rows))
    assert [t[:3] for t in told if t[1] == "active"] == [("dry", "active", "b1")]
    assert 150 <= told[0][3] < 175
