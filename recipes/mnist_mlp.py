"""Train a multilayer perceptron on MNIST from scratch, in plain Keras.

    python recipes/mnist_mlp.py --data IDX_DIR --net full

plain: four Dense layers of 32 ReLU units, SGD at 0.01, 5 epochs. full: four with batch norm, ReLU
and dropout, He and Glorot initialisers, Adam, warm-up and cosine decay, 30 epochs.
IDX_DIR holds MNIST's four idx files. The best epoch by validation is kept, and the curves drawn.
"""

import argparse
from pathlib import Path

import keras
from matplotlib.figure import Figure

from finetune import accuracy_interval
from mnist_from_idx import read_mnist

RATE, WARMUP_EPOCHS = 0.01, 3


def load(data):
    """Returns {"train", "validation", "test"} -> (images from 0 to 1, labels)."""
    (x, y), test = read_mnist(data).values()
    held = len(x) // 12  # 5,000 of MNIST's 60,000
    splits = {"train": (x[held:], y[held:]), "validation": (x[:held], y[:held]), "test": test}
    return {name: (x.astype("float32") / 255, y) for name, (x, y) in splits.items()}


def plain():
    stack = [keras.Input((28, 28)), keras.layers.Flatten()]
    stack += [keras.layers.Dense(32, activation="relu") for _ in range(4)]
    model = keras.Sequential([*stack, keras.layers.Dense(10, activation="softmax")])
    return model, keras.optimizers.SGD(RATE)


def full():
    stack = [keras.Input((28, 28)), keras.layers.Flatten()]
    for units in (512, 512, 256, 128):
        # Batch norm brings its own offset.
        stack.append(keras.layers.Dense(units, use_bias=False, kernel_initializer="he_normal"))
        stack += [keras.layers.BatchNormalization(), keras.layers.ReLU(), keras.layers.Dropout(0.3)]
    stack.append(keras.layers.Dense(10, activation="softmax", kernel_initializer="glorot_uniform"))
    return keras.Sequential(stack), keras.optimizers.Adam(RATE)


def warm_up_then_cosine(epochs):
    """The rate of each epoch, as Keras' LearningRateScheduler asks for it."""
    rise = min(WARMUP_EPOCHS, epochs - 1)
    fall = keras.optimizers.schedules.CosineDecay(RATE, epochs - rise)
    return lambda epoch: RATE * (epoch + 1) / rise if epoch < rise else float(fall(epoch - rise))


def draw(history, path):
    figure = Figure((13, 4), layout="constrained")
    for column, name in enumerate(("loss", "accuracy", "learning_rate"), start=1):
        axes = figure.add_subplot(1, 3, column, xlabel="epoch", ylabel=name.replace("_", " "))
        axes.plot(history.epoch, history.history[name], "o-", label="training")
        if column < 3:
            axes.plot(history.epoch, history.history[f"val_{name}"], "s--", label="validation")
    figure.axes[0].legend(frameon=False)
    figure.savefig(path, dpi=100)


def train(net, splits, out, *, epochs, batch, rate, seed):
    """Trains with every random number fixed, and returns the best epoch by validation."""
    keras.utils.set_random_seed(seed)  # Python, NumPy, first weights, dropout and order
    model, optimizer = net()
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    best = keras.callbacks.ModelCheckpoint(out / "best.keras", "val_accuracy", save_best_only=True)
    fit = {"epochs": epochs, "batch_size": batch, "validation_data": splits["validation"]}
    callbacks = [keras.callbacks.LearningRateScheduler(rate), best]
    draw(model.fit(*splits["train"], **fit, callbacks=callbacks, verbose=2), out / "curves.png")
    return keras.models.load_model(out / "best.keras")


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--net", choices=("plain", "full"), default="plain")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, help="default: 5 for plain, 30 for full")
    parser.add_argument("--out", type=Path, default=Path("runs/mnist_mlp"))
    options = parser.parse_args(arguments)
    net, epochs, batch = (plain, 5, 32) if options.net == "plain" else (full, 30, 128)
    epochs = options.epochs or epochs
    rate = warm_up_then_cosine(epochs) if net is full else lambda epoch: RATE
    how = {"epochs": epochs, "batch": batch, "rate": rate, "seed": options.seed}
    model = train(net, splits := load(options.data), options.out, **how)
    for name, (x, y) in splits.items():
        accuracy = model.evaluate(x, y, batch_size=1000, verbose=0)[1]
        low, high = accuracy_interval(accuracy, len(y))
        print(f"{name:10} accuracy {accuracy:.4f}  95% interval {low:.4f}-{high:.4f}  n={len(y)}")


if __name__ == "__main__":
    main()

# To change first: RATE, and Dropout(0.3): if training accuracy runs away from that of validation,
# raise it; if neither gets high, lower it or widen the layers.
