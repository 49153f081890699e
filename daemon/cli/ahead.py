"""Compiling kernels in a second process: numba's compiler has one lock per process."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def start(config: Path, names: Sequence[str]) -> "subprocess.Popen[bytes] | None":
    """Compile these kernels into the cache of this process; None where nothing would be won."""
    cache = os.environ.get("NUMBA_CACHE_DIR")
    if cache is None or Path(cache).exists() or len(names) == 0 or (os.cpu_count() or 1) < 2:
        return None
    return subprocess.Popen(
        [sys.executable, "-m", "daemon.cli.ahead", str(config), *names],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,  # what it cannot do, we do again and say why
    )


def end(helper: "subprocess.Popen[bytes]") -> None:
    """See to it that the second process is gone."""
    if helper.poll() is None:
        helper.terminate()
    helper.wait()


def _compile(config: Path, names: Sequence[str]) -> None:
    from daemon import warmup
    from daemon.cli.common import read_config
    from pipelines.graph import Graph
    from pipelines.operator import load_all

    for name, compile_it in warmup.steps(Graph(read_config(config).gateway, load_all())):
        if name in names:
            compile_it()


if __name__ == "__main__":
    _compile(Path(sys.argv[1]), sys.argv[2:])
