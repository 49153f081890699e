"""Past: what a daemon has taken over all of its lives, and what must follow from it.

It remembers every entry that was made, and gives those that survived to a twin of the machine: what
the daemon knows, has acknowledged and has published must be what the twin makes of them.
"""

import copy
from collections import Counter

from daemon.durable.blocks import Begins, Reload, Start, Turn
from tests.journal_toy import Toy
from tests.sim_broker import BrokenPromise


class Past:
    """The daemon's, as an outsider knows it who sees everything."""

    def __init__(self, broker):
        self.broker = broker
        self.entries = []  # (number, block)
        self.durable = 0  # the last one that was durable for certain
        self.arrived = {}  # arrival -> publication
        self.expected = {}  # id -> output
        self.lost = 0  # how often a part was given up
        self._twin, self._twin_at = Toy(), 0
        self._left_over = []  # outputs that waited when something was lost
        self._forgiven = set()  # numbers of publications that may have been lost
        self._disposed = set()  # ids of outputs that may have been

    # --- after a start ---------------------------------------------------------------------------

    def check(self, found, journal, machine):
        """Nothing was lost: all of the past, as far as it was durable, is there again."""
        number = journal.number
        if found.differing:
            raise BrokenPromise(f"{found.differing} outputs came out otherwise")
        if number < self.durable:
            raise BrokenPromise(f"entry {number} is the last, {self.durable} was durable")
        self.entries = [entry for entry in self.entries if entry[0] <= number]
        self.durable = number
        for at, block in self.entries:
            if at > self._twin_at:
                self._twin_at = at
                self._follow(block)
        if number and self._twin.everything() != machine.everything():
            raise BrokenPromise(
                f"the state is {machine.everything()}, expected {self._twin.everything()}"
            )
        if found.outputs != (waiting := self.waiting()):
            raise BrokenPromise(f"waiting are {tokens(found.outputs)}, expected {tokens(waiting)}")
        self._check_taken()
        self._check_published()

    def lose(self, journal, machine):
        """From here on all must hold again."""
        self.lost += 1
        outputs = [p.outgoing for _, b in self.entries if isinstance(b, Turn) for p in b.outputs]
        self._forgiven |= {p.number for p in self.broker.published}
        self._disposed |= set(self.expected)
        self._disposed |= {id_of(out) for out in [*outputs, *self.broker.received]}
        self._left_over = journal.unsettled
        self.entries, self.expected = [], {}
        self.durable = self._twin_at = journal.number
        self._twin = copy.deepcopy(machine)

    @property
    def acknowledged(self):
        """What has been acknowledged since something was lost."""
        return self.broker.acknowledged - self._forgiven

    def waiting(self):
        """Outputs that are not settled."""
        left = {p.token: p for p in self._left_over}
        for _, block in self.entries:
            if isinstance(block, Turn):
                left |= {p.token: p for p in block.outputs}
                for token in block.settled:
                    left.pop(token, None)
        return list(left.values())

    def _follow(self, block):
        match block:
            case Start(Begins.FRESH | Begins.RESUMED, _, ticked_ns, _, config):
                if not self._twin.config:
                    self._twin.begin(config, ticked_ns, None)
                self._twin.resume(ticked_ns)
            case Start(Begins.GOES_ON):
                self._twin.resume(block.ticked_ns)
            case Reload(config):
                self._twin.adopt(config)
            case Turn():
                made = self._twin.turn(block)
                if made != [p.outgoing for p in block.outputs]:
                    raise BrokenPromise(f"published {block.outputs}, expected {made}")
                for out in made:
                    if self.expected.setdefault(id_of(out), out) is not out:
                        raise BrokenPromise(f"made twice: {id_of(out)}")

    # --- what must hold --------------------------------------------------------------------------

    def _taken(self):
        turns = [block for _, block in self.entries if isinstance(block, Turn)]
        return Counter(self.arrived[m.arrival_ns].number for turn in turns for m in turn.messages)

    def _check_taken(self):
        """All that was acknowledged is in the state, and nothing twice that can be told apart."""
        taken = self._taken()
        if missing := self.acknowledged - set(taken):
            raise BrokenPromise(f"acknowledged and not in the state: {sorted(missing)}")
        published = self.broker.published
        twice = [n for n, times in taken.items() if times > 1 and published[n].topic[0] == "s"]
        if not self._forgiven.issuperset(twice):
            raise BrokenPromise(f"in the state twice: {twice}")

    def _check_published(self):
        for out in self.broker.received:
            expected = self.expected.get(id_of(out))
            if expected != out and id_of(out) not in self._disposed:
                raise BrokenPromise(f"published {out}, expected {expected}")

    def check_end(self, journal):
        """Nothing is under way any more."""
        broker = self.broker
        due = {p.number for p in broker.published if p.qos} - broker.lost - self._forgiven
        if missing := due - set(self._taken()):
            raise BrokenPromise(f"never taken: {sorted(missing)}")
        got = {id_of(out) for out in broker.received} | {id_of(out) for out in broker.refused}
        if missing := set(self.expected) - got:
            raise BrokenPromise(f"never published: {sorted(missing)}")
        if journal.unsettled or self.waiting():
            raise BrokenPromise("outputs are kept for ever")
        newest = {o.topic: o.payload for o in self.expected.values() if o.retain}
        if not broker.refused and not self._disposed and broker.retained != newest:
            raise BrokenPromise(f"retained are {broker.retained}, expected {newest}")


def id_of(out):
    """The first three words of what a `Toy` tells."""
    return b" ".join(out.payload.split(b" ", 3)[:3])


def tokens(parcels):
    return [parcel.token for parcel in parcels]
