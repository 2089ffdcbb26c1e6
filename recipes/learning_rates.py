"""The same fine-tuning under seven ways of changing the learning rate, on one figure.

    python recipes/learning_rates.py IMAGE_FOLDER --image-size 160 --learning-rate 3e-4

Above, the rate of every optimizer step; below, validation accuracy after every epoch, with that of
the constant rate in grey. The features of the frozen layers are computed once and kept.
"""

import argparse
from pathlib import Path

import keras
from matplotlib.figure import Figure

from finetune import fine_tune, load_data


class SetByHand(keras.callbacks.Callback):
    """Halves the rate after the third epoch, and after the sixth again."""

    def on_epoch_end(self, epoch, logs=None):
        if epoch in (3, 6):  # epoch 0 is the trained head
            self.model.optimizer.learning_rate = self.model.optimizer.learning_rate / 2


WAYS = {
    "constant": ("constant", []),
    "exponential": ("exponential", []),
    "piecewise": ("piecewise", []),
    "cosine, warm-up": ("cosine", []),
    "on a plateau": ("plateau", []),
    "a function": (lambda epoch, rate: rate * 2 / 3, []),  # of Keras' LearningRateScheduler
    "by hand": ("constant", [SetByHand()]),
}


def draw(results, path):
    figure = Figure((14, 4.5), layout="constrained")
    above, below = figure.subplots(2, len(results), sharex="row", sharey="row")
    for rates, accuracies, way in zip(above, below, results, strict=True):
        rates.plot(results[way].rates["fine_tune"], drawstyle="steps-post")
        rates.set(title=way, xlabel="step")
        for shown, color in (("constant", "silver"), (way, "tab:blue")):
            epochs = [row for row in results[shown].rows() if row["phase"] == "fine_tune"]
            accuracies.plot(
                [row["epoch"] for row in epochs],
                [row["val_accuracy"] for row in epochs],
                ".-",
                color=color,
            )
        accuracies.set(xlabel="epoch")
    above[0].set(ylabel="learning rate", ylim=(0, None))
    above[0].ticklabel_format(axis="y", scilimits=(0, 0))
    below[0].set(ylabel="validation accuracy\n(grey: constant rate)")
    figure.savefig(path, dpi=150)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="folder with one folder per class, or with train/ and test/")
    parser.add_argument("--weights", default="imagenet", help="imagenet, a weights file, or none")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--learning-rate", type=float, default=1e-4, help="the highest of each way")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--out", type=Path, default=Path("runs/learning_rates"))
    options = parser.parse_args(arguments)
    data, results = load_data(options.data, image_size=options.image_size, test=0.15), {}
    for number, (way, (schedule, callbacks)) in enumerate(WAYS.items(), start=1):
        results[way] = fine_tune(
            data,
            weights=None if options.weights == "none" else options.weights,
            image_size=options.image_size,
            freeze_depth=100,
            learning_rate=options.learning_rate,
            epochs=options.epochs,
            schedule=schedule,
            callbacks=callbacks,
            out=options.out / f"{number}",
            verbose=0,
        )
        print(f"{way:16} test {results[way].test}", flush=True)
    draw(results, options.out / "learning_rates.png")


if __name__ == "__main__":
    main()

# To change first: --learning-rate, by factors of 3, for no way of changing a rate mends one that is
# too high; then WAYS, where any Keras schedule may stand in the place of a name.
