import math
import statistics
from types import SimpleNamespace

from tests.naive import Row
from tests.naive.baseline import Past

CASES = (
    ({"learn": 20}, {"threshold": 3, "delta": 0.3, "learn": 7, "on_signal": "relearn"}),
    ({"std": 2, "alpha": 0.5, "threshold": 2}, {"learn": 30, "min_samples": 1, "delta": 0}),
    ({"std": 0.7, "on_signal": "go_on"}, {"learn": 2, "min_std": 0.5, "alpha": 1}),
)
ATOL = 1e-5  # standard deviations of a sum that the wild sample of 1e9 goes through


def naive(params, events):
    about = SimpleNamespace(mean=None, **dict(params))
    past, since = Past(about), []  # since the last start
    for e in events:
        if not hasattr(e, "value"):
            continue
        if not e.known:
            yield Row(e.t_ns, e.t_ns, math.nan, 2, (math.nan,) * 2)
            continue
        if params.std is None and past.learns():
            past.add(e.value)
            yield Row(e.t_ns, e.t_ns, math.nan, 2, (e.value, math.nan))
            continue
        std = params.std or past.baseline()[1]
        middle = statistics.fmean([x for x, _ in since] + [e.value])
        since.append((e.value, (e.value - middle) / std))
        score = judged(params, [d for _, d in since])
        if len(since) < params.min_samples:
            score = math.nan
        quality = 2 if math.isnan(score) else e.quality
        yield Row(e.t_ns, e.t_ns, score, quality, (e.value, middle))
        if abs(score) > params.threshold and params.on_signal != "go_on":
            since = []
            if params.on_signal == "relearn":
                past = Past(about)


def judged(params, distances):
    up, down, ups, downs = 0.0, 0.0, [], []
    for d in distances:
        up, down = params.alpha * up + d - params.delta, params.alpha * down + d + params.delta
        ups.append(up)
        downs.append(down)
    rise, fall = up - min(ups), max(downs) - down
    return rise if rise >= fall else -fall
