"""Stored: a configuration as it was in force, as bytes that make the same one again.

Everything is filled in: includes, variables, defaults, rows of tables; but not what a condition
leaves to a detector.  The broker is left out, with its password, its keys and its address: what is computed does not depend on it.
"""

import orjson
from pydantic import ValidationError

from config.model import Broker, Gateway


class ConfigUnknownError(ValueError):
    """A stored configuration that this program cannot read."""


def stored(gateway: Gateway) -> bytes:
    """The configuration as JSON, with the names that a file would use."""
    public = gateway.model_copy(update={"broker": Broker(url="memory://")})
    told = public.model_dump(mode="json", by_alias=True)
    for name, pipeline in gateway.pipelines.items():
        when = pipeline.alert.when if pipeline.alert else None
        if when is not None:  # what it leaves out is for the detector before it to say
            told["pipelines"][name]["alert"]["when"] = when.model_dump(
                mode="json", exclude_unset=True
            )
    return orjson.dumps(told)


def restored(config: bytes) -> Gateway:
    """The way back, equal in all but the broker. Raises ConfigUnknownError."""
    try:
        return Gateway.model_validate_json(config)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ConfigUnknownError(
            f"the configuration in the recording is none of this version: {where}: {first['msg']}"
        ) from None
