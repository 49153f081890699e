from itertools import groupby, pairwise

from tests.naive import Row

CASES = (
    ({"below": 0.1}, {"above": 1e6}, {"equal": 0.5}, {"above": 9}, {"below": 20}),
    ({"above": 0},),
    ({"by": "value"}, {"by": "value"}),
)


def naive(params, events):
    by_value = params.by == "value"

    def holds(e):
        if by_value:
            return (e.value,)
        if params.above is not None:
            return e.value > params.above
        return e.value < params.below if params.below is not None else e.value == params.equal

    known = [e for e in events if hasattr(e, "value") and e.known]
    groups = [(held, list(group)) for held, group in groupby(known, holds)]
    for (held, run), (_, after) in pairwise(groups):
        if held:
            seconds = (after[0].t_ns - run[0].t_ns) / 1e9
            worst = max([e.quality for e in run] + [int(run[0] is known[0])])
            fields = (seconds, len(run), *(held if by_value else ()))
            yield Row(after[0].t_ns, run[0].t_ns, seconds, worst, fields)
