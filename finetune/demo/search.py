"""The demo: a KerasTuner search over freeze depth and learning rate, on real digits."""

import shutil
import time
from pathlib import Path

import keras
import keras_tuner
import numpy as np
from rich.console import Console
from rich.table import Table

from finetune.api import fine_tune
from finetune.data import ImageData, load_data
from finetune.demo import backbone_path, write_digits
from finetune.demo.network import build_backbone
from finetune.freezing import blocks
from finetune.result import FineTuneResult
from finetune.statistics import accuracy_interval
from finetune.tuner import FineTuner

LEARNING_RATES = [3e-4, 1e-3]
EPOCHS = 15
# Digits may shift and tilt a little, but a mirrored one is another sign.
AUGMENT = [("RandomTranslation", (0.06, 0.06)), ("RandomRotation", (0.03,))]


class _DemoTuner(keras_tuner.GridSearch):
    """Says a line after every trial, where KerasTuner would clear the screen."""

    def on_trial_end(self, trial: keras_tuner.engine.trial.Trial) -> None:
        super().on_trial_end(trial)
        values = trial.hyperparameters.values
        done = self.oracle.get_trial(trial.trial_id)
        Console().print(
            f"  trial {int(trial.trial_id) + 1}: freeze_depth {values['freeze_depth']:>2}, "
            f"learning_rate {values['learning_rate']:.0e} -> "
            f"validation accuracy {done.score:.3f}",
            highlight=False,
        )


def run_demo(out: Path, *, seed: int = 0) -> dict[str, float]:
    """Search, show the board, save the best model and compare with random weights.

    Args:
        out: Folder for digits, search and run. What an earlier demo left there is replaced.
        seed: Seed of everything random.

    Returns:
        Test accuracy "pretrained" and "random".
    """
    started = time.perf_counter()
    console = Console(highlight=False)
    for part in ("digits", "search", "run"):
        shutil.rmtree(out / part, ignore_errors=True)
    data = _digits(out, seed)
    console.print(f"[bold]Handwritten digits[/] in {out / 'digits'}\n{data.summary()}\n")

    backbone = keras.models.load_model(backbone_path(), compile=False)
    depths = _depths(backbone)
    tuner = _DemoTuner(
        FineTuner(
            backbone,
            preprocess="tf",
            freeze_depth=depths,
            learning_rate=LEARNING_RATES,
            epochs=EPOCHS,
            seed=seed,
        ),
        objective="val_accuracy",
        directory=out,
        project_name="search",
    )
    console.print(f"[bold]Search[/]: {len(depths)} freeze depths x {len(LEARNING_RATES)} rates")
    tuner.search(data, verbose=0)
    console.print(_board(tuner, backbone, len(data.splits["validation"])))

    best = tuner.get_best_hyperparameters()[0]
    result = _train(data, backbone, out / "run", seed, **best.values)
    random = _train(
        data, build_backbone(), out / "random", seed, freeze_depth=0, learning_rate=1e-3
    )
    shutil.rmtree(out / "random")
    assert result.test is not None and random.test is not None  # write_digits makes test images
    console.print(f"Best, trained again:     test {result.test}")
    console.print(f"From random weights:     test {random.test}")
    console.print(
        f"\nModel: {result.folder / 'model.keras'}\n"
        f"Use it: finetune predict {result.folder} {out / 'digits' / 'test' / '7'}\n"
        f"{time.perf_counter() - started:.0f} s"
    )
    return {"pretrained": result.test.accuracy or 0.0, "random": random.test.accuracy or 0.0}


def _digits(out: Path, seed: int) -> ImageData:
    augment = keras.Sequential(
        [getattr(keras.layers, name)(*factors, seed=seed) for name, factors in AUGMENT]
    )
    folder = write_digits(out / "digits")
    return load_data(folder, image_size=32, seed=seed, augment=augment)


def _depths(backbone: keras.Model) -> list[int]:
    """Everything trains, the ends of a lower and an upper block, and head only."""
    ends = [block.end for block in blocks(backbone)]
    chosen = np.linspace(0, len(ends) - 1, 4).round().astype(int)
    return sorted({0, *(ends[i] for i in chosen[1:])})


def _train(
    data: ImageData, backbone: keras.Model, out: Path, seed: int, **values
) -> FineTuneResult:
    """One training with the budget of a trial."""
    return fine_tune(
        data,
        backbone=backbone,
        preprocess="tf",
        epochs=EPOCHS,
        seed=seed,
        out=out,
        verbose=0,
        **values,
    )


def _board(tuner: keras_tuner.Tuner, backbone: keras.Model, n: int) -> Table:
    table = Table(
        "rank", "freeze depth", "up to block", "learning rate", "validation accuracy (95%)"
    )
    names = {block.end: block.name for block in blocks(backbone)}
    for rank, trial in enumerate(tuner.oracle.get_best_trials(100), start=1):
        values = trial.hyperparameters.values
        low, high = accuracy_interval(trial.score, n)
        depth = values["freeze_depth"]
        table.add_row(
            str(rank),
            f"{depth} of {len(backbone.layers)}",
            "head only" if depth == len(backbone.layers) else names.get(depth, "none"),
            f"{values['learning_rate']:.0e}",
            f"{trial.score:.3f} [{low:.3f}, {high:.3f}]",
        )
    return table
