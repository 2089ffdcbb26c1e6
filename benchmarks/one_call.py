"""One training: Keras' transfer-learning tutorial script against one call of `fine_tune`.

    python benchmarks/one_call.py shoes_brands/ --weights mobilenet_v2_1.0_224_no_top.h5

Each run is a process of its own, the two in turn (A B A B), with the seed of its round, and reads
the same folders of training, validation and test images. The clock starts before TensorFlow is
imported and stops when the model is saved and measured on validation and test images.

Both train the head on the frozen backbone, then the layers from --depth up at --rate, batch
normalization frozen, without augmentation; the tutorial trains the head for as many epochs as the
rest, `fine_tune` to convergence. Either keeps what it always keeps: the tutorial its last epoch,
`fine_tune` its best by validation. So the test accuracies compare, the validation accuracies do
not.
"""

import argparse
import json
import os
import resource
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from processes import fill

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def tutorial(options: argparse.Namespace, folder: Path) -> dict[str, float]:
    """Keras' tutorial, with the pipeline of its performance guide."""
    import keras
    import tensorflow as tf

    size = (options.image_size, options.image_size)

    def read(split):
        images: Any = keras.utils.image_dataset_from_directory(
            folder / split,
            image_size=size,
            batch_size=None,  # pyright: ignore[reportArgumentType]
            shuffle=False,
            pad_to_aspect_ratio=True,
            verbose=False,
        )
        return images.cache(), images.class_names

    train, class_names = read("train")
    count = int(train.cardinality())
    # Filled once in stored order: files lie sorted by class, and a shuffle has to see them all.
    batches = (
        train.shuffle(count, seed=options.seed).batch(options.batch).prefetch(tf.data.AUTOTUNE)
    )
    validation, test = (
        read(split)[0].batch(options.batch).prefetch(tf.data.AUTOTUNE)
        for split in ("validation", "test")
    )

    keras.utils.set_random_seed(options.seed)
    base = keras.applications.MobileNetV2((*size, 3), include_top=False, weights=options.weights)
    base.trainable = False
    inputs = keras.Input((*size, 3))
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(inputs)
    x = base(x, training=False)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dropout(0.2)(x)
    model: Any = keras.Model(inputs, keras.layers.Dense(len(class_names), activation="softmax")(x))

    def compile_and_fit(rate, first, last):
        model.compile(
            keras.optimizers.Adam(rate),
            loss="sparse_categorical_crossentropy",
            metrics=["accuracy"],
        )
        model.fit(batches, validation_data=validation, initial_epoch=first, epochs=last, verbose=0)

    compile_and_fit(1e-3, 0, options.epochs)
    base.trainable = True
    for number, layer in enumerate(base.layers):
        # The flag of a batch norm layer counts in `fit`, where training=False above does not.
        frozen = number < options.depth or isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = not frozen
    compile_and_fit(options.rate, options.epochs, 2 * options.epochs)
    with tempfile.TemporaryDirectory() as out:
        model.save(Path(out) / "model.keras")
    return {
        "validation": model.evaluate(validation, verbose=0, return_dict=True)["accuracy"],
        "test": model.evaluate(test, verbose=0, return_dict=True)["accuracy"],
    }


def call_fine_tune(options: argparse.Namespace, folder: str | Path):
    """One call, without a feature cache from an earlier run."""
    from finetune import fine_tune

    with tempfile.TemporaryDirectory() as scratch:
        return fine_tune(
            folder,
            weights=options.weights,
            image_size=options.image_size,
            batch_size=options.batch,
            freeze_depth=options.depth,
            learning_rate=options.rate,
            epochs=options.epochs,
            schedule="constant",
            clip_norm=None,
            label_smoothing=0.0,
            refit=0,  # the tutorial holds the same images back
            seed=options.seed,
            cache_dir=os.path.join(scratch, "features"),
            out=os.path.join(scratch, "run"),
            verbose=0,
        )


def one_call(options: argparse.Namespace, folder: Path) -> dict[str, float]:
    """The same with `fine_tune`."""
    result = call_fine_tune(options, folder)
    assert result.validation.accuracy is not None
    assert result.test is not None and result.test.accuracy is not None
    return {"validation": result.validation.accuracy, "test": result.test.accuracy}


