"""`python -m tests.kills --kills 20 --durability committed`: one line with all figures."""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.kills.harness import run


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--durability", choices=("committed", "none"), default="committed")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=int, default=200, help="messages per second")
    parser.add_argument("--fresh", type=float, default=0.03, help="share of starts not forked")
    parser.add_argument("--folder", type=Path, help="where logs and state are left; must exist")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sensorweir-kills-") as made:
        outcome = run(
            given.folder or Path(made),
            seed=given.seed,
            kills=given.kills,
            durability=given.durability,
            rate=given.rate,
            fresh_share=given.fresh,
        )
    for line in outcome.report.examples():
        print(line[:500])
    for line in outcome.complaints[:5]:
        print(f"log: {line[:500]}")
    for kind, seconds in (("fresh", outcome.starts[True]), ("forked", outcome.starts[False])):
        if seconds:
            ordered = sorted(seconds)
            print(
                f"from start to subscribed, {kind}: {ordered[len(ordered) // 2]:.2f} s in the "
                f"middle, {ordered[-1]:.2f} s at most, of {len(ordered)}"
            )
    print(f"{given.durability}: {outcome}")
    sys.exit(0 if outcome.report.clean else 1)


if __name__ == "__main__":
    main()
