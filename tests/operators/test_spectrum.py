import numpy as np
import pytest
import scipy.signal
import scipy.stats
from pydantic import ValidationError

from pipelines.batch import BAD, GOOD, UNCERTAIN, samples
from pipelines.operators.spectrum import Spectrum
from tests.operators.one_step import feed, feed_ns, kept, runner
from tests.traffic import SECOND, START_NS

RMS, PEAK, CREST, KURTOSIS, DOMINANT, RATE, FIRST_BAND = range(7)
RATE_HZ = 2000.0
EVERY_NS = round(SECOND / RATE_HZ)


def measured(options, x, rate=RATE_HZ):
    """Fields of the spectra of evenly sampled x."""
    t = START_NS + round(SECOND / rate) * np.arange(len(x))
    return feed_ns(runner("spectrum", options), x, t)


def vibration(rng, n, rate=RATE_HZ):
    """A machine: two lines, an impact now and then, noise, and an offset."""
    t = np.arange(n) / rate
    x = 9.81 + 1.5 * np.sin(2 * np.pi * 49.7 * t) + 0.2 * np.sin(2 * np.pi * 333 * t + 1)
    return x + rng.normal(0, 0.3, n) + 4.0 * (rng.random(n) < 0.005)


@pytest.mark.parametrize("n", [16, 128, 1024, 4096])
@pytest.mark.parametrize("window", ["hann", "none"])
def test_each_line_is_that_of_scipys_welch(n, window):
    x = vibration(np.random.default_rng(n), n)
    scipys = {"hann": "hann", "none": "boxcar"}[window]
    lines, density = scipy.signal.welch(x, RATE_HZ, window=scipys, nperseg=n, noverlap=0)
    step_hz = RATE_HZ / n
    for first in range(0, n // 2 + 1, 16):
        some = range(first, min(first + 16, n // 2 + 1))
        # From between two lines to between the next two: each band has just one line.
        bands = [[max(0, (k - 0.5) * step_hz), (k + 0.5) * step_hz] for k in some]
        [fields] = measured({"n": n, "window": window, "bands": bands}, x).fields
        wanted = density[first : first + 16] * step_hz
        np.testing.assert_allclose(fields[FIRST_BAND:], wanted, rtol=1e-9, atol=1e-15)
    assert fields[DOMINANT] == pytest.approx(lines[1:][density[1:].argmax()])


def test_numbers_in_time_are_those_of_scipy():
    x = vibration(np.random.default_rng(1), 1024)
    [fields] = measured({}, x).fields
    z = x - x.mean()
    assert fields[RMS] == pytest.approx(np.std(x), rel=1e-12)
    assert fields[PEAK] == pytest.approx(np.abs(z).max(), rel=1e-12)
    assert fields[CREST] == pytest.approx(np.abs(z).max() / np.std(x), rel=1e-12)
    assert fields[KURTOSIS] == pytest.approx(scipy.stats.kurtosis(x, fisher=False), rel=1e-12)
    assert fields[RATE] == RATE_HZ


@pytest.mark.parametrize("scale", [1e-150, 1.0, 1e149])
def test_power_of_all_lines_is_the_variance(scale):
    """Parseval's theorem; with a window it holds for the tapered signal only."""
    x = scale * np.random.default_rng(2).normal(0, 1, 512)
    [fields] = measured({"n": 512, "window": "none", "bands": [[0, 2000]]}, x).fields
    assert fields[FIRST_BAND] == pytest.approx(fields[RMS] ** 2, rel=1e-12)
    assert fields[RMS] == pytest.approx(scale * np.std(x / scale), rel=1e-12)


@pytest.mark.parametrize("frequency", [100.0, 123.4, 640.7])
def test_a_sine_puts_half_its_squared_amplitude_into_its_band(frequency):
    t = np.arange(1024) / RATE_HZ
    x = 2.0 * np.sin(2 * np.pi * frequency * t) + np.random.default_rng(3).normal(0, 0.2, 1024)
    bands = [[frequency - 12, frequency + 12], [800, 900]]
    [fields] = measured({"bands": bands}, x).fields
    assert fields[FIRST_BAND] == pytest.approx(2.0, rel=0.02)
    assert fields[FIRST_BAND + 1] == pytest.approx(0.04 * 0.1, rel=0.5)  # of white noise, a tenth
    assert abs(fields[DOMINANT] - frequency) <= RATE_HZ / 1024


def test_known_shapes():
    square = np.tile([1.0, 1.0, -1.0, -1.0], 64)
    [fields] = measured({"n": 256}, square).fields
    assert fields[:FIRST_BAND].tolist() == [1, 1, 1, 1, RATE_HZ / 4, RATE_HZ]
    flat = measured({"n": 256}, np.full(256, 1e9 + 0.1))
    assert flat.value.tolist() == [0]
    assert flat.quality.tolist() == [GOOD]
    assert np.isnan(flat.fields[0, [CREST, KURTOSIS, DOMINANT]]).all()


def test_spectra_come_every_hop_of_the_samples_before():
    x = vibration(np.random.default_rng(4), 100)
    out = measured({"n": 32, "hop": 20}, x)
    ends = np.array([31, 51, 71, 91])
    assert ((out.t_ns - START_NS) / EVERY_NS).tolist() == ends.tolist()
    assert ((out.start_ns - START_NS) / EVERY_NS).tolist() == (ends - 31).tolist()
    np.testing.assert_allclose(out.value, [np.std(x[e - 31 : e + 1]) for e in ends], rtol=1e-12)


def test_uneven_times_are_refused_and_counted():
    x = vibration(np.random.default_rng(5), 64)
    step = runner("spectrum", {"n": 16, "jitter": 0.05})
    t = np.arange(64) / RATE_HZ
    t[20:] += 1 / RATE_HZ  # one sample was lost before this one
    t[33] += 0.2 / RATE_HZ
    t[50] += 0.04 / RATE_HZ
    out = feed(step, x, t)
    assert out.quality.tolist() == [GOOD, BAD, BAD, GOOD]
    assert np.isnan(out.value[1:3]).all()
    assert np.isnan(out.fields[1:3]).all()
    assert step.counters() == {"irregular": 2}


def test_a_given_rate_holds_where_times_are_coarse():
    x = vibration(np.random.default_rng(6), 256)
    coarse = START_NS + np.arange(256) // 20 * 20 * EVERY_NS  # twenty samples in a message
    assert feed_ns(runner("spectrum", {"n": 256}), x, coarse).quality.tolist() == [BAD]
    options = {"n": 256, "rate": RATE_HZ}
    told = feed_ns(runner("spectrum", options), x, coarse)
    np.testing.assert_array_equal(told.fields, measured({"n": 256}, x).fields)
    assert measured(options, x, rate=RATE_HZ / 2).quality.tolist() == [BAD]
    assert feed_ns(runner("spectrum", options), x, np.full(256, START_NS)).quality.tolist() == [BAD]


def test_unknown_samples_break_the_even_times():
    x = vibration(np.random.default_rng(7), 33)
    x[8] = np.nan
    out = measured({"n": 16}, x)
    assert out.quality.tolist() == [BAD, GOOD]


def test_an_uncertain_sample_makes_its_spectra_uncertain():
    t = START_NS + EVERY_NS * np.arange(64)
    batch = samples(np.zeros(64, np.int32), t, vibration(np.random.default_rng(8), 64))
    batch.quality[15] = UNCERTAIN
    out = kept(runner("spectrum", {"n": 16, "hop": 8}).run(batch))
    assert out.quality.tolist() == [UNCERTAIN, UNCERTAIN, *[GOOD] * 5]


def test_bands_without_a_line_are_not_known():
    x = vibration(np.random.default_rng(9), 64)
    options = {"n": 64, "bands": [[31.25, 31.26], [31.26, 31.3], [2000, 3000]]}
    [fields] = measured(options, x).fields
    assert fields[FIRST_BAND] > 0
    assert np.isnan(fields[FIRST_BAND + 1 :]).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 1000}, "512, 1024, 2048"),
        ({"n": 64, "hop": 65}, "hop 65 is more than n 64"),
        ({"hop": 10}, "at most 64 are allowed: take a hop of 16"),
        ({"bands": [[200, 100]]}, r"from < to, got \[200"),
        ({"rate": 100, "bands": [[60, 100]]}, "shows frequencies up to 50 Hz"),
        ({"bands": [[1, 2], [1, 2]]}, "one band twice"),
        ({"rate": 0}, "greater than 0"),
    ],
)
def test_what_cannot_be_asked_for(options, message):
    with pytest.raises(ValidationError, match=message):
        Spectrum.model_validate(options)
