"""The commands: run, replay, score, list. Data goes to stdout, messages to stderr."""

# ruff: noqa: PLC0415 - numpy and paho load in the commands that need them, so that --help is fast

import json
import signal
import sys
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn

import typer

if TYPE_CHECKING:
    from device_sim.link import Address
    from device_sim.score import Score
    from device_sim.sender import Sender, Summary

EX_FAILURE: Final = 1
EX_USAGE: Final = 2
EX_UNAVAILABLE: Final = 69

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="""Simulated devices with known faults, and the score of what found them.

    sensorweir sim run demo                          40 boilers, 8 faults, one minute

    sensorweir sim run demo --truth truth.jsonl      and what was wrong with them

    sensorweir sim replay machine.csv --topic plant/north/machine/m1/telemetry

    sensorweir sim score alerts.jsonl truth.jsonl --fail-under 0.8

    Exit status: 0 fine, 1 failed or below --fail-under, 2 usage, 69 no broker, 78 bad scenario.
    """,
)


class Format(StrEnum):
    """How results are written."""

    text = "text"
    json = "json"


Url = Annotated[str | None, typer.Option("--broker", help="mqtt://host:port or unix:/path.")]
Username = Annotated[str | None, typer.Option(help="Login; default: the scenario's.")]
PasswordFile = Annotated[Path | None, typer.Option(help="File with the password in it.")]
Out = Annotated[Format, typer.Option("--format", help="How the result is written.")]
Speed = Annotated[str, typer.Option(help="1x is real time; 10x, 0.5x, or max.")]


@app.command()
def run(
    scenario: Annotated[str, typer.Argument(help="File, or a bundled scenario's name.")],
    broker: Url = None,
    username: Username = None,
    password_file: PasswordFile = None,
    duration: Annotated[
        str | None, typer.Option(help="Of event time, such as 5m; faults move and stretch.")
    ] = None,
    speed: Speed = "1x",
    rate: Annotated[float | None, typer.Option(help="Messages per second, of all fleets.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Another seed than the file's.")] = None,
    start: Annotated[
        str | None, typer.Option(help="Event time of the beginning, such as 2026-01-01T00:00:00Z.")
    ] = None,
    truth: Annotated[Path | None, typer.Option(help="Append the injected faults here.")] = None,
    give_up: Annotated[str, typer.Option(help="How long to try when the broker is gone.")] = "60s",
    output: Out = Format.text,
) -> None:
    """Publish what the devices of a scenario measure, faults and all.

    Examples: `sim run demo` · `sim run my.yaml --duration 10m --speed 10x` ·
    `sim run load --rate 20000 --broker unix:/run/mosquitto.sock`

    Faults are published on `sim/truth/<device>` too. Ctrl-C ends the run cleanly.
    """
    from config.errors import EX_CONFIG, ConfigError
    from config.units import duration_ns
    from device_sim.run import Pace, address_of, first_event_ns, simulate
    from device_sim.scenario import find, load
    from device_sim.times import iso_ns

    try:
        chosen = load(scenario)
    except ConfigError as error:
        _fail(str(error), EX_CONFIG)
    except OSError as error:
        _fail(f"cannot read {scenario}: {error.strerror}", EX_USAGE)
    try:
        if rate is not None:
            chosen = chosen.at_rate(rate)
        if duration is not None:
            chosen = chosen.lasting(duration_ns(duration))
        if seed is not None:
            chosen = chosen.model_copy(update={"seed": seed})
        factor = _speed(speed)
        pace = Pace(factor, iso_ns(start) if start else None)
        now_ns = _now_ns()
        start_ns = first_event_ns(pace, chosen.duration, now_ns)
        give_up_s = duration_ns(give_up) / 1e9
        address = _address(address_of(chosen, broker), username, password_file)
    except ValueError as error:
        _fail(str(error), EX_USAGE)
    name = find(scenario).stem
    asked = None if factor is None else chosen.rate * factor
    sender = _sender(address, name, factor, asked, give_up_s)
    print(f"sim {name}: {chosen.series} series to {address.url}", file=sys.stderr)
    _send(
        sender, lambda: simulate(chosen, name, sender, start_ns=start_ns, truth_path=truth), output
    )


