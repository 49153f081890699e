import numpy as np
import pytest

from pipelines.batch import BAD, GOOD, UNCERTAIN
from pipelines.series import make_labels
from pipelines.values import resolve, with_tables
from tests.graphs import Feed, b, gateway, graph
from tests.operators.one_step import feed, runner

DEVICES = {
    "key": "device",
    "rows": [
        {"device": "b1", "line": 3, "hall": "north"},
        {"device": "b2", "line": "x1"},
        {"device": 7, "line": 4.5, "hall": True},
    ],
}


def pipeline(**options):
    enrich = {"table": "devices", "add": ["line", "hall"], **options}
    return {
        "p": {"from": "boilers", "steps": [{"enrich": enrich}], "publish": {"topic": "t/{line}"}}
    }


def told(made, rows):
    return [(dict(e.labels), e.data["value"], e.data["quality"]) for e in Feed(made).send(rows)]


def labels(device, line, hall):
    return b(device) | {"line": line, "hall": hall}


@pytest.mark.parametrize(
    ("missing", "wanted"),
    [
        ("keep", [(labels("b9", "unknown", "unknown"), 9, "good")]),
        ("mark", [(labels("b9", "unknown", "unknown"), 9, "uncertain")]),
        ("drop", []),
    ],
)
def test_rows_of_the_table_become_labels(missing, wanted):
    made = graph(pipeline(missing=missing), tables={"devices": DEVICES})
    got = told(made, [(0, b(d), float(d[-1])) for d in ("b1", "b2", "7", "b9")])
    assert got == [
        (labels("b1", "3", "north"), 1, "good"),
        (labels("b2", "x1", "unknown"), 2, "good"),
        (labels("7", "4.5", "true"), 7, "good"),
        *wanted,
    ]
    dropped = made.pipelines["p"].counters()["enrich.dropped"]
    assert dropped == (1 if missing == "drop" else 0)


def test_equals_merge():
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(3)
    devices = pandas.DataFrame({"device": [f"d{i}" for i in range(40)]})
    devices["line"] = rng.integers(0, 5, 40).astype(str)
    samples = pandas.DataFrame({"device": [f"d{i}" for i in rng.integers(0, 60, 500)]})
    samples["value"], samples["t"] = rng.normal(size=500), np.arange(500) / 10
    wanted = samples.merge(devices, on="device", how="left").fillna({"line": "unknown"})
    table = {"key": "device", "rows": devices.to_dict("records")}
    made = graph(pipeline(add="line"), tables={"devices": table})
    rows = [(r.t, b(r.device), r.value) for r in samples.itertuples()]
    got = told(made, rows)
    assert [(x["device"], x["line"], v) for x, v, _ in got] == list(
        wanted[["device", "line", "value"]].itertuples(index=False, name=None)
    )


def test_another_table_after_a_reload_moves_series_and_keeps_the_state():
    steps = [
        {"enrich": {"table": "devices", "add": ["line"]}},
        {"rolling": {"stat": "count", "window": "1h"}},
    ]
    spec = {"p": {"from": "boilers", "steps": steps, "publish": {"topic": "t/{line}"}}}
    before = graph(spec, tables={"devices": DEVICES})
    told(before, [(0, b("b1"), 1), (1, b("b2"), 1)])
    moved = {"key": "device", "rows": [DEVICES["rows"][0], {"device": "b2", "line": "y2"}]}
    after = graph(spec, keep=before, tables={"devices": moved})
    assert after.pipelines["p"] is before.pipelines["p"]
    got = told(after, [(2, b("b1"), 1), (3, b("b2"), 1)])
    assert [(x["line"], count) for x, count, _ in got] == [("3", 2), ("y2", 1)]


def test_limits_out_of_a_table_move_with_it():
    alert = {"when": {"above": "{limit}"}}
    values = {"limit": {"table": "devices", "column": "limit", "default": 50}}
    spec = {"hot": {"from": "boilers", "alert": alert, "values": values}}
    rows = [{"device": "b1", "limit": 90}, {"device": "b2"}, {"device": "b*", "limit": 1}]
    tables = {"devices": {"key": "device", "rows": rows}}
    made = graph(spec, tables=tables)
    got = Feed(made).send([(0, b(d), 60) for d in ("b1", "b2", "b3")])
    assert [dict(e.labels)["device"] for e in got] == ["b2", "b3"]
    rows[0]["limit"] = 55
    lower = graph(spec, keep=made, tables=tables)
    [told_] = Feed(lower).send([(1, b("b1"), 60)])
    assert dict(told_.labels)["device"] == "b1"


def test_ten_thousand_devices_find_their_limit_quickly():
    rows = [{"device": f"d{i}", "limit": i} for i in range(10_000)]
    made = gateway(
        {
            "hot": {
                "from": "boilers",
                "alert": {"when": {"above": "{limit}"}},
                "values": {"limit": {"table": "devices", "column": "limit"}},
            }
        },
        tables={"devices": {"key": "device", "rows": rows}},
    )
    values = with_tables(made.pipelines["hot"], {}, made.tables).values
    for i in range(10_000):
        assert resolve(values, "limit", make_labels(b(f"d{i}"))).number == i


def test_quality_of_what_is_not_listed_is_uncertain_at_best():
    step = runner("enrich", {"table": "devices", "missing": "mark"})
    assert feed(step, [1, np.nan], slot=1).quality.tolist() == [UNCERTAIN, BAD]
    assert feed(step, [1], slot=0).quality.tolist() == [GOOD]
