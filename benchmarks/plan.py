"""Whether a plan of what to photograph next comes true, and whether its order of classes does.

    python benchmarks/plan.py shoes_brands/ shoes_types/ flowers12/ --weights mobilenet_v2.h5
    python benchmarks/plan.py mnist/ --image-size 64 --weights mobilenet_v2.h5 --classes

Features are those of MobileNetV2. Of a folder each seed shows the plan two fifths of the images,
train and test together, and what it expects of twice as many is compared with what heads on four
fifths of all images say of the other fifth, each image twice. Of MNIST (a folder of idx files) the
plan is shown a tenth of --digits images, and what it expects of half of them is compared with a
head on these, asked about the 10,000 test images.

`--classes`: the same number of images of one class alone are added, each class in turn, to --each
images of every class. Does the class that a plan names first gain the most?
"""

import argparse
import json
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from doubt import is_mnist, read_idx
from scipy.stats import spearmanr

from finetune import load_data
from finetune.checks.learning_curve import learning_curve
from finetune.checks.next_images import plan_images
from finetune.checks.power_law import extrapolate, fit_power_laws
from finetune.training import choose_penalty, head_says


def features_of(pixels: np.ndarray, options: argparse.Namespace) -> np.ndarray:
    """Pooled features of MobileNetV2."""
    net = keras.applications.MobileNetV2(
        (options.image_size, options.image_size, 3),
        alpha=options.alpha,
        include_top=False,
        weights=options.weights,
        pooling="avg",
    )
    return net.predict(pixels.astype("float32") / 127.5 - 1, batch_size=256, verbose=0)


def read_folder(folder: str, options: argparse.Namespace) -> tuple:
    """Features, labels and names of the different images of a folder, of near copies one."""
    data = load_data(folder, image_size=options.image_size, validation=None)
    splits = [data.splits[name] for name in data.splits]
    labels = np.concatenate([split.labels for split in splits])
    together = [key for name in data.splits for key in data.kept_together(name)]
    rows = np.sort(np.unique(together, return_index=True)[1])
    features = np.concatenate([features_of(split.images, options) for split in splits])
    return features[rows], labels[rows], list(data.class_names)


def read_mnist(folder: str, options: argparse.Namespace) -> tuple:
    """Features and labels of --digits training images and of all test images."""
    parts = []
    for prefix, most in (("train", options.digits), ("t10k", 10_000)):
        images, labels = (
            read_idx(next(Path(folder).glob(f"{prefix}*{kind}*"))) for kind in ("idx3", "idx1")
        )
        rows = np.random.default_rng(0).permutation(len(labels))[:most]
        data = load_data((images[rows], labels[rows]), image_size=options.image_size,
                         validation=None)  # fmt: skip
        parts += [features_of(data.splits["train"].images, options), labels[rows].astype(int)]
    return tuple(parts)


def wrong(features: np.ndarray, labels: np.ndarray, new: np.ndarray, true: np.ndarray,
          penalty: float) -> np.ndarray:  # fmt: skip
    """Which new images a head takes for another class."""
    told = head_says(features, labels, "multiclass", new, int(true.max()) + 1, penalty)
    return told.argmax(axis=1) != true


def foretell(features: np.ndarray, labels: np.ndarray, images: float, seed: int) -> dict:
    """What is expected of so many images, and what each law alone would say."""
    curve = learning_curve(features, labels, divisions=5, seed=seed)
    wanted = np.array([images])
    found = extrapolate(curve.images, curve.wrong, wanted, more=(0, 0, 1, 1), seed=seed)
    points = curve.wrong.mean(axis=(0, 2))[np.newaxis]
    low, high = np.quantile(found.resampled[:, 0], [0.025, 0.975])
    return {
        "known": len(labels),
        "wanted": round(float(images)),
        "measured": float(1 - points[0, -1]),
        "expected": float(1 - found.values[0]),
        "interval": [float(1 - high), float(1 - low)],
        **{
            f"{name} a floor": 1 - float(fit_power_laws(curve.images, points, floor=floor)
                                         .at(wanted)[0, 0])
            for name, floor in (("with", True), ("without", False))
        },
    }  # fmt: skip


def of_folder(features: np.ndarray, labels: np.ndarray, seeds: int) -> list[dict]:
    """A plan from two fifths of the images against four fifths of them, for each seed."""
    whole = learning_curve(features, labels, divisions=2, seed=1000)
    rows = []
    for seed in range(seeds):
        order = np.random.default_rng(seed).permutation(len(labels))
        known = order[: round(whole.images[-1] / 2)]
        row = foretell(features[known], labels[known], whole.images[-1], seed)
        rows.append({"seed": seed, **row, "true": float(1 - whole.wrong[:, -1].mean())})
        print(json.dumps(rows[-1]), flush=True)
    return rows


