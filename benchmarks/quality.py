"""How good the model is that is handed over: test accuracy and loss of several ways, in pairs.

    python benchmarks/quality.py shoes_brands/ flowers12/ shoes_types/ --weights FILE --alpha 0.35

Arms, of one call of `fine_tune` with its defaults:
    before   as it was: the head trained, the highest accuracy chosen, nothing trained again
    solved   the head solved, the highest accuracy chosen, nothing trained again
    call     the head solved, the lowest loss chosen, nothing trained again
    again    that, trained again on training and validation images
    low      that, with the lowest calibrated loss chosen, and calibrated
    default  its defaults: the same at a higher rate, with gradients limited and a longer warm-up;
             all arms above have the rate of 3e-4, no limit, and a tenth to warm up
    sure     the same without label smoothing
    refit3   as default, trained again three times, the weights averaged (refit=3)
    random   as default, at a freeze depth and a rate drawn from what a search draws from
and of a search with its defaults:
    search before   as it was: the head trained, the highest accuracy chosen, one trial
    search call     the head solved, the lowest loss chosen, one trial
    search          its defaults: calibrated, trained again three times, the weights averaged
    search slow     the same where an image may take three times as long (max_slowdown=3)

A set without test images gives a quarter of its images for the test, others for each seed. Prints
the means per set, and each arm's mean difference to the first over all pairs of set and seed, with
a 95% interval (Student's t). With --json every figure is written.
"""

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

from processes import fill
from scipy import stats

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

LOW = {"learning_rate": 3e-4, "clip_norm": None, "warm_up": 0.1}
PLAIN = {"calibrate": False, "refit": 0, **LOW}
AS_IT_WAS = {"head_optimizer": "adam", "select": "val_accuracy", **PLAIN}
BY_LOSS = {"select": "val_loss", **PLAIN}
CALLS = {
    "before": AS_IT_WAS,
    "solved": {"select": "val_accuracy", **PLAIN},
    "call": BY_LOSS,
    "again": {**BY_LOSS, "refit": 1},
    "low": LOW,
    "default": {},
    "sure": {"label_smoothing": 0.0},
    "refit3": {"refit": 3},
    "random": {},
}


# A search has rates of its own to choose from.
def searched(training: dict) -> dict:
    """The same training, at the rates that a search draws from."""
    return {name: value for name, value in training.items() if name != "learning_rate"}


SEARCHES = {
    "search before": (searched(AS_IT_WAS), {"combine": "best"}),
    "search call": (searched(BY_LOSS), {"combine": "best"}),
    "search": ({}, {}),
    "search slow": ({}, {"max_slowdown": 3.0}),
}
ARMS = [*CALLS, *SEARCHES]


def run(options: argparse.Namespace) -> None:
    """One arm in this process; prints one JSON object."""
    import finetune

    own_test = (Path(options.side_data) / "test").is_dir()
    loading = {"image_size": options.image_size, **({} if own_test else {"test": 0.25})}
    backbone = {"weights": options.weights}
    if options.alpha is not None:
        backbone["backbone_options"] = {"alpha": options.alpha}
    if options.backbone:
        backbone = {"backbone": options.backbone, "preprocess": "tf"}
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        # No help from an earlier run.
        place = {"cache_dir": os.path.join(folder, "features"), "seed": options.seed}
        out = {"out": os.path.join(folder, "run"), "verbose": 0}
        if options.arm in CALLS:
            drawn = {}
            if options.arm == "random":
                draw = random.Random(options.seed)
                drawn["learning_rate"] = 2 * 10 ** draw.uniform(-4.3, -3)
                drawn["freeze_depth"] = draw.choice([0.0, 0.2, 0.35, 0.5, 0.65, 0.8])
            result = finetune.fine_tune(
                options.side_data,
                **{**loading, **backbone, **place, **out, **drawn, **CALLS[options.arm]},
            )
        else:
            training, ending = SEARCHES[options.arm]
            data = finetune.load_data(options.side_data, seed=options.seed, **loading)
            tuner = finetune.FineTuner(**{**backbone, **place, **training})
            result = tuner.search(data, **{"seed": options.seed, **out, **ending})
        seconds = time.perf_counter() - started
    assert result.test is not None
    figures = {"test": result.test.accuracy, "loss": result.test.loss, "n": result.test.n}
    if options.arm in SEARCHES:
        figures["how"] = result.combined.how
    print(json.dumps(figures | {"seconds": round(seconds, 1)}))


def difference(pairs: list[float]) -> str:
    """Mean and interval of paired differences."""
    mean = statistics.mean(pairs)
    if len(pairs) < 2:
        return f"{mean:+.3f}"
    half = stats.t.ppf(0.975, len(pairs) - 1) * statistics.stdev(pairs) / len(pairs) ** 0.5
    return f"{mean:+.3f} [{mean - half:+.3f}, {mean + half:+.3f}]"


def print_table(rows: list[dict], arms: list[str]) -> None:
    """Means per set, and differences to the first arm over the pairs that both have."""
    found = {(row["set"], row["seed"], row["arm"]): row for row in rows}
    names = sorted({row["set"] for row in rows})
    print(f"| arm | {' | '.join(names)} | accuracy - {arms[0]} | loss - {arms[0]} | seconds |")
    print(f"|---|{'---|' * len(names)}---|---|---|")
    for arm in arms:
        mine = [row for row in rows if row["arm"] == arm]
        means = [
            f"{statistics.mean(row['test'] for row in mine if row['set'] == name):.3f}"
            for name in names
        ]
        shown = [
            difference([row[key] - found[row["set"], row["seed"], arms[0]][key] for row in mine])
            for key in ("test", "loss")
        ]
        seconds = statistics.median(row["seconds"] for row in mine)
        print(f"| {arm} | {' | '.join([*means, *shown])} | {seconds:.0f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="+", help="image folders")
    parser.add_argument("--weights", default="imagenet")
    parser.add_argument("--alpha", type=float, help="of MobileNetV2")
    parser.add_argument("--backbone", help="a model file that takes pixels of -1..1, instead")
    parser.add_argument("--image-size", type=int, default=128)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=ARMS, help="first: the control")
    parser.add_argument("--json", type=Path, help="file of figures; what it holds is not run again")
    parser.add_argument("--arm", choices=ARMS, help="run one arm, in this process")
    parser.add_argument("--side-data", help="on this set")
    parser.add_argument("--seed", type=int, help="with this seed")
    options = parser.parse_args()
    if options.arm:
        return run(options)
    model = Path(options.backbone or options.weights).name
    kind = {"model": model, "alpha": options.alpha, "image_size": options.image_size}
    rows = fill(
        [
            (
                {"set": Path(data).name, "seed": seed, "arm": arm, **kind},
                [
                    *(__file__, *sys.argv[1:], "--arm", arm),
                    *("--side-data", data, "--seed", str(seed)),
                ],
            )
            for seed in options.seeds
            for data in options.data
            for arm in options.arms
        ],
        options.json,
    )
    print_table(rows, options.arms)


if __name__ == "__main__":
    main()
