"""Limits: bounds on everything that strangers could make grow."""

from typing import Final

from pydantic import Field

from config.params import Options
from config.terms import SECOND
from config.units import Duration, Size

MINUTE: Final = 60 * SECOND
DAY: Final = 24 * 60 * MINUTE


class Limits(Options):
    """Bounds on everything that can grow; what is over a bound is counted, never silent."""

    series_max: int = Field(10_000, ge=1, le=200_000, description="Series per source or pipeline.")
    series_idle_min: Duration = Field(
        DAY,
        ge=MINUTE,
        description="A source that has nearly series_max series forgets those that were silent "
        "for so long, unless an alert of theirs stands.",
    )
    series_per_device_max: int = Field(64, ge=1, le=4096, description="Channels of one device.")
    series_new_per_s_max: int = Field(
        100,
        ge=1,
        le=1_000_000,
        description="New series per second and source, for long; more are refused, known ones "
        "are not touched. Holds from ten minutes after its first sample on: until then a source "
        "meets what it has.",
    )
    series_new_burst_max: int = Field(
        1_000, ge=1, le=200_000, description="New series at once, after a time without any."
    )
    device_messages_per_s_max: int = Field(
        200,
        ge=1,
        le=1_000_000,
        description="Messages per second that one device (the labels of its topic) may send for "
        "long; more are rejected, counted as rate_limited, and acknowledged. A topic on which one "
        "gateway sends for many devices needs more.",
    )
    device_messages_burst_max: int = Field(
        1_000,
        ge=1,
        le=10_000_000,
        description="Messages of one device at once, such as those it kept during an outage.",
    )
    message_bytes_max: Size = Field(
        256 * 1024, ge=256, description="Payload of one message; larger ones are rejected."
    )
    readings_per_message_max: int = Field(
        1_000, ge=1, le=100_000, description="Entries of a list in one message."
    )
    keys_per_reading_max: int = Field(
        256, ge=1, le=4_096, description="Fields of one reading; with more it is rejected."
    )
    channel_bytes_max: int = Field(
        128, ge=1, le=512, description="Name of a channel, in UTF-8; longer ones are left out."
    )
    pipeline_alerts_per_s_max: int = Field(
        100,
        ge=1,
        le=1_000_000,
        description="Alert events per second that one pipeline may tell for long; of more, only "
        "the retained states and a summary are told, and the newest of each alert once there is "
        "room. What ends an alert that was told, and answers to commands, need no room.",
    )
    pipeline_alerts_burst_max: int = Field(
        1_000, ge=1, le=1_000_000, description="Alert events of one pipeline at once."
    )
    inbox_messages_max: int = Field(10_000, ge=16)
    inbox_bytes_max: Size = Field(32 * 1024 * 1024, ge=65_536)
    outbox_messages_max: int = Field(50_000, ge=16)
    outbox_bytes_max: Size = Field(64 * 1024 * 1024, ge=65_536)
    outbox_age_max: Duration = Field(
        7 * DAY,
        ge=MINUTE,
        description="Outputs that have waited longer for the broker are discarded, but for the "
        "newest of each retained topic.",
    )
    reorder_samples_max: int = Field(
        200_000, ge=1_000, description="Samples held back per source until their turn has come."
    )
    amend_rows_max: int = Field(
        1_000_000,
        ge=1_000,
        description="Rows that a pipeline with amend_for keeps; beyond them less can be amended.",
    )
    state_bytes_max: Size = Field(
        512 * 1024 * 1024, ge=1 << 20, description="Window state of one step, for all its series."
    )
    batch_messages_max: int = Field(4_096, ge=1, le=65_536)
