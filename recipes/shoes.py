"""Which freeze depth and which learning rate suit a folder of photos? Two tables, two figures.

    python recipes/shoes.py SHOES_FOLDER --image-size 160 --seeds 0 1 2

Four freeze depths (154: the head alone), then three learning rates at the best of the other three.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from finetune import FineTuner, load_data
from finetune.model.fine_tuned_model import score
from finetune.support.statistics import accuracy_interval

DEPTHS, RATE, RATES = [0, 50, 100, 154], 1e-5, [1e-4, 1e-5, 1e-6]
PLAIN = {"schedule": "constant", "label_smoothing": 0.0}  # as in published tables


def train_row(tuner, data, seeds, depth, rate):
    figures, curves = [], []
    for seed in seeds:
        started = time.perf_counter()
        settings = replace(
            tuner.trainer.settings(), freeze_depth=depth, learning_rate=rate, seed=seed
        )
        model, record = tuner.trainer.train(settings, tuner.trainer.source_of(data, settings))
        best, minutes = record.best_epoch, (time.perf_counter() - started) / 60
        test = score(data.splits["test"].labels, model.predict(data.test, verbose=0), data.task)
        figures.append((best["val_accuracy"], best["val_loss"], test.accuracy, minutes))
        epochs = record.phase("fine_tune") or [best]  # the head alone has none
        curves.append([(row["val_accuracy"], row["val_loss"]) for row in epochs])
    return np.mean(figures, axis=0), np.mean(curves, axis=0)


def report(name, rows, data, path):
    print(f"\n| {name} | validation accuracy | loss | test accuracy | minutes |\n{'|---' * 5}|")
    for row, ((validation, loss, test, minutes), _) in rows.items():
        cells = []
        for accuracy, split in ((validation, "validation"), (test, "test")):
            low, high = accuracy_interval(accuracy, n := len(data.splits[split]))
            cells.append(f"{accuracy:.3f} [{low:.3f}, {high:.3f}] n={n}")
        print(f"| {row} | {cells[0]} | {loss:.3f} | {cells[1]} | {minutes:.1f} |", flush=True)
    figure = Figure((9, 4), layout="constrained")
    epochs = np.arange(max(len(curves) for _, curves in rows.values())) + 1
    for column, quantity in enumerate(("accuracy", "loss")):
        axes = figure.add_subplot(1, 2, column + 1)
        for row, (_, curves) in rows.items():
            axes.plot(epochs, np.resize(curves[:, column], len(epochs)), ".-", label=row)
        axes.set(xlabel="epoch", xticks=epochs, ylabel=f"validation {quantity}", ymargin=0.5)
    axes.legend(title=name, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(path, dpi=150)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="folder with one folder per class, or with train/ and test/")
    parser.add_argument("--weights", default="imagenet", help="imagenet, a weights file, or none")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--out", type=Path, default=Path("runs/shoes"))
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    data = load_data(options.data, image_size=options.image_size, test=0.15)
    weights = None if options.weights == "none" else options.weights
    tuner = FineTuner(weights=weights, freeze_depth=DEPTHS, epochs=options.epochs, **PLAIN)
    shared = tuner, data, options.seeds  # and so are features and heads
    depths = {depth: train_row(*shared, depth, RATE) for depth in DEPTHS}
    report("freeze depth", depths, data, options.out / "freeze_depth.png")
    best = max(DEPTHS[:-1], key=lambda depth: (depths[depth][0][0], -depths[depth][0][1]))
    rates = {f"{r:.0e}": depths[best] if r == RATE else train_row(*shared, best, r) for r in RATES}
    report("learning rate", rates, data, options.out / "learning_rate.png")


if __name__ == "__main__":
    main()
