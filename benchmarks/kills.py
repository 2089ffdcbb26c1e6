"""Kill searches and single trainings at random moments, and count what was lost, wrong or repeated.

    python benchmarks/kills.py stages --kills 100           # of each stage, searches and fits
    python benchmarks/kills.py anytime --kills 100          # over the life of a search
    python benchmarks/kills.py anytime --kills 10 --workers 2     # the driver of Ray workers
    python benchmarks/kills.py disk --kills 20              # full disks; as root, to mount them

`stages`: each study, and each run, is killed several times at a moment within a stage (loading,
extraction, the head, epochs, a change of a file, the report), then let go on to its end, and
compared with one that nobody killed: all files, bit by bit, without what they say of time.
`anytime`: the moments are spread over the life of a search; boards are compared.
`disk`: each study, and each run, is begun on a disk (tmpfs) that has room for a part of its files,
drawn at random; then it is given room, goes on, and is compared in the same way.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from faults.stages import STAGES, Moment
from faults.victim import Victim

STRATEGIES = ("halving", "grid", "random", "bayesian", "hyperband")
# Of one study, before it is let go on to its end.
KILLS = 5

# Changes of files after the start of a process: with more it would often come to its end.
_CHANGES = 60

# Kills in one study or run, in this order: each stage is reached by what goes on after the last.
PLAN = (
    *("loading", "extraction", "writing", "extraction", "head", "writing", "head", "epochs"),
    *("writing", "epochs", "loading", "writing", "report", "writing", "report"),
)


class Tally:
    """What was killed, and what became of it."""

    def __init__(self) -> None:
        self.kills: Counter[tuple[str, str]] = Counter()
        self.ended = 0
        self.faults: list[str] = []

    def conclude(self, victim: Victim, expected: dict[str, Any]) -> str:
        """Compare a victim, which has been let go on to its end, with one that nobody killed."""
        self.ended += 1
        found = victim.ending()
        differing = [name for name in {*found, *expected} if found.get(name) != expected.get(name)]
        differing += [f"left behind: {path.name}" for path in victim.leftovers()]
        self.faults += [f"{victim.place.name}: {name}" for name in differing]
        return f"differs: {differing}" if differing else "the same, bit by bit"


def stages(folder: Path, images: Path, options: argparse.Namespace) -> int:
    """Kill within stages."""
    moments = random.Random(options.seed)
    tally = Tally()
    whole = {}
    for what in options.what:
        unkilled = Victim(folder / f"{what}-whole", images, what, **of(what))
        unkilled.finish()
        whole[what] = unkilled.ending(), unkilled.passed()
        print(f"{what}: {Counter(stage for stage, _ in whole[what][1])}", flush=True)
    number, end = 0, time.monotonic() + 60 * options.minutes
    while time.monotonic() < end and any(
        tally.kills[what, stage] < options.kills for what in options.what for stage in STAGES
    ):
        what = options.what[number % len(options.what)]
        expected, passed = whole[what]
        victim = Victim(folder / f"{what}-{number}", images, what, **of(what))
        try:
            for stage in PLAN:
                # A stage that had its share is passed over, for what comes late to be reached too.
                if tally.kills[what, stage] < options.kills:
                    tally.kills[what, stage] += victim.kill_at(moment(moments, stage, passed))
            victim.finish()
            victim.note()
            told = tally.conclude(victim, expected)
        except AssertionError as error:
            told = f"FAILED: {error}"
            tally.faults.append(f"{victim.place.name}: {error}")
        number += 1
        print(f"{victim.place.name}, {sum(tally.kills.values())} kills: {told}", flush=True)
    for what in options.what:
        print(what, {stage: tally.kills[what, stage] for stage in STAGES})
    print(f"{sum(tally.kills.values())} kills, {number} ends: {len(tally.faults)} faults")
    print("\n".join(tally.faults))
    return 1 if tally.faults else 0


def disk(folder: Path, images: Path, options: argparse.Namespace) -> int:
    """Begin on disks that are full at some point."""
    sizes = random.Random(options.seed)
    tally, stopped = Tally(), 0
    whole = {}
    for what in options.what:
        unkilled = Victim(folder / f"{what}-whole", images, what, **of(what))
        unkilled.finish()
        files = [path.stat().st_size for path in unkilled.place.rglob("*") if path.is_file()]
        whole[what] = unkilled.ending(), sum(files)
        print(f"{what}: {sum(files):,} bytes", flush=True)
    end = time.monotonic() + 60 * options.minutes
    for number in range(options.kills):
        if time.monotonic() > end:
            break
        what = options.what[number % len(options.what)]
        expected, needed = whole[what]
        victim = Victim(folder / f"{what}-{number}", images, what, **of(what))
        victim.place.mkdir()
        room = sizes.randrange(4096, needed)
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={room}", "tmpfs", victim.place], check=True
        )
        try:
            full = victim.fill_up()
            stopped += full
            subprocess.run(["mount", "-o", f"remount,size={10 * needed}", victim.place], check=True)
            victim.note()
            victim.finish()
            victim.note()
            told = f"{'stopped' if full else 'went on'}; {tally.conclude(victim, expected)}"
        except AssertionError as error:
            told = f"FAILED: {error}"
            tally.faults.append(f"{victim.place.name}: {error}")
        finally:
            subprocess.run(["umount", "--lazy", victim.place], check=True)
        print(f"{victim.place.name}, room for {room:,} bytes: {told}", flush=True)
    print(f"{tally.ended} ends, {stopped} stopped by a full disk: {len(tally.faults)} faults")
    print("\n".join(tally.faults))
    return 1 if tally.faults else 0


def moment(moments: random.Random, stage: str, passed: list[tuple[str, float]]) -> Moment:
    """Some moment of a stage, evenly drawn from those of the process that nobody killed."""
    seconds = [took for name, took in passed if name == stage]
    if stage != "writing":
        longest = sorted(seconds)[-2:]  # the others are over at once
        return Moment(stage, 0, moments.uniform(0, moments.choice(longest)))
    change = moments.randrange(min(len(seconds), _CHANGES))
    return Moment(stage, change, moments.uniform(0, seconds[0]))


def of(what: str) -> dict[str, Any]:
    """Options of a search; a single training has none."""
    return {"strategy": "halving"} if what == "search" else {}


def anytime(folder: Path, images: Path, options: argparse.Namespace) -> int:
    """Kill searches at any moment of their lives."""
    moments = random.Random(options.seed)
    more = {"workers": options.workers} if options.workers > 1 else {}
    kills = studies = lost = wrong = 0
    whole = {}
    while kills < options.kills:
        strategy = STRATEGIES[studies % len(STRATEGIES)]
        if strategy not in whole:
            unkilled = Victim(folder / strategy, images, strategy=strategy, **more)
            started = time.monotonic()
            unkilled.finish()
            whole[strategy] = unkilled.board(), time.monotonic() - started
        board, seconds = whole[strategy]
        victim = Victim(folder / f"killed-{studies}", images, strategy=strategy, **more)
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


def main() -> int:
    """Kill, and tell."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("when", choices=("stages", "anytime", "disk"))
    parser.add_argument("--kills", type=int, default=100, help="of each stage, or in all")
    parser.add_argument("--what", nargs="+", choices=("search", "fit"), default=["search", "fit"])
    parser.add_argument("--minutes", type=float, default=600, help="after which no study is begun")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    from faults.work import write_images

    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder) / "images"
        write_images(images)
        kill = {"stages": stages, "anytime": anytime, "disk": disk}
        return kill[options.when](Path(folder), images, options)


if __name__ == "__main__":
    raise SystemExit(main())
