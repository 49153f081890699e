import numpy as np
import pytest

from pipelines.batch import samples
from pipelines.operator import load_all, ring_width
from pipelines.runner import TICK_ROWS, StepRunner
from pipelines.series import NEVER
from tests.operator_runs import part
from tests.traffic import SECOND, START_NS

FOREVER = 1 << 40


def made(name, *options, rows_max=5000, state_bytes_max=FOREVER):
    operator = load_all()[name]
    sets = [operator.params.model_validate(o) for o in options]
    return StepRunner(operator, sets, rows_max, state_bytes_max)


def seconds(values, series=0):
    x = np.array(values, float)
    rows = np.broadcast_to(np.asarray(series, np.int32), x.shape).copy()
    return samples(rows, START_NS + SECOND * np.arange(x.size), x)


def test_room_grows_by_doubling_up_to_the_limit():
    step = made("ewma", {"halflife": "1s"}, rows_max=200)
    seen = [step.capacity]
    for row in (63, 64, 130, 199):
        step.run(seconds([1.0], row))
        seen.append(step.capacity)
    assert seen == [64, 64, 128, 200, 200]
    with pytest.raises(AssertionError, match="series row 200 of 200"):
        step.run(seconds([1.0], 200))


def test_rings_widen_as_needed_and_lose_nothing():
    step = made("rolling", {"stat": "sum", "window": "1h"})
    out = step.run(seconds(np.ones(1000)))
    assert list(out.value) == list(range(1, 1001))
    assert ring_width(step.state) == 1024
    assert step.counters() == {"truncated": 0}


def test_a_ring_that_may_not_widen_forgets_the_oldest_and_says_so():
    step = made("rolling", {"stat": "count", "window": "1h"}, state_bytes_max=100_000)
    out = step.run(seconds(np.ones(1000)))
    kept = ring_width(step.state) - 1
    assert step.state_bytes() <= 100_000
    assert list(out.value) == [min(i, kept) for i in range(1, 1001)]
    assert step.counters() == {"truncated": 1000 - kept}


def test_a_higher_limit_counts_again_after_a_restart():
    small = made("rolling", {"stat": "count", "window": "1h"}, state_bytes_max=0)
    small.run(seconds(np.ones(100)))
    large = made("rolling", {"stat": "count", "window": "1h"})
    large.load(small.state)
    assert list(large.run(seconds(np.ones(2))).value) == [16, 16] or ring_width(large.state) > 16
    assert large.counters()["truncated"] == small.counters()["truncated"]


def test_what_is_returned_stays_until_the_next_call():
    step = made("ewma", {"halflife": "1s"})
    first = step.run(seconds([1.0, 2.0]))
    assert (first.value[0], first.size) == (1.0, 2)
    step.run(seconds([9.0, 9.0]))
    assert first.value[0] > 1.0  # the same memory: whoever keeps rows must copy them


def test_a_state_is_copied_when_loaded():
    one, two = made("ewma", {"halflife": "1s"}), made("ewma", {"halflife": "1s"})
    one.run(seconds([5.0], 700))
    two.load(one.state)
    one.run(seconds([50.0], 700))
    assert two.state.mean[700] == 5.0
    assert two.capacity >= 701


def test_series_use_the_set_they_were_assigned():
    step = made("rolling", {"stat": "sum", "window": 1}, {"stat": "sum", "window": 3})
    step.assign(900, [1])
    assert list(step.run(seconds([1, 1, 1, 1], 900)).value) == [1, 2, 3, 3]
    assert list(step.run(seconds([1, 1, 1, 1], 899)).value) == [1, 1, 1, 1]
    with pytest.raises(AssertionError, match="one of 2 parameter sets"):
        step.assign(0, [2])


def test_a_tick_over_many_series_comes_out_in_one_batch():
    rows = 3 * TICK_ROWS + 5
    step = made("aggregate", {"size": "1m", "stats": ["count"]}, rows_max=rows)
    batch = samples(
        np.arange(rows, dtype=np.int32), np.full(rows, START_NS), np.arange(rows, dtype=float)
    )
    for first in range(0, rows, 50):  # small batches, so that the tick has to make its own room
        step.run(part(batch, first, first + 50))
    clock = np.full(rows, START_NS + 120 * SECOND)
    clock[7] = NEVER
    out = step.tick(clock, rows)
    assert list(out.series) == [s for s in range(rows) if s != 7]


def test_a_tick_can_follow_in_the_same_batch():
    step = made("aggregate", {"size": "1m", "stats": ["count"]})
    begin = START_NS // (60 * SECOND) * 60 * SECOND
    step.run(samples(np.zeros(2, np.int32), begin + np.array([0, 61]) * SECOND, np.ones(2)))
    out = step.tick(np.array([begin + 120 * SECOND]), 1, append=True)
    assert list(out.t_ns - begin) == [60 * SECOND, 120 * SECOND]


def test_an_operator_without_time_has_nothing_to_say_on_a_tick():
    assert made("ewma", {"halflife": "1s"}).tick(np.array([START_NS]), 1).size == 0
