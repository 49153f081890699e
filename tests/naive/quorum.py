from tests.naive import Row

CASES = (
    (
        {"of": "device", "at_least": 2, "within": "20s"},
        {"of": "device", "fraction": 0.5, "members": 4, "within": 0},
    ),
)


def slots(_):
    return 3  # of the four members of a group in the traffic, two share a name


def naive(params, events):
    changes = []  # (time, member, name, active) as far as known
    told, told_at = 0, 0

    def count(t):
        names, active, rise = set(), {}, {}
        for at, member, name, value in changes:
            if value and not active.get(member):
                rise[member] = at
            active[member] = value
            if value or t < rise.get(member, -1) + params.within:
                names.add((member, name))
        return len(
            {name for member, name in names if active[member] or t < rise[member] + params.within}
        )

    for e in events:
        now = max(e.t_ns if hasattr(e, "value") else e.clock_ns, told_at)
        ends = {at + params.within for at, *_ in changes}
        for end in sorted(x for x in ends if told_at < x < now):
            if count(end) != told:
                told, told_at = count(end), end
                yield Row(end, end, told, 0)
        if hasattr(e, "value") and e.known:
            changes.append((now, e.member, e.slot, e.value > 0.5))
            if count(now) != told:
                told = count(now)
                yield Row(now, now, told, 0)
            told_at = now
