from tests.naive import Row

CASES = (
    ({"every": "10s"}, {"every": "7s", "pick": "last"}, {"every": "30s", "pick": "max_abs"}),
    ({"every": "1m", "pick": "max_abs"},),
)


def naive(params, events):
    group, told = [], None
    for e in events:
        sample = hasattr(e, "value")
        if sample and not e.known:
            continue
        k = (e.t_ns if sample else e.clock_ns) // params.every
        if group and k > group[0].t_ns // params.every and params.pick != "first":
            end = (group[0].t_ns // params.every + 1) * params.every
            best = max(group, key=lambda g: abs(g.value)) if params.pick == "max_abs" else group[-1]
            yield Row(end, end, best.value, best.quality)
            group = []
        if not sample:
            continue
        group.append(e)
        if params.pick == "first" and k != told:
            yield Row(e.t_ns, e.t_ns, e.value, e.quality)
        told = k
