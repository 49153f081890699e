"""The machine and the installation: packages, compiled kernels, clock, limits of the process."""

import os
import platform
import resource
from pathlib import Path
from typing import Final

from daemon.clock import EARLIEST_NS, SECOND, Clock, kernel_clock
from daemon.doctor.finding import Finding, fail, ok, warn
from pipelines.events import rfc3339

FILES_NEEDED: Final = 64
"""Two connections, sixteen requests, segments of the log, what Python holds open."""
FILES_COMFORT: Final = 256


def check_install(stranger: str | None, home: Path) -> Finding:
    """`stranger`: which of our packages is somebody else's; `home`: where ours are."""
    name = "install.packages"
    if stranger is not None:
        return fail(
            name,
            f"the package {stranger} is not ours",
            "config, daemon, pipelines and device_sim are common names: somebody else's code would run",
            "install sensorweir in an environment of its own: pipx, uv tool, a fresh virtual environment",
        )
    seen = f"all four in {home}, Python {platform.python_version()} on {platform.machine()}"
    return ok(name, seen, "what runs is what was installed")


def check_kernels(folder: Path | None) -> Finding:
    """`folder`: where compiled kernels of this version and machine lie; None: nowhere."""
    name = "kernels.cache"
    cold = "each start compiles for half a minute or more, and takes no sample meanwhile"
    if folder is None:
        way_out = "set CACHE_DIRECTORY, or --kernel-cache, to a folder that the daemon may write"
        return warn(name, "there is no folder for compiled kernels", cold, way_out)
    kernels = sum(1 for _ in folder.glob("*.kernel"))
    found = next((p for p in (folder, *folder.parents) if p.exists()), Path("/"))
    if not kernels and not os.access(found, os.W_OK):
        way_out = f"give {found} to the user that the daemon runs as; doctor runs as {os.getuid()}"
        return warn(name, f"{found} cannot be written", cold, way_out)
    if not kernels:
        return warn(
            name,
            f"{folder} is empty",
            "the first start compiles for half a minute or more; later ones take half a second",
            "sensorweir warmup with the configuration; after an update this is as it should be",
        )
    what = "a start loads them in some milliseconds, without numba"
    return ok(name, f"{kernels} kernels compiled ahead of time, in {folder}", what)


def check_clock(clock: Clock) -> Finding:
    """The wall clock, and whether something keeps it right."""
    name, now_ns = "machine.clock", clock.now_ns()
    seen = rfc3339(now_ns // SECOND * SECOND)
    if now_ns < EARLIEST_NS:
        return fail(
            name,
            f"{seen}, before this program was written",
            "honest samples seem to come from the future and are set aside",
            "set the clock and have it kept right: timedatectl set-ntp true, or chrony",
        )
    kept = kernel_clock()()
    if kept is None:
        return warn(
            name,
            f"{seen}, and the kernel does not say whether it is kept right",
            "a wrong start of the clock would stay until a restart",
            "allow the system call adjtimex: deploy/sensorweir.service does, ProtectClock= does not",
        )
    if not kept:
        return warn(
            name,
            f"{seen}, and nothing keeps it right",
            "it drifts by seconds a day; samples stamped by devices then seem late or from the future",
            "timedatectl set-ntp true, or chrony; a container has the clock of its host",
        )
    return ok(name, f"{seen}, kept right", "event time and arrival can be compared")


def check_files() -> Finding:
    """How many files and connections this process may have open."""
    name = "machine.files"
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    seen = f"{'unlimited' if soft == resource.RLIM_INFINITY else soft} open files"
    way_out = "raise it: LimitNOFILE=4096 in the unit, ulimit -n in a shell"
    if soft != resource.RLIM_INFINITY and soft < FILES_NEEDED:
        return fail(name, seen, "connections or the log cannot be opened", way_out)
    if soft != resource.RLIM_INFINITY and soft < FILES_COMFORT:
        return warn(name, seen, "scrapes of metrics may be refused under load", way_out)
    most = "unlimited" if hard == resource.RLIM_INFINITY else hard
    return ok(name, f"{seen}, at most {most}", "enough: some sixty are used")
