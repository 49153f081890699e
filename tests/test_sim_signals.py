"""Simulated signals: the right statistics, and the same numbers however time is cut."""

import numpy as np
import pytest
from pydantic import ValidationError
from scipy import signal, stats

from device_sim.signals import HOUR, Part, Signals

SECOND = 1_000_000_000


def make(parts, *, count=1, every_ns=SECOND, seed=3, channels=None):
    """Signals of one channel `x`, or of several."""
    channels = channels or {"x": parts}
    models = {
        name: tuple(Part.model_validate(part) for part in listed)
        for name, listed in channels.items()
    }
    return Signals(models, seed=seed, fleet="f", count=count, every_ns=every_ns)


def times(n, *, count=1, every_ns=SECOND, first=0):
    return np.tile(np.arange(first, first + n, dtype=np.int64) * every_ns, (count, 1))


def values(parts, n, **options):
    count, every_ns = options.get("count", 1), options.get("every_ns", SECOND)
    return make(parts, **options).block(times(n, count=count, every_ns=every_ns))["x"]


ALL = {
    "x": [
        {"constant": {"value": 5, "spread": 2}},
        {"sine": {"amplitude": 1, "period": "7s"}},
        {"diurnal": {"amplitude": 3}},
        {"ramp": {"by": 2, "over": "50s", "repeat": True}},
        {"ar1": {"std": 1, "memory": "10s"}},
        {"random_walk": {"std": 4, "per": "10s", "within": 3}},
        {"noise": 0.5},
        {"vibration": {"frequency": 0.31, "amplitudes": [1, 0.5]}},
        {"duty_cycle": {"high": 3, "on": "9s", "off": "4s", "jitter": 0.4}},
        {"quantise": 0.25},
    ],
    "y": [{"correlated": {"channel": "x", "gain": -2, "lag": "5s", "noise": 0.1}}],
}


@pytest.mark.parametrize("cut", [1, 3, 5, 6, 64])
def test_numbers_do_not_depend_on_the_size_of_blocks(cut):
    whole = make(None, channels=ALL, count=3).block(times(200, count=3))
    signals = make(None, channels=ALL, count=3)
    blocks = [
        signals.block(times(min(cut, 200 - first), count=3, first=first))
        for first in range(0, 200, cut)
    ]
    for name in ALL:
        np.testing.assert_array_equal(
            np.concatenate([block[name] for block in blocks], axis=1), whole[name]
        )


def test_a_new_channel_or_device_leaves_the_others_as_they_were():
    small = make(None, channels={"x": ALL["x"]}, count=2).block(times(50, count=2))
    large = make(None, channels={"w": [{"noise": 1}], **ALL}, count=5).block(times(50, count=5))
    np.testing.assert_array_equal(large["x"][:2], small["x"])


def test_devices_channels_and_seeds_are_independent():
    channels = {"x": [{"noise": 1}], "y": [{"noise": 1}]}
    block = make(None, channels=channels, count=2).block(times(4000, count=2))
    other = make(None, channels=channels, count=2, seed=4).block(times(4000, count=2))
    rows = np.vstack([block["x"], block["y"], other["x"]])
    off_diagonal = np.corrcoef(rows) - np.eye(rows.shape[0])
    assert np.abs(off_diagonal).max() < 4 / np.sqrt(4000)


def test_ar1_has_its_deviation_and_its_memory():
    x = values([{"ar1": {"std": 2.0, "memory": "10s"}}], 2000, count=200)
    rho = np.exp(-0.1)
    for lag in (1, 5, 10, 20):
        # Each device is one independent estimate: a confidence interval without any theory.
        a, b = x[:, :-lag], x[:, lag:]
        each = (a * b).mean(axis=1) / 4.0
        low, high = stats.t.interval(0.9999, 199, each.mean(), stats.sem(each))
        assert low < rho**lag < high
    assert x[:, 0].std() == pytest.approx(2.0, rel=0.2)  # from the first sample on


def test_noise_is_white_and_normal():
    x = values([{"noise": {"std": 3.0}}], 20_000)[0]
    assert stats.kstest(x / 3.0, "norm").pvalue > 1e-4
    _, power = signal.welch(x, nperseg=256)
    assert power[1:-1].max() / power[1:-1].min() < 4


