"""What augmentation strength and the number of kept views do to accuracy and time.

    python benchmarks/views.py shoes_brands/ shoes_types/ --json views.jsonl \\
        --weights mobilenet_v2_1.0_224_no_top.h5

Every row is one `fine_tune` at its defaults in a process of its own, with an empty feature cache;
seeds go round (all settings with the first seed, then all with the next), and what augments anew
in each epoch (`reuse=False`) comes last, since it takes longest. Rows that the --json file holds
already are not run again, so a killed benchmark goes on where it was. A folder without `test/` has
--test of its images held back. The seed decides what is held back too: settings are compared on
the same images seed by seed.
"""

import argparse
import itertools
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

from processes import fill

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# What makes two rows the same row.
KEY = ("data", "image_size", "strength", "views", "reuse", "seed")


def run(row: dict, folder: str, weights: str, test: float) -> None:
    """One training in this process; prints one JSON object."""
    from finetune import fine_tune

    wall, cpu = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as scratch:
        result = fine_tune(
            folder,
            weights=weights,
            image_size=row["image_size"],
            augment=row["strength"],
            views=row["views"],
            reuse="auto" if row["reuse"] else False,
            seed=row["seed"],
            test=None if (Path(folder) / "test").is_dir() else test,
            cache_dir=os.path.join(scratch, "features"),
            out=os.path.join(scratch, "run"),
            verbose=0,
        )
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    figures = {
        "validation": result.validation.accuracy,
        "test": result.test.accuracy if result.test else None,
        "validation_n": sum(result.data.counts["validation"].values()),
        "test_n": sum(result.data.counts.get("test", {}).values()),
        "best_epoch": result.record.best_epoch["epoch"],
        "seconds": round(wall, 1),
        "cpu_seconds": round(cpu, 1),
    }
    print(json.dumps(row | figures))


def plan(options: argparse.Namespace) -> list[tuple[str, dict]]:
    """Every row to fill, in the order in which to fill them."""
    settings = [
        (strength, views)
        for strength in options.strengths
        for views in ([1] if strength == "none" else options.views)
    ]
    kept = itertools.product(options.seeds, options.data, settings)
    anew = itertools.product(options.anew, options.data, options.strengths)
    rows = [(folder, strength, views, True, seed) for seed, folder, (strength, views) in kept]
    rows += [(folder, strength, 1, False, seed) for seed, folder, strength in anew]
    return [
        (folder, dict(zip(KEY, (Path(folder).name, options.image_size, *rest), strict=True)))
        for folder, *rest in rows
    ]


def mean_interval(values: list[float]) -> str:
    """Mean and Student's t interval (95%) of a few seeds; the mean alone of one."""
    from scipy import stats

    mean = statistics.mean(values)
    if len(values) < 2:
        return f"{mean:.3f}"
    half = stats.t.ppf(0.975, len(values) - 1) * statistics.stdev(values) / len(values) ** 0.5
    return f"{mean:.3f} [{max(0, mean - half):.3f}, {min(1, mean + half):.3f}]"


def print_table(rows: list[dict]) -> None:
    """One line for each setting: means over its seeds."""
    print("| data | augmentation | views | validation | test | CPU seconds | seconds | seeds |")
    print("|---|---|---|---|---|---|---|---|")
    groups: dict[tuple, list[dict]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in KEY[:-1]), []).append(row)
    strengths = ("none", "light", "strong")
    order = sorted(
        groups, key=lambda key: (key[0], key[1], not key[4], strengths.index(key[2]), key[3])
    )
    for key in order:
        data, _, strength, views, reuse = key
        mine = groups[key]
        tested = [row["test"] for row in mine if row["test"] is not None]
        cells = [
            data,
            strength,
            str(views) if reuse else "anew in each epoch",
            mean_interval([row["validation"] for row in mine]),
            mean_interval(tested) if tested else "",
            f"{statistics.median(row['cpu_seconds'] for row in mine):.0f}",
            f"{statistics.median(row['seconds'] for row in mine):.0f}",
            str(len(mine)),
        ]
        print(f"| {' | '.join(cells)} |")


def main() -> None:
    """Fill the rows that are missing, one after the other, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="+", help="image folders")
    parser.add_argument("--weights", default="imagenet")
    parser.add_argument("--image-size", type=int, default=160)
    parser.add_argument("--strengths", nargs="+", default=["none", "light", "strong"])
    parser.add_argument("--views", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument(
        "--anew", type=int, nargs="*", default=[0], help="seeds to augment anew in each epoch, too"
    )
    parser.add_argument("--test", type=float, default=0.15, help="share, where there is no test/")
    parser.add_argument("--json", type=Path, help="file of rows, one JSON object a line")
    parser.add_argument("--table", action="store_true", help="only print what --json holds")
    parser.add_argument("--row", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.row:
        folder, row = json.loads(options.row)
        return run(row, folder, options.weights, options.test)
    arguments = ["--weights", options.weights, "--test", str(options.test)]
    planned = [
        (row, [__file__, folder, *arguments, "--row", json.dumps([folder, row])])
        for folder, row in plan(options)
    ]
    if options.table:
        lines = options.json.read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
    else:
        rows = fill(planned, options.json)
    print_table(rows)


if __name__ == "__main__":
    main()
