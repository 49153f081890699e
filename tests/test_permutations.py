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
SERIES = 4
AFTER = 20_000

NEAR = {"circles": [{"at": [3, 3], "radius": 90_000}]}
HIGH_A, HIGH_B = {"is": "a", "above": 2}, {"is": "b", "above": 2}
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
COMBINED = {
    "power": {
        "from": "s",
        "steps": [{"expr": {"channel": "power", "value": "a * b"}}],
        "publish": {"topic": "power"},
    },
    "corrected": {
        "from": "s",
        "amend_for": "1m",
        "steps": [{"expr": {"channel": "power", "value": "a + b", "max_age": "4s"}}],
        "alert": {"when": {"above": 5, "on_delay": "3s"}},
    },
    "pairs": {
        "from": "s",
        "steps": [{"join": {"left": "a", "right": "b", "strategy": "nearest", "tolerance": "3s"}}],
        "publish": {"topic": "pairs"},
    },
    "peers": {
        "from": {"samples": "means"},
        "where": {"channel": "a"},
        "group_by": ["site"],
        "steps": [{"peer": {"of": "device", "min_members": 3}}],
        "publish": {"topic": "peers"},
    },
    "means": {
        "from": "s",
        "steps": [{"rolling": {"stat": "mean", "window": "4s"}}],
        "publish": {"topic": "means"},
    },
    "one_after_the_other": {
        "from": "s",
        "steps": [
            {"sequence": {"of": "channel", "steps": [HIGH_A, HIGH_B], "within": "5s"}},
        ],
        "publish": {"topic": "sequence"},
    },
    "without": {
        "from": "s",
        "steps": [
            {
                "sequence": {
                    "of": "device",
                    "steps": [{"is": "d0", "above": 2}, {"not": "d1", "above": 2, "for": "4s"}],
                    "within": "6s",
                }
            },
        ],
        "publish": {"topic": "sequence"},
    },
    "together": {
        "from": "s",
        "steps": [{"correlate": {"left": "a", "right": "b"}}],
        "publish": {"topic": "together"},
    },
    "odd_device": {
        "from": "s",
        "steps": [{"mahalanobis": {"channels": ["a", "b"], "min_samples": 20}}],
        "publish": {"topic": "odd"},
    },
    "inside": {
        "from": "s",
        "steps": [{"geofence": {"latitude": "a", "longitude": "b"} | NEAR}],
        "alert": {"when": {"above": 0.5, "on_delay": "2s"}},
    },
    "many": {
        "from": "s",
        "group_by": ["site"],
        "steps": [{"quorum": {"of": "device", "at_least": 2, "within": "3s"}}],
        "alert": {},
    },
    "hot": {"from": "s", "alert": {"when": {"above": 2}}},
    "many_hot": {
        "from": {"alerts": "hot"},
        "group_by": ["site"],
        "steps": [{"quorum": {"of": "device", "at_least": 2, "within": "3s"}}],
        "publish": {"topic": "many"},
    },
    "sums": {
        "from": "s",
        "group_by": ["site"],
        "steps": [{"group": {"of": "device", "every": "2s", "wait": "0s", "max_age": "8s"}}],
        "publish": {"topic": "sums"},
    },
    "first": {
        "from": "s",
        "group_by": ["site"],
        "steps": [{"topk": {"of": "device", "size": "5s", "k": 2, "wait": "0s"}}],
        "publish": {"topic": "first"},
    },
}
"""Steps over several series; those that may wait for members by themselves are told not to."""
SOURCE = {"s": {"topic": "t/{device}", "time": {"field": "ts"}, "lateness": "5s"}}
ALONE, TOGETHER = gateway(PIPELINES, SOURCE), gateway(COMBINED, SOURCE)
NAMES = [("d0", "a"), ("d0", "b"), ("d1", "a"), ("d2", "a")]

Sample = tuple[int, int, float, int, int]
"""(series, time, value, counter or -1, arrival)"""


