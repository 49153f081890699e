"""The daemon with a Python thread in its process that never rests: `python -m tests.bench.spun run ...`."""

import threading

from daemon.cli import main


def spin():
    """As bad as Python code can be to a neighbour: it gives the interpreter up only when told to."""
    n = 0
    while True:
        n = (n + 1) % 1000


if __name__ == "__main__":
    threading.Thread(target=spin, daemon=True, name="spin").start()
    main()
