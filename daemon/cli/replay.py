"""`sensorweir replay`: what a daemon recorded, through the pipelines again."""

import contextlib
import logging
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NoReturn

import typer

from daemon.cli.files import EX_FAILED, EX_UNAVAILABLE, EX_USAGE, config_or_exit, say

if TYPE_CHECKING:
    from config.model import Broker
    from daemon.durable.tape import Tape
    from daemon.messages import Outgoing
    from daemon.replay import Moment, Replay
    from pipelines.graph import Graph

    Put = Callable[[list[Outgoing]], None]
    Finish = Callable[[], object]

FAR_NS: Final = 1 << 62
PATIENCE_S: Final = 1.0
REFRESH_S: Final = 0.3
HELP: Final = """Play what a daemon recorded, as fast as it goes.

A daemon keeps what comes in when its gateway.yaml says so, with its state or
without:

\b
  state: {folder: /var/lib/sensorweir/state, size: 512MiB}
  record: {folder: /var/lib/sensorweir/record, size: 512MiB}

FOLDER is one of them, or a copy; the daemon may go on meanwhile.
The same messages at the same times give the same events: with the
configuration that was in force, reloads included, this is byte for byte what
was published. One JSON object a line:

\b
  {"topic": "alerts/north/b7/hot", "retain": false, "qos": 1,
   "payload": "{\\"specversion\\":\\"1.0\\",\\"id\\":...}"}

\b
Why was there an alarm?      --around ID   the event with this id, and all
                             that happened a minute before and after
What would another limit     --config new.yaml   the same messages through
have told?                   other pipelines (of topics subscribed to then)
What happened at night?      --from 2026-03-01T22:00:00+01:00 --to ...
                             as the gateway's clock showed it; what was
                             before is played, too, and not shown
How does a dashboard look?   --to-broker mqtt://localhost:1883   publishes
                             on shadow/<topic> instead of printing;
                             retained ones stay there

After a crash or power cut, up to record.commit_delay is missing at the end.

Exit status 0: played · 1: it cannot be read, or no such event ·
2: no recording here · 69: no broker there · 78: the configuration is wrong.

Example:  sensorweir replay /var/lib/sensorweir/record --out events.jsonl
"""


def replay(
    folder: Annotated[Path, typer.Argument(help="Folder of the recording.", show_default=False)],
    config: Annotated[
        Path | None, typer.Option("--config", help="Try this configuration instead.")
    ] = None,
    start: Annotated[
        str | None, typer.Option("--from", help="Show events from this time on.")
    ] = None,
    end: Annotated[str | None, typer.Option("--to", help="Stop at this time.")] = None,
    event: Annotated[
        str | None, typer.Option("--around", help="Show a minute before and after this event.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write events here instead of to stdout.")
    ] = None,
    broker: Annotated[
        str | None, typer.Option("--to-broker", help="Publish events there: mqtt://host:1883.")
    ] = None,
    prefix: Annotated[
        str, typer.Option("--prefix", help="In front of every topic on that broker.")
    ] = "shadow/",
    username: Annotated[str | None, typer.Option(help="Login on that broker.")] = None,
    password_file: Annotated[
        Path | None, typer.Option(help="File with the password in it.")
    ] = None,
) -> None:
    """Play a recording; its help is `HELP`."""
    from daemon.durable.blocks import BlockError
    from daemon.durable.port import LogError
    from daemon.durable.stored import ConfigUnknownError
    from daemon.durable.tape import Tape, TapeError
    from daemon.replay import Replay, around, between
    from daemon.shadow import ShadowError

    from_ns, to_ns = _time("--from", start, 0), _time("--to", end, FAR_NS)
    if event is not None and (start or end):
        raise typer.BadParameter("--around says from when to when; leave out --from and --to")
    if out is not None and broker is not None:
        raise typer.BadParameter("--out or --to-broker, one of them")
    gateway = config_or_exit(config).gateway if config else None
    target = None if broker is None else _broker(broker, prefix, username, password_file)
    with contextlib.ExitStack() as stack:
        try:
            tape = Tape(folder)
            put, finish = _to_broker(stack, target, prefix) if target else _to_file(stack, out)
            played = Replay(tape, gateway, note=_note, prepare=_preparing(), state=tape.state)
            shown = _progress(played, tape)
            chosen = around(shown, event) if event else between(shown, from_ns, to_ns)
            events = _run(chosen, played, put)
            finish()
        except TapeError as error:
            _end(str(error), EX_USAGE)
        except ShadowError as error:
            _end(str(error), EX_UNAVAILABLE)
        except (BlockError, LogError, ConfigUnknownError, OSError) as error:
            _end(f"{folder}: {error}", EX_FAILED)
    if event and not events:
        _end(f"no event with the id {event} is in this recording", EX_FAILED)
    if not played.runs:
        _end(f"{folder}: nothing in it can be played: no run begins there yet", EX_FAILED)