def test_vibration_has_its_lines_and_nothing_else():
    rate = 200
    parts = [{"vibration": {"frequency": 12.5, "amplitudes": [2.0, 0.0, 0.5]}}]
    x = values(parts, 8 * rate, every_ns=SECOND // rate)[0]
    amplitude = 2 * np.abs(np.fft.rfft(x)) / x.size
    frequency = np.fft.rfftfreq(x.size, 1 / rate)
    lines = {12.5: 2.0, 37.5: 0.5}
    for hertz, size in lines.items():
        assert amplitude[frequency == hertz][0] == pytest.approx(size, abs=1e-6)
    rest = ~np.isin(frequency, list(lines))
    assert amplitude[rest].max() < 1e-6


def test_sine_keeps_its_phase_for_years():
    period = 7 * SECOND
    first = 40 * 365 * 86_400 // 7 * 7  # a whole number of periods, 40 years on
    parts = [{"sine": {"amplitude": 1, "period": "7s", "phase": 0.1}}]
    late = make(parts).block(times(70, first=first))["x"]
    assert (first * SECOND) % period == 0
    np.testing.assert_array_equal(late, values(parts, 70))


def test_diurnal_is_highest_at_its_peak():
    x = values([{"diurnal": {"amplitude": 4, "peak": "15h"}}], 24, every_ns=HOUR)[0]
    assert x.argmax() == 15
    assert x.max() == pytest.approx(4)


def test_random_walk_spreads_with_the_root_of_time_and_keeps_its_limits():
    free = values([{"random_walk": {"std": 1, "per": "1s"}}], 400, count=2000)
    assert free[:, 99].std() == pytest.approx(10, rel=0.1)
    assert free[:, 399].std() == pytest.approx(20, rel=0.1)
    held = values([{"random_walk": {"std": 1, "per": "1s", "within": 4}}], 400, count=50)
    assert np.abs(held).max() <= 4
    assert held.std() == pytest.approx(8 / np.sqrt(12), rel=0.1)  # even over [-4, 4]


def test_duty_cycle_has_two_levels_in_their_shares():
    x = values(
        [{"duty_cycle": {"high": 9, "low": 2, "on": "30s", "off": "10s", "jitter": 0.2}}],
        4000,
        count=20,
    )
    assert set(np.unique(x)) == {2.0, 9.0}
    assert (x == 9).mean() == pytest.approx(0.75, abs=0.02)


def test_correlated_follows_with_gain_and_lag():
    channels = {
        "y": [{"correlated": {"channel": "x", "gain": 3, "lag": "4s"}}],
        "x": [{"noise": 1}],
    }
    block = make(None, channels=channels).block(times(50))
    np.testing.assert_array_equal(block["y"][0, 4:], 3 * block["x"][0, :-4])
    np.testing.assert_array_equal(block["y"][0, :4], np.full(4, 3 * block["x"][0, 0]))


def test_quantise_leaves_whole_steps():
    x = values([{"noise": 5}, {"quantise": 0.5}], 500)
    np.testing.assert_array_equal(x * 2, np.round(x * 2))
    assert np.unique(x).size > 10


def test_ramp_rises_once_or_again():
    once = values([{"ramp": {"by": 10, "over": "10s"}}], 25)[0]
    again = values([{"ramp": {"by": 10, "over": "10s", "repeat": True}}], 25)[0]
    np.testing.assert_allclose(once, np.minimum(np.arange(25), 10))
    np.testing.assert_allclose(again, np.arange(25) % 10)


@pytest.mark.parametrize("part", [{}, {"noise": 1, "quantise": 1}, {"noise": None}, {"nois": 1}])
def test_a_part_is_exactly_one_thing(part):
    with pytest.raises(ValidationError):
        Part.model_validate(part)


@pytest.mark.parametrize(
    ("channels", "text"),
    [
        ({"x": [{"correlated": {"channel": "z"}}]}, "is not a channel here"),
        (
            {
                "x": [{"correlated": {"channel": "y"}}],
                "y": [{"correlated": {"channel": "x"}}],
            },
            "in a circle",
        ),
    ],
)
def test_channels_that_follow_nothing_or_each_other_are_refused(channels, text):
    with pytest.raises(ValueError, match=text):
        make(None, channels=channels)
