"""The whole suite as three processes side by side: what waits for brokers, and two that compute.

    python -m tests.together [arguments for all]

What the others say is shown when the last has ended.  The status is that of the worst.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

SLOW = "not soak and not nightly"
TESTS = Path(__file__).parent
KERNELS = [
    "operators",
    *("test_operator_contract.py", "test_operator_examples.py", "test_docs.py", "test_runner.py"),
    *("test_amend.py", "test_amend_bounds.py", "test_amend_confluence.py", "test_amend_told.py"),
    *("test_align.py", "test_permutations.py", "test_state.py"),
]
"""What compiles and runs operators: these share kernels, the others hardly need them."""


def pytest(marks, arguments, out=None):
    command = [sys.executable, "-m", "pytest", "-q", "-m", f"{marks} and {SLOW}", *arguments]
    return subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT if out else None)


def main():
    began = time.monotonic()
    kernels = [str(TESTS / name) for name in KERNELS]
    rest = [f"--ignore={path}" for path in kernels]
    with tempfile.TemporaryFile("w+") as first, tempfile.TemporaryFile("w+") as second:
        others = [
            pytest("broker", sys.argv[1:], first),
            pytest("not broker", [*kernels, *sys.argv[1:]], second),
        ]
        try:
            statuses = [pytest("not broker", [*rest, *sys.argv[1:]]).wait()]
            statuses += [other.wait() for other in others]
        finally:
            for other in others:
                other.kill()
        for name, told in (("with a broker", first), ("operators", second)):
            told.seek(0)
            sys.stdout.write(f"\n--- {name} ---\n{told.read()}")
    print(f"all took {time.monotonic() - began:.0f} s", flush=True)
    sys.exit(max(map(abs, statuses)))


if __name__ == "__main__":
    main()
