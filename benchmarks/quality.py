"""How good the model is that is handed over: test accuracy of several ways, in pairs.

    python benchmarks/quality.py shoes_brands/ flowers12/ shoes_types/ --weights FILE --alpha 0.35

Arms:
    before  one call of `fine_tune` as it was: the head trained, the best accuracy chosen
    solved  the head solved, the best accuracy chosen
    call    one call with its defaults: the head solved, the lowest loss chosen
    refit   the same, trained again on training and validation images (`refit=True`)

A set without test images gives a quarter of its images for the test, others for each seed. Prints
each arm's mean difference in test accuracy to "before" over all pairs of set and seed, with a 95%
interval (Student's t), and per set. With --json every figure is written.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from processes import fill
from scipy import stats

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

ARMS = {
    "before": {"head_optimizer": "adam", "select": "val_accuracy"},
    "solved": {"select": "val_accuracy"},
    "call": {},
    "refit": {"refit": True},
}


def run(options: argparse.Namespace) -> None:
    """One arm in this process; prints one JSON object."""
    import finetune

    own_test = (Path(options.side_data) / "test").is_dir()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        result = finetune.fine_tune(
            options.side_data,
            weights=options.weights,
            backbone_options={"alpha": options.alpha},
            image_size=options.image_size,
            seed=options.seed,
            **({} if own_test else {"test": 0.25}),
            **ARMS[options.arm],
            cache_dir=os.path.join(folder, "features"),  # no help from an earlier run
            out=os.path.join(folder, "run"),
            verbose=0,
        )
        seconds = time.perf_counter() - started
    assert result.test is not None
    figures = {"test": result.test.accuracy, "loss": result.test.loss, "n": result.test.n}
    print(json.dumps(figures | {"seconds": round(seconds, 1)}))


def difference(pairs: list[float]) -> str:
    """Mean and interval of paired differences."""
    mean = statistics.mean(pairs)
    if len(pairs) < 2:
        return f"{mean:+.3f}"
    half = stats.t.ppf(0.975, len(pairs) - 1) * statistics.stdev(pairs) / len(pairs) ** 0.5
    return f"{mean:+.3f} [{mean - half:+.3f}, {mean + half:+.3f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="+", help="image folders")
    parser.add_argument("--weights", default="imagenet")
    parser.add_argument("--alpha", type=float, default=1.0)
    parser.add_argument("--image-size", type=int, default=128)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--json", type=Path, help="file of figures; what it holds is not run again")
    parser.add_argument("--arm", choices=ARMS, help="run one arm, in this process")
    parser.add_argument("--side-data", help="on this set")
    parser.add_argument("--seed", type=int, help="with this seed")
    options = parser.parse_args()
    if options.arm:
        return run(options)
    kind = {name: getattr(options, name) for name in ("alpha", "image_size")}
    rows = fill(
        [
            (
                {"set": Path(data).name, "seed": seed, "arm": arm, **kind},
                [
                    *(__file__, *sys.argv[1:], "--arm", arm),
                    *("--side-data", data, "--seed", str(seed)),
                ],
            )
            for data in options.data
            for seed in options.seeds
            for arm in ARMS
        ],
        options.json,
    )
    found = {(row["set"], row["seed"], row["arm"]): row for row in rows}
    names = [Path(data).name for data in options.data]
    print(f"| arm | {' | '.join(names)} | difference to before | loss | seconds |")
    print(f"|---|{'---|' * len(names)}---|---|---|")
    for arm in ARMS:
        of_set = {
            name: [found[name, seed, arm]["test"] for seed in options.seeds] for name in names
        }
        shown = {
            figure: difference(
                [
                    found[name, seed, arm][figure] - found[name, seed, "before"][figure]
                    for name in names
                    for seed in options.seeds
                ]
            )
            for figure in ("test", "loss")
        }
        seconds = statistics.median(row["seconds"] for row in rows if row["arm"] == arm)
        means = " | ".join(f"{statistics.mean(values):.3f}" for values in of_set.values())
        print(f"| {arm} | {means} | {shown['test']} | {shown['loss']} | {seconds:.0f} |")


if __name__ == "__main__":
    main()
