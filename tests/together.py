"""The whole suite as two processes side by side: those that wait for brokers, and those that compute.

    python -m tests.together [arguments for both]

What the first says is shown when the second has ended.  The status is that of the worse.
"""

import subprocess
import sys
import tempfile
import time

SLOW = "not soak and not nightly"


def pytest(marks, arguments, out=None):
    command = [sys.executable, "-m", "pytest", "-q", "-m", f"{marks} and {SLOW}", *arguments]
    return subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT if out else None)


def main():
    began = time.monotonic()
    with tempfile.TemporaryFile("w+") as told:
        waiting = pytest("broker", sys.argv[1:], told)
        try:
            statuses = [pytest("not broker", sys.argv[1:]).wait(), waiting.wait()]
        finally:
            waiting.kill()
        told.seek(0)
        sys.stdout.write(f"\n--- with a broker ---\n{told.read()}")
    print(f"both took {time.monotonic() - began:.0f} s", flush=True)
    sys.exit(max(map(abs, statuses)))


if __name__ == "__main__":
    main()
