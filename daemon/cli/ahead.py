"""Compiling kernels in processes of their own.

numba's compiler has one lock per process, so two processes compile twice as fast; and what it leaves
behind in memory, 150 MB, the daemon never has.
"""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

if TYPE_CHECKING:
    import subprocess

    from pipelines.ahead.store import Store

PROCESSES_MAX: Final = 2
"""Each takes 300 MB at its peak."""
LOOK_S: Final = 0.2

Shown = Callable[[str, int, int], None]
"""Told (name, done, of) when a step begins, and at the end."""


class Maker:
    """Compiles what steps of the warm-up call into a store, unless it is there."""

    def __init__(self, store: "Store", cache: Path, configs: Sequence[Path], shown: Shown) -> None:
        """`configs`: where the steps are that can be asked for; `cache` holds the store."""
        self._store, self._shown = store, shown
        self._command = [sys.executable, "-m", __name__, str(cache), *map(str, configs)]

    def __call__(self, names: list[str], going: Callable[[int, int], bool]) -> list[str]:
        """See `daemon.app.App.prepare`."""
        todo = [name for name in names if not self._store.has(name)]
        if todo and self._writable():
            self._compile(todo, going)
        return [name for name in todo if not self._store.has(name)]

    def _writable(self) -> bool:
        try:
            self._store.folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            return False
        return os.access(self._store.folder, os.W_OK)

    def _compile(self, todo: list[str], going: Callable[[int, int], bool]) -> None:
        import selectors

        waiting, done = iter(todo), 0
        with contextlib.ExitStack() as stack, selectors.DefaultSelector() as selector:
            for _ in range(min(PROCESSES_MAX, os.cpu_count() or 1, len(todo))):
                process = stack.enter_context(_worker(self._command))
                selector.register(process.stdout or 0, selectors.EVENT_READ, process)
                self._next(process, waiting, done, len(todo))
            while selector.get_map() and going(done, len(todo)):
                for key, _ in selector.select(LOOK_S):
                    process = key.data
                    if process.stdout.readline():
                        done += 1
                        self._next(process, waiting, done, len(todo))
                    else:  # it has ended, or died: what it could not do is not noted in the store
                        selector.unregister(process.stdout)
            self._shown("", done, len(todo))

    def _next(
        self, process: "subprocess.Popen[bytes]", waiting: Iterator[str], done: int, of: int
    ) -> None:
        name, to = next(waiting, None), process.stdin
        assert to is not None
        with contextlib.suppress(BrokenPipeError):
            if name is None:
                to.close()
            else:
                self._shown(name, done, of)
                to.write(f"{name}\n".encode())
                to.flush()


@contextlib.contextmanager
def _worker(command: list[str]) -> Iterator["subprocess.Popen[bytes]"]:
    import subprocess

    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # what it cannot do, the daemon does again and says why
    )
    try:
        yield process
    finally:
        process.terminate()
        for stream in (process.stdin, process.stdout):
            with contextlib.suppress(BrokenPipeError):
                _close(stream)
        process.wait()


def _close(stream: IO[bytes] | None) -> None:
    if stream is not None:
        stream.close()


def steps_of(configs: Sequence[Path]) -> dict[str, Callable[[], object]]:
    """Steps of the warm-up of these configurations, and that of a state, which each may get."""
    from daemon import warmup
    from daemon.cli.files import read_config
    from pipelines.graph import Graph
    from pipelines.operator import OPERATORS

    found: dict[str, Callable[[], object]] = {}
    for config in configs:
        graph = Graph(read_config(config).gateway, OPERATORS)
        found = warmup.of_daemon(graph, state=True) | found
    return found


def _work(cache: Path, configs: Sequence[Path]) -> None:
    """Compile what comes on stdin, a name a line; each is repeated on stdout when it is done."""
    from pipelines.jit import ahead_of, make_ahead, use_cache

    store = ahead_of(use_cache(cache))
    steps = steps_of(configs)
    for line in sys.stdin:
        make_ahead(store, line.strip(), steps[line.strip()])
        print(line.strip(), flush=True)


if __name__ == "__main__":
    _work(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
