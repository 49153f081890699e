"""Child process of the contract suite: every case with bounds checks on.

    NUMBA_BOUNDSCHECK=1 NUMBA_CACHE_DIR=<empty> python -m tests.operator_bounds <out.npz>

An index out of bounds ends the process with an IndexError; otherwise the outputs are written.
"""

import sys

import numba
import numpy as np

from tests.operator_runs import cases, run

SEED = 11


def main(path):
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
