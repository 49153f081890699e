"""Graph: every source and pipeline of a gateway, run in the order of their dependence."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from config.model import Gateway, Limits, Source
from config.model import Pipeline as Spec
from config.tables import Table
from pipelines import notices
from pipelines.alerting import Past
from pipelines.bank import Banks
from pipelines.batch import Batch
from pipelines.core import NOTHING
from pipelines.events import Event, Standing
from pipelines.flow import Flow
from pipelines.foresight import Foresight
from pipelines.lookups import Tables
from pipelines.occurrence import Order, Refused
from pipelines.operator import Operator
from pipelines.order import FORCED, Arrivals, Rules
from pipelines.pipeline import Pipeline
from pipelines.quota import Quota
from pipelines.recycle import sweep
from pipelines.reorder import Reorder
from pipelines.series import Labels, SeriesTable, without_channel
from pipelines.values import with_tables

TICK_NS: Final = 100_000_000
"""Grid of processing time on which timers are looked at; ticks are inputs, kept for replays."""
ROWS_MAX: Final = 2**31 - 1
"""Series have numbers of 32 bits."""


class SourceStage:
    """The series of one source, in order of event time."""

    STATE = ("table", "quota", "reorder")
    REMADE = ("source",)

    def __init__(self, source: Source, limits: Limits) -> None:
        self.source = source
        self.table = SeriesTable(limits.series_max)
        self.quota = Quota(limits)
        idle = -1 if source.idle_after is None else source.idle_after
        rules = Rules(source.lateness, source.future_max, idle, source.time is not None)
        self.reorder = Reorder(self.table, rules, limits.reorder_samples_max)

    def flow(self, batch: Batch, tick_ns: int | None = None) -> Flow:
        """What was handed on last, and what came too late for it."""
        late = self.reorder.late.batch if self.source.late == "amend" else NOTHING
        heard_ns = None
        if tick_ns is not None and self.source.lateness:
            heard_ns = self.reorder.heard_ns(tick_ns)
        return Flow(batch, self.table, late=late, heard_ns=heard_ns)

    def told(self, gateway: str, name: str) -> Iterator[Event]:
        """What is to be said of the samples that were taken last, apart from their values."""
        if self.reorder.notices.series.size:
            yield from notices.of_clocks(gateway, name, self.reorder.notices, self.table)
        if self.source.late == "side":
            yield from notices.of_late(gateway, name, self.reorder.late, self.table)


class Graph:
    """What is computed, whole: decoded samples and ticks in, events out."""

    def __init__(
        self,
        gateway: Gateway,
        operators: Mapping[str, Operator],
        keep: "Graph | None" = None,
    ) -> None:
        """`keep`: the graph before a reload, whose unchanged parts go on with their state."""
        limits = gateway.limits
        self.gateway, self.operators = gateway, operators
        self.tables: Tables = Tables(gateway.tables, keep.tables if keep else None)
        self.sources: dict[str, SourceStage] = {}
        self.pipelines: dict[str, Pipeline] = {}
        kept = _unchanged(keep, gateway) if keep else set()
        for name, source in gateway.sources.items():
            if keep and f"source {name}" in kept:
                self.sources[name] = keep.sources[name]
            else:
                self.sources[name] = SourceStage(source, limits)
        for name in in_order(gateway):
            spec = with_tables(gateway.pipelines[name], operators, self.tables.current)
            if keep and f"pipeline {name}" in kept:
                self.pipelines[name] = keep.pipelines[name]
                self.pipelines[name].present(spec)
            else:
                above = [self.pipelines[other] for other in above_of(spec)]
                rows_max = min(sum(p.table.rows_max for p in above), ROWS_MAX)
                series_max = max(limits.series_max, rows_max)
                room = limits.model_copy(update={"series_max": series_max})
                amend_for_ns = max((p.amend_for_ns for p in above), default=0)
                lateness_ns = max((p.lateness_ns for p in above), default=0)
                if isinstance(spec.from_, str):
                    lateness_ns = gateway.sources[spec.from_].lateness
                self.pipelines[name] = Pipeline(
                    gateway.gateway, name, spec, operators, room, amend_for_ns, lateness_ns
                )
        self._origins = self._traced()
        taken = [spec.from_ for spec in gateway.pipelines.values()]
        of_rows = [u for u in taken if not isinstance(u, str) and u.kind != "alerts"]
        listed = {name for upstream in of_rows for name in upstream.pipelines}
        followed = {name for spec in gateway.pipelines.values() for name in above_of(spec)}
        for name, pipeline in self.pipelines.items():
            pipeline.taken, pipeline.followed = name in listed, name in followed
            alert = gateway.pipelines[name].alert
            if pipeline.alerting is not None and alert is not None and alert.inhibit_by:
                other = self.pipelines[alert.inhibit_by.alerts].alerting
                assert other is not None, "checked when the configuration was read"
                pipeline.alerting.announcer.inhibitor = other.active_values

        self._place = {name: i for i, name in enumerate(self.pipelines)}
        self._alone = {name: p for name, p in self.pipelines.items() if p.alone}
        banked: dict[str, list[Pipeline]] = {}
        for pipeline in self.pipelines.values():
            if isinstance(pipeline.spec.from_, str) and not pipeline.alone:
                banked.setdefault(pipeline.spec.from_, []).append(pipeline)
        self._banks = {name: Banks(self.sources[name].table, some) for name, some in banked.items()}

    @property
    def foresight(self) -> dict[str, Foresight]:
        """By source, between which values a sample has nothing told at once."""
        return {name: banks.foresight for name, banks in self._banks.items()}

    @property
    def quiet(self) -> set[str]:
        """Sources of whose samples nothing is told before a tick but what `foresight` knows of.

        Where samples wait for others by their time, it is those that make them go on.
        """
        busy = {name for name, banks in self._banks.items() if not banks.quiet}
        busy |= {p.spec.from_ for p in self._alone.values() if isinstance(p.spec.from_, str)}
        return {n for n, s in self.sources.items() if n not in busy and not s.source.lateness}

    @property
    def hurried(self) -> int:
        """Samples of all sources that had no room to wait for earlier ones."""
        return sum(int(stage.reorder.fate[FORCED]) for stage in self.sources.values())

    def settle_tables(self) -> tuple[int, int]:
        """Let the changes noted in `tables` count from here on; (taken, refused)."""
        if not self.tables.changes:
            return 0, 0
        pipelines = self.gateway.pipelines
        before = {
            n: with_tables(s, self.operators, self.tables.current) for n, s in pipelines.items()
        }

        def filled(tables: Mapping[str, Table]) -> dict[str, Spec]:
            made = {n: with_tables(s, self.operators, tables) for n, s in pipelines.items()}
            return {n: spec for n, spec in made.items() if spec.steps != before[n].steps}

        def fits(tables: Mapping[str, Table]) -> bool:
            return all(self.pipelines[n].takes(spec) for n, spec in filled(tables).items())

        names, taken, refused = self.tables.settle(fits)
        for name, spec in filled(self.tables.current).items() if names else ():
            self.pipelines[name].present(spec)
        if names:
            self.again()
        return taken, refused

    def run(self, arrivals: Mapping[str, Arrivals]) -> list[Event]:
        """Take decoded samples of some sources, in the order of their arrival."""
        flows = {
            ("source", name): self.sources[name].flow(self.sources[name].reorder.run(rows))
            for name, rows in arrivals.items()
        }
        told = [e for name in arrivals for e in self.sources[name].told(self.gateway.gateway, name)]
        return told + self._through(flows, None)

    def tick(self, now_ns: int) -> list[Event]:
        """Let time go on to `now_ns`: waiting samples, timers, windows of silent series."""
        flows = {
            ("source", name): stage.flow(stage.reorder.tick(now_ns), now_ns)
            for name, stage in self.sources.items()
        }
        told = self._through(flows, now_ns)
        sources = {name: stage.reorder for name, stage in self.sources.items()}
        before_ns = now_ns - self.gateway.limits.series_idle_min
        sweep(sources, self.pipelines, before_ns, self.settle)
        return told

    def flush(self) -> list[Event]:
        """Take the samples that still wait for others, because no more will come."""
        flows = {
            ("source", name): stage.flow(stage.reorder.flush())
            for name, stage in self.sources.items()
        }
        return self._through(flows, None, last=True)

    def recall(self, pipeline: str, labels: Labels, past: Past) -> list[Event]:
        """Go on with an alert that was active before a restart; what that leads to below it."""
        known = self.pipelines.get(pipeline)
        self.settle()
        flow = known.recall(labels, past) if known else None
        self.again()
        return self._through({("alerts", pipeline): flow}, None) if flow else []

    def outlived(self, pipeline: str, labels: Labels, past: Past) -> bool:
        """Whether an alert that is told to be active has ended, by the state we go on from."""
        known = self.pipelines.get(pipeline)
        self.settle()
        return known is not None and known.outlived(labels, past)

    def obey(self, alert: str, order: Order) -> list[Event]:
        """Do what somebody asks for about the alert with this id. Raises Refused."""
        self.settle()
        for banks in self._banks.values():
            banks.foresight.forget()
        for name, pipeline in self.pipelines.items():
            if pipeline.knows(alert):
                told, ended = pipeline.obey(alert, order)
                return told + self._through({("alerts", name): ended}, None)
        raise Refused("no alert with this id is active or shelved")

    def with_hops(self, told: Sequence[Event], now_ns: int) -> Sequence[Event]:
        """The same, with hops where they are derived from events of other daemons."""
        if not told or not any(len(stage.quota.hops) for stage in self.sources.values()):
            return told
        most = {name: s.quota.hops.of(None, now_ns) for name, s in self.sources.items()}

        def marked(event: Event) -> Event:
            of_source = event.type in (notices.LATE, notices.FUTURE)
            origin = ((event.pipeline,), True) if of_source else self._origins[event.pipeline]
            sources, apart = origin
            hops = max(most[name] for name in sources)
            if hops and apart:
                device = without_channel(event.labels)
                hops = self.sources[sources[0]].quota.hops.of(device or None, now_ns)
            if not hops:
                return event
            standing = event.standing
            if standing is not None and standing.event is not None:
                standing = Standing(replace(standing.event, hops=hops))
            return replace(event, hops=hops, standing=standing)

        return [marked(event) for event in told]

    def retired(self, following: "Graph") -> list[Event]:
        """What must be told about pipelines that `following` does not go on with."""
        self.settle()
        told = []
        for name, pipeline in self.pipelines.items():
            successor = following.pipelines.get(name)
            if successor is not pipeline:
                told += pipeline.retire("pipeline changed" if successor else "pipeline removed")
        return told

    def _traced(self) -> dict[str, tuple[tuple[str, ...], bool]]:
        """By pipeline: the sources that it rests on; whether a series is still of one device."""
        found: dict[str, tuple[tuple[str, ...], bool]] = {}
        for name, pipeline in self.pipelines.items():
            spec = pipeline.spec
            apart = all(self.operators[step.name].regroup is None for step in spec.steps)
            if isinstance(spec.from_, str):
                found[name] = (spec.from_,), apart
                continue
            above = [found[other] for other in above_of(spec)]
            sources = dict.fromkeys(source for names, _ in above for source in names)
            single = len(above) == 1 and above[0][1]
            found[name] = tuple(sources), apart and single
        return found

    def settle(self) -> None:
        """Let every table say how far the time of its series has come; in banks that waits."""
        for banks in self._banks.values():
            banks.settle()

    def again(self) -> None:
        """Follow from states that were put in place."""
        for banks in self._banks.values():
            banks.again()

    def _through(
        self, flows: dict[tuple[str, str], Flow], tick_ns: int | None, *, last: bool = False
    ) -> list[Event]:
        told: dict[str, list[Event]] = {}
        ticking = tick_ns is not None or last
        for source, banks in self._banks.items():
            flow = flows.get(("source", source))
            if flow is None or not (flow.batch.size or ticking):
                continue
            for pipeline, made in banks.run(flow.batch, tick_ns, last=last):
                name = pipeline.name
                if pipeline.followed:
                    rows, flows["alerts", name] = pipeline.handed_on(made)
                    flows["samples", name] = flows["windows", name] = rows
                if made.events:
                    told[name] = made.events
        for name, pipeline in self._alone.items():
            flow = pipeline.gathered(flows, ticking=ticking)
            if flow is None or (flow.empty and not ticking):
                continue
            rows, alerts, told[name] = pipeline.run(flow, tick_ns, last=last)
            flows["samples", name] = flows["windows", name] = rows
            flows["alerts", name] = alerts
        names = sorted(told, key=self._place.__getitem__) if told else ()
        return [event for name in names for event in told[name]]


def in_order(gateway: Gateway) -> list[str]:
    """Pipelines after those they take from, else as written. Loops were refused before."""
    done: dict[str, None] = {}

    def visit(name: str) -> None:
        for above in above_of(gateway.pipelines[name]):
            if above not in done:
                visit(above)
        done.setdefault(name)

    for name in gateway.pipelines:
        visit(name)
    return list(done)


def above_of(spec: Spec) -> tuple[str, ...]:
    """The pipelines that this one takes from; none when it takes from a source."""
    return () if isinstance(spec.from_, str) else spec.from_.pipelines


def _unchanged(old: Graph, new: Gateway) -> set[str]:
    """Names of sources and pipelines whose state stays good under the new configuration."""
    if old.gateway.limits != new.limits or old.gateway.gateway != new.gateway:
        return set()
    same = {
        f"source {name}"
        for name, source in new.sources.items()
        if old.gateway.sources.get(name) == source
    }
    for name in in_order(new):
        spec, before = new.pipelines[name], old.gateway.pipelines.get(name)
        above = {f"pipeline {other}" for other in above_of(spec)} or {f"source {spec.from_}"}
        if before is not None and above <= same and plan_of(before) == plan_of(spec):
            same.add(f"pipeline {name}")
    return same


def plan_of(spec: Spec) -> dict[str, Any]:
    """The part of a pipeline that its state depends on."""
    told = {"severity", "topic", "state_topic", "qos", "message", "flapping", "remind", "escalate"}
    told |= {"first_out", "inhibit_by", "shelve_max"}
    return spec.model_dump(
        exclude={"values": True, "description": True, "publish": True, "alert": told}
    )
