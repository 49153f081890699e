"""What the daemon is told to do: operators with every kind of state, in event time alone."""

from tests.kills import probes
from tests.kills.workload import LATENESS_MS

WARM = {"above": 90.0005, "deadband": 3, "on_delay": "25500ms", "off_delay": "15500ms"}
PIPELINES = {
    "minutes": {
        "from": "line",
        "where": {"channel": "temperature"},
        "steps": [{"aggregate": {"size": "1m", "stats": ["mean", "min", "max", "count", "std"]}}],
    },
    "overlapping": {
        "from": "line",
        "where": {"channel": "pressure"},
        "steps": [{"aggregate": {"size": "2m", "hop": "40s", "stats": ["mean", "count"]}}],
    },
    "sevens": {
        "from": "line",
        "where": {"channel": "pressure"},
        "steps": [{"count_window": {"n": 7, "stats": ["sum", "last"]}}],
    },
    "bursts": {
        "from": "line",
        "where": {"channel": "temperature"},
        "steps": [{"session": {"gap": "35s", "stats": ["count", "mean", "max"]}}],
    },
    "power": {
        "from": "line",
        "where": {"channel": ["temperature", "flow"]},
        "steps": [{"expr": {"channel": "power", "value": "temperature * flow", "max_age": "50s"}}],
    },
    "speed": {
        "from": "line",
        "where": {"channel": "bottles"},
        "steps": [{"counter_rate": {"window": "1m", "unit": "min"}}],
    },
    "site_flow": {
        "from": "line",
        "where": {"channel": "flow"},
        "group_by": ["site"],
        "steps": [{"group": {"of": "device", "every": "30s", "max_age": "1m", "channel": "flow"}}],
    },
    "warm": {
        "from": "line",
        "where": {"channel": "temperature"},
        "steps": [{"ewma": {"halflife": "20s"}}],
        "alert": {"when": WARM, "severity": "major"},
    },
    "warm_site": {
        "from": {"alerts": "warm"},
        "group_by": ["site"],
        "steps": [{"quorum": {"of": "device", "at_least": 3, "within": "0s"}}],
        "alert": {"severity": "critical"},
    },
    "swings": {
        "from": "line",
        "where": {"channel": "pressure"},
        "steps": [{"rolling": {"stat": "range", "window": "75s", "min_samples": 3}}],
        "alert": {"when": {"above": 2.0005, "deadband": 0.5}},
    },
    "odd": {
        "from": "line",
        "where": {"channel": "pressure"},
        "steps": [{"mad": {"window": 40, "min_samples": 20, "k": 6}}],
        "alert": {"severity": "minor"},
    },
    "odd_site": {
        "from": {"alerts": "odd"},
        "group_by": ["site"],
        "steps": [{"quorum": {"of": "device", "at_least": 2, "within": "45s"}}],
        "alert": {"severity": "critical"},
    },
    "drift": {
        "from": "line",
        "where": {"channel": "pressure"},
        "steps": [{"cusum": {"learn": 40, "h": 8, "on_signal": "go_on"}}],
        "alert": {"severity": "minor", "when": {"deadband": 4}},
    },
    "silent": {
        "from": "line",
        "where": {"channel": "temperature"},
        "steps": [{"missing": {"timeout": "35s"}}],
        "alert": {"severity": "minor"},
    },
    "levels": {
        "from": "loose",
        "steps": [{"rolling": {"stat": "mean", "window": "65s"}}],
    },
    "level_minutes": {
        "from": "loose",
        "steps": [{"aggregate": {"size": "1m", "stats": ["mean", "first", "last", "count"]}}],
    },
    "heat_minutes": {
        "from": "heat",
        "steps": [{"aggregate": {"size": "1m", "stats": ["mean", "max", "count"]}}],
        "amend_for": "20m",
    },
    "hot": {
        "from": "heat",
        "amend_for": "20m",
        "alert": {"when": {"above": 90.0005, "deadband": 3, "on_delay": "15500ms"}},
    },
}
AMENDED = {"heat_minutes", "hot"}
"""Their events change as late samples come: the highest revision of each id counts."""


def configuration(url, name, durability, folder):
    """A gateway; `durability`: committed or none."""
    kept = durability == "committed"
    sources = {}
    for source, channels in (
        ("line", ["temperature", "pressure", "flow", "bottles"]),
        ("loose", ["level"]),
        ("heat", ["heat"]),
        ("probe", ["x", "y"]),
    ):
        sources[source] = {
            "topic": f"{name}/{source}/{{site}}/{{device}}",
            "time": {"field": "ts", "unit": "ms"},
            "seq": "seq",
            "channels": channels,
            "idle_after": "1d",
            "durability": durability,
        }
    sources["loose"]["lateness"] = f"{LATENESS_MS}ms"
    pipelines = {}
    for pipeline, spec in (PIPELINES | probes.pipelines()).items():
        topic = f"{name}/out/{pipeline}/{{site}}"
        if "group_by" not in spec:
            topic += "/{device}"
        where = "alert" if "alert" in spec else "publish"
        pipelines[pipeline] = {**spec, where: {**spec.get(where, {}), "topic": topic}}
    return {
        "gateway": name,
        "broker": {"url": url},
        "http": {"listen": "127.0.0.1:0"},
        "log": {"format": "json", "level": "info"},
        **({"state": {"folder": str(folder), "every": "1s"}} if kept else {}),
        "sources": sources,
        "pipelines": pipelines,
    }
