"""One run: a broker that stays up, a publisher that never stops, a daemon that is killed."""

import bisect
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple

from daemon.durability import WELL_TURNS
from tests.daemons import CACHE, READY_S, ROOT, DaemonProcess, Publisher, Recorder
from tests.kills.checker import check
from tests.kills.oracle import expected, time_text
from tests.kills.plan import configuration
from tests.kills.workload import ROUND_MS, START_MS, Workload
from tests.mosquitto import Mosquitto
from tests.wires import until

NAME = "kills"
IN_FLIGHT = 2_000
"""Messages that the broker has not taken yet; more than that are not sent."""
LEAST = 1_500
"""Messages of a run with few kills: windows are to be full, detectors to have learned."""
BEHIND_MS = 80 * ROUND_MS
"""How far, in event time, the daemon may be behind before nothing more is sent."""
IN_A_ROW = 4
"""Short lives; after more of them the daemon takes its checkpoint for the reason, which has tests of
its own."""
END_S = 120


class Kill(NamedTuple):
    """When the daemon was ended; for who looks for the reason of a fault."""

    number: int
    fresh: bool  # a process of its own from the first line, else forked
    after_s: float  # since its start
    ready: bool
    sent: int  # messages sent so far
    heard: int  # events heard so far
    last: str  # the last line of its log

    def __str__(self):
        kind = "fresh" if self.fresh else "forked"
        state = "ready" if self.ready else "not ready"
        return (
            f"kill {self.number}: {kind}, {state}, {self.after_s:.3f} s after its start, "
            f"{self.sent:,} messages sent, {self.heard:,} events heard; {self.last}"
        )


class Outcome(NamedTuple):
    """What a run found."""

    report: object
    kills: list
    sent: list
    starts: dict  # fresh → seconds from start to subscribed, of every start that came so far
    complaints: list  # warnings and errors in the log, of all starts
    took_s: float

    def __str__(self):
        ready = sum(kill.ready for kill in self.kills)
        return (
            f"{len(self.kills):,} kills ({len(self.kills) - ready:,} while starting), "
            f"{len(self.sent):,} messages in {self.took_s:.0f} s; {self.report}"
        )

    def nearby(self, t_ms):
        """The kills before and after the message of this event time was sent."""
        times = [m.t_ms for m in self.sent if m.source == "line"]
        places = [i for i, m in enumerate(self.sent) if m.source == "line"]
        at = min(bisect.bisect_left(times, t_ms), len(times) - 1)
        k = bisect.bisect_left([kill.sent for kill in self.kills], places[at])
        return [str(kill) for kill in self.kills[max(0, k - 2) : k + 2]]


