"""Damaged files of every kind, read for as long as one likes: what is neither taken nor refused.

python benchmarks/fuzz.py --minutes 10 --seed 0
"""

import argparse
import os
import random
import resource
import sys
import tempfile
import time
import traceback
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from fuzzing import Target, attempt, targets


def main() -> None:
    """Go round the readers until time is up; print a line for each, and what went wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="one kind, such as model")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        found = [one for one in targets(Path(place)) if options.only in (None, one.name)]
        seconds = 60 * options.minutes / len(found)
        wrong = sum(
            _try(target, Path(place) / "damaged", options.seed, seconds) for target in found
        )
    sys.exit(1 if wrong else 0)


def _try(target: Target, folder: Path, seed: int, seconds: float) -> int:
    taken, refused, wrong, slowest = 0, 0, 0, 0.0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    end = time.monotonic() + seconds
    number = seed
    while time.monotonic() < end:
        number += 1
        started = time.monotonic()
        try:
            if attempt(target, folder, random.Random(number)):
                taken += 1
            else:
                refused += 1
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            wrong += 1
            print(f"{target.name}, seed {number}:\n{traceback.format_exc(limit=-4)}", flush=True)
        slowest = max(slowest, time.monotonic() - started)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(
        f"{target.name:14} {taken + refused + wrong:8,} files: {taken:,} taken, {refused:,} "
        f"refused, {wrong} neither; slowest {slowest:.1f} s, memory grown by {grown:.0f} MB",
        flush=True,
    )
    return wrong


if __name__ == "__main__":
    main()
