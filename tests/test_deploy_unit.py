"""The systemd unit: what it must and must not say, and its score where the tool is there."""

import re
import shutil
import subprocess
from pathlib import Path

from daemon.clock import SECOND
from daemon.notify import BEAT_AGE_MAX_NS

UNIT = Path(__file__).parent.parent / "deploy" / "sensorweir.service"
SCORE_MAX = 2.0
WALLS = [
    "DynamicUser=yes",
    "StateDirectory=sensorweir",
    "StateDirectoryMode=0700",
    "CacheDirectory=sensorweir",
    "UMask=0077",
    "NoNewPrivileges=yes",
    "CapabilityBoundingSet=",
    "AmbientCapabilities=",
    "ProtectSystem=strict",
    "ProtectHome=yes",
    "PrivateTmp=yes",
    "PrivateDevices=yes",
    "PrivateUsers=yes",
    "PrivateIPC=yes",
    "ProtectKernelTunables=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelLogs=yes",
    "ProtectControlGroups=yes",
    "ProtectHostname=yes",
    "ProtectProc=invisible",
    "ProcSubset=pid",
    "RestrictNamespaces=yes",
    "RestrictRealtime=yes",
    "RestrictSUIDSGID=yes",
    "LockPersonality=yes",
    "SystemCallArchitectures=native",
    "IPAddressDeny=any",
    "IPAddressAllow=localhost",
    "LimitCORE=0",
    "KeyringMode=private",
]
"""Each of them lowers the score or keeps others out; the score is 1.5 with all (systemd 252)."""


def directives():
    """[(name, value)] as they stand."""
    lines = [line for line in UNIT.read_text().splitlines() if line and line[0] not in "#["]
    return [tuple(line.split("=", 1)) for line in lines]


def test_the_walls_stand():
    found = {f"{name}={value}" for name, value in directives()}
    assert not set(WALLS) - found


def test_what_would_break_the_daemon_is_not_there():
    names = {name for name, _ in directives()}
    assert "MemoryDenyWriteExecute" not in names, "numba could not be imported"
    assert "ProtectClock" not in names, "it hides whether the clock is kept right"
    calls = [value for name, value in directives() if name == "SystemCallFilter"]
    assert calls == ["@system-service", "~@privileged @resources", "adjtimex clock_adjtime"]
    families = dict(directives())["RestrictAddressFamilies"].split()
    assert set(families) == {"AF_INET", "AF_INET6", "AF_UNIX"}


def test_it_is_supervised():
    said = dict(directives())
    assert said["Type"] == "notify"
    assert said["Restart"] == "always"
    assert said["RestartPreventExitStatus"] == "78"
    assert int(said["WatchdogSec"]) * SECOND > BEAT_AGE_MAX_NS
    assert said["ExecStart"].endswith("/sensorweir run /etc/sensorweir/gateway.yaml")
    assert said["LoadCredential"].startswith("sensorweir:")


def test_systemd_agrees():
    """Where there is no systemd, the text above is the test: it holds all that makes the score."""
    tool = shutil.which("systemd-analyze")
    if tool is None:
        test_the_walls_stand()
        return
    said = subprocess.run(
        [tool, "security", "--offline=yes", "--no-pager", str(UNIT)],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
    )
    score = re.search(r"exposure level for \S+: ([\d.]+)", said.stdout)
    if score is None and "unrecognized option" in said.stderr:
        test_the_walls_stand()  # older than 250: it cannot look at files
        return
    assert score, said.stderr
    assert float(score[1]) <= SCORE_MAX
    seen = subprocess.run([tool, "verify", str(UNIT)], capture_output=True, text=True, check=False)
    faults = [line for line in seen.stderr.splitlines() if "is not executable" not in line]
    assert not [line for line in faults if "sensorweir.service" in line]
