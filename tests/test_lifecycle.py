"""The life cycle of alerts: a plain model kept beside it, laws of the table, a drawn sequence."""

import itertools
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from config.model import Alert
from pipelines.events import rfc3339
from pipelines.lifecycle import ALARM, SHELF, Alarm, Given, Place, Said, Shelf, move
from pipelines.occurrence import Order, Refused
from tests.graphs import T0, Feed, S, b, graph

PLACES = [Place(*parts) for parts in itertools.product(Alarm, Shelf, (False, True), (False, True))]


@pytest.mark.parametrize("given", Given)
def test_laws_that_hold_for_every_place_and_input(given):
    for place in PLACES:
        moved = move(place, given)
        possible = (place.alarm, given) in ALARM or (place.shelf, given) in SHELF
        if moved is None:
            assert not possible
            continue
        after, said = moved
        opened, closed = said.count(Said.ACTIVE), said.count(Said.CLEARED)
        assert opened + closed <= 1, "one thing at a time"
        assert not (opened and place.told), "what was told is not told again"
        assert not closed or place.told, "nothing ends that was never told"
        assert after.told == (after.alarm is not Alarm.NORMAL and (place.told or bool(opened)))
        if after.quiet:
            spoken = set(said) - {Said.CLEARED, Said.ACKNOWLEDGED, Said.COMMENTED, Said.SHELVED}
            assert spoken <= {Said.UNSHELVED}
        elif after.alarm is not Alarm.NORMAL:
            assert after.told, "what is active and not quiet has been told"


SHELVED_FOR = 50
REMIND, ESCALATE = 30, 70
ALERT = {
    "when": {"levels": {"high": {"above": 80}, "high_high": {"above": 90, "severity": "critical"}}},
    "severity": "minor",
    "remind": f"{REMIND}s",
    "escalate": {"after": f"{ESCALATE}s", "severity": "major"},
}
RANK = ["info", "warning", "minor", "major", "critical"]
SEVERITY = {"high": "minor", "high_high": "critical"}


class Model:
    """What the words of the documentation say, kept as plain facts and lists of times."""

    def __init__(self):
        self.level = self.shelf = None
        self.acked = self.told = self.escalated = False
        self.counting_from = None
        self.last_reminder = None
        self.said = []

    def say(self, what, at):
        self.said.append((what, at))

    @property
    def severity(self):
        return max([SEVERITY[self.level], *["major"] * self.escalated], key=RANK.index)

    def count(self, at, *, afresh=False):
        counts = self.level is not None and self.told and not self.acked and self.shelf is None
        if not counts:
            self.counting_from = None
        elif self.counting_from is None or afresh:
            self.counting_from = self.last_reminder = at

    def tell_if_due(self, at):
        if self.level is not None and self.shelf is None and not self.told:
            self.told = True
            self.say("active", at)
        self.count(at)

    def time(self, until):
        """Everything that time alone brings up to `until`, the earliest first."""
        while True:
            due = []
            if isinstance(self.shelf, int):
                due.append((self.shelf, 0, "unshelved"))
            if self.counting_from is not None:
                reminders = range(self.last_reminder + REMIND, until + 1, REMIND)
                due += [(reminders[-1], 1, "reminder")] if reminders else []
                if not self.escalated:
                    due.append((self.counting_from + ESCALATE, 2, "escalated"))
            due = [d for d in due if d[0] <= until]
            if not due:
                return
            at, _, what = min(due)
            if what == "unshelved":
                self.shelf = None
                self.say("unshelved", at)
                self.tell_if_due(at)
                continue
            if what == "reminder":
                self.last_reminder = at
            else:
                self.escalated = True
            self.say(what, at)

    def condition(self, level, at):
        if level == self.level:
            return
        if self.level is None:
            self.level, self.acked, self.told, self.escalated = level, False, False, False
            self.tell_if_due(at)
        elif level is None:
            if self.told:
                self.say("cleared", at)
            self.level, self.told = None, False
            self.shelf = None if self.shelf == "end" else self.shelf
            self.count(at)
        else:
            before = self.severity
            self.level = level
            worse = RANK.index(self.severity) > RANK.index(before)
            self.acked = self.acked and not worse
            if self.told and self.shelf is None:
                self.say("level", at)
            self.count(at, afresh=worse)


