"""A loop of fits in one process: memory, open files and threads after each.

python benchmarks/endurance.py --fits 30
"""

import argparse
import os
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import psutil

from finetune import fine_tune


def main() -> None:
    """Train again and again on made-up images, and print what the process holds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fits", type=int, default=30)
    parser.add_argument("--image-size", type=int, default=64)
    options = parser.parse_args()
    size = options.image_size
    images = np.random.default_rng(0).integers(0, 256, (60, size, size, 3), np.uint8)
    process = psutil.Process()
    print("fit  resident MB  open files  threads")
    sizes = []
    with tempfile.TemporaryDirectory() as place:
        os.environ["FINETUNE_CACHE"] = place
        for number in range(1, options.fits + 1):
            fine_tune(
                (images, np.arange(60) % 3),
                weights=None,
                backbone_options={"alpha": 0.35},
                image_size=size,
                freeze_depth=100,
                epochs=1,
                head_epochs=1,
                refit=0,
                verbose=0,
                out=Path(place) / str(number),
            )
            sizes.append(process.memory_info().rss / 2**20)
            held = process.num_fds(), process.num_threads()
            print(f"{number:3}  {sizes[-1]:11,.0f}  {held[0]:10}  {held[1]:7}", flush=True)
    late = sizes[len(sizes) // 3 :]
    slope = np.polyfit(range(len(late)), late, 1)[0] if len(late) > 1 else 0.0
    print(f"over the last {len(late)} fits: {slope:+.1f} MB a fit")


if __name__ == "__main__":
    main()
