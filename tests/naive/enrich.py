import math

from tests.naive import Row

CASES = (
    (
        {"table": "devices", "missing": "drop"},
        {"table": "devices", "missing": "mark"},
        {"table": "devices", "missing": "keep"},
    ),
)
UNLISTED = 1


def slots(_):
    return 2


def naive(params, events):
    for e in events:
        if not hasattr(e, "value") or (e.slot == UNLISTED and params.missing == "drop"):
            continue
        if not e.known:
            yield Row(e.t_ns, e.t_ns, math.nan, 2)
        else:
            marked = e.slot == UNLISTED and params.missing == "mark"
            yield Row(e.t_ns, e.t_ns, e.value, max(e.quality, int(marked)))
