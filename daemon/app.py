"""App: builds the daemon from its configuration and keeps it running; knows every part.

Threads: this one (signals, reload, ticks, long turns), one or two of the transport's, which make
short turns, and the HTTP server's.  The engine belongs to whoever is inside `Turns`; else only the
inbox, the outbox and the ledger are touched by more than one.
"""

import contextlib
import gc
import logging
import signal
import threading
from collections.abc import Callable, Iterator
from functools import cache
from typing import TYPE_CHECKING, Final

from config.errors import ConfigError
from config.load import Loaded
from config.model import Gateway
from daemon import warmup
from daemon.ages import Expiry
from daemon.canary import Canary, canary_topic
from daemon.clock import EARLIEST_NS, SECOND, Clock
from daemon.engine import Engine
from daemon.gaps import Gaps
from daemon.gauges import gauges
from daemon.inbox import Inbox
from daemon.ledger import Count, Ledger
from daemon.log import RateLimit
from daemon.notify import Watchdog
from daemon.outbox import Outbox
from daemon.outlet import Direct
from daemon.status import Status
from daemon.transport import Wiring, make_transport
from daemon.transport.mqtt import MqttTransport
from daemon.turns import Turns
from pipelines.graph import TICK_NS, Graph
from pipelines.jit import BY_NUMBA, NO_CACHE, Kernel
from pipelines.operator import OPERATORS

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from daemon.durability import Durability

log = logging.getLogger(__name__)

DRAIN_S: Final = 5.0
"""How long a stop waits for messages that have arrived, and then for outputs to be taken."""

TIME_WAIT_NS: Final = 60 * SECOND
"""How long a gateway that just booted, with a clock that was never set, is given to hear of the
time before samples are taken; the broker keeps them meanwhile."""

Make = Callable[[list[str], Callable[[int, int], bool]], list[str]]
"""Compiles kernels; see `App.prepare`."""


