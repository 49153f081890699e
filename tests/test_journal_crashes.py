"""What is acknowledged is in the state, and what is told is told once, over all that goes wrong; by seeds.

`python -m tests.journal_world SEED` tells the story of a seed that fails here.
"""

import logging
import random
import struct

import pytest

from daemon.durable import blocks, checkpoint, local
from daemon.durable.checkpoint import CheckpointDamaged, Checkpoints
from daemon.durable.port import LogError
from tests.disks import SimDisk
from tests.journal_mutants import RULES
from tests.journal_shell import ROOT, Shell
from tests.journal_toy import TICK_NS
from tests.journal_world import PENDING_BYTES, RECORD_BYTES, TRIES, JournalWorld, WorldDisk
from tests.sim_broker import SimBroker

SEEDS, SEEDS_BY_NIGHT, PARTS = 2000, 100_000, 4
SEEDS_FOUND = (14513, 25236, 29731, 45414)
"""That broke a promise once, by night."""
SEEDS_FOR_MUTANTS = (*range(1000), *range(2000, 3000))


@pytest.fixture(autouse=True)
def _small_buffers(monkeypatch):
    monkeypatch.setattr(local, "PENDING_BYTES_MAX", PENDING_BYTES)
    monkeypatch.setattr(blocks, "RECORD_BYTES_MAX", RECORD_BYTES)
    monkeypatch.setattr(checkpoint, "TRIES", TRIES)
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


def live(seeds):
    crashes = entries = lost = 0
    for seed in seeds:
        try:
            world = JournalWorld(seed).run()
        except Exception as error:
            raise AssertionError(f"seed {seed}: {error!r}") from error
        crashes += world.crashes
        entries += len(world.past.entries)
        lost += world.past.lost
    return crashes, entries, lost


@pytest.mark.parametrize("part", range(PARTS))
def test_promises_hold_over_crashes(part):
    crashes, entries, lost = live(range(part, SEEDS, PARTS))
    assert crashes > SEEDS / PARTS
    assert entries > 5 * crashes
    assert lost < crashes / 20  # only what the medium itself has lost


def test_promises_hold_where_they_were_broken_once():
    live(SEEDS_FOUND)


@pytest.mark.nightly
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("part", range(PARTS))
def test_promises_hold_over_many_more_crashes(part):
    live(range(SEEDS + part, SEEDS_BY_NIGHT, PARTS))


def test_a_seed_tells_the_same_story_again():
    def story(seed):
        told = []
        JournalWorld(seed, tell=lambda *facts: told.append(tuple(map(str, facts)))).run()
        return told

    assert story(5) == story(5) != story(6)


def test_what_the_seeds_are_for_does_come():
    told = set()
    for seed in range(150):
        JournalWorld(seed, tell=lambda what, *_: told.add(what)).run()
    wanted = {"crash", "failed", "kill", "power cut", "forget", "cut", "cut out", "reload"}
    assert wanted | {"damaged", "checkpoint", "meanwhile", "stop"} <= told


def first_seed_that_notices(**classes):
    for seed in SEEDS_FOR_MUTANTS:
        try:
            JournalWorld(seed, **classes).run()
        except (AssertionError, LogError, ValueError, IndexError, KeyError, OSError, struct.error):
            return seed
    return None


@pytest.mark.parametrize(
    ("rule", "mutant"),
    [(rule, mutant) for rule, mutants in RULES.items() for mutant in mutants],
    ids=lambda x: x if isinstance(x, str) else x.__name__,
)
def test_a_rule_left_out_is_noticed(rule, mutant, monkeypatch):
    classes = {}
    if isinstance(mutant, type) and issubclass(mutant, Shell):
        classes["shell_class"] = mutant
    elif isinstance(mutant, type) and issubclass(mutant, WorldDisk):
        classes["disk_class"] = mutant
    else:
        mutant(monkeypatch)
    seed = first_seed_that_notices(**classes)
    print(f"{rule}, {mutant.__name__}: seed {seed}")
    assert seed is not None


