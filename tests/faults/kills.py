"""Kill searches with -9 at random moments, and count what was lost, wrong or repeated.

    python tests/faults/kills.py --kills 100
    python tests/faults/kills.py --kills 10 --workers 2     # the driver of Ray workers

The moments are spread over the life of a search that is not killed. Prints a line a study, and a
table.
"""

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from faults.victim import Victim

STRATEGIES = ("halving", "grid", "random", "bayesian", "hyperband")
# Of one study, before it is let go on to its end.
KILLS = 5


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    moments = random.Random(options.seed)
    more = {"workers": options.workers} if options.workers > 1 else {}
    kills = studies = lost = wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        whole = {}
        while kills < options.kills:
            strategy = STRATEGIES[studies % len(STRATEGIES)]
            if strategy not in whole:
                unkilled = Victim(Path(folder) / strategy, strategy, **more)
                unkilled.finish()  # computes the features that all of them share
                unkilled = Victim(Path(folder) / f"{strategy}-timed", strategy, **more)
                started = time.monotonic()
                unkilled.finish()
                whole[strategy] = unkilled.board(), time.monotonic() - started
            board, seconds = whole[strategy]
            victim = Victim(Path(folder) / f"killed-{studies}", strategy, **more)
            alive = 0
            try:
                for _ in range(KILLS):
                    alive += victim.kill_after(moments.uniform(0, seconds))
                victim.finish()
                victim.note()
            except AssertionError as error:
                lost += 1
                print(f"  {error}")
            same = victim.board() == board
            wrong += not same
            kills += alive
            studies += 1
            print(f"{strategy:<10} killed {alive} times: {'the same board' if same else 'WRONG'}")
    print(f"\n{kills} kills in {studies} studies: {lost} lost or repeated, {wrong} wrong")
    return 1 if lost or wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
