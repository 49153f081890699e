"""Tables: what may stand in one, where a fault is pointed at, and who may use it."""

import pytest

from config.errors import ConfigError
from config.load import load
from config.tables import Table, since_ns
from pipelines.operator import load_all
from tests.config_specs import DECODERS

MAIN = """
gateway: g1
tables:
  devices: {key: device, file: %s}
sources:
  s: {topic: "plant/{site}/{device}"}
pipelines:
  p:
    from: s
    steps: [enrich: {table: devices, add: [line]}]
    alert: {when: {above: "{limit}"}, topic: "a/{line}"}
    values: {limit: {table: devices, column: limit, default: 50}}
"""


def loaded(folder, name="devices.csv", text="device,line,limit\nb1,3,90\n", main=MAIN):
    (folder / name).write_text(text)
    (folder / "gateway.yaml").write_text(main % name if "%s" in main else main)
    return load(folder / "gateway.yaml", load_all(), DECODERS, {})


def problems(folder, *args, **options):
    with pytest.raises(ConfigError) as caught:
        loaded(folder, *args, **options)
    return str(caught.value)


CSV = "device,line,limit\nb1, 3 ,90\n\nb2,,\n"
YAML = "- {device: b1, line: '3', limit: 90}\n- {device: b2}\n"


@pytest.mark.parametrize(("name", "text"), [("d.csv", CSV), ("d.yaml", YAML)])
def test_a_file_of_rows(tmp_path, name, text):
    got = loaded(tmp_path, name, text)
    table = got.gateway.tables["devices"]
    assert table.by_key["b1"]["line"] == "3"
    assert table.numbers("limit") == {"b1": 90}
    assert got.files == (tmp_path / "gateway.yaml", tmp_path / name)
    assert got.gateway.pipelines["p"].values["limit"].by == {"device": {"b1": 90}}


@pytest.mark.parametrize(
    ("name", "text", "place", "what"),
    [
        ("d.csv", "device,line,limit\nb1,3\n", "d.csv:2", "2 cells below a header of 3"),
        ("d.csv", "device,line,limit\nb1,3,9\nb1,4,9\n", "d.csv:3", "'b1' is listed twice"),
        ("d.csv", "device,line,limit\n,3,9\n", "d.csv:2", "no device"),
        ("d.csv", "device,device\nb1,3\n", "d.csv:1", "two columns have one name"),
        ("d.csv", 'device,line,limit\n"b1,3,9\n', "d.csv:2", "not CSV"),
        ("d.csv", "", "d.csv", "an empty file"),
        ("d.csv", "device,limit,from\nb1,9,yesterday\n", "d.csv:2", "2026-03-01T06:00:00Z"),
        ("d.csv", "device,limit\nb1,9\n", "gateway.yaml:10", "has no column 'line'"),
        ("d.csv", "device,line\nb1,9\n", "gateway.yaml:12", "has no column 'limit'"),
        (
            "d.csv",
            "device,line,limit\nb1,9,hot\n",
            "gateway.yaml:12",
            "b1 has 'hot' in column limit",
        ),
        ("d.yaml", "device: b1\n", "d.yaml:1", "a list of rows"),
        ("d.yaml", "- [b1, 3]\n", "d.yaml:1", "a row such as"),
        ("d.yaml", "- {line: 3}\n", "d.yaml:1", "no device"),
    ],
)
def test_what_is_wrong_with_a_file(tmp_path, name, text, place, what):
    said = problems(tmp_path, name, text)
    assert what in said
    assert place in said


def test_a_file_that_is_not_there(tmp_path):
    said = problems(tmp_path, main=MAIN.replace("%s", "nothing.csv"))
    assert "nothing.csv" in said
    assert "cannot read the file" in said


def test_bytes_that_are_no_text(tmp_path):
    (tmp_path / "bad.csv").write_bytes(b"device\n\xff\n")
    assert "cannot read the file" in problems(tmp_path, main=MAIN.replace("%s", "bad.csv"))


def test_an_unknown_table_is_pointed_at(tmp_path):
    said = problems(
        tmp_path, main=MAIN.replace("enrich: {table: devices", "enrich: {table: device")
    )
    assert "unknown table 'device'" in said
    assert "devices" in said.split("hint")[1]
    said = problems(tmp_path, main=MAIN.replace("limit: {table: devices", "limit: {table: devises"))
    assert "unknown table 'devises'" in said


def test_a_number_that_an_option_cannot_have_is_found_before_the_start(tmp_path):
    main = MAIN.replace("enrich: {table: devices, add: [line]}", 'ewma_chart: {limit: "{limit}"}')
    main = main.replace('{when: {above: "{limit}"}, topic: "a/{line}"}', "{}")
    said = problems(tmp_path, text="device,line,limit\nb1,3,-90\n", main=main)
    assert "gateway.yaml:12" in said


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({}, "give one of file, rows, topic"),
        ({"rows": [], "topic": "t/{device}"}, "found rows and topic"),
        ({"topic": "t/{name}"}, "a level {device}"),
        ({"rows": [{"device": "a"}, {"device": "a"}]}, "two rows have the device 'a'"),
        ({"rows": [{"line": "a"}]}, "row 1: no device"),
        ({"rows": [{"device": "a", "from": "2026-03-01"}]}, "such as 2026-03-01T06:00:00Z"),
    ],
)
def test_what_makes_no_table(options, what):
    with pytest.raises(ValueError, match=what.replace("{", r"\{")):
        Table.model_validate({"key": "device", **options})


def test_of_several_rows_of_a_key_the_latest_holds():
    rows = [
        {"device": "a", "line": 2, "from": "2026-03-01T00:00:00Z"},
        {"device": "a", "line": 1},
    ]
    assert Table(key="device", rows=rows).by_key["a"]["line"] == 2
    assert since_ns({"from": "1970-01-01T01:00:01+01:00"}) == 1_000_000_000


def test_a_hierarchy_in_a_circle_is_pointed_at(tmp_path):
    main = MAIN.replace("enrich: {table: devices, add: [line]}", "group: {hierarchy: devices}")
    main = main.replace('{when: {above: "{limit}"}, topic: "a/{line}"}', "{when: {above: 3}}")
    main = main[: main.index("    values:")]
    said = problems(tmp_path, text="device,parent\na,b\nb,a\n", main=main)
    assert "gateway.yaml:10" in said
    assert "in a circle: a → b → a" in said
    assert loaded(tmp_path, text="device,parent\na,b\nb,c\n", main=main)


def test_a_topic_fills_a_table_or_is_a_source_and_not_both(tmp_path):
    main = MAIN.replace("file: %s", 'topic: "plant/+/{device}"')
    assert "also fill table 'devices'" in problems(tmp_path, main=main)


@pytest.mark.parametrize("step", ["enrich: {table: devices, of: devise}", "group: {of: devise}"])
def test_a_label_that_is_not_there_is_pointed_at(tmp_path, step):
    main = MAIN.replace("enrich: {table: devices, add: [line]}", step)
    main = main.replace("a/{line}", "a").replace("gateway: g1\n", "gateway: g1\n", 1)
    said = problems(tmp_path, main=main)
    assert "the stream has no label 'devise' here" in said
    assert "device" in said.split("hint")[1]
