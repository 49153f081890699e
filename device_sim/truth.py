"""Ground truth: what was injected, where and when, as CloudEvents."""

from pathlib import Path
from typing import Any, Final

import orjson

from device_sim.times import rfc3339

FAULT: Final = "sensorweir.sim.fault"
RUN: Final = "sensorweir.sim.run"
RUN_DEVICE: Final = "_run"
"""Stands for the device in the topic of a run's event."""


def topic(device: str) -> str:
    """Where the truth about a device is published."""
    return f"sim/truth/{device}"


def fault_event(
    *,
    source: str,
    device: str,
    channel: str | None,
    kind: str,
    start_ns: int,
    end_ns: int,
    magnitude: float | None,
    expected: bool,
    labels: dict[str, str],
) -> dict[str, Any]:
    """Make the event of one fault; times are event times as the device stamps them.

    `channel` None means all channels, `expected` False that no alert need tell of it.
    """
    return {
        "specversion": "1.0",
        "id": f"{source}/{device}/{channel or '*'}/{kind}/{start_ns}",
        "type": FAULT,
        "source": source,
        "subject": f"{device}/{channel}" if channel else device,
        "time": rfc3339(start_ns),
        "datacontenttype": "application/json",
        "data": {
            "device": device,
            "channel": channel,
            "kind": kind,
            "start_ns": start_ns,
            "end_ns": end_ns,
            "magnitude": magnitude,
            "expected": expected,
            "labels": labels,
        },
    }


def run_event(*, source: str, series: int, start_ns: int, end_ns: int | None) -> dict[str, Any]:
    """Make the event that tells how many series ran for how long; `end_ns` None is not yet known.

    A run has one at its start and one at its end; the later one holds.
    """
    end = "open" if end_ns is None else str(end_ns)
    return {
        "specversion": "1.0",
        "id": f"{source}/run/{start_ns}/{end}",
        "type": RUN,
        "source": source,
        "time": rfc3339(start_ns),
        "datacontenttype": "application/json",
        "data": {"series": series, "start_ns": start_ns, "end_ns": end_ns},
    }


class TruthFile:
    """Appends events to a JSON Lines file, each on disk's way before the next message leaves."""

    def __init__(self, path: Path | None) -> None:
        self._file = None if path is None else path.open("ab")

    def write(self, event: dict[str, Any]) -> None:
        """Append one event."""
        if self._file is not None:
            self._file.write(orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE))
            self._file.flush()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
