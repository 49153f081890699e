"""Small pictures of what operators do, drawn as SVG out of the first trial of their example.

Grey dots are samples that came in, colours are what came out, red is an alert.  Colours are of
middle lightness, so that they can be seen on white and on black.
"""

import math
from dataclasses import dataclass, field
from itertools import pairwise

from config.model import Publish
from daemon.verdict import offset
from pipelines.events import rfc3339_ns
from pipelines.operator import load_all
from tests.operator_examples import stages

S = 1_000_000_000
START = 1_767_225_600 * S
WIDTH, LEFT, RIGHT = 1280, 110, 1240
"""All lengths are half pixels, so that whole numbers are fine enough."""
PANEL, LOWER, BAR = 210, 120, 14
DOT, INK, ALERT = "#8b949e", "#6e7781", "#e5484d"
COLOURS = ("#e8790c", "#2f81f7", "#2da44e", "#a371f7")
SERIES_MAX, POINTS_MAX = 4, 330
STEPS_S = (
    0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800,
    3600, 7200, 10800, 21600, 43200, 86400, 2 * 86400, 7 * 86400, 14 * 86400,
)  # fmt: skip


@dataclass(frozen=True)
class View:
    """How the output of an operator is shown."""

    place: str = "below"
    """over the samples when it is of the same quantity, or below them"""
    draw: str = "line"
    """line · steps: holds until the next · marks: single values · spans: windows, begin to end"""
    fields: tuple = ()
    """Of a row; default: its value, or the first field of a window."""
    given: str = ""
    """lanes: what came in one above the other, where it is 0 or 1 · first: only the first."""


OVER = {
    "line": ("ewma", "hampel", "kalman", "rolling", "validate"),
    "steps": ("deadband",),
    "marks": ("dedupe", "resample", "throttle"),
}
VIEWS = {
    **{name: View("over", draw) for draw, names in OVER.items() for name in names},
    "swinging_door": View("over", "joined"),
    "aggregate": View("over", "spans", ("mean", "min", "max")),
    "count_window": View("over", "spans"),
    "quantile": View("over", "spans", ("p50", "p95")),
    "enrich": View("over"),
    "group": View("below", "steps"),
    "distinct": View("below", "spans"),
    "missing": View("below", "steps"),
    "quorum": View("below", "steps"),
    "session": View("below", "spans"),
    "state_window": View("below", "spans"),
    "sequence": View("below", "spans", given="lanes"),
    "geofence": View("below", "line", ("distance",), given="first"),
    "counter_rate": View("below", "steps"),
    "topk": View("over", "spans"),
    "time_profile": View("below", "spans"),
}
DEFAULT = {"sample": View(), "score": View(), "window": View("below", "spans")}
BAND = ("expected", "lower", "upper")


@dataclass
class Curve:
    """Numbers over time, NaN where they are not known."""

    name: str
    points: list = field(default_factory=list)
    """(begin, end, value) in nanoseconds since the first sample; begin == end but for windows."""


@dataclass
class Scene:
    """What one picture shows."""

    end_ns: int
    given: list
    made: list
    band: list
    alerts: list
    """A list of (begin, end) for each series that had one."""
    view: View
    limits: tuple


# --- what is to be seen --------------------------------------------------------------------


def scene(name):
    """The first trial of an example, played; its pipeline tells all it makes."""
    stage = stages(name)[0]
    trial, gateway = stage.trial, stage.gateway
    spec = gateway.pipelines[trial.pipeline]
    if spec.publish is None:
        spec = spec.model_copy(update={"publish": Publish(topic="plot")})
        pipelines = {**gateway.pipelines, trial.pipeline: spec}
        stage.gateway = gateway.model_copy(update={"pipelines": pipelines})
    try:
        told = stage.play().told
    finally:
        stage.gateway = gateway
    operator = load_all()[name]
    view = VIEWS.get(name, DEFAULT[operator.emits])
    rows = [t for t in told if t.type in ("sample", "window")]
    band = made(name, rows, View(fields=BAND)) if all("input" in t.data for t in rows) else []
    return Scene(
        trial.end_ns, shown_of(stage.feeds, trial.every, view), made(name, rows, view),
        band if len(band) == len(BAND) else [], alerts(told, trial.end_ns), view,
        limits(operator, spec) if not view.fields else (),
    )  # fmt: skip


