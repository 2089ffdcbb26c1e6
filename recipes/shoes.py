"""Which freeze depth and which learning rate suit a folder of photos? Two tables, two figures.

    python recipes/shoes.py SHOES_FOLDER --image-size 160 --seeds 3
    python recipes/shoes.py SHOES_FOLDER --published

Four freeze depths (154: the head alone), then three learning rates at the best of the other three.
--published: as in a published experiment, one phase from a new head, its figures beside ours.
A run that was stopped or killed goes on with the same command.
"""

import argparse
from pathlib import Path

import keras
import numpy as np

from finetune import FineTuner, accuracy_interval, load_data

DEPTHS, RATE, RATES = [0, 50, 100, 154], 1e-5, [1e-4, 1e-5, 1e-6]
PLAIN = {"schedule": "constant", "label_smoothing": 0.0}
PUBLISHED = {**PLAIN, "head_epochs": 0, "dropout": 0.0, "batch_norm": "adapt"}
PUBLISHED_DATA = {"image_size": 160, "batch_size": 256, "test": 1 / 6, "validation": 0.2}
DEPTH_EPOCHS, RATE_EPOCHS = {"1e-05": 50}, {"1e-04": 50, "1e-05": 100, "1e-06": 500}
# Validation accuracy, loss and test accuracy; minutes.
THEIR_DEPTHS = {
    **{0: (0.53, 1.1348, 0.57, None), 50: (0.66, 1.0009, 0.64, None)},
    **{100: (0.59, 1.0450, 0.61, None), 154: (0.20, 2.0535, 0.24, None)},
}
THEIR_RATES = {
    **{1e-4: (0.80, 0.6269, 0.81, 2.6), 1e-5: (0.73, 0.7891, 0.69, 5.116)},
    **{1e-6: (0.74, 0.7813, 0.71, 25.1)},
}


class LastEpoch(keras.callbacks.Callback):
    """Ends a training after the published number of epochs, and measures the test images there."""

    def __init__(self, test, epochs):
        super().__init__()
        self.test, self.epochs = test, epochs

    def on_epoch_end(self, epoch, logs=None):
        rate = float(self.model.optimizer.learning_rate)
        if epoch + 1 == self.epochs[f"{rate:.0e}"]:
            outputs = self.model.predict(self.test.images, verbose=0)
            logs["test_accuracy"] = np.mean(outputs.argmax(axis=1) == self.test.labels)
            self.model.stop_training = True


def search(data, options, name, **settings):
    epochs = settings.pop("ends", None)  # by learning rate, where that decides
    tuner = FineTuner(weights=None if options.weights == "none" else options.weights, **settings)
    result = tuner.search(
        data,
        strategy="grid",
        keep=len(DEPTHS),  # the weights of all, for their test accuracy
        executions=options.seeds,
        epochs=max(epochs.values()) if epochs else options.epochs,
        callbacks=[LastEpoch(data.splits["test"], epochs)] if epochs else [],
        out=options.out / name,
    )
    return sorted(result.rows(), key=lambda row: (row["freeze_depth"], -row["learning_rate"]))


def shown(accuracy, n):
    low, high = accuracy_interval(accuracy, n)
    return f"{accuracy:.3f} [{low:.3f}, {high:.3f}] n={n}"


def compare(column, rows, theirs):
    print(f"\n| {column} | validation accuracy | loss | test accuracy | minutes | kept epoch |")
    for row in rows:
        last, (accuracy, loss, test, minutes) = row["history"][-1], theirs[row[column]]
        took = sum(epoch["seconds"] for epoch in row["history"]) / 60
        print(
            f"| {row[column]} | {shown(last['val_accuracy'], row['val_n'])} ({accuracy}) | "
            f"{last['val_loss']:.4f} ({loss}) | {shown(last['test_accuracy'], row['test_n'])} "
            f"({test}) | {took:.1f} ({minutes}) | {shown(row['val_accuracy'], row['val_n'])}, "
            f"test {shown(row['test_accuracy'], row['test_n'])} |"
        )


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="folder with one folder per class, or with train/ and test/")
    parser.add_argument("--weights", default="imagenet", help="imagenet, a weights file, or none")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=1, help="how many, to take the mean over")
    parser.add_argument("--out", type=Path, default=Path("runs/shoes"))
    parser.add_argument("--published", action="store_true")
    options = parser.parse_args(arguments)
    data = load_data(options.data, **PUBLISHED_DATA)
    depths = dict(freeze_depth=DEPTHS, learning_rate=RATE, ends=DEPTH_EPOCHS, **PUBLISHED)
    compare("freeze_depth", search(data, options, "freeze_depth", **depths), THEIR_DEPTHS)
    rates = dict(freeze_depth=50, learning_rate=RATES, ends=RATE_EPOCHS, **PUBLISHED)
    compare("learning_rate", search(data, options, "learning_rate", **rates), THEIR_RATES)


if __name__ == "__main__":
    main()