class App:
    """One daemon."""

    def __init__(
        self,
        loaded: Loaded,
        reread: Callable[[], Loaded],
        clock: Clock,
    ) -> None:
        """`reread` reads the configuration again, for a reload; raises ConfigError.

        Raises LogError or OSError when the folder for the state cannot be used.
        """
        gateway = loaded.gateway
        limits = gateway.limits
        self.clock, self.reread = clock, reread
        self.balanced = True
        """False when a stop found that something was lost without being counted."""
        self.ledger = Ledger()
        self.inbox = Inbox(limits.inbox_messages_max, limits.inbox_bytes_max, self.ledger)
        self.outbox = Outbox(
            limits.outbox_messages_max,
            limits.outbox_bytes_max,
            self.ledger,
            Expiry(limits.outbox_age_max, clock),
        )
        status = Status(gateway, loaded.files, clock)
        canary = canary_topic(gateway)
        self.transport = make_transport(
            Wiring(
                broker=gateway.broker,
                client_id=gateway.client_id,
                inbox=self.inbox,
                outbox=self.outbox,
                ledger=self.ledger,
                clock=clock,
                birth=status.birth(),
                will=status.will(),
                canary_topic=canary,
                commit_delay_ns=gateway.state.commit_delay if gateway.state else None,
                on_session_lost=self._session_lost,
                foreseen=lambda: self.engine.foresight.seen,
                # What is somewhat too big is received, rejected and counted; a broker that is
                # told a smaller limit drops it without a word.
                packet_bytes_max=4 * limits.message_bytes_max + 65_536,
            )
        )
        self.gaps = Gaps(gateway, clock)
        self.outbox.on_dropped = self.gaps.note
        self.durability: Durability | None = None
        self.engine = self._engine(gateway)
        self.turns = Turns(self.inbox, clock, self._turn)
        self.canary = Canary(self.transport.ask_canary, clock)
        self.engine.canary_topic, self.engine.on_canary = canary, self.canary.heard
        self.recorder = None
        if gateway.record:
            from daemon.durable.recorder import make_recorder  # noqa: PLC0415 - for those who record

            self.recorder = make_recorder(gateway.record, clock)
        self.engine.recording = self.recorder
        beats = {**self.transport.beats, **(self.durability.beats if self.durability else {})}
        self.watchdog = Watchdog(clock, beats)
        self.failed = ""
        """Why it had to end, empty when it was told to."""
        self.warm = False
        self._make: Make = lambda names, _: names
        self._stop = threading.Event()
        # Plain flags, because handlers of signals set them: an Event that the interrupted code was
        # just waiting for would be locked against itself, for ever.
        self._told_to_stop = self._told_to_reload = False

    def _engine(self, gateway: Gateway) -> Engine:
        """With the state of before, where that is kept."""
        direct = Direct(self.outbox, self.transport)
        if gateway.state is None:
            graph = Graph(gateway, OPERATORS)
            return Engine(graph, self.inbox, self.ledger, self.clock, direct)
        from daemon.durability import Durability  # noqa: PLC0415 - only for those with a state

        durability = Durability(gateway.state, self.outbox, self.transport, self.ledger, self.clock)
        self.durability = durability

        def make(graph: Graph) -> Engine:
            return Engine(graph, self.inbox, self.ledger, self.clock, durability.outlet)

        engine = durability.recover(make, gateway)
        if durability.found and durability.found.lost:
            self.gaps.note("state", "log_damaged")
        if durability.goes_on and isinstance(self.transport, MqttTransport):
            self.transport.go_on(durability.journal.duplicates.session, engine.filters())
        return engine

    def prepare(self, make: Make) -> None:
        """Have kernels compiled that are not yet, before anything comes in.

        `make(names, going)` compiles what these steps of the warm-up call, and returns what it
        could not; it asks `going(done, of)` in between, and ends when that is False.
        """

        def going(done: int, of: int) -> bool:
            self.watchdog.status(f"compiling kernels, {done + 1} of {of}")
            return not self._is_stopping()

        self._make = make
        if make(list(self._kernels()), going):
            self._load()  # by compiling them here; messages are better kept by the broker meanwhile

    def _kernels(self) -> dict[str, Callable[[], object]]:
        """Steps of the warm-up."""
        graph = (self.durability and self.durability.changed) or self.engine.graph
        return warmup.of_daemon(graph, state=self.durability is not None)

    def _load(self) -> None:
        """Have all kernels ready; ends early when told to stop."""
        steps = self._kernels()
        for done, call in enumerate(steps.values()):
            if self._is_stopping():
                return
            self.watchdog.status(f"loading kernels, {done + 1} of {len(steps)}")
            call()
        if self.durability:
            self.durability.checkpointer.warm_up(self.engine.graph)
        # What is there now stays: looking for garbage among it would hold everything up, every few
        # seconds, and now as well. Nothing was collected since the process began.
        gc.freeze()
        gc.enable()
        self.engine.rest()  # it has not turned meanwhile
        self.warm = True
        if NO_CACHE:
            log.warning("Kernels are compiled at each start: there is nowhere to keep them")

    def run(self) -> None:
        """Work until told to stop; then finish what has arrived and say good-bye."""
        self._await_time()
        if self._is_stopping():
            return
        if self.recorder:
            gateway, ticked_ns = self.engine.gateway, self.engine.ticked_ns
            goes_on = bool(self.durability and self.durability.goes_on)
            self.recorder.start(gateway, ticked_ns, resumed=goes_on)
        if self.durability:
            self.durability.start(self.engine)
        if self.engine.states and not (self.durability and self.durability.goes_on):
            self.inbox.states_only = True  # of what we told before, only they know
            self.transport.recall(self.engine.states)
        self.transport.subscribe(self.engine.filters())
        self.transport.start()
        if not self.warm:  # while the connection is being made
            self._load()
        ahead = "by numba" if BY_NUMBA or Kernel.ahead is None else "ahead of time"
        facts = {"pipelines": len(self.engine.graph.pipelines), "kernels_compiled": ahead}
        log.info("Started", extra={"facts": facts})
        self.watchdog.ready(self._state())
        self.turns.open()
        while not self._is_stopping():
            with self.turns.alone():
                self._round()
            if self.durability and self.durability.outlet.behind:
                self.clock.wait(self._stop, TICK_NS)
            else:
                self.inbox.wait(TICK_NS / 1e9)
        with self.turns.alone():
            self._drain()

    def _round(self) -> None:
        """A turn of our own thread, and what is looked at now and then."""
        if self._told_to_reload:
            self._told_to_reload = False
            with self.watchdog.reloading():
                self.reload()
        connected = self.transport.connected
        self.canary.look(connected)
        self.gaps.tell(connected, self.engine.outlet.put)
        self._turn()
        if self.durability:
            self._look_after(self.durability)
        self._end_recall()
        self.watchdog.look(self._state)

    def _turn(self) -> int:
        """Messages taken."""
        self.engine.held = self.canary.held
        if self.durability and self.durability.outlet.behind:
            self.engine.rest()  # it waits for the disk
            return 0
        return self.engine.turn(0)

    def _session_lost(self) -> None:
        self.gaps.note("messages", "session_lost")

    def _look_after(self, durability: "Durability") -> None:
        durability.turned(self.engine)
        if durability.outlet.failed:
            self.failed = durability.outlet.failed
            self._stop.set()

    def _await_time(self) -> None:
        until_ns = self.clock.monotonic_ns() + TIME_WAIT_NS
        while self.clock.now_ns() < EARLIEST_NS and self.clock.monotonic_ns() < until_ns:
            self.engine.rest()
            if self.clock.wait(self._stop, SECOND) or self._is_stopping():
                return
        self.engine.rest()

    @property
    def recalling(self) -> bool:
        """Whether samples wait for the states of alerts that were active before."""
        return self.inbox.states_only

    @property
    def degraded(self) -> list[str]:
        """What does not work though the daemon does its work."""
        failed = self.recorder.failed if self.recorder else ""
        found = [f"the recording has ended: {failed}"] if failed else []
        if self.canary.lost:
            found.append("our own canary does not come back: are subscriptions blocked?")
        return found + (self.durability.degraded if self.durability else [])

    def _state(self) -> str:
        broker = "connected" if self.transport.connected else "no connection to the broker"
        return "; ".join([f"{len(self.engine.graph.pipelines)} pipelines", broker, *self.degraded])

    def stop(self) -> None:
        """Let `run` end; from another thread, never from a handler of a signal."""
        self._stop.set()
        self.inbox.wake()

    def reload(self) -> bool:
        """Take the configuration as it now is, between two turns; False when it was refused."""
        try:
            loaded = self.reread()
        except ConfigError as error:
            log.error(
                "Reload refused, the old configuration goes on",
                extra={"facts": {"problems": [str(p) for p in error.problems]}, "answer": True},
            )
            return False
        old, gateway = self.engine.graph, loaded.gateway
        fixed = ("broker", "http", "log", "gateway", "record", "state", "status_topic", "limits")
        changed = [name for name in fixed if getattr(old.gateway, name) != getattr(gateway, name)]
        if changed:
            log.warning(
                "These settings change only at a restart",
                extra={"facts": {"settings": changed}, "answer": True},
            )
            keep = {name: getattr(old.gateway, name) for name in changed}
            gateway = gateway.model_copy(update=keep)
        graph = Graph(gateway, OPERATORS, keep=old)
        steps = warmup.of_daemon(graph, state=self.durability is not None)
        self._make(list(steps), self._still_going)
        for call in steps.values():
            call()
            self.watchdog.look(self._state)
        kept = [n for n, p in graph.pipelines.items() if old.pipelines.get(n) is p]
        self.engine.adopt(graph)
        self.transport.subscribe(self.engine.filters())
        log.info(
            "Reloaded",
            extra={"facts": {"kept": len(kept), "new": len(graph.pipelines) - len(kept)}},
        )
        return True

    def _still_going(self, *_: int) -> bool:
        self.watchdog.look(self._state)
        return not self._is_stopping()

    def on_signals(self) -> None:
        """SIGTERM and SIGINT stop, SIGHUP reloads, within a tick."""

        def stop(*_: object) -> None:
            self._told_to_stop = True

        def reload(*_: object) -> None:
            self._told_to_reload = True

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        signal.signal(signal.SIGHUP, reload)

    def _is_stopping(self) -> bool:
        return self._told_to_stop or self._stop.is_set()

    @contextlib.contextmanager
    def serving(self) -> Iterator[str]:
        """Answer /metrics, /healthz and /readyz while inside; the address, '' when disabled.

        Raises OSError when the address cannot be bound.
        """
        http = self.engine.gateway.http
        if not http.enabled:
            yield ""
            return
        from daemon.health import Health, HealthServer  # noqa: PLC0415 - only for those who ask

        @cache
        def scraped() -> "CollectorRegistry":
            from daemon.metrics import registry  # noqa: PLC0415 - when somebody scrapes

            return registry(self.ledger, gauges(self))

        server = HealthServer(http.listen, Health(self), scraped)
        server.start()
        log.info("Metrics and health are served", extra={"facts": {"address": server.address}})
        try:
            yield server.address
        finally:
            server.stop()

    def count_log_lines(self, limit: RateLimit) -> None:
        """Have the log lines that were left out counted with everything else."""
        self.ledger.watch(Count.LOG_LINES_SUPPRESSED, lambda: limit.suppressed)

    def _end_recall(self) -> None:
        """Begin to take samples once the broker has told our own states of before."""
        if self.inbox.states_only and self.transport.recalled:
            self.transport.end_recall()
            self.inbox.states_only = False

    def _drain(self) -> None:
        log.info("Stopping")
        self.watchdog.stopping()
        until = self.clock.monotonic_ns() + int(DRAIN_S * 1e9)
        self.inbox.states_only = False  # those that have come by now have to do
        while len(self.inbox) and self.clock.monotonic_ns() < until:
            self.engine.turn(0)
        if self.durability:  # samples that wait for others go on to wait in the state
            self.durability.outlet.flush()
        else:
            self.engine.flush()
        self.transport.stop(DRAIN_S)
        if self.durability:
            self.engine.run((), self.engine.ticked_ns)  # what the broker has taken meanwhile
            self.durability.close(self.engine)
        if self.recorder:
            self.recorder.close()
        broken = self.ledger.balance()
        if broken:
            self.balanced = False
            log.error("The ledger does not balance", extra={"facts": {"broken": broken}})
        log.info("Stopped")
