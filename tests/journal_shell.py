"""Shell: one life of a daemon around the journal, without threads.

What `daemon/committer.py`, `daemon/checkpointer.py`, `daemon/durability.py` and the two connections
do, each step a method, in the order of the original.  This is all that is mirrored: journal, log,
checkpoints, duplicates and outbox are the true ones.
"""

from collections import deque

from daemon.durable.blocks import Begins, Reload, Session, Start, Turn
from daemon.durable.checkpoint import Checkpoints
from daemon.durable.journal import Journal
from daemon.durable.local import LocalLog
from daemon.durable.port import LogError, LogFull
from daemon.ledger import Ledger, Reason
from daemon.messages import Message
from daemon.outbox import Outbox
from tests.disks import FOLDER
from tests.journal_toy import TICK_NS, Toy

ROOT = FOLDER.parent / "state"


class Shell:
    """One life of a daemon."""

    machine_class, journal_class = Toy, Journal
    checkpoints_class, log_class = Checkpoints, LocalLog
    well_turns = 10

    def __init__(self, disk, broker, log_limits):
        """As `Durability.__init__`."""
        self.broker = broker
        self.checkpoints = self.checkpoints_class(disk, ROOT)
        self.log = self.log_class(ROOT / "log", disk=disk, **log_limits)
        self.journal = self.journal_class(self.log, self.checkpoints)
        self.log_bytes = log_limits["bytes_max"] // 4
        self.waiting_bytes_max = log_limits["bytes_max"] // 20
        self.mark_bytes = log_limits["segment_bytes"] // 2
        self.uncovered_bytes_max = log_limits["bytes_max"] * 3 // 8
        self.outbox = Outbox(10_000, 10_000_000, Ledger())
        self.settled = self.outbox.left = deque()
        self.machine = self.machine_class()
        self.found = None
        self.inbox, self.epoch, self.session, self.present = deque(), 0, 0, False
        self.known_session = 0
        """The newest one that a start would know of."""
        self.new_sessions = deque()
        self.effects = deque()
        self.taken = None
        """The snapshot that is on its way to the disk."""
        self.turns = self.written = self.failures = 0
        self.copied_bytes = self.marked_bytes = self.effective_bytes = 0
        self.stalled = self.well = False

    # --- durability.py ---------------------------------------------------------------------------

    def recover(self):
        self.found = self.journal.recover(self.machine)
        if self.found.goes_on:
            self.session = self.known_session = self.journal.duplicates.session
        if self.machine.config:
            self.outbox.release(self.found.outputs)
        return self.found

    def start(self, now_ns, config):
        found, machine = self.found, self.machine
        begins = Begins.FRESH
        if found.goes_on:
            begins = Begins.GOES_ON
        elif found.found:
            begins = Begins.RESUMED
        if not machine.config:
            machine.begin(config, now_ns // TICK_NS * TICK_NS, None)
        if machine.ticked_ns > now_ns:
            machine.resume(now_ns // TICK_NS * TICK_NS)
        self.journal.add(Start(begins, now_ns, machine.ticked_ns, "toy", machine.config))
        if machine.config != config:
            self.reload(config)
        self.run((), machine.ticked_ns, ())
        self.copied_bytes = -self.journal.uncovered_bytes
        if begins is Begins.RESUMED:
            self.capture()

    def after_turn(self):
        """As `Durability.turned` and `Checkpointer.turned`; the time for one comes by the world."""
        if self.new_sessions and not self.inbox:
            self.journal.session(self.new_sessions.popleft())
        if self.turns == self.well_turns:
            self.well = True
            self.journal.release()
        if self.journal.log_bytes - self.copied_bytes >= self.log_bytes:
            self.capture()

    # --- the engine ------------------------------------------------------------------------------

    @property
    def behind(self):
        journal = self.journal
        waiting = journal.bytes_taken - self.effective_bytes
        uncovered = journal.uncovered_bytes > self.uncovered_bytes_max
        return waiting > self.waiting_bytes_max or uncovered or journal.unfounded

    def turn(self, most, now_ns):
        if not self.behind:
            taken = [self.inbox.popleft() for _ in range(min(most, len(self.inbox)))]
            until_ns = taken[-1].arrival_ns if self.inbox and taken else now_ns
            self.run(self.journal.duplicates.fresh(taken), until_ns, taken)
            self.turns += 1
        self.after_turn()

    def run(self, messages, until_ns, taken):
        """As `Engine.run` and `Durable.turned`."""
        before_ns = self.machine.ticked_ns
        made = self.machine.turn(Turn(until_ns, messages))
        if self.journal.log_bytes - self.marked_bytes >= self.mark_bytes:
            self.marked_bytes, config = self.journal.log_bytes, self.machine.config
            tick_ns = until_ns // TICK_NS * TICK_NS
            self.journal.add(Start(Begins.MIDDLE, until_ns, tick_ns, "toy", config))
        settled = [self.settled.popleft() for _ in range(len(self.settled))]
        settled = self.journal.known(settled)
        ticked = self.machine.ticked_ns != before_ns
        if taken or messages or ticked or made or settled:
            parcels = self.journal.tokens(made)
            self.journal.add(Turn(until_ns, messages, parcels, settled), taken)

    def reload(self, config):
        self.journal.add(Reload(config))
        self.machine.adopt(config)

    # --- committer.py ----------------------------------------------------------------------------

    def commit(self):
        """Entries that are durable now; their effects come before the next commit."""
        assert not self.effects
        try:
            done = self.journal.commit()
        except LogFull:
            self.stalled = not self.journal.make_room()
            return []
        self.stalled = False
        self.effects.extend((self.acknowledge, self.release) if done else ())
        self.done = done
        return done

    def commit_and_effects(self):
        while self.effects:
            self.effect()
        done = self.commit()
        while self.effects:
            self.effect()
        return done

    def effect(self):
        self.effects.popleft()(self.done)

    def acknowledge(self, done):
        for message in (m for entry in done for m in entry.taken):
            if message.qos and message.epoch == self.epoch and self.broker.up:
                self.broker.from_client.append(message.mid)
        for entry in done:
            if isinstance(entry.block, Session):
                self.known_session = entry.block.number
                self.subscribe()

    def release(self, done):
        self.outbox.release([p for e in done if isinstance(e.block, Turn) for p in e.block.outputs])
        self.effective_bytes += sum(entry.size for entry in done)

    # --- checkpointer.py -------------------------------------------------------------------------

    def capture(self):
        if self.taken is None:
            snapshot = self.journal.snapshot(self.machine.ticked_ns, self.machine.config)
            self.taken = snapshot, self.machine.sections()
            self.copied_bytes = self.journal.log_bytes

    @property
    def can_write(self):
        return self.taken is not None and self.journal.durable >= self.taken[0].number

    def write(self):
        try:
            self.journal.write(*self.taken)
            self.written += 1
        except (LogError, OSError):
            self.failures += 1
        self.taken = None

    # --- transport/ingest.py ---------------------------------------------------------------------

    def connect(self):
        self.present = self.broker.connect()
        self.epoch += 1
        if not self.present:
            self.session += 1
            self.new_sessions.append(self.session)
        self.subscribe()

    @property
    def connecting(self):
        """Whether a new session waits until it is known durably."""
        return self.session != self.known_session

    def subscribe(self):
        if self.broker.up and not self.connecting:
            self.broker.subscribe()

    def receive(self, now_ns):
        packet = self.broker.to_client.popleft()
        made = packet.publication
        again = packet.dup and self.present
        self.inbox.append(
            Message(made.topic, made.payload, made.qos, packet.mid, now_ns)._replace(
                epoch=self.epoch, again=again, session=self.session
            )
        )

    # --- transport/egress.py ---------------------------------------------------------------------

    def publish(self, most):
        self.broker.out_from_client.extend(self.outbox.take(most, 4))

    def hear(self):
        token, code = self.broker.out_to_client.popleft()
        if code:
            self.outbox.refuse(token, Reason.REFUSED)
        else:
            self.outbox.settle(token)

    def lost(self):
        self.outbox.lost(blame=False)

    def close(self):
        """As the end of `App._drain`; what came last was committed."""
        self.run((), self.machine.ticked_ns, ())
        self.commit_and_effects()
        if self.journal.durable == self.journal.number:
            self.capture()
            self.write()
        self.well = True
        self.journal.release()
        self.journal.close()
