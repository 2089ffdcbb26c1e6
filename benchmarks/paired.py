"""What benchmarks that compare ways of training over pairs of set and seed have in common."""

import argparse
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from processes import Row, fill
from scipy import stats


def new_parser(description: str, seeds: list[int]) -> argparse.ArgumentParser:
    """The options that all of them take; `--side-data` and `--seed` are of one run."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("data", nargs="+", help="image folders")
    parser.add_argument("--weights", default="imagenet")
    parser.add_argument("--alpha", type=float, help="of MobileNetV2")
    parser.add_argument("--backbone", help="a model file that takes pixels of -1..1, instead")
    parser.add_argument("--image-size", type=int, default=128)
    parser.add_argument("--seeds", type=int, nargs="+", default=seeds)
    parser.add_argument("--json", type=Path, help="file of figures; what it holds is not run again")
    parser.add_argument("--side-data", help="on this set")
    parser.add_argument("--seed", type=int, help="with this seed")
    return parser


def backbone_of(options: argparse.Namespace) -> dict[str, Any]:
    """Arguments of `FineTuner` that say which backbone."""
    if options.backbone:
        return {"backbone": options.backbone, "preprocess": "tf"}
    alpha = {} if options.alpha is None else {"backbone_options": {"alpha": options.alpha}}
    return {"weights": options.weights, **alpha}


def run_all(script: str, options: argparse.Namespace, name: str, ways: Sequence[str]) -> list[Row]:
    """Runs every way, given to the script as `--NAME`, on every set with every seed."""
    model = Path(options.backbone or options.weights).name
    kind = {"model": model, "alpha": options.alpha, "image_size": options.image_size}
    plan = [
        (
            {"set": Path(data).name, "seed": seed, name: way, **kind},
            [script, *sys.argv[1:], f"--{name}", way, "--side-data", data, "--seed", str(seed)],
        )
        for seed in options.seeds
        for data in options.data
        for way in ways
    ]
    return fill(plan, options.json)


def difference(pairs: list[float]) -> str:
    """Mean and interval of paired differences."""
    mean = statistics.mean(pairs)
    if len(pairs) < 2:
        return f"{mean:+.3f}"
    half = stats.t.ppf(0.975, len(pairs) - 1) * statistics.stdev(pairs) / len(pairs) ** 0.5
    return f"{mean:+.3f} [{mean - half:+.3f}, {mean + half:+.3f}]"


def print_table(
    rows: list[Row], name: str, ways: Sequence[str], accuracy: str, last: tuple[str, Any]
) -> None:
    """Means per set, and differences to the first way over the pairs that both have.

    Args:
        rows: A run each.
        name: What a way is called.
        ways: In their order; the first is the control.
        accuracy: Name of the accuracy in a row.
        last: Head of the last column, and what makes its cell of the rows of a way.
    """
    found = {(row["set"], row["seed"], row[name]): row for row in rows}
    names = sorted({row["set"] for row in rows})
    head, cell = last
    print(f"| {name} | {' | '.join(names)} | accuracy - {ways[0]} | loss - {ways[0]} | {head} |")
    print(f"|---|{'---|' * len(names)}---|---|---|")
    for way in ways:
        mine = [row for row in rows if row[name] == way]
        means = [
            f"{statistics.mean(row[accuracy] for row in mine if row['set'] == one):.3f}"
            for one in names
        ]
        shown = [
            difference([row[key] - found[row["set"], row["seed"], ways[0]][key] for row in mine])
            for key in (accuracy, "loss")
        ]
        print(f"| {way} | {' | '.join([*means, *shown, cell(mine)])} |")
