"""JournalWorld: lives of a daemon over crashes, with its broker, by a seed; and what must hold.

python -m tests.journal_world 4711        what happened in one life after another, step by step

A life opens log and checkpoints, recovers, and then does whatever a daemon does, in any order that
its threads may have: the world picks one step after another.  Where a thread waits for the disk,
the others take steps too.  A life ends in order, by a kill, or by a power cut, at any operation of
the disk, the start included.  What must hold is in `tests/journal_past.py`.
"""

import logging
import random
import sys
from contextlib import contextmanager

from daemon.durable import blocks, checkpoint, journal, local
from daemon.durable.checkpoint import unpacked
from daemon.durable.port import LogFailed, LogFull
from tests.disks import Crash, SimDisk
from tests.journal_past import Past
from tests.journal_shell import ROOT, Shell
from tests.journal_toy import TICK_NS
from tests.sim_broker import BrokenPromise, SimBroker

PENDING_BYTES, RECORD_BYTES = 300, 200
TRIES = 3
SEGMENTS = 16
CALM = 2000
"""Steps in which all that is left must have its effects once nothing fails any more."""


class WorldDisk(SimDisk):
    """Lets others go on where one waits for the disk."""

    meanwhile = None

    def operate(self):
        super().operate()
        others, self.meanwhile = self.meanwhile, None
        if others is not None:
            if self.rng.random() < 0.15:
                others()
            self.meanwhile = others

    def crash(self, power):
        self.meanwhile = None
        super().crash(power)


