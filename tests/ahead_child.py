"""Child process: cases of the contract suite with kernels compiled ahead of time, without numba.

python -m tests.ahead_child <cache> <out.npz> <case>...
"""

import builtins
import sys
from pathlib import Path

import numpy as np

from pipelines.jit import BY_NUMBA, use_ahead, use_cache
from tests.operator_runs import cases, run

SEED = 23
CUTS = (100, 101, 640)


def chosen(names):
    """{id: case} of these."""
    return {param.id: param.values[0] for param in cases() if param.id in names}


def columns(ident, case):
    """{case/column: array} of what comes out."""
    out = run(case, case.traffic(SEED), cuts=CUTS)
    return {f"{ident}/{name}": getattr(out, name) for name in out._fields}


def forbidding(before):
    """`__import__` that knows no numba; looking for its files is allowed."""

    def importing(name, *args, **kwargs):
        assert name.split(".")[0] not in {"numba", "llvmlite"}, f"something imports {name}"
        return before(name, *args, **kwargs)

    return importing


def main(cache, path, *names):
    builtins.__import__ = forbidding(builtins.__import__)
    store = use_ahead(use_cache(Path(cache)))
    found = {}
    for ident, case in chosen(names).items():
        found |= columns(ident, case)
    assert not store.refused, store.refused
    assert not BY_NUMBA
    assert not {"numba", "llvmlite"} & set(sys.modules)
    np.savez(path, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
