"""The demo: a search over freeze depth and learning rate, on real digits."""

import shutil
import time
from pathlib import Path
from typing import Any

import keras

from finetune.api import FineTuner, FineTuneResult, fine_tune
from finetune.backbones import blocks
from finetune.cli.demo import backbone_path, write_digits
from finetune.cli.demo.network import build_backbone
from finetune.data import ImageData, load_data
from finetune.support import new_console

LEARNING_RATES = [3e-4, 1e-3, 3e-3]
HEAD_RATE = 1e-2
HEAD_EPOCHS = 10
EPOCHS = 10
# Half of the few images validate: with fewer, too many trials would score the same.
VALIDATION = 0.5
# Training from random weights needs higher rates; it gets the better of these.
RANDOM_RATES = (3e-3, 1e-2)


def run_demo(out: Path, *, seed: int = 0) -> dict[str, float]:
    """Search, show the board, save the best model and compare with random weights.

    Args:
        out: Folder for digits and search. What an earlier demo left there is replaced.
        seed: Seed of everything random.

    Returns:
        Test accuracy "pretrained" and "random".
    """
    started = time.perf_counter()
    console = new_console()
    for part in ("digits", "search", "random"):
        shutil.rmtree(out / part, ignore_errors=True)
    data = load_data(
        write_digits(out / "digits"),
        image_size=32,
        validation=VALIDATION,
        seed=seed,
        augment="none",
    )
    console.print(f"Handwritten digits in {out / 'digits'}\n{data.summary()}\n")

    backbone: Any = keras.models.load_model(backbone_path(), compile=False)
    depths = _depths(backbone)
    tuner = FineTuner(
        backbone,
        preprocess="tf",
        freeze_depth=depths,
        learning_rate=LEARNING_RATES,
        head_learning_rate=HEAD_RATE,
        head_epochs=HEAD_EPOCHS,
        epochs=EPOCHS,
        seed=seed,
    )
    found = tuner.search(data, strategy="grid", out=out / "search")
    print(found.table())  # a console would break its lines
    random = _from_random_weights(data, out / "random", seed)
    assert found.test is not None and random.test is not None  # write_digits makes test images
    what = "the head alone" if found.head_is_best else "fine-tuned"
    console.print(f"\n{f'Best of the search, {what}:':<33} test {found.test}")
    console.print(f"The same net from random weights: test {random.test}")
    console.print(
        f"\nModel: {found.folder / 'model.keras'}\n"
        f"Use it: finetune predict {found.folder} {out / 'digits' / 'test' / '7'}\n"
        f"{time.perf_counter() - started:.0f} s"
    )
    return {"pretrained": found.test.accuracy or 0.0, "random": random.test.accuracy or 0.0}


def _depths(backbone: keras.Model) -> list[int]:
    """Everything trains, the ends of a lower and an upper block, and head only."""
    ends = [block.end for block in blocks(backbone)]
    return [0, ends[len(ends) // 3], ends[-2], ends[-1]]


def _from_random_weights(data: ImageData, out: Path, seed: int) -> FineTuneResult:
    """The same net with as many epochs, all of it trained, at the better of two rates."""
    results = [
        fine_tune(
            data,
            backbone=build_backbone(),
            preprocess="tf",
            freeze_depth=0,
            batch_norm="adapt",
            learning_rate=rate,
            head_epochs=0,
            epochs=HEAD_EPOCHS + EPOCHS,
            seed=seed,
            out=out / f"{rate:.0e}",
            verbose=0,
        )
        for rate in RANDOM_RATES
    ]
    shutil.rmtree(out)
    return max(results, key=lambda result: result.validation.accuracy or 0.0)