def of_mnist(train: tuple, test: tuple, seeds: int) -> list[dict]:
    """A plan from a tenth of the images against a head on half of them, for each seed."""
    features, labels = train
    rows = []
    for seed in range(seeds):
        order = np.random.default_rng(seed).permutation(len(labels))
        known, half = order[: len(order) // 10], order[: len(order) // 2]
        penalty = choose_penalty(features[half], labels[half], 2)
        missed = wrong(features[half], labels[half], *test, penalty)
        row = foretell(features[known], labels[known], len(half), seed)
        rows.append({"seed": seed, **row, "true": float(1 - missed.mean())})
        print(json.dumps(rows[-1]), flush=True)
    return rows


def of_classes(features: np.ndarray, labels: np.ndarray, names: list[str], each: int, seeds: int,
               tests: tuple | None) -> list[dict]:  # fmt: skip
    """What as many images of one class alone add, and where the plan puts the class."""
    rows = []
    for seed in range(seeds):
        random = np.random.default_rng(seed)
        own = [random.permutation(np.flatnonzero(labels == one)) for one in range(len(names))]
        known = np.concatenate([one[:each] for one in own])
        rest = np.concatenate([one[2 * each :] for one in own])
        new, true = tests or (features[rest], labels[rest])
        plan = plan_images(features[known], labels[known], names, list(map(str, known)), seed=seed)
        recall = {one.name: one.recall for one in plan.classes}
        strength = choose_penalty(features[known], labels[known]) * len(known)
        before = wrong(features[known], labels[known], new, true, strength / len(known))
        for number, name in enumerate(names):
            more = np.concatenate([known, own[number][each : 2 * each]])
            after = wrong(features[more], labels[more], new, true, strength / len(more))
            gain = [
                before[true == one].mean() - after[true == one].mean() for one in range(len(names))
            ]
            rows.append(
                {
                    "seed": seed,
                    "class": name,
                    "recall": recall[name],
                    "gain": float(np.mean(gain)),
                    "gain of its own": float(gain[number]),
                }
            )
            print(json.dumps(rows[-1]), flush=True)
    return rows


def tell(name: str, rows: list[dict]) -> None:
    """The line of the table."""
    true, expected, measured = (
        np.array([row[key] for row in rows]) for key in ("true", "expected", "measured")
    )
    low, high = np.array([row["interval"] for row in rows]).T
    names = ("expected", "measured", "with a floor", "without a floor")
    off = {key: np.array([row[key] for row in rows]) - true for key in names}
    covered = ((low <= true) & (true <= high)).sum()
    print(
        f"| {name} | {rows[0]['known']:,} | {rows[0]['wanted']:,} | {measured.mean():.3f} | "
        f"{expected.mean():.3f} | {true.mean():.3f} | "
        + " | ".join(f"{abs(one).mean():.3f} ({one.mean():+.3f})" for one in off.values())
        + f" | {covered} of {len(rows)} | {(high - low).mean():.3f} |"
    )


def tell_classes(name: str, rows: list[dict]) -> None:
    """How far the order of the classes is that of what they gained."""
    seeds = sorted({row["seed"] for row in rows})
    for gain in ("gain", "gain of its own"):
        ranks, first, all_of_them, best = [], [], [], []
        for seed in seeds:
            own = sorted(
                (row for row in rows if row["seed"] == seed), key=lambda row: row["recall"]
            )
            gains = np.array([row[gain] for row in own])
            ranks.append(spearmanr([-row["recall"] for row in own], gains).statistic)
            first.append(gains[: min(3, len(own) // 2)].mean())
            all_of_them.append(gains.mean())
            best.append(np.sort(gains)[::-1][: min(3, len(own) // 2)].mean())
        figures = [np.array(one) for one in (ranks, first, all_of_them, best)]
        print(name, gain, " ".join(
            f"{what} {one.mean():+.4f} +- {one.std(ddof=1) / len(one) ** 0.5:.4f}"
            for what, one in zip(("rank correlation", "first", "any", "best"), figures,
                                 strict=True)))  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folders", nargs="+")
    parser.add_argument("--weights", default="imagenet")
    parser.add_argument("--alpha", type=float, default=0.35)
    parser.add_argument("--image-size", type=int, default=160)
    parser.add_argument("--digits", type=int, default=6000)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--classes", action="store_true")
    parser.add_argument("--each", type=int, default=30)
    given = parser.parse_args()
    for folder in given.folders:
        tests = None
        if is_mnist(folder):
            train_features, train_labels, *rest = read_mnist(folder, given)
            tests = (rest[0], rest[1])
            data = (train_features, train_labels, [str(one) for one in range(10)])
        else:
            data = read_folder(folder, given)
        name = Path(folder).name
        if given.classes:
            tell_classes(name, of_classes(*data, given.each, given.seeds, tests))
        elif tests is not None:
            tell(name, of_mnist(data[:2], tests, given.seeds))
        else:
            tell(name, of_folder(*data[:2], given.seeds))


if __name__ == "__main__":
    main()
