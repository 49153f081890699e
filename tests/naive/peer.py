import math
import statistics

from tests.naive import Row

CASES = (
    (
        {"of": "device", "min_members": 3, "max_age": "20s", "min_mad": 0.5},
        {"of": "device", "min_members": 3, "k": 2, "min_mad_share": 0.01},
    ),
    ({"of": "device", "min_members": 3, "members_max": 3, "max_age": "4s"},),
)


def slots(_):
    return 8


def naive(params, events):
    last, waiting = {}, {}  # of members: last sample, sample to tell
    places, now = [], None  # members by place, None where it is free

    def score(e):
        values = [s.value for s in last.values()]
        median = d = math.nan
        if len(values) >= params.min_members:
            median = statistics.median(values)
            d = statistics.median(abs(v - median) for v in values) / 0.6744897501960817
            d = max(d, params.min_mad, params.min_mad_share * abs(median))
        value = (e.value - median) / d
        fields = (e.value, median, median - params.k * d, median + params.k * d)
        return Row(e.t_ns, e.t_ns, value, 2 if math.isnan(value) else e.quality, fields, e.member)

    def all_waiting():
        # In the order of places; the last free one goes to the next member without one.
        rows = [score(waiting[m]) for m in places if m in waiting]
        waiting.clear()
        return rows

    for e in events:
        if not hasattr(e, "value"):
            if now is not None and e.clock_ns > now:
                yield from all_waiting()
            continue
        if now is not None and e.t_ns > now:
            yield from all_waiting()
        nothing = Row(e.t_ns, e.t_ns, math.nan, 2, (math.nan,) * 4, e.member)
        if not e.known:
            yield nothing
            continue
        if now is None or e.t_ns > now:
            now = e.t_ns
            for m in [m for m, s in last.items() if now - s.t_ns > params.max_age]:
                del last[m]
                places[places.index(m)] = None
        if now - e.t_ns > params.max_age:
            yield nothing._replace(fields=(e.value, *(math.nan,) * 3))
            continue
        if e.member not in last:
            free = [i for i, m in enumerate(places) if m is None]
            if free:
                places[free[-1]] = e.member
            elif len(places) < params.members_max:
                places.append(e.member)
            else:
                yield score(e)
                continue
        last[e.member] = e
        if e.t_ns < now:
            yield score(e)
            continue
        waiting[e.member] = e
        if all(s.t_ns == now for s in last.values()):
            yield from all_waiting()
