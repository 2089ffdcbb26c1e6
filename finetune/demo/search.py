"""The demo: a KerasTuner search over freeze depth and learning rate, on real digits."""

import shutil
import time
from pathlib import Path
from typing import Any

import keras
import keras_tuner
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

LEARNING_RATES = [3e-4, 1e-3, 3e-3]
HEAD_EPOCHS = 10
EPOCHS = 10
# Half of the few images validate: with fewer, too many trials would score the same.
VALIDATION = 0.5
# Training from random weights needs higher rates; it gets the better of these.
RANDOM_RATES = (3e-3, 1e-2)


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
    data = load_data(
        write_digits(out / "digits"),
        image_size=32,
        validation=VALIDATION,
        seed=seed,
        augment="none",
    )
    console.print(f"[bold]Handwritten digits[/] in {out / 'digits'}\n{data.summary()}\n")

    backbone: Any = keras.models.load_model(backbone_path(), compile=False)
    depths = _depths(backbone)
    tuner = _DemoTuner(
        FineTuner(
            backbone,
            preprocess="tf",
            freeze_depth=depths,
            learning_rate=LEARNING_RATES,
            head_learning_rate=1e-2,
            head_epochs=HEAD_EPOCHS,
            epochs=EPOCHS,
            schedule="cosine",
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
    result = _train(data, backbone, out / "run", seed, head_epochs=HEAD_EPOCHS, **best.values)
    random = _from_random_weights(data, out / "random", seed)
    assert result.test is not None and random.test is not None  # write_digits makes test images
    console.print(f"Best of the search, fine-tuned:  test {result.test}")
    console.print(f"The same net from random weights: test {random.test}")
    console.print(
        f"\nModel: {result.folder / 'model.keras'}\n"
        f"Use it: finetune predict {result.folder} {out / 'digits' / 'test' / '7'}\n"
        f"{time.perf_counter() - started:.0f} s"
    )
    return {"pretrained": result.test.accuracy or 0.0, "random": random.test.accuracy or 0.0}


def _depths(backbone: keras.Model) -> list[int]:
    """Everything trains, the ends of a lower and an upper block, and head only."""
    ends = [block.end for block in blocks(backbone)]
    return [0, ends[len(ends) // 3], ends[-2], ends[-1]]


def _train(
    data: ImageData,
    backbone: keras.Model,
    out: Path,
    seed: int,
    *,
    epochs: int = EPOCHS,
    **values: Any,
) -> FineTuneResult:
    return fine_tune(
        data,
        backbone=backbone,
        preprocess="tf",
        head_learning_rate=1e-2,
        epochs=epochs,
        schedule="cosine",
        seed=seed,
        out=out,
        verbose=0,
        **values,
    )


def _from_random_weights(data: ImageData, out: Path, seed: int) -> FineTuneResult:
    """The same net with as many epochs, all of it trained, at the better of two rates."""
    results = [
        _train(
            data,
            build_backbone(),
            out / f"{rate:.0e}",
            seed,
            head_epochs=0,
            epochs=HEAD_EPOCHS + EPOCHS,
            freeze_depth=0,
            batch_norm="adapt",
            learning_rate=rate,
        )
        for rate in RANDOM_RATES
    ]
    shutil.rmtree(out)
    return max(results, key=lambda result: result.validation.accuracy or 0.0)


def _board(tuner: keras_tuner.Tuner, backbone: keras.Model, n: int) -> Table:
    table = Table(
        "rank", "freeze depth", "up to block", "learning rate", "validation accuracy (95%)"
    )
    names = {block.end: block.name for block in blocks(backbone)}
    for rank, trial in enumerate(tuner.oracle.get_best_trials(100), start=1):
        values = trial.hyperparameters.values
        low, high = accuracy_interval(trial.score or 0.0, n)
        depth = values["freeze_depth"]
        table.add_row(
            str(rank),
            f"{depth} of {len(backbone.layers)}",
            "head only" if depth == len(backbone.layers) else names.get(depth, "none"),
            f"{values['learning_rate']:.0e}",
            f"{trial.score:.3f} [{low:.3f}, {high:.3f}]",
        )
    return table
