"""A broker for the demonstration: Mosquitto where it is installed, else amqtt, on loopback."""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

START_S: Final = 15.0


class Choice(StrEnum):
    """Which broker to start."""

    auto = "auto"
    mosquitto = "mosquitto"
    amqtt = "amqtt"


class NoBrokerError(Exception):
    """Neither broker can be started; the text says what to install."""


@dataclass(slots=True)
class DemoBroker:
    """A broker process of our own, gone with `stop`."""

    name: str
    port: int
    process: "subprocess.Popen[bytes]"
    username: str = ""
    password: str = ""

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f"mqtt://127.0.0.1:{self.port}"

    def stop(self) -> None:
        """End the process and wait until it is gone."""
        end(self.process)


def start(home: Path, choice: Choice = Choice.auto) -> DemoBroker:
    """Start a broker whose files lie in `home`; returns when it takes connections.

    `auto` takes Mosquitto where it is installed, else amqtt. Raises NoBrokerError.
    """
    # Debian installs it where only root's PATH looks.
    found = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if choice is Choice.mosquitto and found is None:
        raise NoBrokerError("mosquitto is not installed (apt install mosquitto)")
    broker = _amqtt(home) if found is None or choice is Choice.amqtt else _mosquitto(found, home)
    until = time.monotonic() + START_S  # the broker's own start, no time of ours
    while time.monotonic() < until:
        if broker.process.poll() is not None:
            break
        try:
            with socket.create_connection(("127.0.0.1", broker.port), timeout=0.5):
                return broker
        except OSError:
            time.sleep(0.05)
    broker.stop()
    log = (home / "broker.log").read_text(errors="replace")[-500:]
    raise NoBrokerError(f"{broker.name} did not start:\n{log}")


def _mosquitto(program: str, home: Path) -> DemoBroker:
    port = free_port()
    settings = home / "mosquitto.conf"
    settings.write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\n"
        "max_queued_messages 100000\n"
    )
    known = subprocess.run([program, "-h"], capture_output=True, text=True, check=False).stdout
    version = known.split("\n", 1)[0].strip() or "mosquitto"
    return DemoBroker(version, port, _spawn([program, "-c", str(settings)], home))


def _amqtt(home: Path) -> DemoBroker:
    try:
        from pwdlib import PasswordHash
    except ImportError:
        raise NoBrokerError(
            "no broker: install mosquitto (apt install mosquitto), or sensorweir with its demo "
            "extra (pip install 'sensorweir[demo]')"
        ) from None
    port, password = free_port(), secrets.token_urlsafe(12)
    # Anonymous sessions are purged by amqtt, and with them what waits for a subscriber.
    users = home / "users"
    users.write_text(f"demo:{PasswordHash.recommended().hash(password)}\n")
    settings = home / "amqtt.yaml"
    settings.write_text(
        f'listeners:\n  default: {{type: tcp, bind: "127.0.0.1:{port}"}}\n'
        "plugins:\n  amqtt.plugins.authentication.FileAuthPlugin:\n"
        f"    password_file: {users}\n"
    )
    script = "import sys; from amqtt.scripts.broker_script import main; sys.exit(main())"
    process = _spawn([sys.executable, "-c", script, "-c", str(settings)], home)
    return DemoBroker("amqtt (MQTT 3.1.1)", port, process, "demo", password)


def _spawn(command: list[str], home: Path) -> "subprocess.Popen[bytes]":
    with (home / "broker.log").open("wb") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, cwd=home, start_new_session=True)


def end(process: "subprocess.Popen[bytes]", wait_s: float = 8.0) -> int:
    """Ask a process to end, insist after `wait_s`; its exit status."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(wait_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    return process.returncode


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
