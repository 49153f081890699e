"""Machine temperature of the Numenta Anomaly Benchmark: real samples with labelled failures.

tests/data/nab is from NAB (MIT licence beside it): 22,695 samples at 5 minutes, four windows.
"""

import csv
import json
from datetime import UTC, datetime
from pathlib import Path

import yaml

DATA = Path(__file__).parent / "data" / "nab"
CSV = DATA / "machine_temperature_system_failure.csv"
SAMPLES = 22_695

_EXAMPLE = Path(__file__).parent.parent / "config" / "examples" / "machine" / "gateway.yaml"
_WRITTEN = yaml.safe_load(_EXAMPLE.read_text())
SOURCES, PIPELINES = _WRITTEN["sources"], _WRITTEN["pipelines"]
LIMITS = _WRITTEN["limits"]
TOPIC = SOURCES["machines"]["topic"]


def payloads():
    """The messages that `sensorweir sim replay` makes of the file."""
    with CSV.open() as file:
        for seq, row in enumerate(csv.DictReader(file)):
            time = datetime.fromisoformat(row["timestamp"]).replace(tzinfo=UTC)
            yield {
                "ts": int(time.timestamp() * 1000),
                "seq": seq,
                "temperature": float(row["value"]),
            }


def windows():
    """Labelled windows as (start, end), aware datetimes."""
    found = json.loads((DATA / "windows.json").read_text())[CSV.name]
    return [tuple(datetime.fromisoformat(t).replace(tzinfo=UTC) for t in w) for w in found]


def scored(events):
    """{pipeline: (indices of windows hit, alerts outside of all windows)}"""
    found = {name: (set(), 0) for name in PIPELINES}
    for event in events:
        if event["type"] != "sensorweir.alert.active":
            continue
        name, time = event["data"]["pipeline"], datetime.fromisoformat(event["time"])
        hit = {i for i, (start, end) in enumerate(windows()) if start <= time <= end}
        hits, outside = found[name]
        found[name] = (hits | hit, outside + (not hit))
    return found


def table(events):
    """The score as lines for people."""
    lines = []
    for name, (hits, outside) in scored(events).items():
        for i, (start, end) in enumerate(windows()):
            word = "hit" if i in hits else "missed"
            lines.append(f"{name:11} window {start:%Y-%m-%d %H:%M} - {end:%Y-%m-%d %H:%M}  {word}")
        lines.append(
            f"{name:11} {len(hits)} of {len(windows())} windows hit, {outside} alerts outside"
        )
    return "\n".join(lines)
