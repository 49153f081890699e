"""A real Mosquitto on a free loopback port, which tests may stop, kill and start again."""

import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

STARTUP_S = 30
STOP_S = 60


def program():
    """Path of mosquitto; without it the test is skipped, but fails where CI promises one."""
    found = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail("mosquitto is not on PATH, and CI=true promises it")
        pytest.skip("mosquitto is not on PATH")
    return found


def free_port():
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Mosquitto:
    """One broker with its own configuration and log; `stop` and `start` keep the port."""

    def __init__(self, folder: Path, *lines, listener=None):
        self.program = program()
        self.folder = folder
        self.port = free_port()
        self.log = folder / "mosquitto.log"
        self.process = None
        self.listener = listener or [f"listener {self.port} 127.0.0.1"]
        self.config = folder / "mosquitto.conf"
        self.config.write_text(
            "\n".join(
                [
                    f"user {getpass.getuser()}",  # as root it would lose its rights to the folder
                    "allow_anonymous true",
                    "max_queued_messages 100000",
                    f"log_dest file {self.log}",
                    *[line.format(port=self.port, folder=folder) for line in self.listener],
                    *[line.format(port=self.port, folder=folder) for line in lines],
                ]
            )
            + "\n"
        )

    @property
    def url(self):
        return f"mqtt://127.0.0.1:{self.port}"

    def start(self):
        """Start it, and wait until it takes connections."""
        self.process = subprocess.Popen(
            [self.program, "-c", str(self.config)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until = time.monotonic() + STARTUP_S
        while time.monotonic() < until:
            if self.process.poll() is not None:
                raise RuntimeError(f"mosquitto ended: {self.log.read_text()[-500:]}")
            try:
                socket.create_connection(("127.0.0.1", self.port), 0.2).close()
                return self
            except OSError:
                time.sleep(0.01)
        raise TimeoutError("mosquitto takes no connections")

    def stop(self):
        """SIGTERM: it says good-bye and writes its database."""
        self._end(signal.SIGTERM)

    def kill(self):
        """SIGKILL: it is gone at once."""
        self._end(signal.SIGKILL)

    def _end(self, number):
        until = time.monotonic() + STOP_S
        while self.process is not None:
            # It listens before it minds signals: one that comes between (main() of 2.0.11 sets
            # `run = 1` after its handlers are there) is lost, so it is told until it ends.
            self.process.send_signal(number)
            try:
                self.process.wait(1)
                self.process = None
            except subprocess.TimeoutExpired:
                if time.monotonic() > until:
                    self.process.kill()
                    raise
