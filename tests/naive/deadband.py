import math

from tests.naive import Row

CASES = (
    ({}, {"band": 2, "max_time": 0}, {"band": 2, "ref": "input", "max_time": "20s"}),
    ({"band": 10, "mode": "pct", "max_time": "10s"},),
    ({"band": 5, "mode": "span", "span": 40, "max_time": "1s"},),
)


def naive(params, events):
    sent, inputs = [], []
    for e in events:
        now = e.t_ns if hasattr(e, "value") else e.clock_ns
        due = sent[-1].t_ns + params.max_time if sent and params.max_time else math.inf
        if now > due and inputs[-1] is not sent[-1]:
            held = inputs[-1]._replace(t_ns=due)
            inputs.append(held)
            sent.append(held)
            yield Row(due, due, held.value, held.quality)
            due += params.max_time
        if not hasattr(e, "value"):
            continue
        if not e.known:
            yield Row(e.t_ns, e.t_ns, math.nan, 2)
            continue
        if sent:
            ref = (sent if params.ref == "sent" else inputs)[-1].value
            scale = {"abs": 1, "pct": abs(ref) / 100, "span": (params.span or 0) / 100}
            band = params.band * scale[params.mode]
            moved = abs(e.value - ref) >= band if band else e.value != ref
        inputs.append(e)
        if not sent or moved or e.t_ns >= due:
            sent.append(e)
            yield Row(e.t_ns, e.t_ns, e.value, e.quality)
