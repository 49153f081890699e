import math

from tests.naive import Row

CASES = (
    ({"min": -40, "max": 200},),
    ({"max_step": 3, "action": "drop"}, {"min": 0.5, "action": "clip"}, {"max_step": 2}),
)


def naive(params, events):
    valid = []
    low = -math.inf if params.min is None else params.min
    high = math.inf if params.max is None else params.max
    for e in events:
        if not hasattr(e, "value"):
            continue
        x = e.value
        if params.action == "clip" and math.isfinite(x):
            x = min(max(x, low), high)
        good = e.known and low <= x <= high
        if good and valid and params.max_step is not None:
            good = abs(x - valid[-1]) <= params.max_step
        if good:
            valid.append(x)
        if good or params.action != "drop":
            yield Row(e.t_ns, e.t_ns, x if good else math.nan, e.quality if good else 2)
