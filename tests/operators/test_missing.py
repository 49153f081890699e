import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from config.model import Limits
from pipelines.batch import samples
from pipelines.operator import load_all
from pipelines.series import SeriesTable, make_labels
from pipelines.stage import ParamSets, Stage
from tests.operators.one_step import SECOND, clock, feed, runner, told

T10 = {"timeout": "10s"}


def test_a_sample_just_at_the_timeout_is_in_time():
    step = runner("missing", T10)
    assert told(feed(step, [1, 1, 1], [0, 10, 20])) == []
    assert told(clock(step, 30)) == []
    assert told(feed(step, [1], [30])) == []


def test_silence_is_told_at_its_due_time_whoever_notices_it():
    by_clock = runner("missing", T10)
    feed(by_clock, [1], [0])
    assert told(clock(by_clock, 17)) == [(10, 1)]
    assert told(clock(by_clock, 90)) == []
    out = feed(by_clock, [1, 1], [95, 96])
    assert told(out) == [(95, 0)]
    assert out.fields.tolist() == [[95]]
    by_sample = runner("missing", T10)
    assert told(feed(by_sample, [1, 1, 1], [0, 95, 96])) == [(10, 1), (95, 0)]


def test_unknown_samples_are_no_sign_of_life():
    step = runner("missing", T10)
    assert told(feed(step, [1, np.nan, np.inf, np.nan], [0, 5, 11, 20])) == [(10, 1)]
    assert told(feed(step, [1], [21])) == [(21, 0)]


def test_a_series_without_any_sample_is_nobodys_business():
    assert told(clock(runner("missing", T10), 1e6)) == []


@given(st.lists(st.integers(0, 40), min_size=1, max_size=60), st.integers(1, 30))
def test_it_is_arithmetic_on_the_gaps(gaps, timeout):
    times = np.cumsum(gaps).tolist()
    step = runner("missing", {"timeout": f"{timeout}s"})
    got = told(feed(step, [1] * len(times), times)) + told(clock(step, times[-1] + 1e5))
    ends = [*times[1:], None]
    want = []
    for begin, end in zip(times, ends, strict=True):
        if end is None or end - begin > timeout:
            want.append((begin + timeout, 1))
            want += [] if end is None else [(end, 0)]
    assert got == want


def timeout_of(step, row=0):
    return int(step.state.timeout_ns[row]) / SECOND


def test_auto_says_nothing_before_ten_gaps():
    step = runner("missing", {"timeout": "auto"})
    feed(step, [1] * 10)
    assert told(clock(step, 1e5)) == []
    feed(step, [1], [10])
    assert told(clock(step, 1e5)) == [(10 + timeout_of(step), 1)]


@pytest.mark.parametrize("scale", [0.004, 0.3, 7, 900, 40_000])
def test_auto_is_between_the_quantile_and_a_quarter_more(scale):
    gaps = np.random.default_rng(1).gamma(9, scale / 9, 900).round(6)
    step = runner("missing", {"timeout": "auto", "factor": 1, "floor": "1ms"})
    feed(step, [1] * 897, np.cumsum(gaps)[:897])  # 896 gaps: looked up at the last one
    p99 = np.quantile(gaps[1:897], 0.99, method="inverted_cdf")
    assert p99 <= timeout_of(step) + 1e-9 <= 1.25 * p99 + 2e-3


def test_auto_never_goes_below_the_floor():
    step = runner("missing", {"timeout": "auto"})
    feed(step, [1] * 40, np.arange(40) / 100)
    assert timeout_of(step) == 1


def test_one_outage_does_not_hide_the_next():
    step = runner("missing", {"timeout": "auto"})
    times = [*range(20), *range(3620, 3640), *range(7240, 7260)]
    out = told(feed(step, [1] * 60, times))
    assert [v for _, v in out] == [1, 0, 1, 0]
    assert out[2][0] < 3639 + 60


def test_auto_learns_a_slower_rhythm():
    step = runner("missing", {"timeout": "auto"})
    out = feed(step, [1] * 1500, np.r_[np.arange(1000), 1000 + 60 * np.arange(500)])
    assert out.value.size > 0
    assert timeout_of(step) >= 4 * 60
    assert out.t_ns[-1] / SECOND < 1000 + 60 * 60


def test_one_gap_in_a_hundred_may_be_longer():
    for long, expected in ((8, 1.25), (9, 60)):
        gaps = np.ones(800)
        gaps[:long] = 60
        step = runner("missing", {"timeout": "auto", "factor": 1})
        feed(step, [1] * 801, np.r_[0, np.cumsum(gaps)])
        assert timeout_of(step) == pytest.approx(expected, rel=0.25)


