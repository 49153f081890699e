"""Retained: the states of alerts that a daemon left on the broker, read with suspicion.

Whoever may write on those topics can put anything there, and it comes again after every restart:
what is not of the form that `Encoder` writes, on the topic where it writes it, is refused whole.
"""

import math
from typing import Annotated, Final, Literal

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from daemon.decode.times import T_MAX_NS
from daemon.messages import Message
from pipelines.alerting import Past
from pipelines.events import rfc3339_ns
from pipelines.series import Labels, make_labels


def _time(text: str) -> str:
    if not 0 <= rfc3339_ns(text) < T_MAX_NS:
        raise ValueError("expected a time between 1970 and 2200")
    return text


def _until(shelved: dict[str, str]) -> dict[str, str]:
    until = shelved.get("until", "")
    if until != "end":
        _time(until)
    return shelved


_Time = Annotated[str, AfterValidator(_time)]


class _Said(BaseModel):
    """More may stand there than what we read: other versions say more."""

    # Built with the first state that comes: most starts find none.
    model_config = ConfigDict(strict=True, hide_input_in_errors=True, defer_build=True)


class _Data(_Said):
    labels: dict[str, str]
    state: Literal["active", "cleared"]
    since: _Time
    value: float | None
    worst: float | None
    level: str | None = None
    acknowledged: dict[str, str] = Field(default_factory=dict)
    comments: list[dict[str, str]] = Field(default_factory=list)
    escalated: bool = False
    shelved: Annotated[dict[str, str], AfterValidator(_until)] = Field(default_factory=dict)
    first_out: bool | None = None


_LIFE: Final = {"acknowledged", "comments", "escalated", "shelved", "first_out"}


class _State(_Said):
    source: str
    time: _Time
    data: _Data


def read(message: Message) -> tuple[str, Labels, Past]:
    """(CloudEvents source, labels of the series, what is said of its alert). Raises ValueError."""
    try:
        state = _State.model_validate(orjson.loads(message.payload))
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        where = ".".join(map(str, fault["loc"]))
        raise ValueError(f"{where}: {fault['msg']}") from error
    data = state.data
    past = Past(
        active=data.state == "active",
        since_ns=rfc3339_ns(data.since),
        told_ns=rfc3339_ns(state.time),
        value=math.nan if data.value is None else data.value,
        worst=math.nan if data.worst is None else data.worst,
        level=data.level,
        data=data.model_dump(include=_LIFE, exclude_unset=True),
    )
    return state.source, make_labels(data.labels), past