@app.command()
def replay(
    table: Annotated[Path, typer.Argument(help="CSV file with a header.")],
    topic: Annotated[str, typer.Option(help="Where to publish; {device} and labels are filled.")],
    time_column: Annotated[str, typer.Option(help="Column of event times.")] = "timestamp",
    time_unit: Annotated[str, typer.Option(help="Of numbers there: s, ms, us or ns.")] = "ms",
    value_column: Annotated[str, typer.Option(help="Column of values.")] = "value",
    channel: Annotated[str, typer.Option(help="Field of the value in the message.")] = "value",
    device: Annotated[str, typer.Option(help="Fills {device} and {id} of the topic.")] = "device",
    label: Annotated[list[str] | None, typer.Option(help="name=value, fills {name}.")] = None,
    qos: Annotated[int, typer.Option(min=0, max=2)] = 1,
    speed: Speed = "max",
    rate: Annotated[float | None, typer.Option(help="Most messages per second.")] = None,
    broker: Url = "mqtt://localhost:1883",
    username: Username = None,
    password_file: PasswordFile = None,
    output: Out = Format.text,
) -> None:
    """Publish a table of samples as one device would: `{"ts": ms, "seq": n, "CHANNEL": value}`.

    Example: `sim replay machine.csv --topic plant/{site}/machine/{device}/telemetry
    --label site=north --device m1 --channel temperature --speed 60x`

    At QoS 1 at most 20 messages are on their way at once. A broker acknowledges before slow
    subscribers have read: `--rate` holds back for them. Times without a zone are UTC.
    """
    from device_sim.replay import Columns, Replay, ReplayError, Target, fill_topic

    try:
        labels = _labels(label or [])
        if time_unit not in {"s", "ms", "us", "ns"}:
            raise ValueError(f"--time-unit is s, ms, us or ns, got {time_unit!r}")
        target = Target(fill_topic(topic, device, labels), channel, device, qos)
        factor = _speed(speed)
        address = _address(_plain_address(broker), username, password_file)
        if rate is not None and (rate <= 0 or factor is not None):
            raise ValueError("--rate is above 0, and goes with --speed max only")
    except (ValueError, ReplayError) as error:
        _fail(str(error), EX_USAGE)
    rows = Replay(table, Columns(time_column, value_column, time_unit), target)
    items: Iterator[Any] = rows.messages()
    if rate is not None:
        gap_ns, factor = 1e9 / rate, 1.0
        items = (item._replace(due_ns=int(n * gap_ns)) for n, item in enumerate(items))
    sender = _sender(address, "replay", factor, rate, 60.0)
    sender.progress = True
    try:
        _send(sender, lambda: sender.run(items), output, lambda: {"skipped": rows.skipped})
    except ReplayError as error:
        _fail(str(error), EX_USAGE)
    finally:
        for problem in rows.problems:
            print(f"skipped {problem}", file=sys.stderr)


@app.command()
def score(
    alerts: Annotated[Path, typer.Argument(help="JSON Lines of events as published; - is stdin.")],
    truth: Annotated[Path, typer.Argument(help="JSON Lines that `sim run --truth` wrote.")],
    tolerance: Annotated[str, typer.Option(help="How long after a fault still counts.")] = "10s",
    fail_under: Annotated[
        float | None, typer.Option(min=0, max=1, help="Exit with 1 when F1 is below.")
    ] = None,
    output: Out = Format.text,
) -> None:
    """Compare alerts with the faults that were injected.

    Example: `sim score alerts.jsonl truth.jsonl --tolerance 10s --fail-under 0.8`
    """
    from config.units import duration_ns
    from device_sim.score import Scorer

    try:
        scorer = Scorer(duration_ns(tolerance))
        for event in _events(truth):
            scorer.fault(event)
        for event in _events(alerts):
            scorer.alert(event)
    except OSError as error:
        _fail(f"cannot read {error.filename}: {error.strerror}", EX_USAGE)
    except ValueError as error:
        _fail(str(error), EX_USAGE)
    result = scorer.result()
    _print_score(result, output)
    if fail_under is not None and result.f1 < fail_under:
        _fail(f"F1 {result.f1:.3f} is below {fail_under}", EX_FAILURE)


@app.command("list")
def list_scenarios(output: Out = Format.text) -> None:
    """List the scenarios that come with us."""
    from device_sim.scenario import BUNDLED, load

    rows = []
    for path in sorted(BUNDLED.glob("*.yaml")):
        scenario = load(str(path))
        rows.append(
            {
                "name": path.stem,
                "series": scenario.series,
                "rate": round(scenario.rate),
                "faults": len(scenario.faults) + len(scenario.transport),
                "description": scenario.description,
            }
        )
    if output is Format.json:
        print(json.dumps(rows))
    else:
        for row in rows:
            print(
                f"{row['name']:10} {row['series']:>6} series {row['rate']:>6} msg/s  "
                f"{row['description']}"
            )


