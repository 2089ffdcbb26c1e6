"""A grid search of freeze depths and rates: stock KerasTuner against `FineTuner.search`.

    python benchmarks/search.py shoes_brands/ --weights mobilenet_v2_1.0_224_no_top.h5
    python benchmarks/search.py shoes_brands/ --weights ... --epochs 10 --pruned
    python benchmarks/search.py shoes_brands/ --backbone resnet50 --weights none --images 300

`--backbone` is a name of `keras.applications`, a preset of KerasHub ("hub:FOLDER") or a `.keras`
file whose images are scaled to -1..1. Default freeze depths: 50, 100 and 116 of MobileNetV2's 154
layers, and of others the ends of blocks that are nearest to these shares.

Each run is a process of its own, the two in turn (A B A B), with the seed of its round. With
--pruned ours goes by successive halving over the same combinations. `--sides ours stock defaults`
adds a search with FineTuner's own schedule and label smoothing, where "ours" has what stock has.
Writes a table and, with --json, every figure.
"""

import argparse
import importlib
import json
import os
import resource
import shutil
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from processes import fill

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


MOBILENET_DEPTHS = [50, 100, 116]


def backbone(options: argparse.Namespace):
    """The pretrained model as a user of Keras gets it, and what prepares its images."""
    import keras

    if options.backbone.endswith(".keras"):
        model = keras.saving.load_model(options.backbone, compile=False)
        return model, keras.layers.Rescaling(1 / 127.5, offset=-1)
    if options.backbone.startswith("hub:"):
        from finetune import load_backbone

        loaded = load_backbone(options.backbone)
        return loaded.model, loaded.preprocess
    name = options.backbone.replace("_", "")
    constructor = next(
        value
        for key, value in vars(keras.applications).items()
        if key.lower() == name and callable(value)
    )
    module = importlib.import_module(constructor.__module__.replace("keras.src", "keras"))
    model = constructor(
        input_shape=(options.image_size, options.image_size, 3),
        include_top=False,
        weights=options.weights,
    )
    return model, module.preprocess_input


def stock(options: argparse.Namespace, data, folder: str):
    """The usual two-phase HyperModel, written as a good user would."""
    import keras
    import keras_tuner
    import tensorflow as tf

    from finetune.backbones import leaf_layers

    def build(hp):
        base, prepare = backbone(options)
        base.trainable = False
        pixels = keras.Input((options.image_size, options.image_size, 3))
        x = base(prepare(pixels), training=False)
        if len(x.shape) == 4:
            x = keras.layers.GlobalAveragePooling2D()(x)
        x = keras.layers.Dropout(0.2)(x)
        outputs = keras.layers.Dense(len(data.class_names), activation="softmax")(x)
        hp.Choice("freeze_depth", options.depths)
        hp.Choice("learning_rate", options.rates)
        model = keras.Model(pixels, outputs)
        compile_model(model, 1e-3)
        model.base = base
        return model

    def compile_model(model, rate):
        model.compile(
            keras.optimizers.Adam(rate),
            loss="sparse_categorical_crossentropy",
            metrics=["accuracy"],
        )

    class TwoPhases(keras_tuner.HyperModel):
        def build(self, hp):
            return build(hp)

        def fit(self, hp, model, *args, callbacks=(), **kwargs):
            head = model.fit(*args, epochs=options.epochs, callbacks=callbacks, **kwargs)
            for number, layer in enumerate(leaf_layers(model.base)):
                frozen_norm = isinstance(layer, keras.layers.BatchNormalization)
                layer.trainable = number >= hp.get("freeze_depth") and not frozen_norm
            compile_model(model, hp.get("learning_rate"))
            tuned = model.fit(
                *args,
                initial_epoch=options.epochs,
                epochs=2 * options.epochs,
                callbacks=callbacks,
                **kwargs,
            )
            for name, values in tuned.history.items():
                head.history[name] += values
            return head

    def cached(split, training):
        rows = data.splits[split]
        batches = tf.data.Dataset.from_tensor_slices((rows.images, rows.labels)).cache()
        if training:
            batches = batches.shuffle(len(rows), seed=options.seed)
        return batches.batch(32).prefetch(tf.data.AUTOTUNE)

    tuner = keras_tuner.GridSearch(
        TwoPhases(), objective="val_accuracy", directory=folder, project_name="stock"
    )
    tuner.search(
        cached("train", True),
        validation_data=cached("validation", False),
        shuffle=False,
        verbose=0,
    )
    seconds = time.perf_counter() - options.started
    scores = [trial.score for trial in tuner.oracle.get_best_trials(1000)]
    best = tuner.get_best_models()[0]
    return (
        seconds,
        scores,
        best.evaluate(data.test, verbose=0, return_dict=True)["accuracy"],
    )


def ours(options: argparse.Namespace, data, folder: str, **settings):
    """The same combinations with FineTuner; its time includes the best model's evaluation."""
    from finetune import FineTuner

    if options.backbone.endswith(".keras"):
        settings["preprocess"] = "tf"
    elif not options.backbone.startswith("hub:"):
        settings["weights"] = options.weights
    tuner = FineTuner(
        options.backbone,
        image_size=options.image_size,
        freeze_depth=options.depths,
        learning_rate=options.rates,
        epochs=options.epochs,
        seed=options.seed,
        refit=0,  # stock hands over the best trial as it is
        cache_dir=os.path.join(folder, "features"),  # no help from an earlier run
        **settings,
    )
    result = tuner.search(
        data,
        strategy="halving" if options.pruned else "grid",
        workers=options.workers,
        combine="best",
        out=os.path.join(folder, "study"),
        verbose=0,
    )
    seconds = time.perf_counter() - options.started
    assert result.test is not None  # the folder has test images
    return seconds, [trial["accuracy"] for trial in result.trials], result.test.accuracy