class LifeCycle(RuleBasedStateMachine):
    """Values and commands for one series, beside the model."""

    def __init__(self):
        super().__init__()
        self.feed = Feed(graph({"hot": {"from": "boilers", "alert": ALERT}}))
        self.model, self.t, self.told, self.id, self.onset = Model(), 0, [], None, None
        self.known = set()
        self.value = 0
        self.sample(1, 0)

    def hear(self, events):
        for event in events:
            kind = event.type.rsplit(".", 1)[1]
            what = event.data.get("reason", kind) if kind == "updated" else kind
            self.told.append((what, (event.time_ns - T0) // S, event))

    @rule(after=st.integers(1, 40), value=st.sampled_from([0, 85, 95]))
    def sample(self, after, value):
        self.t += after
        self.hear(self.feed.send([(self.t, b("b1"), value)]))
        level = "high_high" if value > 90 else "high" if value > 80 else None
        if level != self.model.level:
            self.model.time(self.t - 1)
        if level is not None and self.model.level is None:
            self.onset = self.t
        self.model.condition(level, self.t)
        self.hear(self.feed.until(self.t))
        self.model.time(self.t)
        announcer = self.feed.graph.pipelines["hot"].alerting.announcer
        known = announcer.find(0)
        self.id = known.alert if known else None

    def command(self, given, **more):
        alert = self.id or "0" * 32
        order = Order(given, T0 + self.t * S, by="ann", **more)
        try:
            self.hear(self.feed.graph.obey(alert, order))
        except Refused:
            return False
        return True

    @rule()
    def acknowledge(self):
        done = self.command(Given.ACKNOWLEDGE, comment="seen")
        assert done == (self.model.level is not None and not self.model.acked)
        if done:
            self.model.acked = True
            self.model.say("acknowledged", self.t)
            self.model.count(self.t)

    @rule()
    def comment(self):
        done = self.command(Given.COMMENT, comment="on my way")
        assert done == (self.model.level is not None)
        if done:
            self.model.say("comment", self.t)

    @rule(timed=st.booleans())
    def shelve(self, timed):
        if timed:
            done = self.command(Given.SHELVE, for_ns=SHELVED_FOR * S)
        else:
            done = self.command(Given.SHELVE_ONCE)
        known = self.model.level is not None or self.model.shelf is not None
        assert done == (known and (timed or self.model.shelf != "end"))
        if done:
            self.model.shelf = self.t + SHELVED_FOR if timed else "end"
            self.model.say("shelved", self.t)
            self.model.count(self.t)

    @rule()
    def unshelve(self):
        done = self.command(Given.UNSHELVE)
        assert done == (self.model.shelf is not None)
        if done:
            self.model.shelf = None
            self.model.say("unshelved", self.t)
            self.model.tell_if_due(self.t)
            self.after()

    @precondition(lambda self: self.model.level is not None)
    @rule()
    def reset(self):
        assert self.command(Given.RESET)
        self.model.condition(None, self.t)
        self.after()

    def after(self):
        known = self.feed.graph.pipelines["hot"].alerting.announcer.find(0)
        self.id = known.alert if known else None

    @invariant()
    def the_same_is_told(self):
        mine = [(what, at) for what, at, _ in self.told]
        assert mine == self.model.said

    @invariant()
    def the_newest_event_says_where_it_stands(self):
        if self.told and self.model.level is not None and self.model.told:
            what, _, event = self.told[-1]
            if self.model.shelf is None:
                assert event.data["severity"] == self.model.severity
                assert event.data["level"] == self.model.level
                assert ("acknowledged" in event.data) == self.model.acked
            assert event.data["state"] == "active" or what in ("cleared", "unshelved")


LifeCycle.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestLifeCycle = LifeCycle.TestCase


@pytest.mark.nightly
@pytest.mark.timeout(3600)
def test_long_lives():
    run_state_machine_as_test(
        LifeCycle, settings=settings(max_examples=2_000, stateful_step_count=60, deadline=None)
    )


def test_a_sequence_drawn_in_time():
    """In the manner of figure B.4 of OPC UA Part 9, by hand.

    second      0    10    20    30    40    50    60    70    80    90
    value      85    85    95    95    78    85    60    60    60    85
    condition      |-- on_delay 15 s -->|          |-- off_delay 15 s -->|
    """
    when = {
        "levels": {"high": {"above": 80}, "high_high": {"above": 90, "severity": "critical"}},
        "deadband": 5,
        "on_delay": "15s",
        "off_delay": "15s",
    }
    feed = Feed(graph({"hot": {"from": "boilers", "alert": {"when": when, "remind": "20s"}}}))
    told, commands = [], {35: Given.ACKNOWLEDGE}
    for i, value in enumerate([85, 85, 95, 95, 78, 85, 60, 60, 60, 85]):
        told += feed.send([(10 * i, b("b1"), value)])
        told += feed.until(10 * i)
        if 10 * i + 5 in commands:
            order = Order(commands[10 * i + 5], T0 + (10 * i + 5) * S, "ann")
            told += feed.graph.obey(told[0].data["alert"], order)
    drawn = [
        ((e.time_ns - T0) / S, e.type.rsplit(".", 1)[1], e.data.get("reason"), e.data["level"])
        for e in told
    ]
    assert drawn == [
        (15, "active", None, "high"),
        (35, "updated", "acknowledged", "high"),
        (35, "updated", "level", "high_high"),
        (40, "updated", "level", "high"),
        (55, "updated", "reminder", "high"),  # the rise made the acknowledgement void
        (75, "cleared", None, "high"),
    ]
    acked = [e.data.get("acknowledged") for e in told]
    assert acked == [None, {"by": "ann", "at": rfc3339(T0 + 35 * S)}, *[None] * 4]
    assert len({e.data["alert"] for e in told}) == 1
    assert len({e.id for e in told}) == len(told)


PAGE = Path(__file__).parents[1] / "pipelines" / "ALERTS.md"


def test_the_page_shows_an_alert_that_can_be_written():
    [example] = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    alert = Alert.model_validate(yaml.safe_load(example)["alert"])
    assert alert.when is not None
    assert list(alert.when.levels) == ["low", "high", "high_high"]


def test_the_page_shows_the_tables_as_they_are():
    """'·' stays; an empty cell or 'refused' is not possible there."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in PAGE.read_text().splitlines()
        if re.match(r"\| (normal|unack|acknowledged|free|timed|once)", line)
    ]
    of_alarm = ["raise", "change", "worsen", "end", "acknowledge", "comment", "remind", "escalate"]
    of_shelf = ["shelve", "shelve once", "unshelve", "run out", "end"]
    shown = {}
    for state, *cells in rows:
        alarm = state in {a.value for a in Alarm}
        for given, cell in zip(of_alarm if alarm else of_shelf, cells, strict=True):
            if cell not in ("", "refused"):
                shown[state, given] = state if cell == "·" else cell
    written = {(str(s), str(g)): str(after) for (s, g), (after, _) in (ALARM | SHELF).items()}
    assert shown == written
