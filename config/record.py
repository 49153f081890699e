"""The flight recorder as it is configured: what came in, kept for `sensorweir replay`."""

from typing import Final

from pydantic import Field

from config.params import Options
from config.terms import SECOND
from config.units import Duration, Size

MIB: Final = 1 << 20


class Record(Options):
    """Keep what comes in, so that `sensorweir replay` can play it again, event for event."""

    folder: str = Field(
        "/var/lib/sensorweir/record",
        min_length=1,
        description="Where the recording lies; no other daemon may use it.",
    )
    size: Size = Field(
        512 * MIB,
        ge=16 * MIB,
        le=1 << 40,
        description="Space it may take; the oldest part makes room for the newest.",
    )
    commit_delay: Duration = Field(
        SECOND,
        ge=SECOND // 100,
        le=60 * SECOND,
        description="What came in is written and synced this often; as much may be missing at the "
        "end of a recording after a power cut.",
    )
