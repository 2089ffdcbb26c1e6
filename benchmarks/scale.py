"""Time and memory from a thousand to sixty thousand images, with features kept on disk.

    python benchmarks/scale.py mnist_idx/ --weights mobilenet_v2_0.35_224_no_top.h5

`mnist_idx/` holds MNIST's train-images-idx3-ubyte and train-labels-idx1-ubyte, gzipped or not. Each
size is a process of its own, which loads the first so many digits, computes the features once and
trains both phases for a few epochs. --cache-budget is smaller than the features of any size, so
that they lie on disk. Time should grow with the images alone and memory not at all, decoded images
apart; as many rows of features as there are images must come out, or it stops.
"""

import argparse
import gzip
import json
import os
import resource
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

from processes import fill

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


class PeakMemory(threading.Thread):
    """The most memory that belongs to this process alone, in bytes, looked at ten times a second.

    Pages of files that are mapped, such as features on disk, are left out: the system takes
    them back when another needs the room.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak = 0

    def run(self) -> None:
        import psutil

        process = psutil.Process()
        while True:
            memory = process.memory_info()
            self.peak = max(self.peak, memory.rss - getattr(memory, "shared", 0))
            time.sleep(0.1)


def read_digits(folder: Path, count: int):
    """The first images and labels of MNIST's training part."""
    import numpy as np

    arrays = []
    for stem, start in (("train-images-idx3-ubyte", 16), ("train-labels-idx1-ubyte", 8)):
        data = sorted(folder.glob(f"{stem}*"))[0].read_bytes()
        data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
        values = np.frombuffer(data, np.uint8, offset=start)
        arrays.append((values.reshape(-1, 28, 28) if start == 16 else values)[:count])
    images, labels = arrays
    if len(labels) < count:
        sys.exit(f"Expected {count} images in {folder}, found {len(labels)}.")
    return images, labels


def run(options: argparse.Namespace) -> None:
    """One size in this process; prints one JSON object."""
    memory = PeakMemory()
    memory.start()
    import numpy as np

    from finetune import FineTuner, load_data
    from finetune.reuse.store import Shards

    count = options.sizes[0]
    marks = {"start": time.perf_counter()}
    cpu = time.process_time()
    data = load_data(
        read_digits(options.data, count),
        image_size=options.image_size,
        augment="none",
        seed=options.seed,
        memory_budget=options.memory_budget,
    )
    marks["load"] = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        tuner = FineTuner(
            weights=None if options.weights == "none" else options.weights,
            backbone_options={"alpha": options.alpha},
            freeze_depth=options.depth,
            learning_rate=1e-4,
            head_epochs=options.epochs,
            epochs=options.epochs,
            cache_dir=folder,
            cache_budget=options.cache_budget,
            seed=options.seed,
        )
        settings = tuner.trainer.settings()
        source = tuner.trainer.source_of(data, settings)
        _, record = tuner.trainer.train(settings, source)
        marks["train"] = time.perf_counter()
        kept = tuner.trainer.shared(settings).cache.kept
        points = {point for _, _, point in kept}
        assert len(kept) == 4 and len(points) == 2, f"Expected two points, received {points}."
        for (_, split, _), features in kept.items():
            labels = data.splits[split].labels
            assert np.array_equal(features.labels, labels), f"Rows of {split} were lost."
            for array in features.inputs:
                assert isinstance(array, Shards), "Features are in memory: lower --cache-budget."
                assert len(array) == len(labels), f"{len(array)} rows of {len(labels)} {split}."
        on_disk = sum(file.stat().st_size for file in Path(folder).rglob("*.npy"))
    assert sum(len(split) for split in data.splits.values()) == count, "Images were lost."
    row = {
        "images": count,
        "seed": options.seed,
        "load_seconds": round(marks["load"] - marks["start"], 1),
        "train_seconds": round(marks["train"] - marks["load"], 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "decoded_gb": round(sum(s.images.nbytes for s in data.splits.values()) / 2**30, 3),
        "features_gb": round(on_disk / 2**30, 3),
        "own_gb": round(memory.peak / 2**30, 2),
        "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        "validation": record.best_epoch["val_accuracy"],
    }
    print(json.dumps(row))


def print_table(rows: list[dict]) -> None:
    """Medians over the rounds of each size."""
    print(
        "| images | loading | training | CPU seconds | ms an image | features | own memory "
        "| of it decoded images | peak RSS | rounds |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for size in dict.fromkeys(row["images"] for row in rows):
        mine = [row for row in rows if row["images"] == size]
        median = {name: statistics.median(row[name] for row in mine) for name in mine[0]}
        cells = [
            f"{size:,}",
            f"{median['load_seconds']:.0f} s",
            f"{median['train_seconds']:.0f} s",
            f"{median['cpu_seconds']:.0f}",
            f"{1e3 * median['train_seconds'] / size:.1f}",
            f"{median['features_gb']:.2f} GB",
            f"{median['own_gb']:.2f} GB",
            f"{median['decoded_gb']:.2f} GB",
            f"{median['peak_gb']:.2f} GB",
            str(len(mine)),
        ]
        print(f"| {' | '.join(cells)} |")
    sizes = sorted({row["images"] for row in rows})
    if len(sizes) > 1:
        low, high = (
            [
                statistics.median(row[name] for row in rows if row["images"] == size)
                for name in ("train_seconds", "own_gb", "decoded_gb")
            ]
            for size in (sizes[-2], sizes[-1])
        )
        more = sizes[-1] - sizes[-2]
        print(
            f"\nper further image: {1e3 * (high[0] - low[0]) / more:.2f} ms of training, ", end=""
        )
        growth = (high[1] - low[1] - high[2] + low[2]) * 2**30 / more
        print(f"{growth:.0f} bytes of memory besides the decoded image")


def main() -> None:
    """Run size after size and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder with MNIST's idx files")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 60_000])
    parser.add_argument("--weights", default="imagenet", help="imagenet, a weights file, or none")
    parser.add_argument("--alpha", type=float, default=0.35, help="width of the backbone")
    parser.add_argument("--image-size", type=int, default=48)
    parser.add_argument("--depth", type=int, default=116)
    parser.add_argument("--epochs", type=int, default=2, help="in each phase")
    parser.add_argument("--cache-budget", type=int, default=100_000, help="bytes")
    parser.add_argument("--memory-budget", type=int, help="bytes of decoded images in memory")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--one", action="store_true", help="one size, in this process")
    parser.add_argument("--seed", type=int, default=0, help="with --one")
    parser.add_argument("--json", type=Path, help="file of figures; what it holds is not run again")
    options = parser.parse_args()
    if options.one:
        return run(options)
    arguments = [__file__, *sys.argv[1:], "--one"]
    plan = [
        ({"images": size, "seed": seed}, [*arguments, "--sizes", str(size), "--seed", str(seed)])
        for seed in options.seeds
        for size in options.sizes
    ]
    print_table(fill(plan, options.json))


if __name__ == "__main__":
    main()
