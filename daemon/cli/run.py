"""`sensorweir run`: the daemon itself."""

import contextlib
import gc
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from daemon.cli.common import (
    EX_CONFIG,
    EX_FAILED,
    ConfigArgument,
    config_or_exit,
    find_config,
    read_config,
    say,
)

if TYPE_CHECKING:
    from collections.abc import Callable

SWITCH_S = 0.0005
"""How long a thread may keep the others from running Python; by default ten times as long, which
is how late an alert would be each time."""


def run(
    config: ConfigArgument = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            "--kernel-cache",
            help="Where compiled kernels are kept. Default: $CACHE_DIRECTORY, else inside the "
            "environment that sensorweir is installed in, else ~/.cache/sensorweir.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Run the daemon until it is told to stop.

    SIGTERM or Ctrl-C: finishes what has arrived, then ends with status 0. SIGHUP: reads the
    configuration again; an invalid one is refused and the old one goes on.

    Example:  sensorweir run /etc/sensorweir/gateway.yaml
    """
    gc.disable()  # until all is there; a start would spend a tenth of its time on looking for garbage
    path = find_config(config)
    loaded = config_or_exit(path)
    gateway = loaded.gateway
    if gateway.broker.url.startswith("memory:"):
        say("sensorweir: broker.url memory:// has no other side; name a broker: mqtt://host:1883")
        raise typer.Exit(EX_CONFIG)

    from daemon import log
    from pipelines.jit import use_ahead, use_cache

    limit = log.configure(gateway.log.format, gateway.log.level)
    chosen = cache or default_cache()
    store = use_ahead(use_cache(chosen)) if chosen is not None else None

    from daemon.app import App
    from daemon.cli.ahead import Maker
    from daemon.clock import SystemClock
    from daemon.durable.port import LogError, LogLocked

    try:
        app = App(loaded, lambda: read_config(path), SystemClock())
    except LogLocked as error:
        say(f"sensorweir: {error}")
        say("  hint: another daemon runs here? choose another state.folder")
        raise typer.Exit(EX_FAILED) from None
    except (LogError, OSError) as error:
        say(f"sensorweir: the state cannot be kept: {error}")
        say("  hint: the user of the daemon needs a state.folder that it may write to")
        raise typer.Exit(EX_FAILED) from None
    app.count_log_lines(limit)
    app.on_signals()
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(app.serving())
        except OSError as error:
            say(f"sensorweir: cannot listen on {gateway.http.listen}: {error.strerror}")
            say("  hint: another daemon runs here? choose http.listen, or port 0 for a free one")
            raise typer.Exit(EX_FAILED) from None
        sys.setswitchinterval(SWITCH_S)
        if chosen is not None and store is not None:
            app.prepare(Maker(store, chosen, [path], progress()))
        app.run()
    if app.failed or not app.balanced:
        raise typer.Exit(EX_FAILED)


def default_cache() -> Path | None:
    """The first directory that has compiled kernels or can be written; None when there is none."""
    places = [
        os.environ.get("CACHE_DIRECTORY"),  # systemd
        f"{sys.prefix}/.cache/sensorweir" if sys.prefix != sys.base_prefix else None,
        os.environ.get("XDG_CACHE_HOME"),
        "~/.cache",
    ]
    for place in filter(None, places):
        path = Path(place).expanduser()
        if path.name != "sensorweir":
            path /= "sensorweir"
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(path, os.W_OK) or any(path.glob("kernels-*")):
            return path
    return None


def progress() -> "Callable[[str, int, int], None]":
    """Shows what is being compiled: one line that changes on a terminal, else none a kernel."""
    import time

    began, terminal = time.monotonic(), sys.stderr.isatty()

    def show(name: str, done: int, of: int) -> None:
        took = time.monotonic() - began
        if done < of:
            text = f"kernels   {done + 1} of {of}: {name}"
            if terminal:
                sys.stderr.write(f"\r\x1b[K{text}")
                sys.stderr.flush()
            else:
                say(text)
        else:
            start = "\r\x1b[K" if terminal else ""
            say(f"{start}kernels   {of} ready in {took:.1f} s")

    return show