def shown_of(feeds, every, view):
    """What came in."""
    given = []
    for i, f in enumerate(feeds[:1] if view.given == "first" else feeds):
        curve = Curve(title(feeds, f))
        for k, x in enumerate(f.samples):
            lane = x if view.given != "lanes" or x is None else len(feeds) - i + 0.6 * x
            curve.points.append((f.start_ns + k * every,) * 2 + (lane,))
        given.append(curve)
    return given


def title(feeds, feed):
    """What tells a series apart from the others given: its channel, or a part of its topic."""
    if len({f.channel for f in feeds}) == len(feeds):
        return feed.channel
    parts = [f.topic.split("/") for f in feeds]
    unlike = [i for i, p in enumerate(zip(*parts, strict=False)) if len(set(p)) > 1]
    return " ".join(feed.topic.split("/")[i] for i in unlike) or feed.channel


def made(name, rows, view):
    """Curves by series and field, in order of appearance."""
    curves = {}
    for row in rows:
        data = row.data
        window = "start" in data
        about = ("pipeline", "labels", "start", "end", "causes", "quality")
        fields = view.fields or (next(k for k in data if k not in about),)
        begin = rfc3339_ns(data["start"]) - START if window else row.at_ns
        for key in fields:
            if key not in data:
                continue
            value = math.nan if data[key] is None else float(data[key])
            called = name if key == "value" else key
            key_of = (tuple(sorted(row.labels.items())), key)
            curve = curves.setdefault(key_of, Curve(called))
            curve.points.append((begin, row.at_ns, value))
    several = len({labels for labels, _ in curves}) > 1
    for (labels, _), curve in curves.items():
        if several:
            unlike = [v for k, v in labels if len({dict(o).get(k) for o, _ in curves}) > 1]
            curve.name = " ".join((curve.name, *unlike))
    return list(curves.values())[: SERIES_MAX if not view.fields else None]


def alerts(told, end_ns):
    """When the alert of each series was active."""
    found, since = {}, {}
    for event in told:
        key = tuple(sorted(event.labels.items()))
        if event.type == "alert.active":
            since[key] = event.at_ns
            found.setdefault(key, [])
        elif event.type == "alert.cleared":
            found[key].append((since.pop(key), event.at_ns))
    for key, begin in since.items():
        found[key].append((begin, end_ns))
    return list(found.values())


def limits(operator, spec):
    """Numbers of the output at which an alert is raised."""
    when = spec.alert and spec.alert.when
    if spec.alert is None or spec.steps[-1].name != operator.name or operator.emits == "window":
        return ()
    if when is None or not when.has_limit:
        if operator.condition is None:
            return ()
        when = operator.condition(operator.params.model_validate(spec.steps[-1].options))
    return tuple(x for x in (when.above, when.below, *(when.outside or ())) if type(x) is float)


# --- drawing -------------------------------------------------------------------------------


