"""What the durable log costs: appends with a commit every 50 ms, the commit itself, opening.

    python -m tests.bench.durable [FOLDER] [--seconds 3]

FOLDER decides which disk is measured; default is a temporary one.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from daemon.durable.local import LocalLog

COMMIT_S = 0.05
BYTES_MAX, SEGMENT_BYTES = 256 << 20, 16 << 20
RECORD_BYTES = (300, 3_000, 30_000, 150_000)


def opened(folder):
    return LocalLog(folder, bytes_max=BYTES_MAX, segment_bytes=SEGMENT_BYTES)


def fill(log, body, seconds):
    """(records per second, share of the time in append, seconds of each commit), at full speed."""
    commits, records, inside = [], 0, 0.0
    begin = last = time.perf_counter()
    while (now := time.perf_counter()) - begin < seconds:
        for _ in range(16):
            log.append(body)
        inside += time.perf_counter() - now
        records += 16
        if now - last >= COMMIT_S:
            start = time.perf_counter()
            log.commit(log.durable)
            last = time.perf_counter()
            commits.append(last - start)
    log.commit(log.durable)
    took = time.perf_counter() - begin
    return records / took, inside / took, np.array(commits)


def paced(log, body, commits):
    """Seconds of each commit of one record."""
    taken = []
    for _ in range(commits):
        log.append(body)
        start = time.perf_counter()
        log.commit(log.durable)
        taken.append(time.perf_counter() - start)
    return np.array(taken)


def milliseconds(taken):
    p50, p99 = np.percentile(taken * 1e3, (50, 99))
    return f"commit p50 {p50:6.2f} ms, p99 {p99:6.2f} ms"


def measure(folder, size, seconds):
    body = np.random.default_rng(0).bytes(size)
    log = opened(folder)
    alone = paced(log, body, 200)
    rate, inside, commits = fill(log, body, seconds)
    kept = log.head - log.first + 1
    log.close()
    begin = time.perf_counter()
    log = opened(folder)
    opening = time.perf_counter() - begin
    begin = time.perf_counter()
    read = sum(len(record) for _, record in log.read())
    reading = time.perf_counter() - begin
    log.close()
    assert read == kept * size
    print(f"{size:7} bytes   one record:      {milliseconds(alone)}")
    print(
        f"{'':15} every 50 ms:     {milliseconds(commits)}, {rate:9,.0f} records/s, "
        f"{rate * size / 1e6:6.1f} MB/s, {inside:4.0%} of the time in append"
    )
    print(
        f"{'':15} {read / 1e6:5.0f} MB kept:   opened in {opening:5.2f} s, "
        f"read at {read / reading / 1e6:6.0f} MB/s"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--seconds", type=float, default=3.0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        for size in RECORD_BYTES:
            measure(Path(folder) / str(size), size, args.seconds)


if __name__ == "__main__":
    main()
