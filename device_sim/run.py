"""Runs a scenario against a broker."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from device_sim import truth
from device_sim.items import Item, Note
from device_sim.link import Address, Link
from device_sim.scenario import Scenario
from device_sim.sender import Sender, Summary
from device_sim.stream import messages

ANSWER_S = 5.0


class Pace(NamedTuple):
    """How fast virtual time passes, and which event time it begins at."""

    speed: float | None = 1.0
    """Virtual seconds per second; None is as fast as the broker takes it."""
    start_ns: int | None = None
    """Event time 0; None ends the run's event time now when faster than real time."""


def first_event_ns(pace: Pace, duration_ns: int | None, now_ns: int) -> int:
    """Event time at which a run that begins now starts, so that no sample is in the future.

    Raises ValueError for an endless run faster than real time, whose times would outrun the clock.
    """
    if pace.start_ns is not None:
        return pace.start_ns
    if pace.speed is not None and pace.speed <= 1:
        return now_ns
    if duration_ns is None:
        raise ValueError("a run faster than real time needs a duration, or a start")
    takes_ns = 0 if pace.speed is None else int(duration_ns / pace.speed)
    return now_ns - duration_ns + takes_ns


def connector(address: Address, name: str) -> Callable[[Callable[[int], None]], Link]:
    """Make the function that connects a sender to this broker, under a client id of ours."""
    client_id = f"sim-{name}-{os.getpid()}"
    return lambda on_ack: Link(address, client_id, on_ack, ANSWER_S)


def address_of(scenario: Scenario, url: str | None) -> Address:
    """Give the scenario's broker, or the one at `url` with the scenario's login."""
    broker = scenario.broker
    password = broker.password.get_secret_value() if broker.password else None
    return Address(url or broker.url, broker.username, password)


def simulate(
    scenario: Scenario,
    name: str,
    sender: Sender,
    *,
    start_ns: int,
    truth_path: Path | None = None,
) -> Summary:
    """Send the whole scenario. Raises Unreachable, and OSError when the truth cannot be written.

    The sender's `note` is called for each truth event beside the file.
    """
    with closing(truth.TruthFile(truth_path)) as file:
        told = sender.note

        def note(event: dict[str, Any]) -> None:
            file.write(event)
            told(event)

        sender.note = note
        began_ns = time.monotonic_ns()
        summary = sender.run(_with_run_note(scenario, name, start_ns))
        passed_ns = time.monotonic_ns() - began_ns
        if summary.interrupted or scenario.duration is None:
            end_ns = start_ns + int(passed_ns * (sender.speed or 1.0))
        else:
            end_ns = start_ns + scenario.duration
        note(
            truth.run_event(
                source=f"sim/{name}", series=scenario.series, start_ns=start_ns, end_ns=end_ns
            )
        )
    return summary


def _with_run_note(scenario: Scenario, name: str, start_ns: int) -> Iterator[Item]:
    event = truth.run_event(
        source=f"sim/{name}",
        series=scenario.series,
        start_ns=start_ns,
        end_ns=None if scenario.duration is None else start_ns + scenario.duration,
    )
    yield Note(0, truth.RUN_DEVICE, event)
    yield from messages(scenario, name, start_ns)
