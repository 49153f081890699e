"""Commands: what people ask for about alerts over MQTT, and what they are answered.

A request is JSON on the command topic, `{"acknowledge": "<id of the alert>", "by": "ann"}`; each
gets one answer, on its MQTT 5 response topic with its correlation data, else on
`<command topic>/response`.  Who may ask is for the broker's access control to say.
"""

from typing import Annotated, Any, Final

import orjson
from pydantic import Field, ValidationError

from config.params import Options
from config.units import Duration
from daemon.messages import Message, Outgoing
from pipelines.lifecycle import Given
from pipelines.occurrence import Order

_Id = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
_VERBS: Final = {
    "acknowledge": Given.ACKNOWLEDGE,
    "alert": Given.COMMENT,
    "reset": Given.RESET,
    "shelve": Given.SHELVE_ONCE,
    "unshelve": Given.UNSHELVE,
}
_EXPECTED: Final = (
    'expected {"acknowledge": "<id of the alert>"}, or reset, shelve, unshelve in its place, '
    'or {"alert": "<id>", "comment": "..."}'
)


class _Command(Options):
    acknowledge: _Id | None = None
    reset: _Id | None = None
    shelve: _Id | None = None
    unshelve: _Id | None = None
    alert: _Id | None = None
    by: str | None = Field(None, max_length=100)
    comment: str | None = Field(None, max_length=1000)
    for_: Duration | None = Field(None, alias="for", gt=0)


def parse(message: Message) -> tuple[str, Order]:
    """(id of the alert, what is asked for). Raises ValueError that says what was expected."""
    if message.retain:
        raise ValueError("a command must not be retained: it would be obeyed again and again")
    try:
        command = _Command.model_validate(orjson.loads(message.payload))
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        where = ".".join(map(str, fault["loc"]))
        raise ValueError(f"{where}: {fault['msg']}" if where else _EXPECTED) from error
    asked = [(verb, i) for verb in _VERBS if (i := getattr(command, verb)) is not None]
    if len(asked) != 1:
        raise ValueError(_EXPECTED)
    [(verb, alert)] = asked
    given = _VERBS[verb]
    if given is Given.COMMENT and command.comment is None:
        raise ValueError(_EXPECTED)
    if command.for_ is not None:
        if given is not Given.SHELVE_ONCE:
            raise ValueError(f"for: only goes with shelve, found {verb}")
        given = Given.SHELVE
    order = Order(given, message.arrival_ns, command.by, command.comment, command.for_ or 0)
    return alert, order


def answer(request: Message, topic: str, error: str | None, facts: dict[str, Any]) -> Outgoing:
    """What the one who asked is told; `error` None: it is done."""
    said: dict[str, Any] = {"done": error is None}
    said |= {"error": error} if error is not None else {}
    return Outgoing(
        topic=topic,
        payload=orjson.dumps(said | facts),
        qos=1,
        retain=False,
        kind="answer",
        content_type="application/json",
        correlation=request.correlation,
    )
