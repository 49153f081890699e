"""`sensorweir doctor`: whether this gateway is fit to run the daemon, and what is to be done."""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from daemon.cli.common import ConfigArgument, Format, FormatOption, put_json
from daemon.cli.files import EX_FAILED, config_or_exit, find_config

if TYPE_CHECKING:
    from config.model import Gateway
    from daemon.clock import Clock
    from daemon.doctor.disk import Place
    from daemon.doctor.finding import Finding

HELP: Final = """Look at what the daemon depends on, and say what each finding means.

\b
  install  our packages are ours
  kernels  compiled ones are there, and more can be written
  machine  the clock is kept right, enough files may be open
  state    how long the disk takes to sync, which medium, how much room
  record   the same
  broker   reach, login, version, protocol, how much may come in, what is
           granted, and a canary from the publishing user to the reading one

It may run beside the daemon: its client ids are its own, and what it subscribes to is given back at once. Run it as the user that the daemon runs as, or what it may write says little; deploy/OPERATING.md has the line for systemd.

Each finding is ok, warn or fail. Exit status 0 when none fails, 1 otherwise, 78 when the configuration is wrong.

Example:  sensorweir doctor /etc/sensorweir/gateway.yaml

Example:  sensorweir doctor --format json
"""
COLOURS: Final = {"ok": typer.colors.GREEN, "warn": typer.colors.YELLOW, "fail": typer.colors.RED}


def doctor(
    config: ConfigArgument = None,
    output: FormatOption = Format.text,
    cache: Annotated[
        Path | None,
        typer.Option(
            "--kernel-cache",
            help="Where compiled kernels are kept. Default: as sensorweir run finds it.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """See HELP."""
    from daemon.clock import SystemClock

    gateway = config_or_exit(find_config(config)).gateway
    clock, found = SystemClock(), []
    for finding in _findings(gateway, cache, clock):
        found.append(finding)
        if output is Format.text:
            _show(finding)
    good = all(finding.level != "fail" for finding in found)
    if output is Format.json:
        put_json({"ok": good, "findings": [finding.as_dict() for finding in found]})
    else:
        _sum_up(found)
    if not good:
        raise typer.Exit(EX_FAILED)


def _findings(gateway: "Gateway", cache: Path | None, clock: "Clock") -> "Iterable[Finding]":
    """All checks, one after the other; the slow ones last."""
    from daemon.canary import canary_topic
    from daemon.cli import foreign_package
    from daemon.cli.start import default_cache
    from daemon.doctor.broker import check_broker, filters
    from daemon.doctor.disk import check_disk
    from daemon.doctor.finding import warn
    from daemon.doctor.machine import check_clock, check_files, check_install, check_kernels
    from pipelines.jit import use_ahead, use_cache

    home = Path(__file__).resolve().parents[2]
    yield check_install(foreign_package(), home)
    chosen = cache or default_cache()
    yield check_kernels(use_ahead(use_cache(chosen)).folder if chosen else None)
    yield check_clock(clock)
    yield check_files()
    places = _places(gateway)
    if not any(place.what == "state" for place in places):
        yield warn(
            "state.kept",
            "no state is kept",
            "after a kill windows start empty, and messages already acknowledged are lost with them",
            "state: {} in the configuration",
        )
    for place in places:
        yield from check_disk(place, clock)
    if gateway.broker.url.startswith("memory:"):
        yield warn(
            "broker.reach",
            gateway.broker.url,
            "it has no other side: fit for tests alone",
            "broker: {url: mqtt://host:1883}",
        )
        return
    from daemon.transport.probe import probe

    delay_ns = next((p.commit_delay_ns for p in places if p.what == "state"), None)
    report = probe(
        gateway.broker, gateway.client_id, canary_topic(gateway), filters(gateway), clock
    )
    yield from check_broker(gateway, report, delay_ns)


def _places(gateway: "Gateway") -> "list[Place]":
    from daemon.doctor.disk import Place

    made = []
    for what, kept in (("state", gateway.state), ("record", gateway.record)):
        if kept is not None:
            made.append(Place(what, Path(kept.folder), kept.size, kept.commit_delay))
    return made


def _show(finding: "Finding") -> None:
    level = str(finding.level)
    typer.secho(f"{level:4}", fg=COLOURS[level], nl=False)
    typer.echo(f"  {finding.check:21}  {finding.seen}")
    typer.echo(f"{'':29}{finding.means}")
    if finding.way_out:
        typer.echo(f"{'':27}→ {finding.way_out}")
    sys.stdout.flush()


def _sum_up(found: "Sequence[Finding]") -> None:
    levels = [str(finding.level) for finding in found]
    words = {"ok": "ok", "warn": "to know of", "fail": "to repair"}
    parts = [f"{levels.count(k)} {words[k]}" for k in words if k in levels]
    typer.echo("\n" + ", ".join(parts))
