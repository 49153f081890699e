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
    (
        {"channel": "c", "value": "a > 1 or b > 1", "max_age": "4s"},
        {"channel": "c", "value": "not (a > 1) and b > 1", "max_age": "4s"},
    ),
)
NAN = math.nan


def either(a, b):
    return 1 if 1 in (a, b) else NAN if math.isnan(a + b) else 0


def both(a, b):
    return 0 if 0 in (a, b) else NAN if math.isnan(a + b) else 1


def no(a):
    return 1 - a


def more(a, b):
    return NAN if math.isnan(a + b) else int(a > b)


def choice(condition, then, other):
    return NAN if math.isnan(condition) else then if condition else other


def largest(*a):
    return NAN if any(math.isnan(x) for x in a) else max(a)


def zero(a):
    return NAN if math.isnan(a) else int(a == 0)


PYTHON = {
    "voltage * current": lambda voltage, current: voltage * current,
    "a * b + 1": lambda a, b: a * b + 1,
    "b - a / 3": lambda b, a: b - a / 3,
    "if(a > b and not d == 0, max(a, b, d), sqrt(abs(a)) % 7)": lambda a, b, d: choice(
        both(more(a, b), no(zero(d))), largest(a, b, d), math.sqrt(abs(a)) % 7
    ),
    "if(a < b, -d, a) + b": lambda a, b, d: choice(more(b, a), -d, a) + b,
    "a > 1 or b > 1": lambda a, b: either(more(a, 1), more(b, 1)),
    "not (a > 1) and b > 1": lambda a, b: both(no(more(a, 1)), more(b, 1)),
}


def slots(params):
    return PYTHON[params.value].__code__.co_argcount


def naive(params, events):
    last, instant, told = {}, [], 0  # rows of the instant that is not over; the last one told

    def result(t):
        values, quality = [], 0
        for k in range(slots(params)):
            here = [e for e in instant if e.slot == k]
            unknown = here and not any(e.known for e in here)
            part = last.get(k)
            if unknown or part is None or t - part.t_ns > params.max_age:
                values.append(NAN)
            else:
                values.append(part.value)
                quality = max(quality, part.quality)
        y = PYTHON[params.value](*values)
        return Row(t, t, NAN if math.isnan(y) else y, 2 if math.isnan(y) else quality)

    for e in events:
        now = e.t_ns if hasattr(e, "value") else e.clock_ns
        if instant and now > instant[0].t_ns:
            told = instant[0].t_ns
            yield result(told)
            instant = []
        if not hasattr(e, "value"):
            continue
        if e.known and (e.slot not in last or e.t_ns >= last[e.slot].t_ns):
            last[e.slot] = e
        if now > told and (not instant or now == instant[0].t_ns):
            instant.append(e)
            if {i.slot for i in instant} == set(range(slots(params))):
                told = now
                yield result(told)
                instant = []
