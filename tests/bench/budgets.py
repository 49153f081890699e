"""What a sample may cost in each operator: the table that `make bench` holds them to.

Figures are ns of CPU per sample, brought to a machine on which the control (`tests.bench.control`)
costs `CONTROL_NS`; they are the dearest of two runs among other work, and half as much again.
"""

from typing import NamedTuple

CONTROL_NS = 8.0
"""What the control costs on the README's machine when nothing else runs there."""
USUAL_MAX = 300
"""No operator may cost more, but for those that say why they do by nature."""
SERIES = 10_000


class Budget(NamedTuple):
    """One use of an operator, the traffic that it is for, and what a sample of it may cost."""

    ns: float
    options: dict | None = None
    """None: those of the operator's example."""
    every_s: float = 1.0
    """From one sample of a series to the next."""
    warm: int = 80
    """Samples of each series before any counts: windows are full, and detectors have learned."""
    stagger: int = 240
    """Series begin up to so many samples apart: a multiple of what is counted, such as windows."""
    members: int = 1
    """Series that make up a group, for operators that combine several."""
    names: int = 0
    """Members that `regroup` tells apart, where that is not fixed by the options."""
    level: float = 1e6
    spread: float = 1.0
    heavy: str = ""
    """Why it costs more than `USUAL_MAX` by nature."""


def rolling(stat, ns, window=60, **more):
    return Budget(ns, {"stat": stat, "window": window, **more}, warm=100)


NEAR = [[[20, 20], [20, 22], [22, 22], [22, 21], [21.6, 21], [21.6, 20]]]
SORTED = (
    "each of its 288 samples is kept in order of size: three searches, and a third of them moved"
)
BOTH_WINDOWS = "with each sample both windows of 60, kept in order of size, are walked through once"
AROUND = {"circles": [{"at": [21.5, 21.5], "radius": 500}], "hysteresis": 20}

BUDGETS = {
    "aggregate": (
        Budget(45),
        Budget(110, {"size": "1m", "hop": "10s", "stats": ["mean", "std"]}),
    ),
    "change_point": (
        Budget(190, warm=200),
        Budget(1500, {"test": "ks"}, warm=200, heavy=BOTH_WINDOWS),
    ),
    "convert": (Budget(20),),
    "correlate": (Budget(60, members=2),),
    "count_window": (
        Budget(40, stagger=200),
        Budget(90, {"n": 60, "step": 10, "stats": ["mean", "std"]}),
    ),
    "counter_rate": (Budget(130, every_s=5),),
    "cusum": (Budget(35, warm=220), Budget(60, {"false_alarms": "1/1d"}, warm=220)),
    "deadband": (Budget(30),),
    "dedupe": (Budget(120), Budget(45, {"by": "time_value"})),
    "derivative": (Budget(230),),
    "distinct": (
        Budget(270, every_s=10, warm=400),
        Budget(250, {"window": "1m", "exact_max": 16}),
    ),
    "enrich": (Budget(15, members=2),),
    "ewma": (Budget(25),),
    "ewma_chart": (Budget(35, warm=220),),
    "expr": (Budget(50, members=2),),
    "flatline": (Budget(110, every_s=10, warm=200),),
    "forecast": (Budget(200, every_s=60),),
    "geofence": (
        Budget(50, AROUND, members=2, level=21.5, spread=0.003),
        Budget(110, {"polygons": NEAR}, members=2, level=21.5, spread=1.0),
    ),
    "group": (Budget(55, members=20), Budget(55, members=200)),
    "hampel": (Budget(200),),
    "holt_winters": (
        Budget(80, {"season": "12m", "every": "10s"}, warm=1500),
        Budget(80, {"season": "12m", "every": "10s", "false_alarms": "1/1d"}, warm=1500),
        Budget(80, {"season": "12m", "every": "10s", "damping": 0.98}, warm=1500),
    ),
    "integral": (Budget(25), Budget(30, {"reset": "1d", "tz": "Europe/Berlin"})),
    "join": (
        Budget(180, members=2),
        Budget(300, {"left": "a", "right": "b", "strategy": "window"}, members=2),
    ),
    "kalman": (Budget(25),),
    "mad": (
        Budget(400, warm=320, heavy=SORTED),
        Budget(450, {"window": 288, "false_alarms": "1/1d"}, warm=320, heavy=SORTED),
    ),
    "mahalanobis": (
        Budget(170, members=3, warm=150),
        Budget(100, {"channels": list("abcdefgh")}, members=8, warm=150),
    ),
    "missing": (Budget(30),),
    "page_hinkley": (Budget(40, warm=220),),
    "peer": (Budget(150, members=20), Budget(150, members=50)),
    "quantile": (
        Budget(170),
        Budget(80, {"window": "1m", "sketch": "exact"}),
    ),
    "quorum": (
        Budget(160, members=20, names=20, level=0.5),
        Budget(250, members=100, names=100, level=0.5),
    ),
    "rate_limit": (Budget(130),),
    "resample": (Budget(20), Budget(35, {"every": "250ms"})),
    "rolling": (
        rolling("mean", 120),
        rolling("sum", 130),
        rolling("mean", 130, "60s", weight="step"),
        rolling("std", 120),
        rolling("var", 120),
        rolling("min", 300),
        rolling("median", 250),
        rolling("quantile", 250, q=0.9),
        rolling("range", 250),
        rolling("count", 45),
        rolling("first", 45),
        rolling("slope", 250),
    ),
    "seasonal": (Budget(150, {"period": "1h", "bins": 12}, every_s=20, warm=1300),),
    "sequence": (Budget(55, members=3, level=0.5),),
    "session": (Budget(25), Budget(35, {"gap": "500ms"})),
    "spectrum": (
        Budget(40, {"n": 1024, "bands": [[0.1, 0.2], [0.2, 0.4]]}, stagger=1024),
        Budget(90, {"n": 32, "hop": 8}),
    ),
    "state_window": (Budget(35, level=0.5), Budget(35, {"by": "value"}, level=0.5)),
    "swinging_door": (Budget(40),),
    "throttle": (Budget(20),),
    "time_profile": (Budget(55, every_s=10),),
    "topk": (Budget(40, members=20), Budget(40, members=200)),
    "validate": (Budget(15),),
    "zscore": (Budget(70, every_s=60), Budget(290, {"false_alarms": "1/1d"}, every_s=60, warm=400)),
}
