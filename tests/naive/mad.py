import math
import statistics

from tests.naive import Row
from tests.naive.budget import Limit

CASES = (
    ({"window": 41, "min_samples": 10}, {"window": "90s", "k": 3, "on_anomaly": "learn"}),
    ({"window": "4m", "on_anomaly": "freeze", "min_samples": 5, "k": 2.5},),
    ({"window": 12, "min_samples": 1, "min_mad": 0.5, "min_mad_share": 0, "k": 2},),
    (
        {"window": 30, "min_samples": 8, "false_alarms": "1/5m"},
        {"window": "2m", "on_anomaly": "freeze", "min_samples": 5, "false_alarms": "1/30s"},
    ),
)


def naive(params, events):
    budget = Limit(params)
    past = []  # (time, what was taken in)
    for e in events:
        if not hasattr(e, "value"):
            continue
        if not e.known:
            yield Row(e.t_ns, e.t_ns, math.nan, 2, (*[math.nan] * 4, *budget.fields()))
            continue
        k = budget.at(e.t_ns)
        own = budget.fields(k)
        if params.window.n:
            past = past[-params.window.n :]
        else:
            past = [(t, x) for t, x in past if t > e.t_ns - params.window.ns]
        if len(past) < params.min_samples:
            yield Row(e.t_ns, e.t_ns, math.nan, 2, (e.value, *[math.nan] * 3, *own))
            past.append((e.t_ns, e.value))
            continue
        median = statistics.median(x for _, x in past)
        mad = statistics.median(abs(x - median) for _, x in past) * 1.4826022185056018
        mad = max(mad, params.min_mad, params.min_mad_share * abs(median))
        low, high = median - k * mad, median + k * mad
        score = (e.value - median) / mad
        yield Row(e.t_ns, e.t_ns, budget.note(score), e.quality, (e.value, median, low, high, *own))
        if abs(score) <= k or params.on_anomaly == "learn":
            past.append((e.t_ns, e.value))
        elif params.on_anomaly == "clip":
            past.append((e.t_ns, high if score > 0 else low))
