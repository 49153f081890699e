from tests.naive import Row

DOOR = {"is": "a", "above": 0.5}
CASES = (
    (
        {
            "steps": [DOOR, {"not": "b", "above": 1, "for": "4s"}, {"is": "c", "below": 0}],
            "within": "60s",
            "on_timeout": "emit",
        },
        {
            "steps": [DOOR, {"is": "b", "above": 0}, {"not": "c", "above": 0}],
            "within": "40s",
            "after_match": "no_skip",
            "on_timeout": "emit",
            "attempts_max": 200,
            "event": "sample",
            "hold": "3s",
        },
    ),
    (
        {
            "steps": [
                {"not": "c", "above": 1, "for": "6s"},
                {"is": "a", "above": 0.2, "below": 5},
                {"not": "c", "below": -1},
                {"not": "b", "for": "2s"},
                {"is": "b"},
                {"not": "a", "above": 2, "for": "3s"},
            ],
            "within": "90s",
            "hold": 0,
        },
        {
            "steps": [{"is": "a", "below": 0}, {"is": "b", "above": -9}, {"is": "c", "above": -9}],
            "within": "9s",
            "contiguity": "strict",
            "after_match": "no_skip",
        },
    ),
    (
        {
            "steps": [{"is": "a"}, {"is": "b"}, {"is": "c"}, {"not": "c", "for": "8s"}],
            "within": "50s",
            "contiguity": "strict",
            "event": "sample",
            "on_timeout": "emit",
        },
        {
            "steps": [{"not": "b", "for": "5s"}, {"is": "a", "below": 0}, {"is": "c"}],
            "within": "50s",
            "event": "sample",
            "after_match": "no_skip",
            "attempts_max": 200,
        },
    ),
)


def slots(params):
    return len(params.names)


def naive(params, events):
    parts = [(p, params.names.index(p.name)) for p in params.steps]
    happens = [c for c, (p, _) in enumerate(parts) if p.is_ is not None]
    samples, last = marked(params, parts, events)
    within, m = params.within, len(happens)
    guards = [
        [c for c, (p, _) in enumerate(parts) if p.not_ is not None and sum(h < c for h in happens) == k]
        for k in range(m + 1)
    ]  # fmt: skip

    def holds(c, after, before):
        return [t for t, held, *_ in samples if c in held and after < t < before]

    def attempt(u):
        """(time when it is told, -1 | 0 | 1, its end, events, quality) of what begins at u."""
        [quality] = [q for t, _, rose, _, q in samples if t == u and happens[0] in rose][:1]
        at = u
        for k in range(1, m):
            ready = at + max((parts[c][0].for_ or 0 for c in guards[k]), default=0)
            bars = [u + within]
            for c in guards[k]:
                d = parts[c][0].for_
                if d is None:
                    bars += holds(c, at, float("inf"))
                elif holds(c, at, at + d) and min(holds(c, at, at + d)) <= u + within:
                    return None
            if params.contiguity == "strict":
                bars += [t for t, _, _, event, _ in samples if event and t > at]
            found = [(t, q) for t, _, rose, _, q in samples
                     if happens[k] in rose and t > at and ready <= t <= min(bars)]  # fmt: skip
            if not found:
                spoilt = any(bar <= u + within for bar in bars[1:])
                return None if spoilt else (u + within + 1, 0, u + within, k, quality)
            at, q = found[0]
            quality = max(quality, q)
        if not guards[m]:
            return at, 1, at, m, quality
        open_end = any(parts[c][0].for_ is None for c in guards[m])
        end = at + max(parts[c][0].for_ or 0 for c in guards[m])
        end = u + within if open_end else end
        for c in guards[m]:
            d = parts[c][0].for_
            hit = holds(c, at, end if d is None else at + d)
            if hit and hit[0] <= u + within:
                return None
        if end > u + within:
            return u + within + 1, 0, u + within, m, quality
        return end, 1, end, m, quality

    def may_begin(u):
        return all(
            u - samples[0][0] >= parts[c][0].for_ and not holds(c, u - parts[c][0].for_, u)
            for c in guards[0]
        )

    begins = sorted({t for t, _, rose, _, _ in samples if happens[0] in rose and may_begin(t)})
    ends = sorted((*made, u) for u in begins if (made := attempt(u)))
    yield from told(params, ends, last, m)


def marked(params, parts, events):
    """[(time, steps that hold, steps it is an event of, any event, quality)], last time."""
    samples, before, now = [], set(), None
    for e in events:
        if not hasattr(e, "value"):
            now = e.clock_ns if now is None else max(e.clock_ns, now)
            continue
        if not e.known:
            continue
        now = e.t_ns if now is None else max(e.t_ns, now)
        own = {c for c, (_, slot) in enumerate(parts) if slot == e.slot}
        held = {c for c in own if parts[c][0].limits[0] < e.value < parts[c][0].limits[1]}
        changed = held != before & own
        rose = held if params.event == "sample" else held - before
        before = (before - own) | held
        samples.append((now, held, rose, changed or params.event == "sample", e.quality))
    return samples, now


def told(params, ends, last, m):
    hold = params.within if params.hold is None else params.hold
    rows, done, matches = [], None, []
    for due, kind, end, count, quality, u in sorted(ends, key=lambda e: (e[0], -e[1], e[-1])):
        if params.after_match == "skip_past_last" and done is not None and u <= done:
            continue
        if kind == 0:
            if params.on_timeout == "emit":
                rows.append((due, 0, Row(end, u, 0, quality, (count, (end - u) / 1e9, 1))))
            continue
        if matches and matches[-1][2].t_ns == end:
            _, _, row = matches.pop()
            more = row._replace(fields=(*row.fields[:2], row.fields[2] + 1))
            matches.append((due, 2, more))
            continue
        done = end
        matches.append((due, 2, Row(end, u, 1, quality, (m, (end - u) / 1e9, 1))))
    for (_, _, row), after in zip(matches, [*matches[1:], None][: len(matches)], strict=True):
        over = row.t_ns + hold
        if hold and (after is None or after[2].t_ns > over):
            rows.append((over + 1, 1, Row(over, over, 0, 0, (0, 0, 0))))
    rows += matches
    yield from (
        r for due, _, r in sorted(rows, key=lambda r: r[:2]) if last is not None and due <= last
    )
