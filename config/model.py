"""The configuration language as models: what may be written, with its defaults and limits.

Durations are nanoseconds and sizes are bytes once read.  A number written as `"{name}"` is a
reference to an entry of the pipeline's `values` and stays a string here; `pipelines.compile`
resolves it for each series.
"""

from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from config.alert import Alert, Bound, Severity, When
from config.broker import Broker, Tls
from config.limits import Limits
from config.params import Options
from config.record import Record
from config.state import State
from config.tables import Table
from config.terms import (
    NAME,
    REFERENCE,
    SECOND,
    Name,
    Names,
    Number,
    OneOrMore,
    QoS,
    Reference,
    Text,
    is_name,
)
from config.topics import FilterText, TemplateText
from config.units import Duration

__all__ = [
    "NAME",
    "REFERENCE",
    "SECOND",
    "Alert",
    "Bound",
    "Broker",
    "Limits",
    "Name",
    "Number",
    "OneOrMore",
    "QoS",
    "Reference",
    "Severity",
    "Text",
    "Tls",
    "When",
    "is_name",
]


class TimeField(Options):
    """Where the event time of a message stands."""

    field: str = Field(description="Name or dotted path of the time in the payload.")
    unit: Literal["ns", "us", "ms", "s", "iso"] = Field(
        "ms", description="Unit since 1970 UTC, or iso for RFC 3339 text."
    )


class Source(Options):
    """Samples that come in: which topics, how payloads are read, how time is treated."""

    topic: FilterText = Field(
        description="Topic filter; {name} takes that level as a label, + and # match unseen."
    )
    decode: str | dict[str, Any] = Field(
        "json", description="A decoder's name, or a one-key mapping {name: options}."
    )
    time: TimeField | None = Field(None, description="Event time; without it, time of arrival.")
    seq: str | None = Field(
        None, description="Payload field with the device's counter, to tell duplicates apart."
    )
    channels: tuple[str, ...] | dict[str, str] | None = Field(
        None, description="Fields to read, or {channel: path}; default: every numeric field."
    )
    labels: dict[Name, Text] = Field(
        default_factory=dict, description="Fixed labels added to every series of this source."
    )
    lateness: Duration = Field(
        0, description="Samples may arrive this much out of order; they wait as long for others."
    )
    late: Literal["drop", "side", "amend"] = Field(
        "amend",
        description="Samples that are later than that: drop forgets them, side publishes them "
        "for inspection, amend lets pipelines correct what they told. All are counted.",
    )
    late_topic: TemplateText | None = Field(
        None, description="Where late: side publishes; default: late/<source>/<labels...>"
    )
    future_max: Duration = Field(
        60 * SECOND, description="Samples further in the future are set aside and counted."
    )
    past_max: Duration | None = Field(
        None,
        gt=0,
        description="Samples older than this when they arrive are rejected as too_old, such as "
        "those of a clock that begins in 1970. Default: none; what a device kept is welcome.",
    )
    future_topic: TemplateText | None = Field(
        None,
        description="Where a device is told of whose clock begins to run further ahead than that, "
        "and when it is right again; default: quarantine/<source>/<labels...>",
    )
    idle_after: Duration | None = Field(
        None,
        description="Silence after which time goes on without samples; "
        "default: 5 times the series' own usual gap.",
    )
    feedback: bool = Field(
        False,
        description="Groups that a pipeline publishes may come back in here as members of larger "
        "groups: allowed for steps group: {hierarchy: ..., levels: 1}, which end at the top.",
    )
    qos: Literal[0, 1] = 1
    durability: Literal["committed", "none"] = Field(
        "committed",
        description="With state:, committed messages are acknowledged when what came of them is on "
        "disk. Those of none are not kept: after a crash what came since the last checkpoint is "
        "missing from their windows.",
    )

    @model_validator(mode="after")
    def _late_goes_there(self) -> "Source":
        if self.past_max is not None and self.time is None:
            raise ValueError("past_max needs time: {field: ts}, or nothing is ever old")
        if self.late_topic is not None and self.late != "side":
            raise ValueError(f"late_topic goes with late: side, not with late: {self.late}")
        return self


class Publish(Options):
    """The samples or windows that leave the last step, published as they are."""

    topic: TemplateText = Field(description="Where to; {name} is filled with that label.")
    qos: QoS = 1
    retain: bool = False


class Value(Options):
    """A number that differs by device: the first entry of `by` that matches a series holds."""

    default: float | None = Field(None, description="Without it, unlisted series have no limit.")
    by: dict[Name, dict[Text, float]] = Field(
        default_factory=dict, description="label: {pattern: number}; * and ? are wildcards."
    )
    table: Name | None = Field(
        None, description="After `by`, the row of this table that the label `of` names."
    )
    column: str | None = Field(None, description="Column of the table that holds the number.")
    of: Name | None = Field(None, description="Default: the key of the table.")

    @model_validator(mode="after")
    def _table_and_column(self) -> "Value":
        if (self.table is None) != (self.column is None):
            raise ValueError("table and column go together: {table: devices, column: limit}")
        if self.of is not None and self.table is None:
            raise ValueError("of belongs to a table: {table: devices, column: limit, of: device}")
        return self

    @cached_property
    def places(self) -> dict[str, tuple[dict[str, int], list[tuple[int, str]], list[float]]]:
        """By label: places of patterns without wildcards, the others in order, all numbers."""
        found = {}
        for label, by in self.by.items():
            patterns = list(enumerate(by))
            plain = {text: i for i, text in patterns if not set("*?[") & set(text)}
            wild = [(i, text) for i, text in patterns if text not in plain]
            found[label] = plain, wild, list(by.values())
        return found


def _value(value: Any) -> Any:
    return {"default": value} if isinstance(value, int | float) else value