class JournalWorld:
    """Devices, a broker, a disk, and a daemon that dies again and again."""

    def __init__(self, seed, shell_class=Shell, disk_class=WorldDisk, tell=None):
        self.rng = rng = random.Random(seed)
        self.tell = tell or (lambda *_: None)
        self.shell_class = shell_class
        self.disk = disk_class(rng, sector=rng.choice((32, 512)))
        self.broker = SimBroker(rng)
        bytes_max = rng.choice((6_000, 12_000, 48_000))
        self.log_limits = {"bytes_max": bytes_max, "segment_bytes": bytes_max // SEGMENTS}
        self.damages = rng.random() < 0.2
        self.flickers = self.loses_log = seed % 9 == 3
        """Whether lives are short and many, and the whole log is gone once, as soon as there is a
        checkpoint: numbers are small then, and would soon be the same again."""
        self.written = 0
        self.sound = 0
        """Checkpoints that must be there to go on from."""
        self.boots = rng.random() < 0.3
        """Whether the devices count anew when the broker forgets: they lost power together."""
        self.counted = self.boot = 0
        self.config = 3
        self.now_ns = 10 * TICK_NS
        self.past = Past(self.broker)
        self.crashes = self.failed_starts = self.failed_recoveries = 0
        self.rotten = self.unfounded = False
        self.given_up = None
        """The entry where a log ended that was given up because starts had died of it."""
        self.scarred = False
        """Whether something is damaged that a fall back to an older checkpoint would need."""
        self.fell_back = False
        self.shell = None

    def run(self):
        lives = self.rng.randint(2, 5)
        for _ in range(3 * lives if self.flickers else lives):
            self.life()
        self.finish()
        return self

    # --- one life --------------------------------------------------------------------------------

    def life(self):
        disk, rng = self.disk, self.rng
        disk.fuse = rng.choice((rng.randint(0, 12), rng.randint(0, 250), None))
        disk.space = rng.randint(0, 6000) if rng.random() < 0.2 else None
        disk.broken_syncs = {rng.randint(0, 40)} if rng.random() < 0.15 else set()
        injected = bool(disk.broken_syncs)
        try:
            self.start()
            steps = (1, 12) if self.flickers else (5, 120)
            for _ in range(rng.randint(*steps)):
                self.step()
            if rng.random() < 0.2:
                self.stop()
        except Crash:
            self.tell("crash")
        except (LogFailed, LogFull, OSError) as error:
            self.tell("failed", error)
            if not injected and disk.space is None:
                raise BrokenPromise(f"failed without a cause: {error!r}") from error
        self.die(rng.random() < 0.6)

    def start(self):
        self.at_disk = set()  # which threads wait for it
        self.shell = shell = self.shell_class(self.disk, self.broker, self.log_limits)
        self.record(shell)
        head = shell.log.head
        found = shell.recover()
        self.based = bool(self.states)
        self.seen = self.based and self.head_of(self.states[-1])[1] > head
        self.tell("recovered", shell.journal.number, found._replace(outputs=len(found.outputs)))
        self.check_start(found)
        if self.rng.random() < 0.2:  # the clock was never set, or is set now
            self.now_ns += self.rng.randint(-6, 6) * TICK_NS
        shell.start(self.now_ns, self.config_bytes())

    @property
    def states(self):
        return [ROOT / name for name in self.disk.names(ROOT) if name.endswith(".state")]

    def head_of(self, path):
        """The entry that a checkpoint was made behind, and the record from which on to read."""
        number, lsn, _, _ = journal._HEAD.unpack(unpacked(self.disk.read(path))["journal"])
        return number, lsn

    def record(self, shell):
        """See every entry that is added."""
        add = shell.journal.add

        def added(block, taken=()):
            add(block, taken)
            self.tell("entry", shell.journal.number, type(block).__name__, len(taken))
            self.past.entries.append((shell.journal.number, block))

        shell.journal.add = added

    def die(self, power):
        self.tell("power cut" if power else "kill")
        self.crashes += 1
        if self.shell is not None and self.shell.found is not None:
            self.unfounded = self.shell.journal.unfounded
            self.failed_starts += 1 + self.failed_recoveries
            self.failed_recoveries = 0
            if self.shell.well or not self.based:
                self.failed_starts = 0
        else:
            self.failed_recoveries += 1
        self.note_fall_back()
        unsure = self.shell is not None and self.shell.connecting
        self.broker.cut()
        self.broker.cut_out()
        session = self.broker.session
        if unsure and session is not None and not session.subscribed:
            self.boot += 1  # see `Shell.connect`: nobody can know this session yet
        self.shell = None
        self.disk.crash(power)
        if self.loses_log and self.written:
            self.lose_log()
        elif self.damages and self.rng.random() < 0.5:
            self.damage()

    def lose_log(self):
        """Nothing is left of the log: only the checkpoints tell that there was one."""
        self.tell("log lost")
        for path in [p for p in self.disk.durable if p.parent == ROOT / "log"]:
            del self.disk.durable[path]
            self.disk.live.pop(path, None)
        self.loses_log, self.sound = False, 0
        self.rotten = self.scarred = True

    def damage(self):
        """Something that was durable is not any more."""
        disk, rng, bare = self.disk, self.rng, self.rotten
        paths = sorted(p for p in disk.durable if p.suffix in {".state", ".log"})
        states = [p for p in paths if p.suffix == ".state" and p.parent == ROOT]
        if self.sound >= 2 and rng.random() < 0.8:
            path = states[-1]
            self.sound = 0  # another one like this, and nothing is left
            self.scarred = True
        elif paths and rng.random() < 0.5:
            self.sound = 0
            path, self.rotten = rng.choice(paths), True
            self.scarred = True
        else:
            return
        self.tell("damaged", path.name)
        if rng.random() < 0.3 and not bare:  # of two that are gone without a trace nobody can tell
            del disk.durable[path]
            disk.live.pop(path, None)
            return
        data = disk.durable[path].data
        if data:
            at = rng.randrange(len(data))
            data[at] ^= 1 << rng.randrange(8)
            disk.durable[path].medium = bytearray(data)

    # --- steps -----------------------------------------------------------------------------------

    def step(self):
        rng, shell, broker = self.rng, self.shell, self.broker
        if rng.random() < 0.4:
            self.now_ns += rng.randint(1, TICK_NS)
        if rng.random() < 0.03:
            self.fault()
        if rng.random() < 0.03:
            shell.capture()
        steps = ["device", "device", "turn", "turn", "commit"]
        steps += ["connect", "connect"] if not broker.up else ["send", "send"]
        steps += ["connect out"] if not broker.out_up else ["publish"]
        steps += ["receive", "receive"] * bool(broker.to_client)
        steps += ["hear"] * bool(broker.from_client)
        steps += ["broker hears", "broker hears"] * bool(broker.out_from_client)
        steps += ["settle", "settle"] * bool(broker.out_to_client)
        steps += ["effect"] * 4 if shell.effects else []
        steps += ["write"] * shell.can_write
        self.do(rng.choice(steps))

    def fault(self):
        what = self.rng.choice(("cut", "cut", "cut out", "forget", "reload", "space"))
        self.tell(what)
        if what == "cut":
            self.broker.cut()
        elif what == "cut out":
            self.broker.cut_out()
            self.shell.lost()
        elif what == "forget":
            self.forget()
        elif what == "reload":
            self.config = self.rng.randint(1, 6)
            self.shell.reload(self.config_bytes())
            self.shell.run((), self.shell.machine.ticked_ns, ())
        else:
            self.disk.space = None

    def forget(self):
        self.broker.forget()
        self.shell.lost()
        if self.boots:
            self.counted = 0
        else:
            self.boot += 1

    def do(self, what):
        shell, broker = self.shell, self.broker
        match what:
            case "device":
                self.device()
            case "turn":
                shell.turn(self.rng.randint(1, 8), self.now_ns)
            case "commit":
                self.commit()
            case "effect":
                shell.effect()
            case "write":
                self.write()
            case "connect":
                shell.connect()
                self.tell("connected", shell.session, shell.present)
            case "send":
                broker.send()
            case "receive":
                self.receive()
            case "hear":
                broker.hear()
            case "connect out":
                broker.connect_out()
            case "publish":
                shell.publish(self.rng.randint(1, 3))
            case "broker hears":
                broker.hear_out()
            case "settle":
                shell.hear()

    def device(self):
        rng = self.rng
        dice = rng.random()
        self.counted += 1
        value = self.counted * 7 % 50
        if dice < 0.75:
            payload = b"%d/%d:%d" % (self.boot, self.counted, value)
            self.broker.publish(f"s{self.counted % 3}", payload, 1)
        elif dice < 0.9:  # nothing tells two of these apart
            self.broker.publish("u1", b":%d" % (value % 3), 1)
        else:
            self.broker.publish("s4", b"%d/%d:%d" % (self.boot, self.counted, value), 0)

    def receive(self):
        self.now_ns += 1
        while self.now_ns in self.past.arrived:  # after the clock was set back
            self.now_ns += 1
        packet = self.broker.to_client[0]
        self.past.arrived[self.now_ns] = packet.publication
        self.tell("received", packet.publication.number, packet.mid, packet.dup)
        self.shell.receive(self.now_ns)

    def commit(self):
        shell = self.shell
        while shell.effects:
            shell.effect()
        with self.while_waiting("commit", "turn", "receive", "device", "settle", "write"):
            done = shell.commit()
        if done:
            self.rotten = False
            self.past.durable = done[-1].number
            self.tell("committed", done[-1].number)

    def write(self):
        number = self.shell.taken[0].number
        written = self.shell.written
        with self.while_waiting("write", "turn", "receive", "commit"):
            self.shell.write()
        self.written += self.shell.written - written
        self.sound += self.shell.written > written
        self.scarred &= self.sound < 2
        self.fell_back &= self.scarred
        self.tell("checkpoint", number, self.shell.written, self.shell.failures)

    @contextmanager
    def while_waiting(self, what, *others):
        """Let other threads take one of these steps where this one waits for the disk."""
        before, self.disk.meanwhile = self.disk.meanwhile, lambda: self.among(others)
        self.at_disk.add(what)
        yield
        self.at_disk.discard(what)
        self.disk.meanwhile = before

    def among(self, steps):
        what = self.rng.choice(steps)
        can = {
            "receive": bool(self.broker.to_client),
            "settle": bool(self.broker.out_to_client),
            "write": self.shell.can_write,
        }
        if can.get(what, True) and what not in self.at_disk:
            self.tell("meanwhile", what)
            self.do(what)

    def stop(self):
        self.tell("stop")
        while self.shell.inbox and not self.shell.behind:
            self.do("turn")
        self.shell.commit_and_effects()
        self.shell.close()
        self.past.durable = self.shell.journal.durable

    def config_bytes(self):
        return b'{"size": %d}' % self.config

    # --- the end ---------------------------------------------------------------------------------

    def finish(self):
        """Nothing fails any more: all that was not lost by others must come to its end."""
        self.damages = False
        self.start()
        broker, shell = self.broker, self.shell
        for _ in range(CALM):
            if not self.one_calm_round(broker, shell):
                break
        else:
            raise BrokenPromise("it does not come to an end")
        self.stop()
        self.die(power=True)
        self.start()
        self.past.check_end(self.shell.journal)

    def one_calm_round(self, broker, shell):
        """Whether anything was left to do."""
        entries = len(self.past.entries)
        for up, what in ((broker.up, "connect"), (broker.out_up, "connect out")):
            if not up:
                self.do(what)
        busy = broker.send()
        for pipe, what in (
            (broker.to_client, "receive"),
            (broker.from_client, "hear"),
            (broker.out_from_client, "broker hears"),
            (broker.out_to_client, "settle"),
        ):
            while pipe:
                busy = True
                self.do(what)
        self.do("turn")
        self.commit()
        while shell.effects:
            self.do("effect")
        if shell.can_write:
            self.do("write")
        self.do("publish")
        session = broker.session
        left = (
            len(self.past.entries) - entries,
            session.queue,
            session.in_flight,
            shell.inbox,
            shell.journal.unsettled,
            len(shell.outbox),
            shell.stalled,
            shell.connecting,
        )
        return busy or any(left)

    # --- what must hold --------------------------------------------------------------------------

    def check_start(self, found):
        kept, machine = self.shell.journal, self.shell.machine
        if kept.aside:
            self.sound = 0
        given_up = self.given_up
        self.given_up = kept.number if self.shell.checkpoints.hopeless else None
        if found.goes_on and kept.number == given_up:
            # Starts had died of the log, and the one without it left no trace: it is there again.
            self.past.lose(kept, machine)
            return
        # Nobody can see that the newest segment is gone, unless a checkpoint tells of it.
        unseen = self.rotten and not self.seen and kept.number < self.past.durable
        if not unseen and not found.lost and found.goes_on == found.found:
            self.past.check(found, kept, machine)
            self.check_room()
            if not (self.rotten or self.scarred):
                self.check_fall_back(kept)
            return
        if not self.may_lose():
            raise BrokenPromise(f"lost without a cause: {found.lost}")
        self.past.lose(kept, machine)
        if found.lost:  # what is older does not lead here any more
            self.scarred, self.sound = True, 0

    def may_lose(self):
        """Whether there is a cause for it that no daemon can do anything about."""
        if self.unfounded and not self.past.acknowledged:
            return True
        failed = self.failed_recoveries + self.failed_starts
        self.note_fall_back()
        scarred = self.scarred and self.fell_back and failed >= TRIES
        return self.rotten or scarred or max(failed - TRIES, self.failed_recoveries) >= TRIES

    def note_fall_back(self):
        """Whether a checkpoint was put aside because starts with it had failed."""
        aside = self.shell.journal.aside if self.shell else ()
        self.fell_back |= any("have failed" in what for what in aside)

    def check_fall_back(self, kept):
        """With the checkpoint before the newest one, and the log behind it, all would be there."""
        if len(self.states) < 2:
            return
        (number, lsn), unpacker = self.head_of(self.states[-2]), blocks.Unpacker()
        for _, record in self.shell.log.read(lsn):
            if unpacker.feed(record) is not None and unpacker.number > number:
                number += 1
                if unpacker.number != number:
                    raise BrokenPromise(f"entry {number} is missing behind {self.states[-2].name}")
        if number != kept.number:
            raise BrokenPromise(f"the log ends with entry {number}, the state with {kept.number}")

    def check_room(self):
        names, logs = self.disk.names(ROOT), self.disk.names(ROOT / "log")
        held = sum(self.disk.size(ROOT / "log" / name) for name in logs)
        most = self.log_limits["bytes_max"] + 2 * self.log_limits["segment_bytes"]
        if held > most + self.shell.waiting_bytes_max or len(names) > 6:
            raise BrokenPromise(f"the log has {held} bytes of {most}, and there are {names}")


def small_buffers():
    """Appending writes early, so that crashes come between writing and commit too."""
    local.PENDING_BYTES_MAX = PENDING_BYTES
    blocks.RECORD_BYTES_MAX = RECORD_BYTES
    checkpoint.TRIES = TRIES


if __name__ == "__main__":
    small_buffers()
    logging.disable()
    JournalWorld(int(sys.argv[1]), tell=print).run()
