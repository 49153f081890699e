"""Pipelines in a bank tell what each of them would tell alone, and cost nothing when not concerned."""

import numpy as np
import pytest

from pipelines.links import Links
from pipelines.series import FULL, SeriesTable, make_labels
from pipelines.stage import Selection
from tests.graphs import Feed, graph
from tests.restarts import again

SITES = ("north", "south")


def above(limit, **more):
    return {"when": {"above": limit, **more}}


def rules():
    """Pipelines of five banks, of which some publish, some delay, and some have others below."""
    found = {}
    for i in range(3):
        found[f"hot{i}"] = {"from": "boilers", "alert": above(20 + i, deadband=1)}
        found[f"slow{i}"] = {
            "from": "boilers",
            "where": {"device": f"d{i}"},
            "alert": above(19 + i / 2, on_delay="2s", off_delay="1s"),
        }
        found[f"mean{i}"] = {
            "from": "boilers",
            "where": {"site": ["north", f"s*{i}"]},
            "steps": [{"rolling": {"stat": "mean", "window": f"{i + 2}s"}}],
            "alert": {**above(20 + i / 3), "remind": "5s"},
            "publish": {"topic": "mean/{device}"},
        }
        found[f"minute{i}"] = {
            "from": "boilers",
            "steps": [
                {"validate": {"min": 10 + i, "action": "drop"}},
                {"aggregate": {"size": f"{i + 3}s", "stats": ["mean", "max"]}},
            ],
            "publish": {"topic": "agg/{device}"},
        }
        found[f"levels{i}"] = {
            "from": "boilers",
            "values": {"limit": {"default": 21, "by": {"device": {f"d{i}": 20}}}},
            "alert": {"when": {"levels": {"low": {"above": "{limit}"}, "high": {"above": 23}}}},
        }
    found["below"] = {"from": {"alerts": "hot2"}, "alert": above(0.5)}
    found["after"] = {
        "from": {"windows": "minute1"},
        "steps": [{"ewma": {"halflife": "5s"}}],
        "publish": {"topic": "after/{device}"},
    }
    return found


def needed(name, all_of_them):
    """A pipeline and those above it."""
    above_it = all_of_them[name]["from"]
    chosen = {name: all_of_them[name]}
    if isinstance(above_it, dict):
        other = next(iter(above_it.values()))
        chosen = {other: all_of_them[other], **chosen}
    return chosen


