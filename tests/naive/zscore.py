import math
import statistics

from tests.naive import Row
from tests.naive.budget import Limit

CASES = (
    ({"window": 40, "min_samples": 10}, {"window": "90s", "k": 3, "on_anomaly": "learn"}),
    ({"window": "4m", "on_anomaly": "freeze", "min_samples": 5, "k": 2.5},),
    ({"window": 12, "min_samples": 2, "min_std": 0.5, "min_std_share": 0, "k": 2},),
    (
        {"window": 30, "min_samples": 8, "false_alarms": "1/5m"},
        {"window": "2m", "on_anomaly": "freeze", "min_samples": 5, "false_alarms": "1/30s"},
    ),
)
ATOL = 1e-6  # standard deviations: the wild sample of 1e9 leaves that much behind in 1e6


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
        values = [x for _, x in past]
        mean = statistics.fmean(values)
        std = math.sqrt(math.fsum((x - mean) ** 2 for x in values) / (len(values) - 1))
        std = max(std, params.min_std, params.min_std_share * abs(mean))
        score, low, high = (e.value - mean) / std, mean - k * std, mean + k * std
        yield Row(e.t_ns, e.t_ns, budget.note(score), e.quality, (e.value, mean, low, high, *own))
        if abs(score) <= k or params.on_anomaly == "learn":
            past.append((e.t_ns, e.value))
        elif params.on_anomaly == "clip":
            past.append((e.t_ns, high if score > 0 else low))