class Upstream(Options):
    """Other pipelines as the input: alerts (1 active, 0 cleared) of some, or what one makes."""

    alerts: Name | Names | None = Field(
        None,
        description="A pipeline; or a list, whose alerts come with the label alert: its name.",
    )
    samples: Name | None = Field(None, description="A pipeline whose last step makes samples.")
    windows: Name | None = Field(None, description="A pipeline whose last step makes windows.")

    @field_validator("samples", "windows", mode="before")
    @classmethod
    def _of_one(cls, value: Any) -> Any:
        if isinstance(value, list | tuple):
            raise ValueError("one pipeline, not a list: only alerts come together")  # noqa: TRY004 - pydantic wants a ValueError
        return value

    @model_validator(mode="after")
    def _one(self) -> "Upstream":
        if sum(x is not None for x in (self.alerts, self.samples, self.windows)) != 1:
            raise ValueError("give one of alerts, samples, windows: {alerts: overheat}")
        return self

    @property
    def kind(self) -> Literal["alerts", "samples", "windows"]:
        """Which output of the other pipelines is meant."""
        return "alerts" if self.alerts else "samples" if self.samples else "windows"

    @property
    def pipelines(self) -> tuple[str, ...]:
        """Names of the other pipelines."""
        if isinstance(self.alerts, tuple):
            return self.alerts
        return (self.alerts or self.samples or self.windows or "",)

    @property
    def together(self) -> bool:
        """Whether rows say in a label which pipeline they came from: those of a list do."""
        return isinstance(self.alerts, tuple)


def _step(value: Any) -> Any:
    if isinstance(value, str):
        return {"name": value, "options": {}}
    if isinstance(value, dict) and set(value) == {"name", "options"}:
        return value
    if isinstance(value, dict) and len(value) == 1:
        [(name, options)] = value.items()
        if not isinstance(options, dict | None):
            raise ValueError(f"the options of {name} are a mapping, found {options!r}")
        return {"name": name, "options": {} if options is None else options}
    raise ValueError("a step is one operator, such as - rolling: {stat: mean, window: 60s}")


class Step(Options):
    """One use of an operator; `options` is as written, `pipelines` knows the operator's model."""

    name: str
    options: dict[str, Any]


class Pipeline(Options):
    """A named chain: where samples come from, what is done to them, what is told about it."""

    from_: str | Upstream = Field(alias="from", description="A source, or {alerts: pipeline}.")
    where: dict[Name, OneOrMore] = Field(
        default_factory=dict, description="label: value, or a list of values; * and ? match."
    )
    group_by: tuple[Name, ...] = Field((), description="Labels kept by steps that combine series.")
    steps: tuple[Annotated[Step, BeforeValidator(_step)], ...] = ()
    amend_for: Duration | None = Field(
        None,
        le=7 * 86_400 * SECOND,
        description="Correct what was told when samples turn up at most this late: the same "
        "ids with the next revision, or a retraction. Default: what is late is left out.",
    )
    alert: Alert | None = None
    publish: Publish | None = None
    values: dict[Name, Annotated[Value, BeforeValidator(_value)]] = Field(default_factory=dict)
    description: str | None = Field(None, max_length=1000)

    @model_validator(mode="after")
    def _can_retract(self) -> "Pipeline":
        asked = [self.amend_for, *(step.options.get("amend_for") for step in self.steps)]
        undo = self.alert is not None and self.alert.on_retract is not None
        if undo and isinstance(self.from_, str) and not any(asked):
            raise ValueError("on_retract needs amend_for: 10m, or nothing is ever retracted")
        return self


class Http(Options):
    """Metrics and health over HTTP."""

    listen: str = Field(
        "127.0.0.1:9464",
        pattern=r"^\S+:\d{1,5}$",
        description="Address of /metrics, /healthz and /readyz; port 0 takes a free one.",
    )
    enabled: bool = True


class Log(Options):
    """Where and how the daemon says what happens."""

    format: Literal["auto", "console", "json"] = Field(
        "auto", description="auto: console on a terminal, else JSON lines."
    )
    level: Literal["debug", "info", "warning", "error"] = "info"


class Included(Options):
    """A file that another one includes: sources and pipelines, nothing else."""

    sources: dict[Name, Source] = Field(default_factory=dict)
    pipelines: dict[Name, Pipeline] = Field(default_factory=dict)


class Gateway(Options):
    """One daemon on one gateway."""

    # Defaults are constructed, not validated: a start would build four validators for nothing.
    gateway: Name = "gateway"
    broker: Broker = Broker.model_construct()
    include: tuple[str, ...] = Field((), description="Globs of more files, beside this one.")
    limits: Limits = Limits.model_construct()
    http: Http = Http.model_construct()
    log: Log = Log.model_construct()
    record: Record | None = Field(
        None, description="Keep what comes in for sensorweir replay; {} does so. Default: not."
    )
    state: State | None = Field(
        None,
        description="Acknowledge what is on disk, and go on there after a crash; {} does so. "
        "Default: not.",
    )
    status_topic: TemplateText = Field(
        "sensorweir/{gateway}/status", description="Retained birth message, and the will."
    )
    command_topic: TemplateText | None = Field(
        None,
        description="Where commands are taken, such as sensorweir/{gateway}/command; "
        "restrict who may publish there on the broker. Default: none are taken.",
    )
    tables: dict[Name, Table] = Field(
        default_factory=dict, description="What is known of devices: labels, limits, groups."
    )
    sources: dict[Name, Source] = Field(default_factory=dict)
    pipelines: dict[Name, Pipeline] = Field(default_factory=dict)

    @property
    def client_id(self) -> str:
        """What the client ids of our connections begin with."""
        return self.broker.client_id or f"sensorweir-{self.gateway}"
