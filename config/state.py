"""Durable state, as it is configured."""

from typing import Final

from pydantic import Field

from config.params import Options
from config.terms import SECOND
from config.units import Duration, Size

MIB: Final = 1 << 20


class State(Options):
    """Acknowledge messages only when what came of them is on disk, and go on there after a crash."""

    folder: str = Field(
        "/var/lib/sensorweir/state",
        min_length=1,
        description="Where log and checkpoints lie; no other daemon may use it.",
    )
    commit_delay: Duration = Field(
        SECOND // 20,
        ge=0,
        le=10 * SECOND,
        description="Messages are made durable together this often, then acknowledged, and what "
        "came of them is published. Longer wears flash less, shorter tells sooner.",
    )
    every: Duration = Field(
        60 * SECOND,
        ge=SECOND,
        le=86_400 * SECOND,
        description="A checkpoint of the whole state is written this often; what came since is "
        "made once more at a start.",
    )
    size: Size = Field(
        512 * MIB,
        ge=64 * MIB,
        le=1 << 40,
        description="Space for the log; what checkpoints need no more stays for sensorweir replay "
        "until it makes room for newer messages.",
    )
