import math
from collections import deque

from tests.naive import Row

CASES = (
    ({"by": "time_value"}, {"by": "value", "horizon": "20s", "keep": 3}),
    ({"by": "time_value", "keep": 1}, {"by": "value", "horizon": "2m", "keep": 200}),
)


def naive(params, events):
    passed = deque(maxlen=params.keep)
    for e in events:
        if not hasattr(e, "value"):
            continue
        if not e.known:
            yield Row(e.t_ns, e.t_ns, math.nan, 2)
            continue
        age = 1 if params.by == "time_value" else params.horizon
        if any(x == e.value and e.t_ns - t < age for t, x in passed):
            continue
        passed.append((e.t_ns, e.value))
        yield Row(e.t_ns, e.t_ns, e.value, e.quality)
