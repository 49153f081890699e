import math

from tests.naive import Row

CASES = (
    ({"halflife": "5s"}, {"halflife": "2m", "bias_correct": False}),
    ({"halflife": "1h"}, {"halflife": "100ms", "bias_correct": False}),
)
ATOL = 1e-6  # the wild sample of 1e9 leaves its rounding behind until it is forgotten


def naive(params, events):
    past = []
    for e in events:
        if not hasattr(e, "value"):
            continue
        if not e.known:
            yield Row(e.t_ns, e.t_ns, math.nan, 2)
            continue
        past.append((e.t_ns, e.value))
        weights = [2.0 ** ((t - e.t_ns) / params.halflife) for t, _ in past]
        if not params.bias_correct:  # sample k holds from its time to the next one's
            decays = [
                1.0,
                *(
                    1 - weights[k - 1] / weights[k] if weights[k] else 0.0
                    for k in range(1, len(past))
                ),
            ]
            weights = [d * w for d, w in zip(decays, weights, strict=True)]
        # Differences from the last value keep the digits of the small changes.
        shift = math.fsum(w * (x - e.value) for w, (_, x) in zip(weights, past, strict=True))
        yield Row(e.t_ns, e.t_ns, e.value + shift / math.fsum(weights), e.quality)
