import math

from tests.naive import Row

CASES = (
    ({"window": "30s"}, {"window": "20s", "epsilon": 0.6, "min_samples": 3}),
    ({"window": "60s", "epsilon": 2, "min_samples": 2},),
)


def naive(params, events):
    past = []
    for e in events:
        if not hasattr(e, "value"):
            continue
        if not e.known:
            yield Row(e.t_ns, e.t_ns, math.nan, 2, (math.nan,))
            continue
        past.append(e)
        inside = [p for p in past if p.t_ns > e.t_ns - params.window]
        spread = max(p.value for p in inside) - min(p.value for p in inside)
        # Walk back from here as long as samples follow each other closely enough.
        since = len(past) - 1
        while since > 0 and past[since].t_ns - past[since - 1].t_ns < params.window:
            since -= 1
        whole = e.t_ns - past[since].t_ns >= params.window
        if spread > params.epsilon:
            yield Row(e.t_ns, e.t_ns, 0.0, e.quality, (spread,))
        elif whole and len(inside) >= params.min_samples:
            yield Row(e.t_ns, e.t_ns, 1.0, e.quality, (spread,))
        else:
            yield Row(e.t_ns, e.t_ns, math.nan, 2, (spread,))
