"""Which learning rate, limit on gradients and warm-up suit: validation accuracy and loss, in pairs.

    python benchmarks/rates.py shoes_types/ flowers12/ --weights FILE --alpha 0.35 --seeds 20 21

Each way is RATE:LIMIT:WARM_UP, as in `fine_tune(learning_rate=RATE, clip_norm=LIMIT,
warm_up=WARM_UP)`; the first is what the others are compared with. A call of `fine_tune` at its
defaults for each, without the training on all images, and with more images to validate than
usual; test images are left alone. Prints the means per set, and each way's mean difference to the
first over all pairs of set and seed, with a 95% interval (Student's t). A training that ends far
below the head that it began with is counted as failed; the head is kept then.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path

from processes import fill
from quality import difference

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

WAYS = ["3e-4:none:0.1", "6e-4:none:0.1", "6e-4:1:0.3", "1e-3:none:0.1", "1e-3:1:0.1"]
WAYS += ["1e-3:none:0.3", "1e-3:1:0.3"]

# Points of accuracy below the head alone at which a training is called failed.
FAR = 0.05


def run(options: argparse.Namespace) -> None:
    """One training in this process; prints one JSON object."""
    import finetune

    rate, limit, warm_up = options.way.split(":")
    parts = {path.name for path in Path(options.side_data).iterdir()}
    loading = {} if "validation" in parts else {"validation": options.validation}
    backbone = {"weights": options.weights}
    if options.alpha is not None:
        backbone["backbone_options"] = {"alpha": options.alpha}
    if options.backbone:
        backbone = {"backbone": options.backbone, "preprocess": "tf"}
    with tempfile.TemporaryDirectory() as folder:
        result = finetune.fine_tune(
            options.side_data,
            **{**loading, **backbone},
            image_size=options.image_size,
            learning_rate=float(rate),
            clip_norm=None if limit == "none" else float(limit),
            warm_up=float(warm_up),
            refit=0,
            seed=options.seed,
            cache_dir=os.path.join(folder, "features"),
            out=os.path.join(folder, "run"),
            verbose=0,
        )
    head, last = result.record.phase("head")[-1], result.record.phase("fine_tune")[-1]
    figures = {
        "accuracy": result.validation.accuracy,
        "loss": result.record.best_epoch["val_calibrated_loss"],
        "n": result.validation.n,
        "failed": last["val_accuracy"] < head["val_accuracy"] - FAR,
    }
    print(json.dumps(figures))


def print_table(rows: list[dict], ways: list[str]) -> None:
    """Means per set, and differences to the first way over the pairs that both have."""
    found = {(row["set"], row["seed"], row["way"]): row for row in rows}
    names = sorted({row["set"] for row in rows})
    print(f"| way | {' | '.join(names)} | accuracy - {ways[0]} | loss - {ways[0]} | failed |")
    print(f"|---|{'---|' * len(names)}---|---|---|")
    for way in ways:
        mine = [row for row in rows if row["way"] == way]
        means = [
            f"{statistics.mean(row['accuracy'] for row in mine if row['set'] == name):.3f}"
            for name in names
        ]
        shown = [
            difference([row[key] - found[row["set"], row["seed"], ways[0]][key] for row in mine])
            for key in ("accuracy", "loss")
        ]
        failed = f"{sum(row['failed'] for row in mine)} of {len(mine)}"
        print(f"| {way} | {' | '.join([*means, *shown, failed])} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="+", help="image folders")
    parser.add_argument("--weights", default="imagenet")
    parser.add_argument("--alpha", type=float, help="of MobileNetV2")
    parser.add_argument("--backbone", help="a model file that takes pixels of -1..1, instead")
    parser.add_argument("--image-size", type=int, default=128)
    parser.add_argument("--validation", type=float, default=0.35, help="share, where none is given")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--ways", nargs="+", default=WAYS, help="RATE:LIMIT:WARM_UP")
    parser.add_argument("--json", type=Path, help="file of figures; what it holds is not run again")
    parser.add_argument("--way", help="run one, in this process")
    parser.add_argument("--side-data", help="on this set")
    parser.add_argument("--seed", type=int, help="with this seed")
    options = parser.parse_args()
    if options.way:
        return run(options)
    model = Path(options.backbone or options.weights).name
    kind = {"model": model, "alpha": options.alpha, "image_size": options.image_size}
    rows = fill(
        [
            (
                {"set": Path(data).name, "seed": seed, "way": way, **kind},
                [
                    *(__file__, *sys.argv[1:], "--way", way),
                    *("--side-data", data, "--seed", str(seed)),
                ],
            )
            for seed in options.seeds
            for data in options.data
            for way in options.ways
        ],
        options.json,
    )
    print_table(rows, options.ways)


if __name__ == "__main__":
    main()
