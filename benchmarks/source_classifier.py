"""Does what the source classifier knew help, where images are few? LwF and Co-Tuning, in pairs.

    python benchmarks/source_classifier.py flowers12/train/ --backbone efficientnet_lite0.keras \\
      --classifier classifier.npz --image-size 96 --per-class 5 10 20 --seeds 20 21

The classifier file holds `weight` (classes, features) and `bias` (classes,), as of PyTorch, of the
layer that follows the average of the backbone's features. Of each class so many images train, and
up to 40 others say how well. Everything behind a third of the backbone is trained at the rate,
limit, warm-up and smoothing of `fine_tune`, in a loop of its own: it starts at the solved head,
and keeps the last epoch. Losses are at the temperature that suits each best.

Source: Z. Li and D. Hoiem, "Learning without forgetting" (2016); K. You et al., "Co-tuning for
transfer learning" (2020), with the mean of what is said of a class as its relation to the source.
"""

import argparse
import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from paired import new_parser, print_table, run_all

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

WAYS = ["plain", "lwf", "cotuning", "head"]
EPOCHS, BATCH, RATE, LIMIT, WARM_UP, SMOOTHING = 15, 32, 6e-4, 1.0, 0.3, 0.1
TEMPERATURE = 2.0  # of LwF
HELD_OUT = 40  # of each class


def run(options: argparse.Namespace) -> None:
    """One training in this process; prints one JSON object."""
    import keras
    import tensorflow as tf
    from keras import ops
    from sklearn.linear_model import LogisticRegressionCV

    from finetune.model import calibrated_loss

    way, _, count = options.way.partition(":")
    data = {split: [*read(options, int(count), split)] for split in ("train", "validation")}
    images, labels = (np.array(part) for part in zip(*data["train"], strict=True))
    others, truth = (np.array(part) for part in zip(*data["validation"], strict=True))

    keras.utils.set_random_seed(options.seed)
    stem, rest = cut(keras.saving.load_model(options.backbone, compile=False))
    kept = stem.predict(images, verbose=0)
    known = rest.predict(kept, verbose=0).mean((1, 2))
    scale = known.std(0) + 1e-6
    folds = min(5, int(count))
    solved = LogisticRegressionCV(Cs=10, cv=folds, max_iter=2000, scoring="neg_log_loss")
    solved.fit(known / scale, labels)
    head = [solved.coef_.T / scale[:, None], solved.intercept_]

    file = np.load(options.classifier)
    source = [file["weight"].T, file["bias"]]
    says = known @ source[0] + source[1]
    if way == "lwf":
        wanted, heat = keras.activations.softmax(ops.array(says / TEMPERATURE)), TEMPERATURE
    else:
        each = np.array(keras.activations.softmax(ops.array(says)))
        wanted, heat = np.stack([each[labels == one].mean(0) for one in labels]), 1.0

    dense = [keras.Variable(part, dtype="float32") for part in (*head, *source)]
    trained = rest.trainable_variables + dense[: 4 if way in ("lwf", "cotuning") else 2]
    steps = EPOCHS * -(-len(labels) // BATCH)
    warm_up = int(WARM_UP * steps)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0 if warm_up else RATE, steps - warm_up, warmup_target=RATE, warmup_steps=warm_up
    )
    optimizer = keras.optimizers.Adam(rate, global_clipnorm=LIMIT)
    optimizer.build(trained)

    @tf.function(reduce_retracing=True)
    def step(batch, answers, before):
        with tf.GradientTape() as tape:
            features = ops.mean(rest(batch, training=False), axis=(1, 2))
            said = features @ dense[0] + dense[1]
            right = ops.one_hot(answers, said.shape[-1]) * (1 - SMOOTHING)
            right += SMOOTHING / said.shape[-1]
            loss = ops.mean(ops.categorical_crossentropy(right, said, from_logits=True))
            if way in ("lwf", "cotuning"):
                now = (features @ dense[2] + dense[3]) / heat
                away = ops.categorical_crossentropy(before, now, from_logits=True)
                loss += heat**2 * ops.mean(away)
        optimizer.apply_gradients(
            zip(tape.gradient(loss, [one.value for one in trained]), trained, strict=True)
        )

    order, wanted = np.random.default_rng(options.seed), np.array(wanted, "float32")
    for _ in range(0 if way == "head" else EPOCHS):
        rows = order.permutation(len(labels))
        for start in range(0, len(rows), BATCH):
            some = rows[start : start + BATCH]
            step(kept[some], labels[some], wanted[some])

    features = rest.predict(stem.predict(others, verbose=0), verbose=0).mean((1, 2))
    said = features @ np.array(dense[0]) + np.array(dense[1])

    probabilities = np.array(keras.activations.softmax(ops.array(said)))
    figures = {
        "accuracy": float((said.argmax(1) == truth).mean()),
        "loss": calibrated_loss(truth, probabilities, "multiclass"),
        "n": len(truth),
    }
    print(json.dumps(figures))


def read(options: argparse.Namespace, count: int, split: str) -> Iterator[tuple[np.ndarray, int]]:
    """Pixels of -1..1 and labels: so many images of each class, or up to 40 others."""
    import keras

    random = np.random.default_rng(options.seed)
    size = (options.image_size, options.image_size)
    folders = sorted(path for path in Path(options.side_data).iterdir() if path.is_dir())
    for label, folder in enumerate(folders):
        files = sorted(folder.iterdir())
        drawn = [files[place] for place in random.permutation(len(files))]
        for file in drawn[:count] if split == "train" else drawn[count : count + HELD_OUT]:
            image = keras.utils.load_img(file, target_size=size, interpolation="bilinear")
            yield np.asarray(image, "float32") / 127.5 - 1, label


def cut(model):
    """The model up to a layer about a third of its depth, and from there; batch norm frozen."""
    import keras

    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
    for layer in reversed(model.layers[: round(0.35 * len(model.layers)) + 1]):
        try:
            rest = keras.Model(layer.output, model.output)
        except ValueError:  # a branch passes it by
            continue
        return keras.Model(model.input, layer.output), rest
    raise SystemExit("No layer was found that everything passes through.")


def main() -> None:
    parser = new_parser(__doc__.splitlines()[0], [0, 1])
    parser.add_argument("--classifier", required=True, help="its file of weight and bias")
    parser.add_argument("--per-class", type=int, nargs="+", default=[5, 10, 20])
    parser.add_argument("--way", help="run one, in this process")
    options = parser.parse_args()
    if options.way:
        return run(options)
    for count in options.per_class:
        print(f"{count} images a class")
        ways = [f"{way}:{count}" for way in WAYS]
        rows = run_all(__file__, options, "way", ways)
        print_table(rows, "way", ways, "accuracy", ("n", lambda mine: str(mine[0]["n"])))


if __name__ == "__main__":
    main()
