"""Alerts as they are written: their condition, and what is told about them to whom."""

from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, model_validator

from config.params import Options
from config.terms import SECOND, Name, Number, QoS, not_negative, positive
from config.topics import TemplateText
from config.units import Duration

Severity = Literal["info", "warning", "minor", "major", "critical"]
LEVELS_MAX: Final = 8
Interval = tuple[Number, Number]


def _one_limit(given: "When | Bound", names: tuple[str, ...]) -> None:
    """Raises ValueError when there is more than one of `names`, or an interval is empty."""
    found = [n for n in names if getattr(given, n) is not None and getattr(given, n) != {}]
    if len(found) > 1:
        raise ValueError(f"give one of {', '.join(names)}; found {' and '.join(found)}")
    if isinstance(given.outside, tuple):
        low, high = given.outside
        if not isinstance(low, str) and not isinstance(high, str) and low >= high:
            raise ValueError(f"outside: [low, high] needs low < high, got [{low}, {high}]")


class Bound(Options):
    """One level of an alert; what it leaves out is that of the alert."""

    above: Number | None = None
    below: Number | None = None
    outside: Interval | None = Field(None, description="[low, high]")
    severity: Severity | None = None
    deadband: Annotated[Number, AfterValidator(not_negative)] | None = Field(
        None, description="The value must come back by this much to leave the level."
    )
    on_delay: Duration | None = Field(
        None, description="The limit must be passed this long to reach the level."
    )

    @model_validator(mode="after")
    def _one_side(self) -> "Bound":
        _one_limit(self, ("above", "below", "outside"))
        if (self.above, self.below, self.outside) == (None, None, None):
            raise ValueError("give one of above, below, outside")
        return self


PROFILES: Final = {
    "flow": (0.05, "15s"),
    "level": (0.05, "60s"),
    "pressure": (0.02, "15s"),
    "temperature": (0.01, "60s"),
}
"""Deadband as a part of the span, and delays: values to start from, as alarm handbooks have them."""


class When(Options):
    """The condition of an alert, and how hard it is to enter and to leave."""

    above: Number | None = None
    below: Number | None = None
    outside: Interval | None = Field(None, description="[low, high]")
    levels: dict[Name, Bound] = Field(
        default_factory=dict,
        max_length=LEVELS_MAX,
        description="Instead of one limit several, each with its own severity: "
        "{high: {above: 80}, high_high: {above: 90, severity: critical}}.",
    )
    deadband: Annotated[Number, AfterValidator(not_negative)] = Field(
        0.0, description="The value must come back by this much to clear."
    )
    on_delay: Duration = Field(0, description="The condition must hold this long to raise.")
    off_delay: Duration = Field(0, description="It must be gone this long to clear.")
    profile: Literal["flow", "level", "pressure", "temperature"] | None = Field(
        None,
        description="Starting values for deadband, on_delay and off_delay where they are not "
        "given, for a quantity of this kind; with span.",
    )
    span: tuple[float, float] | None = Field(
        None, description="[low, high] of the instrument; profiles are parts of it."
    )
    latch: bool = Field(
        False, description="Stay active until somebody resets it through the command topic."
    )

    @model_validator(mode="before")
    @classmethod
    def _start_from_profile(cls, given: Any) -> Any:
        if not isinstance(given, dict) or given.get("profile") not in PROFILES:
            return given
        span = given.get("span")
        if not isinstance(span, list | tuple) or len(span) != 2:
            raise ValueError("a profile needs span: [low, high] of the instrument")
        if not all(isinstance(x, int | float) for x in span) or span[0] >= span[1]:
            raise ValueError(f"span: [low, high] needs low < high, got {list(span)}")
        part, delay = PROFILES[given["profile"]]
        started = {"deadband": part * (span[1] - span[0]), "on_delay": delay, "off_delay": delay}
        return {**started, **given}

    @property
    def has_limit(self) -> bool:
        """False when the condition of the last step is meant."""
        return (self.above, self.below, self.outside) != (None, None, None) or bool(self.levels)

    @model_validator(mode="after")
    def _one_side(self) -> "When":
        _one_limit(self, ("above", "below", "outside", "levels"))
        below = [b.below for b in self.levels.values() if isinstance(b.below, float)]
        above = [b.above for b in self.levels.values() if isinstance(b.above, float)]
        if below and above and max(below) >= min(above):
            raise ValueError(
                f"levels: every below must be under every above, got {max(below):g} and "
                f"{min(above):g}"
            )
        return self


class Escalate(Options):
    """An active alert that nobody acknowledges becomes more severe."""

    after: Duration = Field(gt=0, description="Time since it was told.")
    severity: Severity = "critical"


class InhibitBy(Options):
    """Another pipeline's alert that makes this one no news."""

    alerts: Name = Field(description="The other pipeline.")
    same: tuple[Name, ...] = Field(
        (), description="Labels that must have the same values in both; none: any alert of it."
    )
    wait: Duration = Field(
        0, description="An alert is told this much later, in case the other one comes meanwhile."
    )


Payload = str | dict[str, str | float | bool | None]


class OnRetract(Options):
    """What undoes an action that somebody took because of an alert that should not have been."""

    publish: TemplateText = Field(description="Where to; {name} is filled with that label.")
    payload: Payload | None = Field(
        None,
        description="Text, or names with values; {labels}, {alert}, {since} and the names of "
        "labels are filled in texts. Default: the event that takes the alert back.",
    )
    qos: QoS = 1


class Alert(Options):
    """What is told, to whom, when the condition becomes true and when it ends."""

    when: When | None = Field(
        None, description="Default: the condition of the last step, when it is a detector."
    )
    severity: Severity = "warning"
    topic: TemplateText | None = Field(None, description="Default: alerts/<pipeline>/<labels...>")
    state_topic: TemplateText | None = Field(
        None, description="Retained state while active; default: state/<alert topic>."
    )
    qos: QoS = 1
    update_by: Annotated[Number, AfterValidator(positive)] | None = Field(
        None, description="Tell again each time an active value got worse by this much."
    )
    flapping: Literal["tell", "hold"] = Field(
        "tell",
        description="hold: while it goes to and fro too often, it stays active and says so once.",
    )
    remind: Duration | None = Field(
        None, gt=0, description="Tell again this often while it is active and not acknowledged."
    )
    escalate: Escalate | None = None
    first_out: tuple[Name, ...] | None = Field(
        None,
        description="Say which alert came first among those with the same values of these labels; "
        "[]: among all of this pipeline.",
    )
    inhibit_by: InhibitBy | None = None
    shelve_max: Duration = Field(
        8 * 3600 * SECOND, gt=0, description="Longest time that an alert may be shelved for."
    )
    on_retract: OnRetract | None = Field(
        None,
        description="Published when late samples show that the alert should not have been raised; "
        "with amend_for.",
    )
    message: str | None = Field(
        None,
        max_length=500,
        description="Text for people; {device} and other labels, "
        "{labels} for all of them, {state}, {value}, {limit} and {detail} are filled.",
    )
