"""Which freeze depth and which learning rate suit a folder of photos? Two tables, two figures.

    python recipes/shoes.py SHOES_FOLDER --image-size 160 --seeds 3
    python recipes/shoes.py SHOES_FOLDER --published

Four freeze depths (154: the head alone), then three rates at the best of the other three; or all as
in a published experiment, its figures beside ours. The same command goes on with a killed run.
"""

import argparse
from pathlib import Path
from statistics import fmean

import keras

from finetune import FineTuner, accuracy_interval, load_data

DEPTHS, RATE, RATES = [0, 50, 100, 154], 1e-5, [1e-4, 1e-5, 1e-6]
PLAIN = {"schedule": "constant", "clip_norm": None, "label_smoothing": 0.0}
PUBLISHED = {**PLAIN, "head_epochs": 0, "dropout": 0.0, "batch_norm": "adapt"}
PUBLISHED_DATA = {"image_size": 160, "batch_size": 256, "test": 1 / 6, "validation": 0.2}
PUBLISHED_EPOCHS = {"freeze_depth": [50], "learning_rate": [50, 100, 500]}  # one for each rate
THEIRS = {  # validation accuracy, loss, test accuracy, minutes
    "freeze_depth": [".53 1.1348 .57", ".66 1.0009 .64", ".59 1.0450 .61", ".20 2.0535 .24"],
    "learning_rate": ["~.80 .6269 ~.81 2.6", "~.73 .7891 ~.69 5.116", "~.74 .7813 ~.71 25.1"],
}


class LastEpoch(keras.callbacks.Callback):
    """Ends a training after the published epochs, and measures the test images there."""

    def __init__(self, test, epochs):
        super().__init__()
        self.test, self.epochs = test, epochs

    def on_epoch_end(self, epoch, logs=None):
        if epoch + 1 == self.epochs[f"{float(self.model.optimizer.learning_rate):.0e}"]:
            outputs = self.model.predict(self.test.images, verbose=0)
            logs["test_accuracy"] = (outputs.argmax(axis=1) == self.test.labels).mean()
            self.model.stop_training = True


def train(data, options, name, rates, **settings):
    epochs, callbacks = options.epochs, []
    if options.published:
        epochs = max(PUBLISHED_EPOCHS[name])
        ends = {f"{r:.0e}": e for r, e in zip(rates, PUBLISHED_EPOCHS[name], strict=True)}
        callbacks = [LastEpoch(data.splits["test"], ends)]
    tuner = FineTuner(weights=None if options.weights == "none" else options.weights, **settings)
    how = {"strategy": "grid", "epochs": epochs, "executions": options.seeds, "keep": len(DEPTHS)}
    result = tuner.search(data, **how, callbacks=callbacks, out=options.out / name)
    result.plot(options.out / f"{name}.png")
    return result.rows()


def table(title, name, values, rows, theirs=None):
    columns = [name, "validation accuracy", "loss", "test accuracy", "minutes"]
    columns += ["published"] if theirs else []
    print(f"\n{title}\n\n| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    for place, value in enumerate(values):
        same = [row for row in rows if row[name] == value]  # under each seed
        cells = [str(value), f"{fmean(row['val_loss'] for row in same):.4f}"]
        for where, split in ((1, "val"), (3, "test")):
            accuracy, n = fmean(row[f"{split}_accuracy"] for row in same), same[0][f"{split}_n"]
            low, high = accuracy_interval(accuracy, n)
            cells.insert(where, f"{accuracy:.3f} [{low:.3f}, {high:.3f}] n={n}")
        cells.append(f"{fmean(sum(e['seconds'] for e in row['history']) for row in same) / 60:.1f}")
        print(f"| {' | '.join(cells + theirs[place : place + 1] if theirs else cells)} |")


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="folder with one folder per class, or with train/ and test/")
    parser.add_argument("--weights", default="imagenet", help="imagenet, a weights file, or none")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=1, help="how many, to take the mean over")
    parser.add_argument("--out", type=Path, default=Path("runs/shoes"))
    parser.add_argument("--published", action="store_true", help="160 pixels, 50 to 500 epochs")
    options = parser.parse_args(arguments)
    settings, given = PLAIN, {"image_size": options.image_size, "test": 0.15}
    if options.published:
        settings, given = PUBLISHED, PUBLISHED_DATA
    data, depth = load_data(options.data, **given), 50
    for name, values, rates in (("freeze_depth", DEPTHS, [RATE]), ("learning_rate", RATES, RATES)):
        space = {"freeze_depth": depth, "learning_rate": RATE, name: values, "refit": 0, **settings}
        rows = train(data, options, name, rates, **space)  # the best first
        table("At the kept epoch, the best by validation:", name, values, rows)
        if options.published:
            last = [{**row, **row["history"][-1], name: row[name]} for row in rows]
            title = "Last epoch. Shown: their protocol on these photos. Not shown: on theirs."
            table(title, name, values, last, THEIRS[name])
        else:
            depth = next(row["freeze_depth"] for row in rows if row["freeze_depth"] != DEPTHS[-1])


if __name__ == "__main__":
    main()

# To change first: DEPTHS, which are those of MobileNetV2, and RATES; then PLAIN, or drop it.
