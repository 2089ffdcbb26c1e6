"""Train a multilayer perceptron on MNIST from scratch, in plain Keras.

    python recipes/mnist_mlp.py --data IDX_DIR --net full

plain: four Dense layers of 32 ReLU units, SGD at 0.01, 5 epochs. full: batch norm, dropout, He and
Glorot initialisers, warm-up, cosine decay, 30 epochs. The best epoch by validation is kept.
IDX_DIR holds the four idx files; an .npz with x_train, y_train, x_test and y_test will do too.
"""

import argparse
from pathlib import Path

import keras
import numpy as np

from finetune.support.statistics import accuracy_interval
from mnist_from_idx import read_mnist

BATCH, RATE, WARMUP_EPOCHS = 32, 0.01, 3


def load(data):
    """Returns {"train", "validation", "test"} -> (images from 0 to 1, labels)."""
    if data.is_dir():
        (x, y), test = read_mnist(data).values()
    else:
        arrays = np.load(data)
        x, y, test = arrays["x_train"], arrays["y_train"], (arrays["x_test"], arrays["y_test"])
    held = len(x) // 12  # 5,000 of MNIST's 60,000
    splits = {"train": (x[held:], y[held:]), "validation": (x[:held], y[:held]), "test": test}
    return {name: (x.astype("float32") / 255, y) for name, (x, y) in splits.items()}


def plain(epochs, steps):
    stack = [keras.Input((28, 28)), keras.layers.Flatten()]
    stack += [keras.layers.Dense(32, activation="relu") for _ in range(4)]
    model = keras.Sequential([*stack, keras.layers.Dense(10, activation="softmax")])
    return model, keras.optimizers.SGD(RATE)


def full(epochs, steps):
    stack = [keras.Input((28, 28)), keras.layers.Flatten()]
    for units in (512, 256, 128):
        # Batch norm brings its own offset.
        stack.append(keras.layers.Dense(units, use_bias=False, kernel_initializer="he_normal"))
        stack += [keras.layers.BatchNormalization(), keras.layers.ReLU(), keras.layers.Dropout(0.3)]
    stack.append(keras.layers.Dense(10, activation="softmax", kernel_initializer="glorot_uniform"))
    warmup = min(WARMUP_EPOCHS, epochs - 1) * steps
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, epochs * steps - warmup, warmup_target=RATE, warmup_steps=warmup
    )
    return keras.Sequential(stack), keras.optimizers.SGD(schedule, momentum=0.9)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--net", choices=("plain", "full"), default="plain")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, help="default: 5 for plain, 30 for full")
    parser.add_argument("--out", type=Path, default=Path("runs/mnist_mlp"))
    options = parser.parse_args(arguments)
    keras.utils.set_random_seed(options.seed)
    splits, best = load(options.data), options.out / "best.keras"
    net, epochs = {"plain": (plain, 5), "full": (full, 30)}[options.net]
    epochs = options.epochs or epochs
    model, optimizer = net(epochs, -(-len(splits["train"][0]) // BATCH))
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    keep = keras.callbacks.ModelCheckpoint(best, monitor="val_accuracy", save_best_only=True)
    fit = {"batch_size": BATCH, "epochs": epochs, "callbacks": [keep], "verbose": 2}
    model.fit(*splits["train"], validation_data=splits["validation"], **fit)
    for name, (x, y) in splits.items():
        accuracy = keras.models.load_model(best).evaluate(x, y, batch_size=1000, verbose=0)[1]
        low, high = accuracy_interval(accuracy, len(y))
        print(f"{name:10} accuracy {accuracy:.4f}  95% interval {low:.4f}-{high:.4f}  n={len(y)}")


if __name__ == "__main__":
    main()
