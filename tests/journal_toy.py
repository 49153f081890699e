"""Toy: a machine in a few lines, with what makes engines hard to bring back.

Windows that close by processing time, counters, a pipeline behind another, states with revisions,
and outputs that wait for the next turn.
"""

import json

from daemon.messages import Outgoing

TICK_NS = 100


class Toy:
    """A machine; `size` of its configuration is the length of its windows in ticks."""

    def __init__(self):
        self.config, self.ticked_ns, self.made = b"", 0, []
        self.series, self.counts, self.chain = {}, {"messages": 0, "ticks": 0}, [0, 0]

    # --- as the journal sees it ------------------------------------------------------------------

    def begin(self, config, ticked_ns, sections):
        self.__init__()
        self.config, self.ticked_ns = config, ticked_ns
        json.loads(config)["size"]
        if sections is not None:
            self.series = json.loads(bytes(sections["series"]))
            self.counts, self.chain = json.loads(bytes(sections["counts"]))
        return True

    def resume(self, ticked_ns):
        self.ticked_ns = ticked_ns

    def turn(self, turn):
        for message in turn.messages:
            self._advance(message.arrival_ns)
            self._take(message.topic, message.payload)
        self._advance(turn.until_ns)
        made, self.made = self.made, []
        return made

    def adopt(self, config):
        for topic in sorted(self.series):
            self._close(topic)
        self.config = config

    def identified(self, topic):
        return topic.startswith("s")

    # --- as the checkpointer sees it -------------------------------------------------------------

    def sections(self):
        assert not self.made, "outputs that are in no state"
        return {
            "series": [json.dumps(self.series).encode()],
            "counts": [b"[", json.dumps(self.counts).encode(), b",", b"%a]" % self.chain],
        }

    def everything(self):
        """All that a twin must have in the same way."""
        return self.config, self.ticked_ns, self.series, self.counts, self.chain, self.made

    # --- inside ----------------------------------------------------------------------------------

    def _advance(self, now_ns):
        tick_ns = now_ns // TICK_NS * TICK_NS
        if tick_ns <= self.ticked_ns:
            return
        self.ticked_ns = tick_ns
        self.counts["ticks"] += 1
        size_ns = json.loads(self.config)["size"] * TICK_NS
        for topic in sorted(self.series):
            if self.series[topic][0] and tick_ns - self.series[topic][3] >= size_ns:
                self._close(topic)

    def _take(self, topic, payload):
        self.counts["messages"] += 1
        row = self.series.setdefault(topic, [0, 0, 0, 0])
        if not row[0]:
            row[3] = self.ticked_ns
        row[0] += 1
        row[1] += int(payload.rpartition(b":")[2])
        if self.counts["messages"] % 3 == 0:
            self._tell("state", topic, self.counts["messages"], row[1])

    def _close(self, topic):
        row = self.series[topic]
        if row[0]:
            row[2] += 1
            self._tell("window", topic, row[2], row[0], row[1])
            self.chain = [self.chain[0] + 1, self.chain[1] + row[1]]
            row[:2] = 0, 0
            if self.chain[0] % 2 == 0:
                self._tell("alert", "chain", *self.chain)

    def _tell(self, kind, what, number, *values):
        """The first three words are the id of an output."""
        payload = f"{kind} {what} {number} {values}".encode()
        self.made.append(Outgoing(f"{kind}/{what}", payload, 1, kind == "state", kind))