def _run(chosen: "Iterator[Moment]", played: "Replay", put: "Put") -> int:
    """Play; how many events were shown."""
    began, events = time.perf_counter(), 0
    logging.disable()  # what the daemon said of a payload it has said
    try:
        for moment in chosen:
            put(moment.outputs)
            events += len(moment.outputs)
    finally:
        logging.disable(logging.NOTSET)
    took = time.perf_counter() - began
    say(f"{played.messages} messages played in {took:.1f} s, {events} events shown")
    return events


def _to_file(stack: contextlib.ExitStack, out: Path | None) -> "tuple[Put, Finish]":
    from daemon.replay import line

    file = sys.stdout.buffer if out is None else stack.enter_context(out.open("wb"))

    def put(outputs: "list[Outgoing]") -> None:
        file.writelines(map(line, outputs))

    return put, file.flush


def _to_broker(stack: contextlib.ExitStack, broker: "Broker", prefix: str) -> "tuple[Put, Finish]":
    from daemon.clock import SystemClock
    from daemon.shadow import Shadow

    shadow = Shadow(broker, prefix, SystemClock())
    stack.callback(shadow.stop)
    shadow.start()

    def finish() -> None:
        refused = shadow.close()
        if refused:
            say(f"the broker refused {refused} events")

    return shadow.put, finish


def _broker(url: str, prefix: str, username: str | None, password_file: Path | None) -> "Broker":
    from pydantic import SecretStr, ValidationError

    from config.model import Broker

    if not prefix or set(prefix) & set("+#\0"):
        raise typer.BadParameter("--prefix keeps a replay apart, such as shadow/; no + and no #")
    try:
        password = SecretStr(password_file.read_text().rstrip("\n")) if password_file else None
        return Broker(url=url, username=username, password=password)
    except ValidationError:
        raise typer.BadParameter(
            f"--to-broker expects an address such as mqtt://localhost:1883, got {url!r}"
        ) from None
    except OSError as error:
        raise typer.BadParameter(f"cannot read {password_file}: {error.strerror}") from None


def _time(option: str, text: str | None, default_ns: int) -> int:
    """RFC 3339 → nanoseconds."""
    if text is None:
        return default_ns
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        when = None
    if when is None or when.tzinfo is None:
        raise typer.BadParameter(
            f"{option} expects a time with its zone, such as 2026-03-01T22:00:00Z, got {text!r}"
        )
    return round(when.timestamp() * 1e6) * 1000


def _preparing() -> "Callable[[Graph], None]":
    """Compiles the kernels of each graph, and says so where it takes a while."""
    from daemon import warmup
    from daemon.cli.start import default_cache, progress
    from pipelines.jit import use_cache

    cache = default_cache()
    if cache is not None:
        use_cache(cache)

    def prepare(graph: "Graph") -> None:
        todo, show, began = list(warmup.steps(graph)), progress(), time.monotonic()
        for done, (name, compile_it) in enumerate(todo):
            if time.monotonic() - began > PATIENCE_S:
                show(name, done, len(todo))
            compile_it()

    return prepare


def _progress(played: "Replay", tape: "Tape") -> "Iterator[Moment]":
    """The moments; on a terminal a line says how far it is."""
    if not sys.stderr.isatty():
        yield from played
        return
    from pipelines.events import rfc3339

    last = 0.0
    for moment in played:
        if time.monotonic() - last > REFRESH_S:
            last = time.monotonic()
            part = 100 * tape.read // max(tape.size, 1)
            when = rfc3339(played.now_ns // 10**9 * 10**9)
            sys.stderr.write(f"\r\x1b[K{part} %  {when}  {played.messages} messages")
            sys.stderr.flush()
        yield moment
    sys.stderr.write("\r\x1b[K")


def _note(text: str) -> None:
    say(f"note: {text}")


def _end(text: str, status: int) -> NoReturn:
    say(f"sensorweir: {text}")
    raise typer.Exit(status)
