"""Results as tables: Markdown for the README, JSON for machines."""

import json

from tests.bench import targets

HOP = ("hop", "case", "unit", "median", "range", "broker µs")
LATENCY = ("msg/s", "QoS", "p50 ms", "p99 ms", "daemon µs/msg", "of it receive, engine, publish")
LATENCY += ("broker µs/msg", "bare sleeper p99 ms", "valid")


def number(x):
    return f"{x:.0f}" if x >= 100 else f"{x:.1f}" if x >= 1 else f"{x:.2f}"


def hop(name, case, unit, cost, broker=None):
    """One row of the table of hops. `cost`, `broker`: `measure.Cost`."""
    row = {"hop": name, "case": case, "unit": unit, "median": cost.median}
    row |= {"low": cost.low, "high": cost.high}
    return row | ({"broker_us": broker.median} if broker else {})


def markdown(result):
    """The whole result as Markdown."""
    about = result["machine"]
    told = [
        "`make bench` on {cpu}, {cores} cores, Python {python}, numpy {numpy};".format(**about),
        f"one `orjson.loads` here costs {about['control_ns']} ns,",
        f"waking up each millisecond to do nothing {about['null_waker_us']} µs a time.",
    ]
    if result["hops"]:
        rows = [
            (
                r["hop"],
                r["case"],
                r["unit"],
                number(r["median"]),
                f"{number(r['low'])} to {number(r['high'])}",
                number(r["broker_us"]) if "broker_us" in r else "",
            )
            for r in result["hops"]
        ]
        told += ["", *_table(HOP, rows)]
    if result["split"]:
        columns = ("ns per sample", *next(iter(result["split"].values())))
        rows = [
            (f"batches of {size}", *map(number, parts.values()))
            for size, parts in result["split"].items()
        ]
        told += ["", "Where the engine's time goes:", "", *_table(columns, rows)]
    if result["decode"]:
        columns = ("decode", *next(iter(result["decode"].values())))
        rows = [(case, *map(number, costs.values())) for case, costs in result["decode"].items()]
        told += ["", *_table(columns, rows)]
    if result["latency"]:
        told += ["", "Publish to alert, three processes, at an ordinary subscriber:", ""]
        told += _table(LATENCY, [_latency(r) for r in result["latency"]])
    if result["operators"]:
        columns = ("operator, ns per sample", *next(iter(result["operators"].values())))
        rows = [(n, *map(number, costs.values())) for n, costs in result["operators"].items()]
        told += ["", *_table(columns, rows)]
    if result["targets"]:
        told += ["", *_table(targets.HEAD, [row["cells"] for row in result["targets"]])]
    if result["rounds_left_out"]:
        told += ["", f"Rounds left out as disturbed: {result['rounds_left_out']}."]
    return "\n".join(told) + "\n"


def as_json(result):
    """The same for machines."""
    return json.dumps(result, indent=2, ensure_ascii=False) + "\n"


def _latency(r):
    parts = ", ".join(number(r[f"{part}_us"]) for part in ("receive", "engine", "publish"))
    figures = (r["p50_ms"], r["p99_ms"], r["daemon_us"])
    return (
        f"{r['rate']:,}",
        str(r["qos"]),
        *map(number, figures),
        parts,
        number(r["broker_us"]),
        number(r["sleeper_p99_ms"]),
        r["valid"],
    )


def _table(columns, rows):
    lines = [columns, ["---"] * len(columns), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]
