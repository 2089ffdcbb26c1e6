"""Whether prediction sets hold what they state, whether what is new is noticed, and what it costs.

    python benchmarks/doubt.py shoes_brands/ shoes_types/ mnist/ --json doubt.jsonl \\
        --weights mobilenet_v2_0.35_224_no_top.h5

Every row is one `fine_tune` in a process of its own: with half of the validation images set aside
("aside"), with none ("none", what that would have given), or in five folds ("folds"). The seed
decides what is split off; all ways of a seed are measured on the same test images. A folder
without `test/` has --test of its images held back; a folder of idx files is read as MNIST, of which
--digits images train and as many test. Each model is shown the test images of its own set and up
to 300 images of each other one. Rows that the --json file holds already are not run again.

`--solved` answers what images set aside cost more exactly than trainings can: heads solved on the
pooled features of the unchanged backbone, over many splits, with and without a tenth of the images.
"""

import argparse
import gzip
import json
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

from processes import fill

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

WAYS = {"none": {}, "aside": {"calibration": 0.5}, "folds": {"validation": "5-fold"}}
MOST_OTHERS = 300


def read_idx(path: Path) -> Any:
    """The array in an idx file."""
    import numpy as np

    with gzip.open(path) as file:
        _, _, kind, dimensions = file.read(4)
        assert kind == 8, "bytes alone"
        shape = np.frombuffer(file.read(4 * dimensions), ">u4")
        return np.frombuffer(file.read(), np.uint8).reshape(shape)


def is_mnist(folder: str) -> bool:
    """Whether a folder holds idx files."""
    return any(Path(folder).glob("*idx3*"))


def load(folder: str, seed: int, options: argparse.Namespace, **further: Any) -> Any:
    """The images of a set, split by the seed."""
    import numpy as np

    from finetune import load_data

    sized = {"image_size": options.image_size, "seed": seed, **further}
    if not is_mnist(folder):
        whole = (Path(folder) / "test").is_dir()
        return load_data(folder, test=None if whole else options.test, **sized)
    parts = {}
    for name, prefix in (("train", "train"), ("test", "t10k")):
        images, labels = (
            read_idx(next(Path(folder).glob(f"{prefix}*{kind}*"))) for kind in ("idx3", "idx1")
        )
        rows = np.random.default_rng(seed).choice(len(labels), options.digits, replace=False)
        parts[name] = (images[rows], labels[rows])
    return load_data(parts["train"], test=parts["test"], **sized)


def run(key: dict, folder: str, others: list[str], options: argparse.Namespace) -> None:
    """One training in this process; prints one JSON object."""
    import numpy as np
    from sklearn.metrics import roc_auc_score

    from finetune import fine_tune

    data = load(folder, key["seed"], options, **WAYS[key["way"]])
    with tempfile.TemporaryDirectory() as scratch:
        result = fine_tune(
            data,
            weights=options.weights,
            backbone_options={"alpha": options.alpha},
            epochs=options.epochs,
            seed=key["seed"],
            out=os.path.join(scratch, "run"),
            verbose=0,
        )
    figures: dict[str, Any] = {
        "counts": {split: sum(c.values()) for split, c in data.counts.items()},
        "test": result.test.accuracy,
        "seconds": round(result.seconds, 1),
        "doubt": result.metrics()["doubt"],
        "novelty": {},
    }
    if result.model.novelty is not None:
        own = distances(result.model, data.splits["test"].images)
        for other in others:
            seen = load(other, 0, options, validation=0.2)
            pixels = np.concatenate([split.images for split in seen.splits.values()])
            rows = np.random.default_rng(0).permutation(len(pixels))[:MOST_OTHERS]
            far = distances(result.model, pixels[rows])
            truth = np.repeat([0, 1], [len(own), len(far)])
            figures["novelty"][Path(other).name] = {
                "n": len(far),
                "auroc": round(float(roc_auc_score(truth, np.concatenate([own, far]))), 4),
                "noticed": round(float(np.mean(far > result.model.novelty.most(0.95))), 4),
            }
    print(json.dumps(key | figures))


