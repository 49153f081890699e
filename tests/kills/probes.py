"""Operators with state that `plan` has no pipeline for (but `sequence`): each on the same few
devices, everything that it gives out published, and compared with its naive twin.

The twins (`tests.naive`) share no code with the operators; only the options are read by theirs.
"""

import importlib
import math
from zlib import crc32

from pipelines.operator import load_all
from tests.kills.operators import BAD, GOOD, UNCERTAIN
from tests.naive import Sample, Tick

QUALITIES = (GOOD, UNCERTAIN, BAD)
OF_ONE = {
    "change_point": {"before": 12, "after": 9, "k": 4},
    "deadband": {"band": 1, "max_time": "5m"},
    "dedupe": {"by": "value", "horizon": "20m"},
    "derivative": {"window": "100s", "unit": "min", "hold": "90s"},
    "distinct": {"window": "10m"},
    "ewma_chart": {"learn": 20, "limit": 3, "on_signal": "relearn"},
    "flatline": {"window": "3m", "epsilon": 0.05},
    "forecast": {"above": 14, "horizon": "10m", "window": "5m"},
    "hampel": {"n": 15, "k": 3, "min_samples": 5},
    "holt_winters": {"season": "12m", "every": "30s", "min_samples": 5},
    "integral": {"unit": "h", "max_gap": "90s"},
    "kalman": {"q": 0.01, "r": 0.5, "model": "trend"},
    "page_hinkley": {"threshold": 10, "learn": 20},
    "quantile": {"window": "10m", "q": [0.5, 0.9]},
    "rate_limit": {"max_up": 8, "unit": "min"},
    "resample": {"every": "45s", "method": "linear", "max_gap": "3m"},
    "seasonal": {"period": "12m", "bins": 12, "periods": 5, "min_samples": 3},
    "spectrum": {"n": 16, "hop": 3, "rate": 0.0333, "jitter": 1},
    "state_window": {"above": 12},
    "swinging_door": {"dev": 0.8, "max_time": "10m"},
    "throttle": {"every": "2m", "pick": "max_abs"},
    "time_profile": {"by": "hour_of_day", "stats": ["mean", "max"]},
    "validate": {"max_step": 3},
    "zscore": {"window": 30, "min_samples": 8, "false_alarms": "1/20m"},
}
"""Each series by itself: channel x."""
OF_CHANNELS = {
    "correlate": {"left": "x", "right": "y", "halflife": "5m", "min_pairs": 5},
    "geofence": {
        "latitude": "x",
        "longitude": "y",
        "circles": [{"at": [10, 8], "radius": 400_000}],
    },
    "join": {"left": "x", "right": "y", "tolerance": "40s", "wait": "1s"},
    "mahalanobis": {"channels": ["x", "y"], "halflife": "10m", "min_samples": 20},
}
"""Channels x and y of a device together."""
OF_MEMBERS = {
    "peer": {"of": "device", "min_members": 3},
    "topk": {"of": "device", "k": 2, "size": "5m", "wait": "2s"},
}
"""Channel x of the devices of a site together."""
SLOTS = {"join": {"x": 1, "y": 0}}
"""Where it is not the order of the channels."""


def pipelines():
    """{name: pipeline}; a name begins with `any_`."""
    made = {}
    for table in (OF_ONE, OF_CHANNELS, OF_MEMBERS):
        for operator, options in table.items():
            made[f"any_{operator}"] = {"from": "probe", "steps": [{operator: options}]}
            if table is not OF_CHANNELS:
                made[f"any_{operator}"]["where"] = {"channel": "x"}
    return made


def told(messages, note):
    """Calls `note(pipeline, labels, kind, t_ns, content)` for all that comes of these messages."""
    devices, sites = {}, {}
    for m in messages:
        devices.setdefault((m.site, m.device), []).append(m)
        sites.setdefault(m.site, []).append(m)
    for (site, device), sent in devices.items():
        labels = {"site": site, "device": device}
        last = Tick(sent[-1].t_ms * 10**6)
        of_x = [_sample(m, "x") for m in sent if "x" in m.values]
        for operator, options in OF_ONE.items():
            _tell(note, operator, options, [*of_x, last], [{**labels, "channel": "x"}])
        for operator, options in OF_CHANNELS.items():
            slots = SLOTS.get(operator, {"x": 0, "y": 1})
            both = [_sample(m, c, slots[c]) for m in sent for c in ("x", "y") if c in m.values]
            joined = {**labels, "channel": "x-y"} if operator == "join" else labels
            _tell(note, operator, options, [*both, last], [joined])
    for site, sent in sites.items():
        _site(note, site, sent)


def _site(note, site, sent):
    members = list(dict.fromkeys(m.device for m in sent))
    labels = [{"site": site, "device": device, "channel": "x"} for device in members]
    last = {m.device: m.t_ms for m in sent}
    events = []
    for m in sent:
        slot = crc32(f"channel=x,device={m.device},site={site}".encode())
        events.append(_sample(m, "x", slot & 0x7FFFFFFF, members.index(m.device)))
    for operator, options in OF_MEMBERS.items():
        _tell(note, operator, options, [*events, Tick(min(last.values()) * 10**6)], labels)


def _sample(message, channel, slot=0, member=0):
    x = message.values[channel]
    known = x is not None
    return Sample(message.t_ms * 10**6, x if known else math.nan, 0 if known else 2, member, slot)


def _tell(note, operator, options, events, labels):
    """`labels`: of each member's rows."""
    known = load_all()[operator]
    params = known.params.model_validate(options)
    names = known.fields(params)
    twin = importlib.import_module(f"tests.naive.{operator}")
    window = known.emits == "window"
    for row in twin.naive(params, events):
        content = {name: _number(x) for name, x in zip(names, row.fields, strict=True)}
        content["quality"] = QUALITIES[row.quality]
        if not window or not names:
            content["value"] = _number(row.value)
        start_ns = row.start_ns if window else None
        note(f"any_{operator}", labels[row.member], row.t_ns, start_ns, content)


def _number(x):
    return None if math.isnan(x) else float(x)