class Victim(DaemonProcess):
    """The daemon, started anew as often as it is killed."""

    def __init__(self, folder, config):
        super().__init__(folder, config)
        self.pid, self._nursery = 0, None

    def spawn(self, *, fresh):
        """Start it, and do not wait for anything."""
        self._log_from = self.log.stat().st_size if self.log.exists() else 0
        if fresh:
            with self.log.open("ab") as log:
                self.process = subprocess.Popen(self.command, stdout=log, stderr=log, cwd=ROOT)
            self.pid = self.process.pid
        else:
            self.process = None
            self.pid = int(self._ask("start"))

    def end(self):
        """SIGKILL; fails when it had ended by itself."""
        if self.process is not None:
            self.process.kill()
            status = self.process.wait()
        else:
            os.kill(self.pid, signal.SIGKILL)
            status = int(self._ask(f"reap {self.pid}"))
        self.pid = 0
        assert status == -9, f"it ended by itself, {status}: {self.log_lines()[-5:]}"

    @property
    def subscribed(self):
        """Whether it has the connection that messages come on."""
        return any(line["connection"] == "in" for line in self.said("Connected to the broker"))

    @property
    def last(self):
        lines = self.log_lines()
        return str(lines[-1].get("message", lines[-1].get("text"))) if lines else "no log line"

    def whole(self):
        """Look at the log of all starts from here on."""
        self._log_from = 0

    def close(self):
        if self.pid:
            self.end()
        if self._nursery is not None:
            self._nursery.stdin.close()
            self._nursery.stdout.close()
            self._nursery.wait()

    def prepare(self):
        """Have kernels compiled, however long that takes, and the nursery ready."""
        self._nursery = subprocess.Popen(
            [sys.executable, "-m", "tests.kills.nursery", self.path, CACHE, self.log],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        assert self._nursery.stdout.readline() == "ready\n"

    def _ask(self, word):
        self._nursery.stdin.write(f"{word}\n")
        self._nursery.stdin.flush()
        return self._nursery.stdout.readline()


class Sender(threading.Thread):
    """Publishes a workload at a rate until it is told to end, then what closes it."""

    def __init__(self, port, seed, rate, recorder):
        super().__init__(daemon=True)
        self.recorder, self.looked = recorder, 0
        self.publisher = Publisher(port)
        self.workload, self.rate = Workload(seed), rate
        self.sent, self.ending, self.given_up = [], threading.Event(), False
        self.reached = time_text(START_MS)

    def run(self):
        due = time.monotonic()
        for message in self.workload.messages():
            if self.given_up:
                return
            self._send(message)
            due += 1 / self.rate
            if len(self.sent) % 16 == 0:
                self._not_too_far()
                due = max(due, time.monotonic() - 1)
                time.sleep(max(0, due - time.monotonic()))
            if self.ending.is_set() and len(self.sent) >= LEAST:
                break
        for message in self.workload.closing():
            self._send(message)

    def close(self):
        """Send no more, finished or not."""
        self.given_up = True
        if self.is_alive():
            self.join()
        self.publisher.close()

    def _not_too_far(self):
        """Wait for a daemon that is far behind: on a slow machine it would never catch up."""
        now_ms = START_MS + self.workload.round * ROUND_MS
        while not (self.given_up or self.ending.is_set()):
            heard = self.recorder.heard[self.looked :]
            self.looked += len(heard)
            for event in (h.event for h in heard if b"/speed" in h.payload):
                self.reached = max(self.reached, event["time"])
            if time_text(now_ms - BEHIND_MS) <= self.reached:
                return
            time.sleep(0.05)

    def _send(self, message):
        while self.publisher.sent - self.publisher.acknowledged >= IN_FLIGHT and not self.given_up:
            time.sleep(0.001)
        self.publisher.send(message.topic(NAME), message.payload)
        self.sent.append(message)


class Run:
    """All parts of one run."""

    def __init__(self, folder: Path, seed, durability, rate, fresh_share):
        self.rng = random.Random(f"kills {seed}")
        self.folder, self.fresh_share = folder, fresh_share
        self.durable = durability == "committed"
        self.broker = Mosquitto(folder).start()
        self.recorder = Recorder(self.broker.url, f"{NAME}/out/#")
        self.victim = Victim(
            folder, configuration(self.broker.url, NAME, durability, folder / "state")
        )
        self.sender = Sender(self.broker.port, seed, rate, self.recorder)
        self.kills, self.starts, self.in_a_row = [], {True: [], False: []}, 0

    def go(self, kills):
        """Kill it so often; the outcome."""
        self.victim.prepare()
        began = time.monotonic()
        self._start(fresh=True)
        self._await_ready()
        # In its first session it subscribes a commit later than it connects.
        until(lambda: self.victim.ready, READY_S, "the first subscription")
        self.sender.start()
        for number in range(1, kills + 1):
            self._kill(number)
        self.sender.ending.set()
        self.sender.join()
        self.sender.publisher.settle()
        self._await_ready()
        self._await_end()
        payloads = [heard.payload for heard in self.recorder.heard]
        states = self._states()
        took_s = time.monotonic() - began
        (self.folder / "heard.jsonl").write_bytes(b"\n".join(payloads))
        (self.folder / "kills.txt").write_text("\n".join(map(str, self.kills)))
        report = check(expected(self.sender.sent), payloads, states)
        self.victim.whole()
        complaints = [str(line) for line in self.victim.complaints()]
        return Outcome(report, self.kills, self.sender.sent, self.starts, complaints, took_s)

    def close(self):
        self.victim.close()
        self.sender.close()
        self.recorder.close()
        self.broker.stop()

    # --- inside --------------------------------------------------------------------------

    def _start(self, *, fresh):
        self.fresh, self.began, self.up = fresh, time.monotonic(), False
        self.victim.spawn(fresh=fresh)

    def _await_ready(self):
        until(lambda: self.victim.subscribed, READY_S, "a subscription of the daemon")
        if not self.up:
            self.starts[self.fresh].append(time.monotonic() - self.began)
        self.up = True

    def _kill(self, number):
        """Let it live: not until it is ready, or hardly longer, or until it has a checkpoint."""
        kind = self.rng.randrange(5) if self.in_a_row < IN_A_ROW else 4
        self.in_a_row = self.in_a_row + 1 if kind < 4 else 0
        if kind < 2:
            usual = self.starts[self.fresh] or [1.0]
            time.sleep(self.rng.uniform(0, sum(usual[-5:]) / len(usual[-5:])))
        else:
            self._await_ready()
            if kind == 4 and self.durable:
                until(lambda: self.victim.metrics()["state_written"], READY_S, "a checkpoint")
                until(lambda: self.victim.metrics()["turns"] > WELL_TURNS, READY_S, "turns")
            time.sleep(self.rng.uniform(0, 0.4))
        self.victim.end()
        self.kills.append(
            Kill(
                number,
                self.fresh,
                after_s=time.monotonic() - self.began,
                ready=self.victim.subscribed,
                sent=len(self.sender.sent),
                heard=len(self.recorder.heard),
                last=self.victim.last,
            )
        )
        self._start(fresh=self.rng.random() < self.fresh_share)

    def _await_end(self):
        """Until the event of the last message has come, and then nothing more."""
        last = self.sender.sent[-1]
        tail = f'device={last.device},site={last.site}","time":"'
        mark = [b"/speed", f"channel=bottles,{tail}{time_text(last.t_ms)}".encode()]

        def over():
            return any(all(m in h.payload for m in mark) for h in self.recorder.heard[-5_000:])

        until(over, END_S, "the event of the last message")
        metrics = self.victim.quiet()
        lines = [f"{name} {number:g}" for name, number in sorted(metrics.items()) if number]
        (self.folder / "metrics.txt").write_text("\n".join(lines))
        count = -1
        while count != len(self.recorder.heard):
            count = len(self.recorder.heard)
            time.sleep(0.5)

    def _states(self):
        """{topic of an alert: its retained state} for all that have one."""
        reader = Recorder(self.broker.url, f"state/{NAME}/out/#")
        time.sleep(0.5)
        reader.close()
        return {h.topic.removeprefix("state/"): h.event for h in reader.heard if h.payload}


def run(folder, *, seed=1, kills=20, durability="committed", rate=200, fresh_share=0.03):
    """Kill the daemon so often during a seeded workload; what was found."""
    made = Run(folder, seed, durability, rate, fresh_share)
    try:
        return made.go(kills)
    finally:
        made.close()
