"""Order per series: against a naive twin, in any cut, with wrong clocks and silent series."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines import admission
from pipelines.order import DUPLICATE, FORCED, FUTURE, LATE, RECENT, USED, Arrivals, Rules
from pipelines.reorder import Reorder
from pipelines.series import NEVER, SeriesTable, make_labels
from tests.operator_runs import interpreted

S = 1_000_000_000
T0 = 1_764_000_000 * S


def stage(lateness=2, future=60, idle=-1, series=3, room=1000, timed=True):
    table = SeriesTable(100)
    for s in range(series):
        table.intern(make_labels({"device": str(s)}))
    idle_ns = idle * S if idle >= 0 else -1
    return Reorder(table, Rules(lateness * S, future * S, idle_ns, timed), room)


def arrivals(rows):
    full = [(*row, -1)[:5] for row in rows]
    s, t, v, a, q = zip(*full, strict=True) if rows else ((), (), (), (), ())
    return Arrivals(
        np.array(s, np.int32),
        np.array(t, np.int64) * S + T0,
        np.array(v, np.float64),
        np.array(a, np.int64) * S + T0,
        np.array(q, np.int64),
    )


def released(out):
    return [
        (s, (t - T0) // S, v)
        for s, t, v in zip(out.series.tolist(), out.t_ns.tolist(), out.value.tolist(), strict=True)
    ]


def late_rows(reorder):
    late = reorder.late
    arrived = [(a - T0) // S for a in late.arrival_ns.tolist()]
    return [
        (*row, a, q)
        for row, a, q in zip(released(late.batch), arrived, late.seq.tolist(), strict=True)
    ]


def naive(rows, lateness, future, timed):
    """The docstring of `admit`, one series at a time, with lists."""
    waiting, past, head, out, late, fate = {}, {}, {}, [], [], [0] * 5

    def identity(t, v, q):
        if q < 0:
            return t, repr(v)
        return (t, q) if timed else (repr(v), q)

    def place(w):
        return w[0], w[3], 0 if w[3] >= 0 else (math.isnan(w[1]), w[1])

    for s, t, v, a, q in rows:
        mine, had = waiting.setdefault(s, []), past.setdefault(s, [])
        released, missed = [w for w in had if w[4]], [w for w in had if not w[4]]
        recent = released[-RECENT:] + missed[-RECENT:]
        mark = identity(t, v, q)
        if t > a + future:
            fate[FUTURE] += 1
        elif mark in [identity(w[0], w[1], w[3]) for w in mine + recent]:
            fate[DUPLICATE] += 1
        elif released and t < released[-1][0]:
            fate[LATE] += 1
            late.append((s, t, v, a, q))
            had.append((t, v, a, q, False))
        else:
            mine.append((t, v, a, q))
            mine.sort(key=place)
            head[s] = max(t, head.get(s, t))
            until = max([head[s] - lateness] + [w[0] for w in mine if w[2] + lateness <= a])
            for w in [w for w in mine if w[0] <= until]:
                out.append((s, w[0], w[1]))
                had.append((*w, True))
            waiting[s] = [w for w in mine if w[0] > until]
    fate[USED] = len(out)
    return out, late, fate, sum(map(len, waiting.values()))


rows_of_traffic = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.integers(-6, 6),
        st.sampled_from([0.0, 1.0, 2.0, math.nan]),
        st.integers(0, 1),
        st.sampled_from([-1, -1, 0, 1, 2]),
    ),
    max_size=50,
).map(
    lambda raw: [
        (s, i // 3 + jitter, v, sum(r[3] for r in raw[: i + 1]) + i // 3, q)
        for i, (s, jitter, v, _, q) in enumerate(raw)
    ]
)


@settings(max_examples=400, deadline=None)
@given(
    rows_of_traffic,
    st.integers(0, 4),
    st.integers(0, 5),
    st.lists(st.integers(0, 50), max_size=4),
    st.booleans(),
)
def test_equals_the_naive_version_however_cut(rows, lateness, future, cuts, timed):
    reorder = stage(lateness, future, timed=timed)
    got, late = [], []
    for a, b in itertools.pairwise(sorted({0, *[c for c in cuts if c < len(rows)], len(rows)})):
        got += released(reorder.run(arrivals(rows[a:b])))
        late += late_rows(reorder)
    want, want_late, fate, held = naive(rows, lateness, future, timed)
    assert repr(got) == repr(want)  # NaN is not equal to itself
    assert repr(late) == repr(want_late)
    assert reorder.fate.tolist() == fate
    assert reorder.held == held
    assert len(rows) == sum(fate) + held  # nothing lost silently


@settings(max_examples=200, deadline=None)
@given(st.permutations(range(12)), st.integers(0, 11))
def test_any_order_within_the_lateness_comes_out_sorted(order, cut):
    rows = [(0, 100 + i, float(i), 200) for i in order]
    reorder = stage(lateness=11)
    got = released(reorder.run(arrivals(rows[:cut]))) + released(reorder.run(arrivals(rows[cut:])))
    got += released(reorder.flush())
    assert got == [(0, 100 + i, float(i)) for i in range(12)]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 5), st.sampled_from([0.0, 1.0, 2.0, math.nan]), st.integers(-1, 2)
        ),
        unique_by=lambda r: (r[0], r[2], repr(r[1]) if r[2] < 0 else ""),
        max_size=12,
    ).flatmap(lambda made: st.tuples(st.just(made), st.permutations(made)))
)
def test_equal_times_come_out_in_one_order_whatever_arrived_first(pair):
    def out(made):
        reorder = stage(lateness=6)
        first = released(reorder.run(arrivals([(0, 100 + t, v, 200, q) for t, v, q in made])))
        return repr(first + released(reorder.flush()))

    assert out(pair[0]) == out(pair[1])


@pytest.mark.parametrize("lateness", [0, 5])
def test_counters_tell_equal_samples_apart_and_repeated_ones_too(lateness):
    reorder = stage(lateness)
    rows = [(0, 1, 7.0, 1, 1), (0, 1, 7.0, 1, 2), (0, 1, 7.0, 1, 1), (0, 1, 8.0, 1, 2)]
    got = released(reorder.run(arrivals(rows))) + released(reorder.flush())
    assert got == [(0, 1, 7.0), (0, 1, 7.0)]
    assert reorder.fate[DUPLICATE] == 2


def test_a_late_sample_that_comes_again_is_a_duplicate_and_is_amended_once():
    reorder = stage(lateness=0)
    reorder.run(arrivals([(0, t, 1.0, t, t) for t in range(10)]))
    reorder.run(arrivals([(0, 3, 1.0, 10, 3)]))  # was used
    assert late_rows(reorder) == []
    again = [(0, 3, 2.0, 11, 99), (0, 3, 2.0, 12, 99)]  # was not
    reorder.run(arrivals(again))
    assert late_rows(reorder) == again[:1]
    reorder.tick(T0 + 20 * S)
    assert late_rows(reorder) == []
    assert reorder.fate.tolist() == [10, 1, 2, 0, 0]


def test_a_long_burst_that_is_sent_again_is_not_used_again():
    reorder = stage(lateness=0)
    rows = [(0, t, 1.0, t, t) for t in range(3 * RECENT)]
    reorder.run(arrivals(rows))
    assert released(reorder.run(arrivals([(*row[:3], 500, row[4]) for row in rows]))) == []
    assert reorder.fate.tolist() == [3 * RECENT, 2 * RECENT, RECENT, 0, 0]


def test_without_times_of_the_device_counter_and_value_tell_what_was_sent_again():
    reorder = stage(lateness=0, timed=False)
    rows = [(0, 1, 5.0, 1, 1), (0, 2, 6.0, 2, 2), (0, 3, 5.0, 3, 1), (0, 4, 9.0, 4, 1)]
    assert released(reorder.run(arrivals(rows))) == [(0, 1, 5.0), (0, 2, 6.0), (0, 4, 9.0)]
    assert reorder.fate[DUPLICATE] == 1
    plain = [(0, 5, 9.0, 5), (0, 6, 9.0, 6)]  # without counters: the device says it again
    assert len(released(reorder.run(arrivals(plain)))) == 2


def test_one_wrong_clock_moves_nobody_else():
    reorder = stage(lateness=2, future=60)
    far = 100 * 365 * 86400
    rows = [(0, far, 1.0, 0), (1, 0, 1.0, 0), (2, -10_000_000, 1.0, 0), (1, 3, 2.0, 3)]
    assert released(reorder.run(arrivals(rows))) == [(1, 0, 1.0)]
    assert reorder.fate[FUTURE] == 1
    assert reorder.fate[LATE] == 0
    assert reorder.table.clock_ns[0] == NEVER


def test_a_waiting_sample_is_handed_on_after_the_lateness_without_others():
    reorder = stage(lateness=2)
    assert released(reorder.run(arrivals([(0, 0, 1.0, 0)]))) == []
    assert released(reorder.tick(T0 + S)) == []
    assert released(reorder.tick(T0 + 2 * S)) == [(0, 0, 1.0)]
    assert reorder.held == 0


def test_a_late_burst_after_an_outage_is_not_late():
    reorder = stage(lateness=0)
    reorder.run(arrivals([(0, t, float(t), t) for t in range(10)]))
    reorder.tick(T0 + 100 * S)  # silent: its clock has gone on
    burst = [(0, t, float(t), 100) for t in range(10, 100)]
    assert len(released(reorder.run(arrivals(burst)))) == 90
    assert reorder.fate[LATE] == 0


def test_the_clock_of_a_silent_series_goes_on_as_far_behind_as_its_samples_were():
    reorder = stage(lateness=1, idle=5)
    reorder.run(arrivals([(0, -30, 1.0, 0), (0, -29, 1.0, 1), (1, 0, 1.0, 1)]))
    reorder.tick(T0 + 4 * S)
    assert reorder.table.clock_ns[0] == T0 - 29 * S  # waited long enough, but not silent yet
    reorder.tick(T0 + 11 * S)
    assert reorder.table.clock_ns[0] == T0 - 29 * S + 10 * S - S
    assert reorder.table.clock_ns[2] == NEVER


def test_silence_is_learned_from_the_usual_gap():
    reorder = stage(lateness=0)
    reorder.run(arrivals([(0, t, float(t), t) for t in range(0, 100, 10)]))
    reorder.tick(T0 + (90 + 49) * S)
    assert reorder.table.clock_ns[0] == T0 + 90 * S
    reorder.tick(T0 + (90 + 50) * S)
    assert reorder.table.clock_ns[0] == T0 + 140 * S


def test_without_room_to_wait_samples_go_at_once_and_are_counted():
    reorder = stage(lateness=100, room=4)
    got = released(reorder.run(arrivals([(0, t, float(t), 0) for t in range(10)])))
    got += released(reorder.flush())
    assert [t for _, t, _ in got] == list(range(10))
    assert reorder.fate[FORCED] > 0


def test_more_series_than_at_the_start():
    reorder = stage(lateness=0, series=0)
    for s in range(100):
        reorder.table.intern(make_labels({"device": str(s)}))
        assert released(reorder.run(arrivals([(s, 0, 1.0, 0)]))) == [(s, 0, 1.0)]


def test_compiled_equals_interpreted():
    rng = np.random.default_rng(3)
    rows = [
        (
            int(rng.integers(3)),
            i // 3 + int(rng.integers(-4, 5)) + (500 if i % 29 == 0 else 0),
            float(rng.integers(3)),
            i // 3,
            int(rng.integers(-1, 3)),
        )
        for i in range(300)
    ]

    def everything():
        reorder = stage(lateness=1)
        out = released(reorder.run(arrivals(rows)))
        seen = [out, late_rows(reorder), [c.tolist() for c in reorder.notices]]
        seen += [released(reorder.tick(T0 + 200 * S)), reorder.fate.tolist()]
        return [*seen, reorder.table.clock_ns.tolist()]

    compiled = everything()
    with interpreted():
        assert everything() == compiled
    assert all(n > 0 for n in compiled[4][:4])
    assert compiled[2][0]


def noticed(reorder):
    found = [c.tolist() for c in reorder.notices[:-1]]
    return [
        (s, bool(ended), (arrival - T0) // S, ahead // S, n, (since - T0) // S)
        for s, ended, arrival, ahead, n, since in zip(*found, strict=True)
    ]


def test_a_device_is_told_of_once_whatever_its_channels():
    table = SeriesTable(10)
    for device, channel in [("a", "x"), ("a", "y"), ("b", "x")]:
        table.intern(make_labels({"device": device, "channel": channel}))
    reorder = Reorder(table, Rules(0, 60 * S, -1), 100)
    reorder.run(arrivals([(0, 100, 1.0, 0), (1, 200, 1.0, 0), (2, 60, 1.0, 0)]))
    assert noticed(reorder) == [(0, False, 0, 100, 1, 0)]
    reorder.run(arrivals([(1, 59, 1.0, 59), (0, 160, 1.0, 60), (1, 119, 1.0, 119)]))
    assert noticed(reorder) == []  # well for less than a minute
    reorder.run(arrivals([(1, 120, 1.0, 120), (0, 121, 1.0, 121)]))
    assert noticed(reorder) == [(1, True, 120, 200, 3, 0)]
    reorder.run(arrivals([(0, 500, 1.0, 122)]))
    assert noticed(reorder) == [(0, False, 122, 378, 1, 122)]
    reorder.tick(T0 + 300 * S)
    assert noticed(reorder) == []


def test_samples_have_the_same_mark_exactly_when_they_are_one():
    numbers = [0.0, -0.0, 1.5, math.nan, -math.nan, math.inf, 5e-324]
    samples = [(t, x, q) for t in (0, 1, T0, T0 + 1) for x in numbers for q in (-1, 0, 1, T0)]
    for one, other, timed in itertools.product(samples, samples, (False, True)):
        same = admission._same(timed, *one, *other)
        assert (admission.mark(*one, timed) == admission.mark(*other, timed)) == same
