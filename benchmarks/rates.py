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
import tempfile
from pathlib import Path

from paired import backbone_of, new_parser, print_table, run_all

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
    backbone = backbone_of(options)
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


def failures(rows: list[dict]) -> str:
    """How many trainings failed."""
    return f"{sum(row['failed'] for row in rows)} of {len(rows)}"


def main() -> None:
    parser = new_parser(__doc__.splitlines()[0], [0, 1])
    parser.add_argument("--validation", type=float, default=0.35, help="share, where none is given")
    parser.add_argument("--ways", nargs="+", default=WAYS, help="RATE:LIMIT:WARM_UP")
    parser.add_argument("--way", help="run one, in this process")
    options = parser.parse_args()
    if options.way:
        return run(options)
    rows = run_all(__file__, options, "way", options.ways)
    print_table(rows, "way", options.ways, "accuracy", ("failed", failures))


if __name__ == "__main__":
    main()