# What is compared. Ours trains as the stock side does, or with what FineTuner does by default.
SIDES = {
    "stock": stock,
    "ours": partial(ours, schedule="constant", clip_norm=None, label_smoothing=0.0),
    "defaults": ours,
}


def run(options: argparse.Namespace) -> None:
    """One search in this process; prints one JSON object."""
    options.started = time.perf_counter()
    from finetune import load_data

    data = load_data(options.data, image_size=options.image_size, seed=options.seed, augment="none")
    with tempfile.TemporaryDirectory() as folder:
        seconds, scores, test = SIDES[options.side](options, data, folder)
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print(
        json.dumps(
            {
                "side": options.side,
                "seed": options.seed,
                "seconds": round(seconds, 1),
                "cpu_seconds": round(sum(who.ru_utime + who.ru_stime for who in usage), 1),
                "peak_gb": round(usage[0].ru_maxrss / 2**20, 2),
                "trials": len(scores),
                "mean_validation": statistics.mean(scores),
                "best_validation": max(scores),
                "test_of_best": test,
            }
        )
    )


def depths_of(options: argparse.Namespace) -> list[int]:
    """Ends of blocks where as much is frozen as at the three depths of MobileNetV2."""
    from finetune.backbones import blocks, leaf_layers

    model, _ = backbone(options)
    layers = len(leaf_layers(model))
    ends = [block.end for block in blocks(model)]
    return [
        min(ends, key=lambda end: abs(end - depth * layers / 154)) for depth in MOBILENET_DEPTHS
    ]


def first_images(data: str, count: int, folder: str) -> str:
    """A folder of the first training images of every class, and of all test images."""
    classes = sorted(place for place in (Path(data) / "train").iterdir() if place.is_dir())
    for place in classes:
        for image in sorted(place.iterdir())[: count // len(classes)]:
            (Path(folder) / "train" / place.name).mkdir(parents=True, exist_ok=True)
            shutil.copy(image, Path(folder) / "train" / place.name)
    shutil.copytree(Path(data) / "test", Path(folder) / "test")
    return folder


def main() -> None:
    """Reads the options, and runs one side or all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("--backbone", default="mobilenet_v2")
    parser.add_argument("--weights", default="imagenet", help='a file, or "none"')
    parser.add_argument("--images", type=int, help="train on the first so many; default all")
    parser.add_argument("--image-size", type=int, default=160)
    parser.add_argument(
        "--depths", type=int, nargs="+", help="default for mobilenet_v2: 50 100 116"
    )
    parser.add_argument("--rates", type=float, nargs="+", default=[1e-5, 3e-5, 1e-4, 3e-4])
    parser.add_argument("--epochs", type=int, default=5, help="in each phase of the stock side")
    parser.add_argument("--pruned", action="store_true", help="ours: successive halving")
    parser.add_argument("--workers", type=int, default=1, help="ours: trials at a time")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--side", choices=SIDES, help="run one side, in this process")
    parser.add_argument("--json", type=Path, help="file of figures; what it holds is not run again")
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=["ours", "stock"])
    options = parser.parse_args()
    options.weights = None if options.weights == "none" else options.weights
    if options.side:
        return run(options)
    if options.depths is None:
        default = options.backbone == "mobilenet_v2"
        options.depths = MOBILENET_DEPTHS if default else depths_of(options)
    with tempfile.TemporaryDirectory() as folder:
        data = (
            first_images(options.data, options.images, folder) if options.images else options.data
        )
        compare(options, data)


def compare(options: argparse.Namespace, data: str) -> None:
    """Runs the sides in turn and prints the table."""
    kind = {
        name: getattr(options, name)
        for name in (
            "backbone",
            "images",
            "image_size",
            "depths",
            "rates",
            "epochs",
            "pruned",
            "workers",
        )
    }
    given = [data if argument == options.data else argument for argument in sys.argv[1:]]
    depths = ["--depths", *map(str, options.depths)]
    rows = fill(
        [
            (
                {"side": side, "seed": seed, **kind},
                [__file__, *given, *depths, "--side", side, "--seed", str(seed)],
            )
            for seed in range(options.seed, options.seed + options.rounds)
            for side in options.sides
        ],
        options.json,
    )
    print("| side | seconds | CPU s | peak GB | mean validation | best validation | test of best |")
    print("|---|---|---|---|---|---|---|")
    sides = {side: [row for row in rows if row["side"] == side] for side in options.sides}
    for side, mine in sides.items():
        seconds, cpu, peak = (
            statistics.median(row[key] for row in mine)
            for key in ("seconds", "cpu_seconds", "peak_gb")
        )
        means = [
            statistics.mean(row[key] for row in mine)
            for key in ("mean_validation", "best_validation", "test_of_best")
        ]
        figures = " | ".join(f"{mean:.3f}" for mean in means)
        print(f"| {side} | {seconds:.0f} | {cpu:.0f} | {peak:.2f} | {figures} |")
    for side in sides:
        if "stock" in sides and side != "stock":
            pairs = zip(sides["stock"], sides[side], strict=True)
            ratios = [slow["seconds"] / quick["seconds"] for slow, quick in pairs]
            print(f"\nstock / {side}, by round: {', '.join(f'{ratio:.2f}' for ratio in ratios)}")


if __name__ == "__main__":
    main()
