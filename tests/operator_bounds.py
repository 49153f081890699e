"""Child process of the contract suite: every case with bounds checks on.

    NUMBA_BOUNDSCHECK=1 NUMBA_CACHE_DIR=<empty> python -m tests.operator_bounds <out.npz>

An index out of bounds ends the process with an IndexError; otherwise the outputs are written.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from tests.operator_runs import cases, run

SEED = 11
WAIT_S = 400
"""It compiles every kernel afresh: about a minute, beside the other tests."""


class Child:
    """The process, which runs beside other tests until somebody asks for its outputs."""

    def __init__(self, folder):
        self.folder, self.found = folder, {}
        # A cache that also holds kernels without checks would silently be used instead.
        more = {"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(folder / "cache")}
        self.log = (folder / "log").open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.operator_bounds", folder / "out.npz"],
            cwd=Path(__file__).parent.parent,
            env=os.environ | more,
            stdout=self.log,
            stderr=self.log,
        )

    def outputs(self):
        """{case/column: array}, once it is done."""
        if not self.found:
            status = self.process.wait(WAIT_S)
            assert status == 0, (self.folder / "log").read_text()
            self.found = dict(np.load(self.folder / "out.npz"))
        return self.found

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.log.close()


def main(path):
    import numba  # noqa: PLC0415 - the tests' own process must first say where kernels are kept

    assert numba.config.BOUNDSCHECK, "the variable must be set before numba loads"
    found = {}
    for param in cases():
        [case] = param.values
        out = run(case, case.traffic(SEED), cuts=(100, 101, 640))
        for name in out._fields:
            found[f"{param.id}/{name}"] = getattr(out, name)
    np.savez(path, **found)


if __name__ == "__main__":
    main(sys.argv[1])
