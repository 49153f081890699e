"""Pipeline: a named chain of steps at work, from the rows of its upstream to rows and events."""

from collections.abc import Callable, Mapping, Sequence
from zlib import crc32

import numpy as np
from pydantic import ValidationError

from config.model import Limits, Upstream
from config.model import Pipeline as Spec
from pipelines.alerting import Alerting, Past
from pipelines.align import Aligner
from pipelines.amend import Amender, Correction, Told, amend_for_of, noted
from pipelines.batch import I8, Batch, copied, joined, samples
from pipelines.confluence import Confluence, by_labels
from pipelines.core import NOTHING, Core
from pipelines.events import Event
from pipelines.flow import Flow, Made
from pipelines.history import Rows, together
from pipelines.occurrence import Order
from pipelines.operator import Operator
from pipelines.revising import Reviser, below
from pipelines.series import Labels, series_key
from pipelines.stage import ParamSets, Selection, Stage
from pipelines.telling import Content, Key, Teller, as_rows


class Pipeline:
    """State and plan of one pipeline. Knows neither topics nor clocks."""

    STATE = (
        "confluence",
        "selection",
        "stages",
        "alerting",
        "core",
        "aligner",
        "amender",
        "_reviser",
    )
    REMADE = (
        "taken",
        "followed",
        "gateway",
        "name",
        "spec",
        "table",
        "_teller",
        "amend_for_ns",
        "lateness_ns",
    )

    def __init__(
        self,
        gateway: str,
        name: str,
        spec: Spec,
        operators: Mapping[str, Operator],
        limits: Limits,
        amend_for_ns: int = 0,
        lateness_ns: int = 0,
    ) -> None:
        """`limits`: with room for all series it takes.

        `amend_for_ns`: how long what it told may be corrected, at least.
        `lateness_ns`: that of the source that everything comes from.
        """
        self.gateway, self.name, self.spec = gateway, name, spec
        self.confluence: Confluence | None = None
        if isinstance(spec.from_, Upstream) and spec.from_.together:
            self.confluence = Confluence(spec.from_.pipelines, limits.series_max)
        self.selection = Selection(spec.where, limits.series_max)
        self.stages: list[Stage] = []
        table = self.selection.table
        for step in spec.steps:
            operator = operators[step.name]
            sets = ParamSets(operator.params, step.options, spec.values)
            stage = Stage(operator, sets, spec.group_by, limits)
            table = stage.connect(table)
            self.stages.append(stage)
        self.table = table
        self.alerting: Alerting | None = None
        if spec.alert is not None:
            last = self.stages[-1] if self.stages else None
            self.alerting = Alerting((gateway, name), spec.alert, spec.values, last, limits)
            self.alerting.connect(table)
        watch = self.alerting.watch if self.alerting else None
        self.core = Core(self.selection.table, self.stages, watch)
        self._teller = Teller(gateway, name, self.upstreams[0], self.core)
        self.amend_for_ns = max(amend_for_ns, amend_for_of(spec, self.stages))
        self.lateness_ns = lateness_ns
        self.aligner = self._alignment(limits.reorder_samples_max)
        self.amender: Amender | None = None
        if self.amend_for_ns:
            rows_max = limits.amend_rows_max
            self.amender = Amender(
                self.core, self._tells, self.amend_for_ns, rows_max, self._rank()
            )
        self._reviser = Reviser()
        self.taken = False
        """Whether another pipeline takes the rows of our last step."""
        self.followed = False
        """Whether another pipeline takes anything from us."""

    @property
    def active(self) -> int:
        """Series whose alert is active now."""
        return len(self.alerting.active()) if self.alerting else 0

    @property
    def upstreams(self) -> list[tuple[str, str]]:
        """('source' or 'alerts', 'samples', 'windows'; its name), several only of alerts."""
        if isinstance(self.spec.from_, Upstream):
            return [(self.spec.from_.kind, name) for name in self.spec.from_.pipelines]
        return [("source", self.spec.from_)]

    def gathered(self, flows: Mapping[tuple[str, str], Flow], *, ticking: bool) -> Flow | None:
        """What comes from above in one turn, None when nothing of it took part."""
        from_each = [flows.get(upstream) for upstream in self.upstreams]
        if self.confluence is None:
            return from_each[0]
        return self.confluence.joined(from_each, ticking=ticking)

    def run(
        self, flow: Flow, tick_ns: int | None, *, last: bool = False
    ) -> tuple[Flow, Flow, list[Event]]:
        """Rows of the last step, alert changes as rows (1 active, 0 cleared), and the events.

        `last`: no more will come, so what waits for the next tick is not to wait.
        """
        made = Made()
        taken = self.selection.ours(Rows(flow.batch, flow.ids), flow.table)
        now = tick_ns is not None or last
        until_ns = None
        if self.aligner is not None:
            taken, until_ns = self._in_order(self.aligner, taken, flow, tick_ns, last=last)
        if self.amender is not None:
            taken = self.amender.in_order(taken, now=now)
        for piece in self.core.feed(taken.batch, taken.ids):
            several = taken.ids or tick_ns is not None
            self.note(copied(piece[0]) if several else piece[0], piece[1], made)
        under, alerts = Flow(NOTHING, self.table), Flow(NOTHING, self.table)
        if self.amender is not None:
            self.amender.amend(self.selection.ours(Rows(flow.late), flow.table), new=False)
            self.amender.amend(self.selection.ours(flow.instead, flow.table), new=True)
            self.amender.take_back(self.selection.ours(flow.gone, flow.table))
        if tick_ns is not None and self.alerting is not None:
            made.events += self.alerting.throttle.at(tick_ns)
        if now:
            self.selection.tick(flow.table, until_ns)
            clocks = self.core.clocks(tick_ns)
            found = self.amender.correct(clocks) if self.amender else None
            if found is not None:
                under, alerts = self._correct(found, made)
            if tick_ns is not None:
                self.note(*self.core.tick(clocks), made, ticking=True)
                made.events += self.alerting.tick() if self.alerting else []
                if self.amender is not None:
                    self.amender.ticked(tick_ns, clocks)
            elif self.alerting is not None:
                made.events += self.alerting.throttle.summary(last=True)
        rows, changes = self.handed_on(made)
        return (
            under._replace(batch=rows.batch),
            alerts._replace(batch=changes.batch, ids=changes.ids),
            made.events,
        )

    def handed_on(self, made: Made) -> tuple[Flow, Flow]:
        """What pipelines below take of it: rows of the last step, and changes of the alert."""
        changed = together(made.alerts)
        rows = made.rows[0] if len(made.rows) == 1 else joined(made.rows)
        return Flow(rows, self.table), Flow(changed.batch, self.table, changed.ids)

    @property
    def alone(self) -> bool:
        """Whether it can stand in no bank: its rows wait for each other, or are taken again."""
        kinds = [stage.operator for stage in self.stages]
        combined = any(o.regroup is not None or o.expected is not None for o in kinds)
        chained = isinstance(self.spec.from_, Upstream)
        return combined or chained or self.amender is not None or self.aligner is not None

    def recall(self, labels: Labels, past: Past) -> Flow | None:
        """Go on with an alert from before a restart; the row that tells it to pipelines below."""
        if not self.alerting or not self.alerting.recall(labels, past):
            return None
        found = self.table.find(labels)
        assert found is not None, "just recalled"
        if self.amender is not None:
            self.amender.recalled(found, past.since_ns, past.value, past.worst, past.level)
        row = np.array([found], np.int32)
        batch = samples(row, np.array([past.since_ns], np.int64), np.ones(1))
        return Flow(batch, self.table, (self.alerting.alert_id(labels, past.since_ns),))

    def outlived(self, labels: Labels, past: Past) -> bool:
        """Whether our series has come further than `past`, and has no alert."""
        row = self.table.find(labels)
        if row is None or self.alerting is None or self.alerting.announcer.find(row) is not None:
            return False
        return int(self.table.clock_ns[row]) >= past.told_ns

    def knows(self, alert: str) -> bool:
        """Whether this is the id of an alert of ours that is active or shelved."""
        return self.alerting is not None and self.alerting.announcer.knows(alert)

    def obey(self, alert: str, order: Order) -> tuple[list[Event], Flow]:
        """What somebody asked for about an alert that we know; and the row of one that it ends.

        Raises Refused.
        """
        assert self.alerting is not None, "else no alert is known"
        row = self.alerting.announcer.row(alert)
        watch = self.alerting.watch
        before, since_ns = watch.is_active(row), int(watch.state.since_ns[row])
        told = self.alerting.obey(alert, order)
        if not before or watch.is_active(row):
            return told, Flow(NOTHING, self.table)
        at_ns = np.array([max(int(self.table.clock_ns[row]), since_ns)], np.int64)
        if self.amender is not None:
            self.amender.stand(row)
        ended = samples(np.array([row], np.int32), at_ns, np.zeros(1))
        return told, Flow(ended, self.table, (told[-1].id if told else "",))

    def takes(self, spec: Spec) -> bool:
        """Whether the steps can go on with other contents of their tables."""
        try:
            for stage, step in zip(self.core.stages, spec.steps, strict=True):
                ParamSets(stage.operator.params, step.options, spec.values)
        except ValidationError:
            return False
        return True

    def anew(self, spec: Spec) -> None:
        """Go on with a state that was put in place, under rules that differ from those it had."""
        for stage in self.stages:
            stage.places.forget()
        self.present(spec)

    def present(self, spec: Spec) -> None:
        """Take what does not touch the state: topics, texts, severity, per-device values."""
        if spec == self.spec:  # what was told can still be corrected
            return
        self.spec = spec
        if self.amender is not None:
            self.amender.stand()
        if self.aligner is not None:
            self.aligner.remake()
        for core in self.amender.cores() if self.amender else (self.core,):
            for stage, step in zip(core.stages, spec.steps, strict=True):
                stage.revalue(spec.values, step.options)
        if self.alerting is not None and spec.alert is not None:
            self.alerting.present(spec.alert, spec.values)

    def retire(self, reason: str) -> list[Event]:
        """Events that end what this pipeline has told, before it goes away."""
        return self.alerting.retire(reason) if self.alerting else []

    def counters(self) -> dict[str, int]:
        """What the steps counted since they began, by 'step.counter', and refused series."""
        found = {
            f"{stage.operator.name}.{name}": count
            for stage in self.stages
            for name, count in stage.runner.counters().items()
        }
        tables = {id(t): t for t in (self.selection.table, self.table)}
        found["series_refused"] = sum(t.refused for t in tables.values())
        if self.aligner is not None:
            found["hurried"] = self.aligner.hurried
        if self.alerting is not None:
            found["withheld"] = self.alerting.throttle.withheld
        return found | (self.amender.counts if self.amender else {})

    # --- inside --------------------------------------------------------------------------

    def _alignment(self, rows_max: int) -> Aligner | None:
        """What puts rows in order that are combined; None when they need not wait for each other.

        Pipelines with `amend_for` below others put right what came in another order.
        """
        chained = isinstance(self.spec.from_, Upstream)
        combined = any(s.operator.regroup and not s.operator.alone for s in self.stages)
        if not self.lateness_ns or not combined or (chained and self.amend_for_ns):
            return None
        return Aligner(self.core, self.lateness_ns, rows_max, self._key, chained=chained)

    def _key(self, labels: Labels) -> int:
        """What rows of one time are sorted by: the list of `from`, then the name of the series."""
        place = self.confluence.rank(labels)[0] if self.confluence else 0
        return (place << 32) + crc32(series_key(labels).encode())

    def _in_order(
        self, aligner: Aligner, taken: Rows, flow: Flow, tick_ns: int | None, *, last: bool
    ) -> tuple[Rows, I8 | None]:
        """Rows whose turn has come, and at a tick up to where that is, by row of the selection."""
        hurried = aligner.wait(taken)
        if tick_ns is None:
            return (together([hurried, aligner.rest()]) if last else hurried), None
        heard_ns = flow.table.clock_ns if flow.heard_ns is None else flow.heard_ns
        heard_ns = self.selection.of_upstream(heard_ns, flow.table)
        due, until_ns = aligner.due(heard_ns, tick_ns)
        return together([hurried, due]), until_ns

    def _rank(self) -> Callable[[Labels], tuple[int, Labels]] | None:
        """Order of rows of one time: alerts often have one, and what is corrected comes later."""
        if self.upstreams[0][0] != "alerts":
            return None
        return self.confluence.rank if self.confluence else by_labels

    def _say(
        self, core: Core, rows: Batch, changes: Batch
    ) -> tuple[list[tuple[Key, Content]], list[Event]]:
        """Rows of the last step as values, and the events of the alert's changes."""
        items = []
        told = self.spec.publish is not None or (self.taken and self.amender is not None)
        if rows.size and told:
            items = list(self._teller.items(core, rows))
        if not changes.size:
            return items, []
        assert self.alerting is not None, "nothing else has changes"
        return items, self.alerting.tell(changes, lambda *at: self._teller.led_to(core, *at))

    def _tells(self, core: Core, rows: Rows, clocks: Sequence[I8] | None) -> dict[int, Told]:
        """What a core tells about these rows, and then about time, by row of its table."""
        told: dict[int, Told] = {}
        for piece in core.feed(rows.batch, rows.ids):
            noted(told, *self._say(core, *piece), piece[1])
        if clocks is not None:
            piece = core.tick(clocks)
            noted(told, *self._say(core, *piece), piece[1])
        return told

    def note(self, rows: Batch, changes: Batch, made: Made, *, ticking: bool = False) -> None:
        """Take down what the live core has found."""
        made.rows.append(rows)
        items, events = self._say(self.core, rows, changes)
        if self.spec.publish is not None:
            made.events += [
                self._reviser.held(self._teller.event(self.core, *item)) for item in items
            ]
        if changes.size and self.followed:
            made.alerts.append(as_rows(changes, events))
        if self.alerting is not None and events:
            held = [self._reviser.held(event) for event in events]
            made.events += self.alerting.announce(changes, held, ticking=ticking)
        if self.amender is not None:
            told: dict[int, Told] = {}
            noted(told, items, events, changes)
            self.amender.note(told)

    def _correct(self, found: Correction, made: Made) -> tuple[Flow, Flow]:
        """Tell what late rows have changed, and what that means to pipelines below."""
        if self.spec.publish is not None:
            made.events += self._reviser.rows(found, self._teller, self.core)
        corrected = self._reviser.alerts(found)
        if corrected:
            assert self.alerting is not None, "nothing else tells alerts"
            made.events += self.alerting.corrected(corrected)
        return below(found, self.table)
