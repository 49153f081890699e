import math
import statistics

from tests.naive import Row

CASES = (
    ({"n": 9, "k": 3, "min_samples": 4}, {"n": 40, "replace": "null", "k": 2.5}),
    ({"n": 4, "k": 2, "min_samples": 1, "min_mad": 0.5, "min_mad_share": 0},),
)


def naive(params, events):
    past = []
    for e in events:
        if not hasattr(e, "value"):
            continue
        if not e.known:
            yield Row(e.t_ns, e.t_ns, math.nan, 2)
            continue
        y, quality, past = e.value, e.quality, past[-params.n :]
        if len(past) >= params.min_samples:
            median = statistics.median(past)
            mad = statistics.median(abs(x - median) for x in past) / 0.6744897501960817
            mad = max(mad, params.min_mad, params.min_mad_share * abs(median))
            if abs(e.value - median) > params.k * mad:
                null = params.replace == "null"
                y, quality = (math.nan, 2) if null else (median, max(quality, 1))
        past.append(e.value)
        yield Row(e.t_ns, e.t_ns, y, quality)