def distances(model: Any, images: Any) -> Any:
    """How far images are from those of the training."""
    import numpy as np

    pooled = [
        model.observe(part, places=False).pooled
        for part in np.array_split(images, -(-len(images) // 500))
    ]
    return model.novelty.of(np.concatenate(pooled))


def solved(folder: str, options: argparse.Namespace) -> None:
    """What a tenth of the images is worth to a head, over many splits; prints a line."""
    import keras
    import numpy as np
    from scipy import stats

    from finetune.training.solving import solve

    backbone = keras.applications.MobileNetV2(
        (options.image_size, options.image_size, 3),
        alpha=options.alpha,
        weights=options.weights,
        include_top=False,
        pooling="avg",
    )
    data = load(folder, 0, options)
    pixels, labels = (
        np.concatenate([getattr(split, name) for split in data.splits.values()])
        for name in ("images", "labels")
    )
    features = np.asarray(backbone.predict(pixels / np.float32(127.5) - 1, verbose=0))
    gains = []
    for seed in range(options.splits):
        order = np.random.default_rng(seed).permutation(len(labels))
        test, train = np.split(order, [len(order) // 5])
        told = []
        for rows in (train, train[len(train) // 10 :]):
            solution = solve(features[rows], labels[rows], "multiclass")
            said = (features[test] @ solution.kernel + solution.bias).argmax(axis=1)
            told.append(float(np.mean(said == labels[test])))
        gains.append(told[0] - told[1])
    half = stats.t.ppf(0.975, len(gains) - 1) * statistics.stdev(gains) / len(gains) ** 0.5
    mean = statistics.mean(gains)
    print(
        f"{Path(folder).name}: a tenth of {len(labels) * 4 // 5} training images is worth "
        f"{100 * mean:+.2f} points [{100 * (mean - half):+.2f}, {100 * (mean + half):+.2f}] "
        f"({len(gains)} splits)"
    )


def print_tables(rows: list[dict]) -> None:
    """Means over seeds, and what is between them."""
    names = list(dict.fromkeys(row["data"] for row in rows))
    print("| data | way | seeds | accuracy | covered | classes | single | false alarms |")
    print("|---|---|---|---|---|---|---|---|")
    for name in names:
        for way in WAYS:
            mine = [row for row in rows if (row["data"], row["way"]) == (name, way)]
            if not mine:
                continue
            found = [row["doubt"] for row in mine if row["doubt"]]
            cells = [name, way, str(len(mine)), spread([row["test"] for row in mine])]
            for what in ("covered", "size", "single", "novel"):
                values = [one[what] for one in found if one[what] is not None]
                cells.append(spread(values) if values else "")
            print(f"| {' | '.join(cells)} |")
    print("\n| trained on | shown | n | AUROC | noticed | seeds |\n|---|---|---|---|---|---|")
    for name in names:
        mine = [row["novelty"] for row in rows if row["data"] == name and row["novelty"]]
        for other in mine[0] if mine else ():
            told = [one[other] for one in mine]
            columns = (spread([one[what] for one in told]) for what in ("auroc", "noticed"))
            print(f"| {name} | {other} | {told[0]['n']} | {' | '.join(columns)} | {len(told)} |")


def spread(values: list[float]) -> str:
    """Mean, lowest and highest."""
    return f"{statistics.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def main() -> None:
    """Fill the rows that are missing, one after the other, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="+", help="image folders, or one of MNIST's idx files")
    parser.add_argument("--weights", default="imagenet")
    parser.add_argument("--alpha", type=float, default=0.35)
    parser.add_argument("--image-size", type=int, default=96)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--ways", nargs="+", default=["aside", "none"], choices=WAYS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--test", type=float, default=0.25, help="share, where there is no test/")
    parser.add_argument("--digits", type=int, default=1000, help="images of MNIST that train")
    parser.add_argument("--others", nargs="*", default=[], help="sets that are only shown")
    parser.add_argument("--json", type=Path, help="file of rows, one JSON object a line")
    parser.add_argument("--table", action="store_true", help="only print what --json holds")
    parser.add_argument("--solved", action="store_true", help="only heads, over many splits")
    parser.add_argument("--splits", type=int, default=100, help="of --solved")
    parser.add_argument("--row", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.row:
        key, folder, others = json.loads(options.row)
        return run(key, folder, others, options)
    if options.solved:
        for folder in options.data:
            solved(folder, options)
        return None
    if options.table:
        lines = options.json.read_text(encoding="utf-8").splitlines()
        return print_tables([json.loads(line) for line in lines])
    names = ("weights", "alpha", "image_size", "epochs", "test", "digits")
    given = [
        text
        for name in names
        for text in (f"--{name.replace('_', '-')}", str(getattr(options, name)))
    ]
    plan = []
    for seed in options.seeds:
        for folder in options.data:
            others = [other for other in [*options.data, *options.others] if other != folder]
            for way in options.ways:
                key = {"data": Path(folder).name, "way": way, "seed": seed}
                row = json.dumps([key, folder, others])
                plan.append((key, [__file__, folder, *given, "--row", row]))
    return print_tables(fill(plan, options.json))


if __name__ == "__main__":
    main()
