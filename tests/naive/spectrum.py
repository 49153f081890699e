import numpy as np

from tests.naive import Row

CASES = (
    (
        {"n": 16, "hop": 3, "rate": 0.5, "jitter": 0.9, "bands": [[0, 0.1], [0.2, 0.25]]},
        {"n": 64, "hop": 16, "rate": 0.6, "jitter": 1, "window": "none"}
        | {"bands": [[0.1, 0.3], [0.1501, 0.1502]]},
    ),
    ({"n": 32, "hop": 1}, {"n": 16, "jitter": 1}),
)
RTOL = 1e-8  # squares of what is left of lines that nearly cancel


def naive(params, events):
    known = [e for e in events if hasattr(e, "value") and e.known]
    n = params.n
    for start in range(0, len(known) - n + 1, params.hop or n):
        block = known[start : start + n]
        rate = rate_of(params, [e.t_ns for e in block])
        fields, quality = (np.nan,) * (6 + len(params.bands)), 2
        if rate is not None:
            fields = numbers(params, np.array([e.value for e in block]), rate)
            quality = max(e.quality for e in block)
        yield Row(block[-1].t_ns, block[0].t_ns, fields[0], quality, fields)


def rate_of(params, times):
    gap = (times[-1] - times[0]) / (params.n - 1)
    if gap == 0:
        return None
    if params.rate:
        return params.rate if abs(gap / 1e9 * params.rate - 1) <= params.jitter else None
    return 1e9 / gap if (np.abs(np.diff(times) - gap) <= params.jitter * gap).all() else None


def numbers(params, x, rate):
    n, z = params.n, x - (x[0] + np.mean(x - x[0]))
    i = np.arange(n)
    taper = 0.5 - 0.5 * np.cos(2 * np.pi * i / n) if params.window == "hann" else np.ones(n)
    density = np.abs(np.fft.rfft(taper * z)) ** 2 / (rate * np.sum(taper**2))
    density[1:-1] *= 2
    lines = np.arange(n // 2 + 1) * rate / n
    bands = []
    for low, high in params.bands:
        inside = (low <= lines) & (lines < high)
        bands.append(np.sum(density[inside]) * rate / n if inside.any() else np.nan)
    peak = np.abs(z).max()
    if peak == 0:
        return (0.0, 0.0, np.nan, np.nan, np.nan, rate, *bands)
    rms = np.sqrt(np.mean(z**2))
    above = density[1:]
    strongest = lines[1 + np.flatnonzero(above * (1 + 1e-9) >= above.max())[0]]
    return (rms, peak, peak / rms, np.mean(z**4) / np.mean(z**2) ** 2, strongest, rate, *bands)