def run(options: argparse.Namespace) -> None:
    """One side in this process; prints one JSON object."""
    started = time.perf_counter()
    side = {"tutorial": tutorial, "ours": one_call}[options.side]
    accuracies = side(options, Path(options.data))
    figures = {
        "side": options.side,
        "seed": options.seed,
        "seconds": round(time.perf_counter() - started, 1),
        "cpu_seconds": round(time.process_time(), 1),
        "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
    }
    print(json.dumps(figures | accuracies))


def hold_back(source: Path, target: Path, *, seed: int, share: float) -> None:
    """Lays out train, validation and test folders of links, so that both sides see the same rows.

    Args:
        source: Folder with a folder per class, at the top or below train/ and test/.
        target: Where to make the three folders.
        seed: Of what is held back.
        share: Of each class to validate on, of what is not test; and to test on, where `source`
            has no test folder.
    """
    import numpy as np

    top = source / "train" if (source / "train").is_dir() else source
    held = ["validation"] if (source / "test").is_dir() else ["validation", "test"]
    for group in sorted(entry for entry in top.iterdir() if entry.is_dir()):
        files = sorted(group.iterdir())
        order = np.random.default_rng(seed).permutation(len(files))
        count = round(share * len(files))
        for position, number in enumerate(order):
            split = held[position // count] if position // count < len(held) else "train"
            _link(files[number], target / split / group.name)
    if len(held) == 1:
        for file in sorted((source / "test").glob("*/*")):
            _link(file, target / "test" / file.parent.name)


def _link(file: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / file.name).symlink_to(file.resolve())


def print_table(rows: list[dict]) -> None:
    """Medians of time and memory, means of accuracy, and the ratio of each round."""
    print("| side | seconds | CPU seconds | peak GB | validation | test | rounds |")
    print("|---|---|---|---|---|---|---|")
    sides = {side: [row for row in rows if row["side"] == side] for side in ("tutorial", "ours")}
    for side, mine in sides.items():
        time_, cpu, peak = (
            statistics.median(row[key] for row in mine)
            for key in ("seconds", "cpu_seconds", "peak_gb")
        )
        accuracies = " | ".join(
            f"{statistics.mean(row[key] for row in mine):.3f}" for key in ("validation", "test")
        )
        print(f"| {side} | {time_:.0f} | {cpu:.0f} | {peak:.2f} | {accuracies} | {len(mine)} |")
    for key, name in (("seconds", "seconds"), ("cpu_seconds", "CPU seconds")):
        pairs = zip(sides["tutorial"], sides["ours"], strict=True)
        ratios = [stock[key] / ours[key] for stock, ours in pairs]
        by_round = ", ".join(f"{ratio:.1f}" for ratio in ratios)
        print(f"\ntutorial / ours in {name}: {statistics.median(ratios):.1f} (rounds: {by_round})")


def main() -> None:
    """Run both sides in turn and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", help="image folder")
    parser.add_argument("--weights", default="imagenet")
    parser.add_argument("--image-size", type=int, default=160)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--depth", type=int, default=100)
    parser.add_argument("--rate", type=float, default=1e-4)
    parser.add_argument("--epochs", type=int, default=10, help="in each phase of the tutorial")
    parser.add_argument("--share", type=float, default=0.2, help="of the images to validate on")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--side", choices=["tutorial", "ours"], help="one side, in this process")
    parser.add_argument("--seed", type=int, default=0, help="with --side")
    parser.add_argument("--json", type=Path, help="file of figures; what it holds is not run again")
    options = parser.parse_args()
    if options.side:
        return run(options)
    how = {
        name: getattr(options, name) for name in ("image_size", "batch", "depth", "rate", "epochs")
    }
    arguments = ["--weights", options.weights]
    for name, value in how.items():
        arguments += [f"--{name.replace('_', '-')}", str(value)]
    with tempfile.TemporaryDirectory() as folder:
        plan = []
        for seed in options.seeds:
            images = Path(folder) / str(seed)
            hold_back(Path(options.data), images, seed=seed, share=options.share)
            for side in ("tutorial", "ours"):
                command = [__file__, str(images), "--side", side, "--seed", str(seed), *arguments]
                plan.append(({"side": side, "seed": seed, **how}, command))
        print_table(fill(plan, options.json))


if __name__ == "__main__":
    main()
