import math

from tests.naive import Row

CASES = (
    (
        {"channel": "c", "value": "a * b + 1", "max_age": "20s"},
        {"channel": "c", "value": "b - a / 3"},
    ),
    (
        {"channel": "c", "value": "if(a > b and not d == 0, max(a, b, d), sqrt(abs(a)) % 7)"},
        {"channel": "c", "value": "if(a < b, -d, a) + b", "max_age": "10s"},
    ),
)
PYTHON = {
    "voltage * current": lambda voltage, current: voltage * current,
    "a * b + 1": lambda a, b: a * b + 1,
    "b - a / 3": lambda b, a: b - a / 3,
    "if(a > b and not d == 0, max(a, b, d), sqrt(abs(a)) % 7)": lambda a, b, d: (
        max(a, b, d) if a > b and d != 0 else math.sqrt(abs(a)) % 7
    ),
    "if(a < b, -d, a) + b": lambda a, b, d: (-d if a < b else a) + b,
}


def slots(params):
    return PYTHON[params.value].__code__.co_argcount


def naive(params, events):
    last, now = {}, 0
    for e in events:
        if not hasattr(e, "value"):
            continue
        now_here = max(now, e.t_ns)
        y, quality = math.nan, 2
        if e.known:
            now = now_here
            last[e.slot] = e
            parts = [last[k] for k in sorted(last) if now - last[k].t_ns <= params.max_age]
            if len(parts) == slots(params):
                y = PYTHON[params.value](*(part.value for part in parts))
                quality = max(part.quality for part in parts)
        yield Row(now_here, now_here, y, quality)
