import math

from tests.naive import Row
from tests.naive.budget import Limit

CASES = (
    (
        {"season": "1m", "every": "5s", "min_samples": 5},
        {"season": "30s", "every": "3s", "alpha": 0.5, "beta": 0.2, "gamma": 0.3, "k": 3}
        | {"on_anomaly": "learn"},
    ),
    ({"season": "40s", "every": "20s", "on_anomaly": "freeze", "min_std": 0.1, "k": 4},),
    (
        {"season": "30s", "every": "3s", "min_samples": 5, "damping": 0.9, "beta": 0.3},
        {"season": "40s", "every": "5s", "damping": 0.05, "on_anomaly": "learn"},
    ),
    (
        {"season": "30s", "every": "3s", "min_samples": 5, "false_alarms": "1/5m"},
        {"season": "40s", "every": "5s", "false_alarms": "1/30s", "on_anomaly": "freeze"},
    ),
)
RTOL = 1e-7
ATOL = 1e-5  # the wild sample of 1e9 leaves its rounding behind until it is forgotten
NAN = math.nan


def naive(params, events):
    """In components: level, trend and season are weighted means of two views each."""
    m = params.season // params.every
    first, season, state, errors = None, {}, None, []
    var, budget = 0.0, Limit(params)
    for e in events:
        if not hasattr(e, "value"):
            continue
        if not e.known:
            yield Row(e.t_ns, e.t_ns, NAN, 2, (*[NAN] * 4, *budget.fields()))
            continue
        k = budget.at(e.t_ns)
        own = budget.fields(k)
        x, j = e.value, e.t_ns // params.every
        first = j if first is None else first
        if j < first + m:
            season[j % m] = x
            yield Row(e.t_ns, e.t_ns, NAN, 2, (x, NAN, NAN, NAN, *own))
            continue
        if state is None:
            level = math.fsum(season.values()) / len(season)
            state = (first + m - 1, level, 0.0)
            season = {slot: value - level for slot, value in season.items()}
        last, level, trend = state
        h = j - last
        for _ in range(h):
            trend *= params.damping
            level += trend
        ahead = level
        if j % m not in season:
            season[j % m], state = x - ahead, (j, ahead, trend)
            yield Row(e.t_ns, e.t_ns, NAN, 2, (x, NAN, NAN, NAN, *own))
            continue
        forecast = ahead + season[j % m]
        y, std, quality, score = x, NAN, 2, NAN
        if len(errors) >= params.min_samples:
            std = max(math.sqrt(var), params.min_std, params.min_std_share * abs(forecast))
            score, quality = (x - forecast) / std, e.quality
            if abs(score) > k and params.on_anomaly != "learn":
                clipped = forecast + math.copysign(k * std, score)
                y = clipped if params.on_anomaly == "clip" else None
        low, high = forecast - k * std, forecast + k * std
        yield Row(e.t_ns, e.t_ns, budget.note(score), quality, (x, forecast, low, high, *own))
        if y is None:
            state = (j, ahead, trend)
            continue
        errors.append(y - forecast)
        weight = 1 / min(len(errors), max(m, 30))
        var = (1 - weight) * var + weight * errors[-1] ** 2
        new = params.alpha * (y - season[j % m]) + (1 - params.alpha) * ahead
        if h:
            trend += params.beta * (new - ahead) / h
        season[j % m] = params.gamma * (y - ahead) + (1 - params.gamma) * season[j % m]
        state = (j, new, trend)