def test_auto_forgets_a_slower_rhythm():
    step = runner("missing", {"timeout": "auto"})
    feed(step, [1] * 1000, 60 * np.arange(1000))
    assert timeout_of(step) >= 240
    feed(step, [1] * 5000, 60_000 + np.arange(5000))
    assert timeout_of(step) <= 5


# --- series that must exist ------------------------------------------------------------------


class Plant:
    """A stage with `missing`, its series and its clocks."""

    def __init__(self, **options):
        operator = load_all()["missing"]
        self.stage = Stage(operator, ParamSets(operator.params, options, {}), (), Limits())
        self.series = SeriesTable(100)
        self.table = self.stage.connect(self.series)

    def sample(self, t, **labels):
        row = self.series.intern(make_labels(labels))
        self.series.clock_ns[row] = round(t * SECOND)
        batch = samples(np.array([row], np.int32), np.array([round(t * SECOND)]), np.array([1.0]))
        return self.named(self.stage.run(batch, None))

    def time(self, t):
        """Processing time comes to `t`; event time stays where it is."""
        nothing = samples(np.zeros(0, np.int32), np.zeros(0, np.int64), np.zeros(0))
        self.stage.sync()
        return self.named(self.stage.run(nothing, self.stage.clocks(round(t * SECOND))))

    def named(self, out):
        return [
            (dict(self.table.labels(int(s))).get("device"), t / SECOND, v)
            for s, t, v in zip(out.series, out.t_ns.tolist(), out.value.tolist(), strict=True)
        ]


def test_an_expected_series_that_never_comes_is_missing():
    plant = Plant(expected={"device": ["b1", "b2"]})
    assert plant.time(100) == []
    assert plant.sample(120, device="b1", channel="temperature") == []
    assert plant.time(160) == []
    assert plant.time(161) == [("b2", 160, 1)]
    assert plant.time(1000) == []
    assert plant.sample(1001, device="b2", channel="temperature") == [("b2", 1001, 0)]
    assert plant.time(5000) == []


def test_a_device_whose_clock_is_behind_is_found_no_earlier_than_it_was_missed():
    plant = Plant(expected=[{"device": "b1"}], timeout="10s")
    plant.time(100)
    assert plant.time(111) == [("b1", 110, 1)]
    assert plant.sample(60, device="b1", channel="temperature") == [("b1", 110, 0)]


def test_a_fixed_timeout_holds_for_expected_series_too():
    plant = Plant(expected=[{"device": "b1"}], timeout="10s")
    assert plant.time(0) == []
    assert plant.time(11) == [("b1", 10, 1)]


def test_once_found_a_series_is_watched_under_its_own_labels():
    plant = Plant(expected=[{"device": "b1"}], timeout="10s")
    plant.time(0)
    plant.sample(5, device="b1", channel="temperature")
    assert plant.time(100) == []  # the row of the expected series is done with
    assert plant.sample(100, device="b1", channel="temperature") == [
        ("b1", 15, 1),
        ("b1", 100, 0),
    ]


def test_an_expected_series_with_exactly_these_labels_is_one_row():
    plant = Plant(expected=[{"device": "b1"}], timeout="10s")
    plant.time(0)
    assert plant.time(11) == [("b1", 10, 1)]
    assert plant.sample(12, device="b1") == [("b1", 12, 0)]
    assert plant.sample(50, device="b1") == [("b1", 22, 1), ("b1", 50, 0)]
    assert len(plant.table) == 1


def test_an_unknown_sample_does_not_find_it():
    plant = Plant(expected=[{"device": "b1"}], timeout="10s")
    plant.time(0)
    row = plant.series.intern(make_labels({"device": "b1", "channel": "x"}))
    batch = samples(np.array([row], np.int32), np.array([SECOND]), np.array([np.nan]))
    plant.stage.run(batch, None)
    assert plant.time(11) == [("b1", 10, 1)]


def test_other_series_are_not_the_expected_one():
    plant = Plant(expected=[{"device": "b1", "site": "north"}], timeout="10s")
    plant.time(0)
    plant.sample(1, device="b1", site="south")
    plant.sample(1, device="b2", site="north")
    assert plant.time(11) == [("b1", 10, 1)]


def test_lists_of_labels_are_multiplied_and_kept_once():
    model = load_all()["missing"].params
    made = model.model_validate({"expected": {"device": ["b1", "b2"], "site": "north"}})
    assert made.expected == (
        {"device": "b1", "site": "north"},
        {"device": "b2", "site": "north"},
    )
    assert len(model.model_validate({"expected": [{"device": 7}, {"device": "7"}]}).expected) == 1


@pytest.mark.parametrize("options", [{"timeout": "0s"}, {"timeout": 5}, {"expected": [{}]}])
def test_what_cannot_be_meant_is_refused(options):
    with pytest.raises(ValidationError):
        runner("missing", options)