def stream(seed, seconds=30):
    """(second, labels, value): devices that come one after the other, and pause."""
    rng = np.random.default_rng(seed)
    for t in range(seconds):
        for i in range(min(8, 1 + t // 4)):
            if rng.random() < 0.8:
                labels = {"device": f"d{i}", "site": SITES[i % 2], "channel": "t"}
                value = None if rng.random() < 0.03 else round(float(rng.normal(20, 2)), 1)
                yield t + i / 100, labels, value


def played(made, seed, at=None, step=1):
    """Events of a stream; `at(second, graph)` may give another graph to go on with."""
    feed, told, rows = Feed(made), [], list(stream(seed))
    for t in range(0, 36, step):
        told += feed.send([r for r in rows if t <= r[0] < t + step])
        told += feed.until(t + step)
        feed.graph = at(t, feed.graph) if at else feed.graph
    return told


def by_pipeline(told):
    found = {}
    for event in told:
        found.setdefault(event.pipeline, []).append(event)
    return found


@pytest.mark.parametrize("lateness", ["0s", "2s"])
def test_each_tells_what_it_would_alone(lateness):
    sources = {"boilers": {"topic": "plant/{site}/{device}", "lateness": lateness}}
    together = by_pipeline(played(graph(rules(), sources=sources), 1))
    assert len(together) > 12
    for name in rules():
        alone = by_pipeline(played(graph(needed(name, rules()), sources=sources), 1))
        assert together.get(name) == alone.get(name)


def watchers():
    """Pipelines that only watch: with delays, levels, latches, flutter held back, other limits."""
    when = [
        {"above": 23, "deadband": 1},
        {"below": 18, "on_delay": "2s", "off_delay": "1s"},
        {"outside": [15, 25], "latch": True},
        {"levels": {"low": {"above": 23}, "high": {"above": 24, "on_delay": "1s"}}},
        {"above": "{limit}"},
    ]
    values = {"limit": {"default": 24, "by": {"device": {"d1": 23}}}}
    made = {
        f"w{i}": {"from": "boilers", "values": values, "alert": {"when": one, "flapping": how}}
        for i, one in enumerate(when)
        for how in ["hold" if i % 2 else "tell"]
    }
    made["of_one"] = {"from": "boilers", "where": {"device": "d2"}, "alert": above(22)}
    return made


@pytest.mark.parametrize("step", [1, 6])
@pytest.mark.parametrize("seed", [0, 2, 3, 4, 5, 6])
def test_who_is_not_asked_about_what_is_normal_would_have_said_nothing(seed, step, monkeypatch):
    def restarted(t, made):
        return again(made) if t in (6, 12) else graph(watchers(), made) if t == 18 else made

    dealt, inner = [], Links.deal

    def counted(links, batch):
        made = inner(links, batch)
        dealt.append(int(made[2][made[3] - 1]) if made[3] else 0)
        return made

    monkeypatch.setattr(Links, "deal", counted)
    calm = played(graph(watchers()), seed, restarted, step)
    few, dealt[:] = sum(dealt), []
    monkeypatch.setattr("pipelines.bank._only_watches", lambda _: False)
    assert played(graph(watchers()), seed, restarted, step) == calm
    assert len({e.pipeline for e in calm}) >= 5
    assert few <= (0.9 if step == 1 else 1) * sum(dealt)


def test_calm_after_flutter_counts(monkeypatch):
    rng = np.random.default_rng(1)
    values = np.where(np.arange(400) // 40 % 2, 20, np.where(rng.random(400) < 0.5, 20, 30))
    rows = [(float(t), {"device": "d1", "channel": "t"}, x) for t, x in enumerate(values.tolist())]
    spec = {"from": "boilers", "alert": {**above(25), "flapping": "hold"}}

    def one_by_one():
        feed = Feed(graph({"w": spec}))
        return [event for row in rows for event in feed.send([row])]

    told = one_by_one()
    monkeypatch.setattr("pipelines.bank._only_watches", lambda _: False)
    assert one_by_one() == told
    assert 10 < len(told) < np.count_nonzero(np.diff(values))


def test_events_of_a_turn_are_in_the_order_of_the_pipelines():
    made = graph({"b": {"from": "boilers", "alert": above(1)},
                  "a": {"from": "boilers", "steps": ["validate"], "alert": above(1)},
                  "c": {"from": "boilers", "alert": above(1)}})  # fmt: skip
    told = Feed(made).send([(0, {"device": "d"}, 5.0), (0, {"device": "e"}, 5.0)])
    assert [e.pipeline for e in told] == ["b", "b", "a", "a", "c", "c"]


def test_a_restart_changes_nothing():
    def restarted(t, made):
        return again(made) if t in (7, 13, 21) else made

    assert played(graph(rules()), 3, restarted) == played(graph(rules()), 3)


def test_a_reload_keeps_what_did_not_change():
    after = {n: p for n, p in rules().items() if n != "hot0"}
    after["new"] = {"from": "boilers", "alert": above(18)}

    def reloaded(t, made):  # one of a bank goes, and one comes
        return graph(after, made) if t == 15 else made

    found = by_pipeline(played(graph(rules()), 4, reloaded))
    whole = by_pipeline(played(graph(rules()), 4))
    assert found.pop("new")
    del found["hot0"], whole["hot0"]
    assert found == whole


def test_nobody_is_asked_about_a_series_whose_labels_are_not_wanted():
    table = SeriesTable(100)
    wheres = [{"device": (f"d{i}",)} for i in range(50)] + [{"device": ("d*",)}, {}]
    selections = [Selection(where, 100) for where in wheres]
    asked = []
    for m, selection in enumerate(selections):
        inner = selection.meet
        selection.meet = lambda row, labels, m=m, inner=inner: asked.append(m) or inner(row, labels)
    links = Links(table, selections)
    for i in range(3):
        table.intern(make_labels({"device": f"d{i}"}))
    assert links.sync() == [0, 1, 2, 50, 51]
    assert asked == [0, 50, 51, 1, 50, 51, 2, 50, 51]
    assert [int(selections[1].of_each()[0]), selections[49].of_each().size] == [1, 0]
    assert FULL not in links._row
