"""Order of arrival makes no difference: whatever comes within the lateness, cut and mixed at will.

The reference takes the same samples series by series, each in order of time, in one batch.
"""

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.graph import Graph
from pipelines.operator import load_all
from pipelines.order import DUPLICATE, FORCED, FUTURE, LATE, Arrivals
from pipelines.series import make_labels
from tests.graphs import T0, S, gateway

HALF = S // 2
LATENESS = 10  # in halves of a second, as all numbers below
SERIES = 3
AFTER = 20_000

PIPELINES = {
    "hot": {"from": "s", "alert": {"when": {"above": 2, "on_delay": "2s", "off_delay": "3s"}}},
    "hot_twice": {
        "from": {"alerts": "hot"},
        "steps": [{"count_window": {"n": 2, "stats": ["sum"]}}],
        "publish": {"topic": "twice/{device}"},
    },
    "too_long": {"from": {"alerts": "hot"}, "alert": {"when": {"above": 0, "on_delay": "4s"}}},
    "means": {
        "from": "s",
        "steps": [{"aggregate": {"size": "5s", "stats": ["mean", "min", "last"]}}],
        "publish": {"topic": "means/{device}"},
    },
    "visits": {
        "from": "s",
        "steps": [{"session": {"gap": "3s"}}],
        "publish": {"topic": "visits/{device}"},
    },
    "silent": {"from": "s", "steps": [{"missing": {"timeout": "6s"}}], "alert": {}},
    "odd": {
        "from": "s",
        "steps": [{"mad": {"window": 8, "min_samples": 4, "k": 2}}],
        "alert": {"when": {"on_delay": "1s"}},
    },
    "smooth": {
        "from": "s",
        "steps": [
            {"validate": {"max": 8}},
            {"rolling": {"stat": "max", "window": "4s"}},
            {"ewma": {"halflife": "2s"}},
        ],
        "publish": {"topic": "smooth/{device}"},
    },
}
SOURCE = {"s": {"topic": "t/{device}", "time": {"field": "ts"}, "lateness": "5s"}}
GATEWAY = gateway(PIPELINES, SOURCE)

Sample = tuple[int, int, float, int, int]
"""(series, time, value, counter or -1, arrival)"""


def told(batches, ticks, end):
    """{(pipeline, device): its events in order} of batches of samples and the ticks after them."""
    graph = Graph(GATEWAY, load_all())
    table = graph.sources["s"].table
    for s in range(SERIES):
        table.intern(make_labels({"device": f"d{s}", "channel": "c"}))
    events = []
    for batch, tick in zip(batches, ticks, strict=True):
        if batch:
            s, t, v, q, a = zip(*batch, strict=True)
            arrivals = Arrivals(
                np.array(s, np.int32),
                np.array(t, np.int64) * HALF + T0,
                np.array(v, np.float64),
                np.array(a, np.int64) * HALF + T0,
                np.array(q, np.int64),
            )
            events += graph.run({"s": arrivals})
        if tick is not None:
            events += graph.tick(tick * HALF + T0)
    events += graph.tick(end * HALF + T0)
    fate = graph.sources["s"].reorder.fate
    assert [fate[FUTURE], fate[LATE], fate[FORCED]] == [0, 0, 0]
    found = defaultdict(list)
    for event in events:
        found[event.pipeline, dict(event.labels)["device"]].append(event)
    return dict(found), int(fate[DUPLICATE])


@st.composite
def streams(draw):
    """Samples in some order of arrival, where they are cut, and where ticks come."""
    raw = draw(
        st.lists(
            st.tuples(
                st.integers(0, SERIES - 1),
                st.sampled_from([0, 1, 1, 2, 2, 3, 9, 30]),  # since the last one of the series
                st.sampled_from([1.0, 1.0, 3.0, 3.0, 2.5, 9.0, float("nan")]),
                st.integers(0, LATENESS - 1),  # how late it comes, beyond what is usual for it
                st.booleans(),  # a cut after it
                st.booleans(),  # a tick after it
            ),
            min_size=1,
            max_size=60,
        )
    )
    behind = draw(st.tuples(*[st.sampled_from([0, 3, 40])] * SERIES))  # what is usual
    counted = draw(st.booleans())
    time, count, samples = [0] * SERIES, [0] * SERIES, []
    for s, gap, value, delay, cut, tick in raw:
        time[s] += gap
        count[s] += 1
        arrival = time[s] + behind[s] + delay
        samples.append((arrival, s, time[s], value, count[s] if counted else -1, cut, tick))
    order = draw(st.permutations(range(len(samples))))  # of what arrives at the same time
    samples = [samples[i] for i in sorted(order, key=lambda i: (samples[i][0], order.index(i)))]
    batches, ticks = [[]], []
    for arrival, s, t, value, seq, cut, tick in samples:
        batches[-1].append((s, t, value, seq, arrival))
        if cut or tick:
            batches.append([])
            ticks.append(arrival if tick else None)
    return batches, [*ticks, None]


def check(stream):
    batches, ticks = stream
    samples = [sample for batch in batches for sample in batch]
    end = max(sample[4] for sample in samples) + AFTER
    plain = sorted(
        [(s, t, v, q, t) for s, t, v, q, _ in samples], key=lambda x: (x[0], x[1], x[3], x[2])
    )
    assert told(batches, ticks, end) == told([plain], [None], end)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(streams())
def test_any_order_cut_and_mixture_gives_the_same_results(stream):
    check(stream)


@pytest.mark.nightly
@pytest.mark.timeout(3600)
@settings(max_examples=10_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(streams())
def test_any_order_cut_and_mixture_gives_the_same_results_ten_thousand_times(stream):
    check(stream)


def test_the_samples_of_these_streams_lead_to_events_of_every_pipeline():
    batches = [[(0, t, 3.0 if t // 20 % 2 else 1.0, -1, t) for t in range(200)]]
    batches[0][100] = (0, 100, 7.0, -1, 100)
    found, _ = told(batches, [None], 200 + AFTER)
    assert {pipeline for pipeline, _ in found} == set(PIPELINES)


def test_a_delay_that_is_noticed_late_names_no_cause_that_came_after_it():
    found, _ = told([[(0, 0, 3.0, -1, 0), (0, 4, 3.0, -1, 4), (0, 60, 1.0, -1, 60)]], [None], AFTER)
    raised, cleared = found["hot", "d0"]
    above, below = found["too_long", "d0"]
    assert above.time_ns < cleared.time_ns  # though noticed when `cleared` arrived
    assert above.causes == (raised.id,)
    assert below.causes == (raised.id, cleared.id)
