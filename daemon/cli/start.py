"""Starting the daemon: what `sensorweir run` does, without typer, which a start has no time for."""

import contextlib
import gc
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from daemon.cli.files import (
    EX_CONFIG,
    EX_FAILED,
    config_or_exit,
    find_config,
    read_config,
    say,
)

if TYPE_CHECKING:
    from collections.abc import Callable

SWITCH_S = 0.0002
"""How long a thread may keep the others from running Python; by default 25 times as long, which
is how late an alert would be each time."""


def arguments(words: list[str]) -> tuple[Path | None, Path | None] | None:
    """(configuration, cache) of a plain `run ...`; None for what typer has to look at."""
    if words[:1] != ["run"]:
        return None
    cache, configs, rest = None, [], iter(words[1:])
    for word in rest:
        name, is_given, value = word.partition("=")
        if name == "--kernel-cache":
            cache = value if is_given else next(rest, "")
        elif word.startswith("-"):
            return None
        else:
            configs.append(word)
    if len(configs) > 1 or cache == "":
        return None
    return (Path(configs[0]) if configs else None), (Path(cache) if cache else None)


def start(config: Path | None, cache: Path | None) -> None:
    """Run the daemon until it is told to stop; raises SystemExit when that was no success."""
    gc.disable()  # until all is there; a start would spend a tenth of its time on looking for garbage
    path = find_config(config)
    loaded = config_or_exit(path)
    gateway = loaded.gateway
    if gateway.broker.url.startswith("memory:"):
        say("sensorweir: broker.url memory:// has no other side; name a broker: mqtt://host:1883")
        raise SystemExit(EX_CONFIG)

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
        raise SystemExit(EX_FAILED) from None
    except (LogError, OSError) as error:
        say(f"sensorweir: the state cannot be kept: {error}")
        say("  hint: the user of the daemon needs a state.folder that it may write to")
        raise SystemExit(EX_FAILED) from None
    app.count_log_lines(limit)
    app.on_signals()
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(app.serving())
        except OSError as error:
            say(f"sensorweir: cannot listen on {gateway.http.listen}: {error.strerror}")
            say("  hint: another daemon runs here? choose http.listen, or port 0 for a free one")
            raise SystemExit(EX_FAILED) from None
        sys.setswitchinterval(SWITCH_S)
        if chosen is not None and store is not None:
            app.prepare(Maker(store, chosen, [path], progress()))
        app.run()
    if app.failed or not app.balanced:
        raise SystemExit(EX_FAILED)


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
