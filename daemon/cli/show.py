"""What the demonstration shows: alerts as they arrive, and the score."""

import threading
import time
from datetime import UTC, datetime
from typing import Any, Final

import orjson
import typer

from daemon.cli.broker import DemoBroker
from daemon.cli.files import say
from daemon.transport.listener import Listener
from device_sim.score import Scorer

TOLERANCE_NS: Final = 5_000_000_000
COLOURS: Final = {
    "critical": typer.colors.BRIGHT_RED,
    "major": typer.colors.RED,
    "warning": typer.colors.YELLOW,
    "minor": typer.colors.CYAN,
}


class Show:
    """An ordinary subscriber outside the daemon, which prints and scores what it hears."""

    def __init__(self, broker: DemoBroker) -> None:
        self._scorer = Scorer(TOLERANCE_NS)
        self._lock = threading.Lock()
        self._latencies_ms: list[float] = []
        self._windows = 0
        self._broker = broker
        self._listener = Listener(
            broker.url,
            ["alerts/#", "agg/#", "sim/truth/#"],
            self._heard,
            broker.username,
            broker.password,
        )
        self._listening = False

    def start(self) -> None:
        """Subscribe."""
        self._listener.start()
        self._listening = True

    def watch_begins(self) -> None:
        """Say how to watch from elsewhere."""
        login = f" -u demo -P {self._broker.password}" if self._broker.username else ""
        say(
            "listening to alerts/#; from another terminal: "
            f"mosquitto_sub -p {self._broker.port}{login} -t 'alerts/#' -v\n"
        )

    def stop(self) -> None:
        """Hear no more."""
        if self._listening:
            self._listener.stop()
            self._listening = False

    def report(self) -> bool:
        """Print the score; False when nothing was detected."""
        with self._lock:
            score = self._scorer.result()
            latencies = sorted(self._latencies_ms)
        typer.echo("")
        for kind, part in score.by_kind.items():
            delay = "" if part.delay_p50_s is None else f", median delay {part.delay_p50_s:.1f} s"
            typer.echo(f"  {kind:12} {part.detected} of {part.faults} found{delay}")
        middle = "" if score.delay_p50_s is None else f", median delay {score.delay_p50_s:.1f} s"
        typer.echo(
            f"truth     {score.faults} faults injected, {score.detected} detected, "
            f"{len(score.missed)} missed, {score.false_alerts} false alerts{middle}"
        )
        if latencies:
            p50, p99 = (latencies[int(q * (len(latencies) - 1))] for q in (0.5, 0.99))
            typer.echo(
                f"alerts    {len(latencies)} events, latency p50 {p50:.0f} ms, p99 {p99:.0f} ms; "
                f"{self._windows} windows published"
            )
        if not score.detected:
            say("sensorweir: nothing was detected")
        return score.detected > 0

    def _heard(self, topic: str, payload: bytes, retained: bool) -> None:
        now_ns = time.time_ns()
        if retained or not payload:
            return
        event = orjson.loads(payload)
        with self._lock:
            if topic.startswith("sim/truth/"):
                self._scorer.fault(event)
            elif topic.startswith("agg/"):
                self._windows += 1
            else:
                self._scorer.alert(event)
                if "value" in event["data"]:  # else it is a summary of many
                    self._print(event, now_ns)

    def _print(self, event: dict[str, Any], now_ns: int) -> None:
        data, kind = event["data"], event["type"].rsplit(".", 1)[1]
        happened = datetime.fromisoformat(event["time"])
        latency_ms = now_ns / 1e6 - happened.timestamp() * 1e3
        self._latencies_ms.append(latency_ms)
        labels = data["labels"]
        who = "/".join(labels[n] for n in ("site", "device", "channel") if n in labels)
        number, score = data["value"], ""
        if data.get("detail", {}).get("input") is not None:
            number, score = data["detail"]["input"], f" score {data['value']:.3g}"
        value = ("" if number is None else f"{number:.4g}") + score
        sides = ", ".join(
            f"{s} {data['limit'][s]:g}" for s in ("above", "below") if s in data["limit"]
        )
        more = f" after {data['duration_s']:.1f} s" if "duration_s" in data else f" ({sides})"
        word = typer.style(
            f"{kind:8}",
            fg=COLOURS.get(data["severity"]) if kind == "active" else typer.colors.GREEN,
        )
        local = happened.astimezone(UTC)
        typer.echo(
            f"{local:%H:%M:%S}  {word} {data['pipeline']:16} {who:22} {value}{more}"
            f"   latency {latency_ms:.0f} ms"
        )
