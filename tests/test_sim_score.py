"""Scores of alerts against the truth, on cases small enough to know the answer."""

import pytest

from device_sim.score import Scorer, score
from device_sim.times import column_ns, iso_ns, rfc3339
from device_sim.truth import fault_event, run_event

SECOND = 1_000_000_000
T0 = 1_767_225_600 * SECOND
TOLERANCE = 5 * SECOND


def fault(start, end, device="b1", channel="temperature", kind="step", expected=True):
    return fault_event(
        source="sim/test",
        device=device,
        channel=channel,
        kind=kind,
        start_ns=T0 + int(start * SECOND),
        end_ns=T0 + int(end * SECOND),
        magnitude=1.0,
        expected=expected,
        labels={},
    )


def alert(at, device="b1", channel="temperature", kind="active", **labels):
    labels = {"device": device, "channel": channel, **labels}
    return {
        "specversion": "1.0",
        "id": f"{labels}/{kind}/{at}",
        "type": f"sensorweir.alert.{kind}",
        "source": "gateway",
        "time": rfc3339(T0 + int(at * SECOND)),
        "data": {"labels": {k: v for k, v in labels.items() if v is not None}},
    }


def of(alerts, faults):
    return score(alerts, faults, TOLERANCE)


def test_one_found_one_missed_one_made_up():
    result = of([alert(12), alert(50)], [fault(10, 20), fault(10, 20, device="b2")])
    assert (result.detected, result.faults, result.false_alerts) == (1, 2, 1)
    assert (result.precision, result.recall, result.f1) == (0.5, 0.5, 0.5)
    assert result.missed == (f"sim/test/b2/temperature/step/{T0 + 10 * SECOND}",)


@pytest.mark.parametrize(("at", "found"), [(9.999, 0), (10, 1), (20, 1), (25, 1), (25.001, 0)])
def test_an_alert_counts_from_start_to_end_and_tolerance_inclusive(at, found):
    result = of([alert(at)], [fault(10, 20)])
    assert (result.detected, result.false_alerts) == (found, 1 - found)


def test_several_alerts_of_one_fault_count_once_and_are_not_false():
    result = of([alert(11), alert(13), alert(19)], [fault(10, 20)])
    assert (result.detected, result.false_alerts, result.repeated_alerts) == (1, 0, 2)
    assert result.f1 == 1.0
    assert result.delay_p50_s == 1.0


def test_channels_must_agree_where_both_are_named():
    assert of([alert(12, channel="pressure")], [fault(10, 20)]).false_alerts == 1
    assert of([alert(12, channel=None)], [fault(10, 20)]).detected == 1
    assert of([alert(12, channel="pressure")], [fault(10, 20, channel=None)]).detected == 1


def test_an_alert_after_two_faults_belongs_to_the_later_one():
    result = of([alert(23)], [fault(10, 19), fault(20, 22)])
    assert result.detected == 1
    assert result.missed == (f"sim/test/b1/temperature/step/{T0 + 10 * SECOND}",)


def test_an_alert_during_two_faults_belongs_to_both():
    assert of([alert(15)], [fault(10, 19), fault(12, 30, channel=None)]).detected == 2


def test_only_new_alerts_are_judged():
    events = [alert(12, kind="cleared"), alert(13, kind="updated")]
    result = of(events, [fault(10, 20)])
    assert (result.alerts, result.detected, result.false_alerts) == (0, 0, 0)


def test_a_redelivered_alert_and_fault_count_once():
    result = of([alert(50), alert(50)], [fault(10, 20), fault(10, 20)])
    assert (result.alerts, result.false_alerts, result.faults) == (1, 1, 1)


def test_faults_that_need_no_alert_are_neither_missed_nor_make_alerts_false():
    quiet = fault(10, 20, expected=False)
    assert of([], [quiet]).recall == 1.0
    result = of([alert(12)], [quiet])
    assert (result.faults, result.false_alerts, result.f1) == (0, 0, 1.0)


@pytest.mark.parametrize(
    ("alerts", "faults", "precision", "recall", "f1"),
    [
        ([], [], 1.0, 1.0, 1.0),
        ([], [fault(1, 2)], 1.0, 0.0, 0.0),
        ([alert(1)], [], 0.0, 1.0, 0.0),
    ],
)
def test_nothing_has_a_score_too(alerts, faults, precision, recall, f1):
    result = of(alerts, faults)
    assert (result.precision, result.recall, result.f1) == (precision, recall, f1)
    assert result.delay_p50_s is None


def test_delays_are_nearest_ranks_and_parted_by_kind():
    faults = [fault(100 * i, 100 * i + 50, kind="spike" if i % 2 else "drift") for i in range(20)]
    result = of([alert(100 * i + i + 1) for i in range(20)], faults)
    assert (result.delay_p50_s, result.delay_p95_s) == (10.0, 19.0)
    assert result.by_kind["drift"].delay_p50_s == 9.0
    assert result.by_kind["spike"].faults == 10


def test_false_alerts_are_given_per_sensor_and_day():
    hours = 6 * 3600 * SECOND
    planned = run_event(source="sim/test", series=10, start_ns=T0, end_ns=None)
    ended = run_event(source="sim/test", series=10, start_ns=T0, end_ns=T0 + hours)
    result = of([alert(50), alert(60)], [planned, ended])
    assert result.false_per_sensor_day == pytest.approx(2 / (10 * 0.25))
    assert of([alert(50)], [planned]).false_per_sensor_day is None


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"type": "sensorweir.alert.active"},
        {"type": "sensorweir.alert.active", "id": "1", "time": "noon", "data": {}},
        {"type": "sensorweir.alert.active", "id": "1", "time": 5, "data": {}},
        {"type": "sensorweir.alert.active", "id": "1", "time": rfc3339(T0), "data": []},
    ],
)
def test_events_that_cannot_be_read_are_counted(event):
    assert of([event], []).rejected == 1


def test_truth_that_cannot_be_read_is_counted():
    broken = fault(1, 2)
    broken["data"]["start_ns"] = "soon"
    assert of([], [broken, {"type": "sensorweir.sim.fault"}, {}]).rejected == 3


def test_an_alert_of_no_device_is_not_judged():
    result = of([alert(12, device=None, channel=None, site="north")], [fault(10, 20)])
    assert (result.unassigned, result.alerts, result.false_alerts) == (1, 0, 0)


def test_events_may_come_in_any_order():
    scorer = Scorer(TOLERANCE)
    scorer.alert(alert(12))
    assert scorer.result().false_alerts == 1
    scorer.fault(fault(10, 20))
    assert (scorer.result().detected, scorer.result().false_alerts) == (1, 0)


@pytest.mark.parametrize(
    ("text", "t_ns"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01 00:00:01", SECOND),
        ("1970-01-01T01:00:00.000000001+01:00", 1),
        ("1969-12-31T23:59:59.5Z", -SECOND // 2),
        ("2013-12-02 21:15:00", 1_386_018_900 * SECOND),
    ],
)
def test_iso_times_are_read_to_the_nanosecond(text, t_ns):
    assert iso_ns(text) == t_ns
    assert iso_ns(rfc3339(t_ns)) == t_ns


@pytest.mark.parametrize(
    ("text", "unit", "t_ns"),
    [("1500", "ms", 1_500_000_000), ("1.5", "s", 1_500_000_000), ("-2", "us", -2000)],
)
def test_numbers_are_read_in_their_unit(text, unit, t_ns):
    assert column_ns(text, unit) == t_ns