def told(config, batches, ticks, end):
    """{(pipeline, series): its events in order} of batches of samples and the ticks after them."""
    graph = Graph(config, load_all())
    table = graph.sources["s"].table
    for device, channel in NAMES:
        table.intern(make_labels({"device": device, "channel": channel, "site": "north"}))
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
        found[event.pipeline, event.labels].append(event)
    return dict(found), int(fate[DUPLICATE])


@st.composite
def streams(draw, usual=(0, 3, 40), late_max=LATENESS - 1):
    """Samples in some order of arrival, where they are cut, and where ticks come.

    `usual`: how late those of one series may come as a rule; `late_max`: how much later some.
    """
    raw = draw(
        st.lists(
            st.tuples(
                st.integers(0, SERIES - 1),
                st.sampled_from([0, 1, 1, 2, 2, 3, 9, 30]),  # since the last one of the series
                st.sampled_from([0.0, 1.0, 1.0, 3.0, 3.0, 2.5, 9.0, float("nan")]),
                st.integers(0, late_max),  # how late it comes, beyond what is usual for it
                st.booleans(),  # a cut after it
                st.booleans(),  # a tick after it
            ),
            min_size=1,
            max_size=60,
        )
    )
    behind = draw(st.tuples(*[st.sampled_from(usual)] * SERIES))
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


def check(config, stream):
    batches, ticks = stream
    samples = [sample for batch in batches for sample in batch]
    end = max(sample[4] for sample in samples) + AFTER
    plain = sorted(
        [(s, t, v, q, t) for s, t, v, q, _ in samples], key=lambda x: (x[0], x[1], x[3], x[2])
    )
    assert told(config, batches, ticks, end) == told(config, [plain], [None], end)


def many(examples):
    return settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))


@many(200)
@given(streams())
def test_any_order_cut_and_mixture_gives_the_same_results(stream):
    check(ALONE, stream)


@many(200)
@given(streams(usual=(0, 3), late_max=LATENESS - 4))
def test_the_same_for_steps_that_combine_series(stream):
    check(TOGETHER, stream)


@pytest.mark.nightly
@pytest.mark.timeout(3600)
@many(10_000)
@given(streams())
def test_any_order_cut_and_mixture_gives_the_same_results_ten_thousand_times(stream):
    check(ALONE, stream)


@pytest.mark.nightly
@pytest.mark.timeout(3600)
@many(10_000)
@given(streams(usual=(0, 3), late_max=LATENESS - 4))
def test_the_same_for_steps_that_combine_series_ten_thousand_times(stream):
    check(TOGETHER, stream)


@pytest.mark.parametrize("pipelines", [PIPELINES, COMBINED])
def test_the_samples_of_these_streams_lead_to_events_of_every_pipeline(pipelines):
    batches = [
        [
            (s, t, 3.0 if (t - (0, 1, 10, 3)[s]) // 20 % 2 else 1.0, -1, t)
            for t in range(200)
            for s in range(SERIES)
        ]
    ]
    batches[0][100 * SERIES] = (0, 100, 7.0, -1, 100)
    found, _ = told(gateway(pipelines, SOURCE), batches, [None], 200 + AFTER)
    assert {pipeline for pipeline, _ in found} == set(pipelines)


def test_a_delay_that_is_noticed_late_names_no_cause_that_came_after_it():
    batch = [(0, 0, 3.0, -1, 0), (0, 4, 3.0, -1, 4), (0, 60, 1.0, -1, 60)]
    found, _ = told(ALONE, [batch], [None], AFTER)
    [(raised, cleared)] = [events for (name, _), events in found.items() if name == "hot"]
    [(above, below)] = [events for (name, _), events in found.items() if name == "too_long"]
    assert above.time_ns < cleared.time_ns  # though noticed when `cleared` arrived
    assert above.causes == (raised.id,)
    assert below.causes == (raised.id, cleared.id)
