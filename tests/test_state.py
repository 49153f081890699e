"""State: a graph that goes on from what was captured tells what one that never stopped tells."""

import numpy as np
import pytest

from daemon.offline import Offline
from pipelines.operator import load_all
from tests.operator_examples import stages
from tests.restarts import again


class Interrupted:
    """Plays trials; with `rate` the graph is put away and taken up again between some turns."""

    def __init__(self, monkeypatch):
        self.monkeypatch, self.turn = monkeypatch, Offline.turn

    def play(self, stage, rate=0.0):
        """(what was published, how many turns, how often it was interrupted)."""
        rng, met, times, turns = np.random.default_rng(5), set(), [], []
        turn = self.turn

        def interrupted(offline):
            met.add(offline)
            taken = turn(offline)
            turns.append(1)
            if rng.random() < rate:
                times.append(1)
                offline.engine._adopt(again(offline.engine.graph))
            return taken

        self.monkeypatch.setattr(Offline, "turn", interrupted)
        stage.play()
        [offline] = met
        return offline.transport.published, len(turns), len(times)


@pytest.mark.parametrize("name", sorted(load_all()))
def test_the_example_of_each_operator_is_told_alike(name, monkeypatch):
    interrupted, restarts = Interrupted(monkeypatch), 0
    for stage in stages(name):
        stage.seq = 0
        whole, turns, _ = interrupted.play(stage)
        stage.seq = 0
        # A fresh graph takes a while: the same few of them in a trial of minutes and of weeks.
        parts, _, times = interrupted.play(stage, rate=min(0.02, 12 / turns))
        assert parts == whole
        restarts += times
    assert restarts > 2
