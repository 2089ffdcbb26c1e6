"""The same fine-tuning under seven ways of changing the learning rate, on one figure.

    python recipes/learning_rates.py IMAGE_FOLDER --image-size 160 --learning-rate 3e-4

Above, the rate of every optimizer step; below, validation accuracy after every epoch, with that of
the constant rate in grey. One FineTuner trains all seven from the same head and the same features.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import keras
from matplotlib.figure import Figure

from finetune import FineTuner, load_data
from finetune.model.fine_tuned_model import score


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


def draw(records, path):
    figure = Figure((14, 4.5), layout="constrained")
    above, below = figure.subplots(2, len(records), sharex="row", sharey="row")
    for rates, accuracies, way in zip(above, below, records, strict=True):
        rates.plot(records[way].rates["fine_tune"], drawstyle="steps-post")
        rates.set(title=way, xlabel="step")
        for shown, color in (("constant", "silver"), (way, "tab:blue")):
            curve = [row["val_accuracy"] for row in records[shown].phase("fine_tune")]
            accuracies.plot(range(1, len(curve) + 1), curve, ".-", color=color)
        accuracies.set(xlabel="epoch", xticks=range(1, len(curve) + 1))
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
    options.out.mkdir(parents=True, exist_ok=True)
    data = load_data(options.data, image_size=options.image_size, test=0.15)
    weights = None if options.weights == "none" else options.weights
    tuner = FineTuner(weights=weights, freeze_depth=100, epochs=options.epochs)
    values = replace(tuner.trainer.settings(), learning_rate=options.learning_rate)
    source, records = tuner.trainer.source_of(data, values), {}
    for way, (schedule, callbacks) in WAYS.items():
        settings = replace(values, schedule=schedule)
        model, records[way] = tuner.trainer.train(settings, source, callbacks=callbacks)
        test = score(data.splits["test"].labels, model.predict(data.test, verbose=0), data.task)
        print(f"{way:16} test {test}", flush=True)
    draw(records, options.out / "learning_rates.png")


if __name__ == "__main__":
    main()
