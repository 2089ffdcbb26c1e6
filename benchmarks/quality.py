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
    search          its defaults: calibrated, trained again once
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
import tempfile
import time
from pathlib import Path

from paired import backbone_of, new_parser, print_table, run_all

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
    backbone = backbone_of(options)
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


def seconds(rows: list[dict]) -> str:
    """What runs took, in the middle."""
    return f"{statistics.median(row['seconds'] for row in rows):.0f}"


def main() -> None:
    parser = new_parser(__doc__.splitlines()[0], [0, 1, 2, 3, 4])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=ARMS, help="first: the control")
    parser.add_argument("--arm", choices=ARMS, help="run one arm, in this process")
    options = parser.parse_args()
    if options.arm:
        return run(options)
    rows = run_all(__file__, options, "arm", options.arms)
    print_table(rows, "arm", options.arms, "test", ("seconds", seconds))


if __name__ == "__main__":
    main()