def _sender(
    address: "Address", name: str, speed: float | None, asked: float | None, give_up_s: float
) -> "Sender":
    from device_sim.run import connector
    from device_sim.sender import Sender

    return Sender(
        connector(address, name),
        speed=speed,
        asked_rate=asked,
        give_up_s=give_up_s,
        say=lambda text: print(text, file=sys.stderr, flush=True),
    )


def _send(
    sender: "Sender",
    work: Callable[[], "Summary"],
    output: Format,
    more: Callable[[], dict[str, Any]] = dict,
) -> None:
    """Do the work with clean ends on SIGINT and SIGTERM, print what came of it."""
    from device_sim.link import Unreachable

    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda *_: sender.stop()) for number in signals]
    failed = ""
    try:
        work()
    except Unreachable as error:
        failed = str(error)
    except OSError as error:
        _fail(f"cannot write {error.filename or 'the truth file'}: {error.strerror}", EX_FAILURE)
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)
    if not (failed and sender.summary.sent == 0):
        result = {**sender.summary.as_dict(), **more()}
        print(json.dumps(result) if output is Format.json else _sentence(result))
    if failed:
        _fail(failed, EX_UNAVAILABLE)


def _sentence(result: dict[str, Any]) -> str:
    keys = ("acked", "resent", "lost", "unacked", "skipped", "reconnects", "truth_events")
    counts = ", ".join(f"{result[k]} {k.replace('_', ' ')}" for k in keys if result.get(k))
    asked = f" of {result['asked_rate']:.0f} asked" if result["asked_rate"] else ""
    late = "" if result["kept_up"] else f"; up to {result['behind_s_max']:.1f} s behind"
    return (
        f"{result['sent']} sent{', ' if counts else ''}{counts} "
        f"in {result['seconds']:.1f} s, {result['rate']:.0f} msg/s{asked}{late}"
    )


def _print_score(result: "Score", output: Format) -> None:
    from dataclasses import asdict

    if output is Format.json:
        print(json.dumps(asdict(result)))
        return
    print(
        f"F1 {result.f1:.3f}  precision {result.precision:.3f}  recall {result.recall:.3f}\n"
        f"{result.detected} of {result.faults} faults found, {result.false_alerts} false alerts "
        f"of {result.alerts}, {result.repeated_alerts} repeated"
    )
    if result.false_per_sensor_day is not None:
        print(f"{result.false_per_sensor_day:.2f} false alerts per sensor and day")
    for kind, part in result.by_kind.items():
        delay = "" if part.delay_p50_s is None else f"  after {part.delay_p50_s:.1f} s"
        print(f"  {kind:12} {part.detected}/{part.faults}{delay}")
    for fault in result.missed:
        print(f"  missed {fault}")
    if result.rejected or result.unassigned:
        print(
            f"{result.rejected} events not readable, {result.unassigned} alerts of no device",
            file=sys.stderr,
        )


def _events(path: Path) -> Iterator[dict[str, Any]]:
    """Read JSON Lines; lines that are no object come as {}, for the scorer to count."""
    lines = sys.stdin.buffer if str(path) == "-" else path.open("rb")
    with lines:
        for line in lines:
            if line.strip():
                try:
                    event = json.loads(line)
                except (ValueError, RecursionError):
                    event = {}
                yield event if isinstance(event, dict) else {}


def _speed(text: str) -> float | None:
    if text == "max":
        return None
    try:
        speed = float(text.removesuffix("x"))
    except ValueError:
        speed = 0.0
    if not 0 < speed <= 1e6:
        raise ValueError(f"a speed is such as 1x, 10x, 0.5x or max, got {text!r}")
    return speed


def _address(address: "Address", username: str | None, password_file: Path | None) -> "Address":
    if username is not None:
        address = address._replace(username=username)
    if password_file is not None:
        try:
            address = address._replace(password=password_file.read_text().rstrip("\n"))
        except OSError as error:
            raise ValueError(f"cannot read {password_file}: {error.strerror}") from None
    _check_url(address.url)
    return address


def _plain_address(url: str | None) -> "Address":
    from device_sim.link import Address

    return Address(url or "mqtt://localhost:1883")


def _check_url(url: str) -> None:
    from pydantic import ValidationError

    from device_sim.scenario import Broker

    try:
        Broker(url=url)
    except ValidationError:
        raise ValueError(f"a broker is mqtt://host:port or unix:/path, got {url!r}") from None


def _labels(pairs: list[str]) -> dict[str, str]:
    labels = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (name and equals and value):
            raise ValueError(f"a label is name=value, got {pair!r}")
        labels[name] = value
    return labels


def _now_ns() -> int:
    from time import time_ns

    return time_ns()


def _fail(text: str, status: int) -> NoReturn:
    print(text, file=sys.stderr)
    raise typer.Exit(status)