@dataclass
class Panel:
    """A part of the picture with its own scale of values."""

    top: int
    height: int
    end_ns: int
    low: float = 0.0
    high: float = 1.0

    def fit(self, values, keep=()):
        """Scale to the values; a few that are far off the others are left outside."""
        known = sorted(x for x in values if math.isfinite(x)) or [0.0]
        n = len(known)
        a, b = known[n // 20], known[n - 1 - n // 20]
        low, high = known[0], known[-1]
        if n > 10 and b > a and high - low > 5 * (b - a):
            low, high = max(low, a - (b - a)), min(high, b + (b - a))
        kept = [x for x in keep if math.isfinite(x)]
        low, high = min([low, *kept]), max([high, *kept])
        spare = (high - low) * 0.08 or abs(high) * 0.1 or 1.0
        self.low, self.high = low - spare, high + spare

    def x(self, t_ns):
        return LEFT + round((RIGHT - LEFT) * t_ns / self.end_ns)

    def y(self, value):
        share = (value - self.low) / (self.high - self.low)
        return self.top + round(self.height * (1 - min(max(share, 0.0), 1.0)))

    def inside(self, value):
        return self.low <= value <= self.high

    def ticks(self):
        """Some round numbers, as many as there is room for, at least two."""
        least = (self.high - self.low) / (self.height // 40)
        power = 10.0 ** math.floor(math.log10(least))
        fine = [m * power for m in (0.2, 0.5, 1, 2, 5, 10) if m * power <= 2 * least]
        for step in [s for s in fine if s >= least] + fine[::-1]:
            first, last = math.ceil(self.low / step), math.floor(self.high / step)
            if last > first:
                break
        return [i * step for i in range(first, last + 1)]

    def frame(self):
        """Its lines and numbers."""
        grid = "".join(f"M{LEFT} {self.y(v)}H{RIGHT}" for v in self.ticks())
        yield f'<path d="{grid}" stroke="{INK}" stroke-opacity=".3"/>'
        for v in self.ticks():
            yield f'<text x="{LEFT - 12}" y="{self.y(v) + 8}" text-anchor="end">{v:.6g}</text>'


def thinned(points):
    """At most POINTS_MAX points: of each stretch of time the lowest and the highest."""
    if len(points) <= POINTS_MAX:
        return points
    size = math.ceil(len(points) / (POINTS_MAX // 2))
    kept = []
    for i in range(0, len(points), size):
        some = [p for p in points[i : i + size] if math.isfinite(p[2])] or points[i : i + 1]
        kept += sorted({min(some, key=lambda p: p[2]), max(some, key=lambda p: p[2])})
    return kept


def moved(points, pen=""):
    """Places as the data of a path, each told by its distance from the one before."""
    text, before = "", None
    for x, y in points:
        if before is None:
            text += f"M{x} {y}{pen}"
        else:
            dx, dy = x - before[0], y - before[1]
            text += f"{'m' if pen else 'l'}{dx}{dy if dy < 0 else f' {dy}'}{pen}"
        before = x, y
    return text


def dots(panel, curve, colour):
    """Samples that came in; outside of the scale as arrows, not known as crosses at the foot."""
    seen, arrows, crosses = [], "", ""
    for t, _, x in thinned([p for p in curve.points if p[2] is not None]):
        at = panel.x(t)
        if math.isnan(x):
            crosses += f"M{at - 5} {panel.top + panel.height - 13}l10 10m0-10l-10 10"
        elif panel.inside(x):
            seen.append((at, panel.y(x)))
        else:
            way = -1 if x > panel.high else 1
            arrows += f"M{at - 7} {panel.y(x) - way * 12}l7 {way * 10}l7 {-way * 10}"
    if seen:
        d = moved(seen, "h0")
        yield f'<path d="{d}" stroke="{colour}" stroke-width="8" stroke-linecap="round"/>'
    if arrows or crosses:
        yield f'<path d="{arrows}{crosses}" stroke="{colour}" stroke-width="3"/>'


def path(panel, curve, draw):
    """The course of what came out, as the data of an SVG path."""
    points = thinned([p for p in curve.points if p[1] <= panel.end_ns])
    known = [(panel.x(b), panel.y(x)) for _, b, x in points if x == x]
    if draw == "marks":
        return moved(known, "h0")
    if draw == "spans":
        spans = [(panel.x(a), panel.y(x), panel.x(b)) for a, b, x in points if x == x]
        return "".join(f"M{x} {y}H{to}" for x, y, to in spans)
    if draw == "steps":
        steps = "".join(f"H{x}V{y}" for x, y in known[1:])
        return f"M{known[0][0]} {known[0][1]}{steps}H{RIGHT}"
    gaps = sorted(b - a for (_, a, _), (_, b, _) in pairwise(points)) or [0]
    far = 4 * gaps[len(gaps) // 2] if draw == "line" else math.inf
    parts, last = [[]], None
    for _, t, x in points:
        if parts[-1] and (math.isnan(x) or t - last > far):
            parts.append([])
        if not math.isnan(x):
            parts[-1].append((panel.x(t), panel.y(x)))
        last = t
    return "".join(moved(p) if len(p) > 1 else moved(p, "h0") for p in parts)


def curves(panel, found, draw, colours):
    """What came out."""
    for curve, colour in zip(found, colours, strict=True):
        d = path(panel, curve, draw)
        width = 13 if draw == "marks" else 5
        yield (
            f'<path d="{d}" stroke="{colour}" stroke-width="{width}" '
            'stroke-linecap="round" stroke-linejoin="round"/>'
        )
        if draw == "joined":
            ends = moved([(panel.x(t), panel.y(x)) for _, t, x in curve.points], "h0")
            yield f'<path d="{ends}" stroke="{colour}" stroke-width="14" stroke-linecap="round"/>'


def band(panel, found):
    """Where values were expected: a line, and an area around it."""
    if not found:
        return
    by = {curve.name: [p for p in thinned(curve.points) if p[2] == p[2]] for curve in found}
    there = [f"{panel.x(t)} {panel.y(x)}" for _, t, x in by["upper"]]
    back = [f"{panel.x(t)} {panel.y(x)}" for _, t, x in reversed(by["lower"])]
    yield f'<path d="M{"L".join(there + back)}Z" fill="{COLOURS[1]}" fill-opacity=".2"/>'


def axis(top, end_ns):
    """Times from the first sample on."""
    panel = Panel(top, 0, end_ns)
    step = next((s for s in STEPS_S if end_ns / S / s <= 9), STEPS_S[-1])
    ticks = [round(i * step * S) for i in range(math.floor(end_ns / S / step + 1e-9) + 1)]
    marks = "".join(f"M{panel.x(t)} {top}v8" for t in ticks)
    yield f'<path d="M{LEFT} {top}H{RIGHT}{marks}" stroke="{INK}" stroke-width="2"/>'
    for t in ticks:
        yield f'<text x="{panel.x(t)}" y="{top + 34}" text-anchor="middle">{offset(t)}</text>'


def legend(y, entries):
    """Words in the colours of what they name."""
    parts = " &#160; ".join(
        f'<tspan fill="{colour}">{sign} {words}</tspan>' for sign, words, colour in entries
    )
    return f'<text x="{LEFT}" y="{y}">{parts}</text>'


def svg(name):
    """The picture of an operator."""
    it = scene(name)
    top = 44 + (BAR + 6) * len(it.alerts) + (8 if it.alerts else 0)
    over = it.view.place == "over"
    upper = Panel(top, PANEL, it.end_ns)
    values = [x for c in it.given for *_, x in c.points if x is not None]
    bounds = [x for c in it.band for *_, x in c.points if c.name != "expected"]
    out_values = [x for c in it.made for *_, x in c.points]
    upper.fit([*values, *bounds], out_values if over else ())
    out = [] if it.view.given == "lanes" else [*upper.frame()]
    panel, foot = upper, top + PANEL
    if not over and it.made:
        panel = Panel(foot + 60, LOWER, it.end_ns)
        panel.fit(out_values, it.limits)
        foot = panel.top + LOWER
        out += panel.frame()
        out += [
            f'<path d="M{LEFT} {panel.y(x)}H{RIGHT}" stroke="{ALERT}" stroke-width="2" '
            'stroke-dasharray="10 8"/>'
            for x in it.limits
        ]
    out += bars(it.alerts, upper, foot)
    out += band(upper, it.band)
    colours = [DOT] if len(it.given) == 1 else [*COLOURS[::-1], *[DOT] * len(it.given)]
    of = {c.name: colour for c, colour in zip(it.given, colours, strict=False)}
    for curve in it.given:
        out += dots(upper, curve, of[curve.name])
    shades = [
        next((of[w] for w in c.name.split() if w in of and len(of) > 1), COLOURS[i % len(COLOURS)])
        for i, c in enumerate(it.made)
    ]
    out += curves(panel, it.made, it.view.draw, shades)
    sign = "●" if it.view.draw == "marks" else "━"
    drawn = [(sign, c.name, colour) for c, colour in zip(it.made, shades, strict=True)]
    words = [("●", c.name, of[c.name]) for c in it.given]
    words += [("▒", "expected", COLOURS[1])] if it.band else []
    words += drawn if over else []
    words += [("▬", "alert", ALERT)] if it.alerts else []
    out.append(legend(26, words))
    if not over and drawn:
        out.append(legend(panel.top - 14, drawn))
    return whole([*out, *axis(foot, it.end_ns)], foot + 48)


def bars(alerts, panel, foot):
    """When alerts were active: a bar above, and a shade behind everything else."""
    for i, row in enumerate(alerts):
        for a, b in row:
            x, w = panel.x(a), max(panel.x(b) - panel.x(a), 4)
            at = f'<rect x="{x}" width="{w}" fill="{ALERT}"'
            yield f'{at} y="{44 + (BAR + 6) * i}" height="{BAR}"/>'
            yield f'{at} y="{panel.top}" height="{foot - panel.top}" fill-opacity=".1"/>'


def whole(parts, height):
    """The file."""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH // 2}" height="{height // 2}" '
        f'viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="22" fill="none">'
        f"<style>text{{fill:{INK}}}</style>"
    )
    return "\n".join((head, *parts, "</svg>")) + "\n"
