"""Growth of resident memory over trials that differ in continuous hyperparameters.

python benchmarks/memory.py --trials 40
"""

import argparse
import os
from dataclasses import replace

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import psutil

from finetune import FineTuner, load_data


def main() -> None:
    """Train trial after trial in one process and print the memory after each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--image-size", type=int, default=96)
    options = parser.parse_args()
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (160, options.image_size, options.image_size, 3), np.uint8)
    data = load_data((images, np.arange(160) % 4), image_size=options.image_size, augment="none")
    rates = np.geomspace(1e-5, 1e-3, options.trials)
    ranges = {"dropout": (0.1, 0.6), "label_smoothing": (0.01, 0.3), "weight_decay": (1e-5, 0.1)}
    tuner = FineTuner(
        weights=None,
        backbone_options={"alpha": 0.35},
        freeze_depth=100,
        learning_rate=(1e-5, 1e-3),
        optimizer="adamw",
        **ranges,
        epochs=2,
        head_epochs=2,
    )
    process = psutil.Process()
    sizes = []
    for number, rate in enumerate(rates, start=1):
        settings = replace(
            tuner.trainer.settings(),
            learning_rate=float(rate),
            **{name: float(random.uniform(*ranges[name])) for name in ranges},
        )
        tuner.trainer.train(settings, tuner.trainer.source_of(data, settings))
        sizes.append(process.memory_info().rss / 2**20)
        print(f"trial {number:>2}: {sizes[-1]:7.1f} MB", flush=True)
    growth = (sizes[-1] - sizes[4]) / (len(sizes) - 5)
    print(f"growth per trial after the fifth: {growth:.2f} MB")


if __name__ == "__main__":
    main()