def test_a_log_that_is_gone_is_told_until_a_checkpoint_covers_the_loss():
    """Starts that die before that must not count up to the numbers that the old one knows."""
    disk, broker = WorldDisk(Still()), SimBroker(random.Random(0))
    limits = {"bytes_max": 48_000, "segment_bytes": 3_000}

    def start():
        shell = Shell(disk, broker, limits)
        found = shell.recover()
        shell.start(0, b'{"size": 3}')
        shell.journal.release()
        return shell, found

    shell, _ = start()
    for tick in range(1, 8):
        shell.run((), tick * TICK_NS, ())
        shell.commit_and_effects()
    shell.capture()
    shell.write()
    known = shell.log.head
    disk.crash(power=False)
    for path in [p for p in disk.live if p.parent == ROOT / "log"]:
        disk.unlink(path)
    for _ in range(2 * known):
        shell, found = start()
        assert found.lost
        assert not found.goes_on
        assert shell.behind  # nothing is taken that could not be made once more
        shell.commit_and_effects()
        disk.crash(power=False)
    shell, _ = start()
    shell.commit_and_effects()
    shell.write()
    disk.crash(power=False)
    _, found = start()
    assert (found.goes_on, found.lost) == (True, "")


@pytest.mark.parametrize("loses", [1, 2])
def test_the_end_of_the_log_and_the_newest_checkpoint_are_not_lost_unseen(loses):
    """Cheap media lose what was written last, of both files; the older checkpoint looks sound."""
    disk, broker = WorldDisk(Still()), SimBroker(random.Random(0))
    limits = {"bytes_max": 48_000, "segment_bytes": 3_000}

    def start():
        shell = Shell(disk, broker, limits)
        return shell, shell.recover()

    shell, _ = start()
    shell.start(0, b'{"size": 3}')
    for tick in range(1, 41):
        shell.run((), tick * TICK_NS, ())
        shell.commit_and_effects()
        if tick in (2, 40):
            shell.capture()
            shell.write()
    disk.crash(power=False)
    logs = sorted(p for p in disk.live if p.parent == ROOT / "log" and p.suffix == ".log")
    for path in logs[-loses:]:
        disk.unlink(path)
    newest = max(p for p in disk.live if p.parent == ROOT and p.suffix == ".state")
    disk.live[newest].data[-1] ^= 1
    for _ in range(2):  # also by a start after one that died
        _, found = start()
        assert found.lost
        assert not found.goes_on
        disk.crash(power=False)


# --- every byte of a checkpoint ------------------------------------------------------------------


class Still:
    """No faults."""

    def random(self):
        return 1.0

    def choice(self, options):
        return options[0]


def test_every_flipped_or_missing_byte_of_a_checkpoint_is_noticed():
    def folder():
        disk = SimDisk(Still())
        made = Checkpoints(disk, ROOT)
        made.write({"a": [b"older"], "b": []}, 5)
        made.write({"a": [b"newer", b"!"], "b": [b"x" * 40]}, 7)
        return disk, made

    disk, made = folder()
    path = ROOT / f"{2:020}-{7:020}.state"
    data = disk.read(path)
    assert {k: bytes(v) for k, v in checkpoint.unpacked(data).items()} == {
        "a": b"newer!",
        "b": b"x" * 40,
    }
    for at in range(len(data)):
        flipped = bytearray(data)
        flipped[at] ^= 1 << at % 8
        for wrong in (bytes(flipped), data[:at]):
            with pytest.raises(CheckpointDamaged):
                checkpoint.unpacked(wrong)
    for at in range(0, len(data), 7):
        disk, made = folder()
        disk.live[path].data[at] ^= 0x10
        found = made.load()
        assert bytes(found["a"]) == b"older"
        assert made.put_aside[0].startswith(path.name)
