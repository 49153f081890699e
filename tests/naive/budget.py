"""What a budget of false alarms makes of scores, for the twins of detectors."""

import math

import numpy as np

from pipelines.runlength import LENGTHS


class Limit:
    """The limit of one series: None of it when the user gave a raw one."""

    def __init__(self, params):
        self.budget = params.false_alarms
        self.raw = getattr(params, params.RAW_LIMIT)
        self.theory = params.theory() if self.budget else None
        self.gaps, self.gap, self.last = 0, 0.0, None
        self.scores = self.paused = 0
        self.episode, self.peaks, self.floor = [], [], 0.0
        self.now = self.raw

    @property
    def length(self):
        return min(max(self.budget / (self.gap or 1e9), 10), 1e11)

    @property
    def settled(self):
        return self.scores >= self.length

    def at(self, t_ns):
        """The limit for a known sample at this time."""
        if not self.budget:
            return self.raw
        if self.last is not None:
            gap = float(t_ns) - self.last
            if self.gap:
                self.gap += (min(gap, 8 * self.gap) - self.gap) / min(self.gaps, 1000)
            else:
                self.gap = gap
        self.last, self.gaps = float(t_ns), self.gaps + 1
        if self.scores < 64 or self.scores % 64 == 0:
            self.forget()
            self.renew()
        return self.now

    def renew(self):
        usual = float(np.interp(math.log(self.length), np.log(LENGTHS), self.theory))
        self.now = usual
        if len(self.peaks) >= 8:
            y = [*(math.sqrt(p) for p in sorted(self.peaks, reverse=True)), self.floor]
            spacings = [i * (y[i - 1] - y[i]) for i in range(3, len(y))]
            expected = len(self.peaks) / self.scores * self.length
            n = len(spacings)
            root = self.floor + sum(spacings) * (expected ** (1 / n) - 1)
            own = max(root, 0) ** 2
            self.now = max(own, usual / 2 if self.settled else usual)

    def note(self, score):
        """The score in limits."""
        if not self.budget or math.isnan(score):
            return score
        limit = self.now
        if self.paused:
            self.paused -= 1
            return score / limit
        self.scores += 1
        if abs(score) > min(limit / 2, self.floor**2 or math.inf):
            self.episode.append(abs(score))
        elif self.episode:
            self.finish(max(self.episode), limit)
        return score / limit

    def finish(self, peak, limit):
        self.floor = self.floor or math.sqrt(limit / 2)
        self.episode = []
        if math.sqrt(peak) > self.floor:
            self.peaks = sorted([*self.peaks, peak], reverse=True)
            if len(self.peaks) > 32:
                self.floor = math.sqrt(self.peaks.pop())
        if peak > limit and self.settled:
            self.paused = int(self.length / 16)
        self.renew()

    def forget(self):
        if self.scores >= max(4 * self.length, 8192):
            self.peaks, self.scores = self.peaks[1::2], self.scores // 2
            if len(self.peaks) < 8:
                self.peaks, self.scores, self.floor = [], 0, 0.0

    def fields(self, limit=math.nan):
        """The field that follows those of the detector."""
        return (limit,) if self.budget else ()
