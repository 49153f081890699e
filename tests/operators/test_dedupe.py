import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from tests.operators.one_step import feed, feed_ns, runner, told
from tests.traffic import SECOND

few_values = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from([0.0, -0.0, 1.5, 2.0, 1e300])), max_size=60
)


def test_what_is_new_passes():
    step = runner("dedupe", {"by": "value", "horizon": "10s"})
    assert told(feed(step, [1, 1, 2, 1, 3], [0, 1, 2, 3, 4])) == [(0, 1), (2, 2), (4, 3)]
    assert step.counters() == {"left_out": 2, "forgotten": 0}


def test_a_value_passes_again_when_the_horizon_is_over():
    step = runner("dedupe", {"by": "value", "horizon": "10s"})
    assert told(feed(step, [1, 1, 1], [0, 9.999, 10])) == [(0, 1), (10, 1)]
    assert told(feed(step, [1, 1], [19.999, 20])) == [(20, 1)]  # counted from what passed


def test_repeated_deliveries_are_left_out_and_standing_values_stay():
    step = runner("dedupe", {})
    assert told(feed(step, [1, 1, 2, 1, 1], [0, 0, 0, 0, 1])) == [(0, 1), (0, 2), (1, 1)]


@given(few_values)
def test_by_time_and_value_it_is_drop_duplicates_of_pandas(rows):
    t = np.cumsum([gap for gap, _ in rows], dtype=np.int64) * SECOND
    frame = pd.DataFrame({"t": t, "x": [x for _, x in rows]}, dtype=float)
    want = frame.drop_duplicates(["t", "x"])
    out = feed_ns(runner("dedupe", {}), frame.x, t)
    assert out.value.tolist() == want.x.tolist()
    assert out.t_ns.tolist() == t[want.index].tolist()


@given(few_values, st.integers(1, 100))
def test_by_value_a_dictionary_of_last_times_says_the_same(rows, horizon):
    step, last, want, now = runner("dedupe", {"by": "value", "horizon": f"{horizon}s"}), {}, [], 0
    for gap, x in rows:
        now += gap
        if now - last.get(x, -1000) >= horizon:
            want.append((now, x))
            last[x] = now
    t = np.cumsum([gap for gap, _ in rows])
    assert told(feed(step, [x for _, x in rows], t)) == want


def test_a_horizon_that_never_ends_is_drop_duplicates_of_values():
    x = np.random.default_rng(1).integers(0, 300, 5000).astype(float)
    step = runner("dedupe", {"by": "value", "horizon": "52w", "keep": 300})
    assert feed(step, x).value.tolist() == pd.Series(x).drop_duplicates().tolist()


def test_what_there_is_no_room_for_is_counted_and_passes_again():
    step = runner("dedupe", {"by": "value", "horizon": "1h", "keep": 2})
    assert told(feed(step, [1, 2, 3, 1, 3])) == [(0, 1), (1, 2), (2, 3), (3, 1)]
    assert step.counters() == {"left_out": 1, "forgotten": 2}
    later = told(feed(step, [7, 8], [9000, 9001]))
    assert later == [(9000, 7), (9001, 8)]
    assert step.counters()["forgotten"] == 2


def test_unknown_samples_stay_unknown_and_are_never_repeats():
    out = feed(runner("dedupe", {}), [np.nan, np.nan, np.inf], [0, 0, 0])
    assert np.isnan(out.value).all()
    assert out.quality.tolist() == [2, 2, 2]


def test_a_door_that_reports_its_state_each_second_is_told_by_the_minute():
    x = np.repeat([0.0, 1.0, 0.0], [100, 50, 150])
    out = feed(runner("dedupe", {"by": "value", "horizon": "60s"}), x)
    assert told(out) == [(0, 0), (60, 0), (100, 1), (150, 0), (210, 0), (270, 0)]
