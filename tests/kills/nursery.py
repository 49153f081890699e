"""Starts daemons without the seconds that Python and numba take to come up: a process that has
imported everything and loaded every kernel, and forks.

What is forked runs `sensorweir run` from its first line, reads its configuration and its state
from disk, and is killed like any other; only the imports are done already.  One command a line on
stdin: `start` answers with the pid, `reap PID` waits for its end and answers with the status.
"""

import gc
import os
import sys
from pathlib import Path

import daemon.app
import daemon.cli
from daemon import warmup
from daemon.cli.files import read_config
from pipelines.graph import Graph
from pipelines.jit import use_cache
from pipelines.operator import load_all


def main(config, cache, log):
    use_cache(Path(cache))
    for _, compile_it in warmup.steps(Graph(read_config(Path(config)).gateway, load_all())):
        compile_it()
    gc.freeze()  # else each child looks through all of numba's objects before it is ready
    say("ready")
    for line in sys.stdin:
        word, *rest = line.split()
        if word == "reap":
            say(os.waitstatus_to_exitcode(os.waitpid(int(rest[0]), 0)[1]))
            continue
        pid = os.fork()
        if pid == 0:
            become(["run", config, "--kernel-cache", cache], log)
        say(pid)


def say(text):
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def become(arguments, log):
    """Be `sensorweir` with these arguments, and never come back."""
    out = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    for stream in (1, 2):
        os.dup2(out, stream)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.argv = ["sensorweir", *arguments]
    status = 1
    try:
        daemon.cli.main()
    except SystemExit as done:
        status = done.code if isinstance(done.code, int) else 0
    finally:
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    main(*sys.argv[1:])
