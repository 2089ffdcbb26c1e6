"""Fits, or the trials of a search, one after the other in one process: what it holds after each.

python benchmarks/endurance.py fits --number 30
python benchmarks/endurance.py trials --number 200
python benchmarks/endurance.py keras --number 10
python benchmarks/endurance.py keras --number 10 --clear-session

MobileNetV2 (alpha 0.35) with random weights on made-up images. `keras` is the same by hand, in
plain Keras, for comparison. A garbage collection goes before each line, which so tells what stays.
"""

import argparse
import gc
import os
import tempfile
from collections import Counter
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import psutil

from finetune import FineTuner, fine_tune, load_data

_CLASSES = 3


class Held:
    """What this process holds, noted from time to time.

    Args:
        every: Print every so many.
    """

    def __init__(self, every: int = 1) -> None:
        self._every = every
        self._process = psutil.Process()
        self._sizes: list[float] = []
        print("  no  resident MB  open files  threads  models  graphs")

    def note(self) -> None:
        """Note, and print, what is held now."""
        gc.collect()
        self._sizes.append(self._process.memory_info().rss / 2**20)
        number = len(self._sizes)
        if number % self._every and number > 1:
            return
        kinds = Counter(type(thing).__name__ for thing in gc.get_objects())
        held = self._process.num_fds(), self._process.num_threads()
        networks = kinds["Functional"], kinds["FuncGraph"]
        print(
            f"{number:4}  {self._sizes[-1]:11,.0f}  {held[0]:10}  {held[1]:7}  "
            f"{networks[0]:6}  {networks[1]:6}",
            flush=True,
        )

    def conclude(self) -> None:
        """Print how much each of the last two thirds has added."""
        late = self._sizes[len(self._sizes) // 3 :]
        if len(late) > 1:
            slope = np.polyfit(range(len(late)), late, 1)[0]
            print(f"over the last {len(late)}: {slope:+.2f} MB each")


HELD: list[Held] = []


class Watch(keras.callbacks.Callback):
    """Notes what is held when a trial begins; a search gives each trial a copy."""

    def on_train_begin(self, logs=None):
        HELD[0].note()


def fits(number: int, size: int, place: Path) -> None:
    """One call after the other."""
    images = made_up(size)
    for fit in range(number):
        fine_tune(
            images,
            weights=None,
            backbone_options={"alpha": 0.35},
            image_size=size,
            freeze_depth=100,
            epochs=1,
            head_epochs=1,
            refit=0,
            verbose=0,
            out=place / str(fit),
        )
        HELD[0].note()


def trials(number: int, size: int, place: Path) -> None:
    """One search with rates, dropout, smoothing and decay from ranges."""
    tuner = FineTuner(
        weights=None,
        backbone_options={"alpha": 0.35},
        freeze_depth=[54, 100, 130],
        learning_rate=(1e-5, 1e-3),
        optimizer="adamw",
        dropout=(0.1, 0.6),
        label_smoothing=(0.01, 0.3),
        weight_decay=(1e-5, 0.1),
        epochs=2,
        head_epochs=2,
        refit=0,
    )
    data = load_data(made_up(size), image_size=size, augment="none")
    tuner.search(
        data,
        strategy="random",
        max_trials=number,
        combine="best",
        callbacks=[Watch()],
        out=place / "study",
        verbose=0,
    )


def by_hand(number: int, size: int, *, clear: bool) -> None:
    """Plain Keras: a new network for each fit."""
    images, labels = made_up(size)
    for _ in range(number):
        if clear:
            keras.backend.clear_session()
        body = keras.applications.MobileNetV2(
            (size, size, 3), alpha=0.35, include_top=False, weights=None, pooling="avg"
        )
        for layer in body.layers[:100]:
            layer.trainable = False
        model = keras.Sequential([body, keras.layers.Dense(_CLASSES, activation="softmax")])
        model.compile(keras.optimizers.Adam(1e-4), "sparse_categorical_crossentropy")
        model.fit(images.astype("float32"), labels, verbose=0)
        del body, model
        HELD[0].note()


def made_up(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Images of noise, and labels."""
    images = np.random.default_rng(0).integers(0, 256, (60, size, size, 3), np.uint8)
    return images, np.arange(60) % _CLASSES


def main() -> None:
    """Print what the process holds, again and again."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("fits", "trials", "keras"))
    parser.add_argument("--number", type=int, default=30)
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--clear-session", action="store_true", help="before each fit of Keras")
    options = parser.parse_args()
    HELD.append(Held(every=10 if options.what == "trials" else 1))
    with tempfile.TemporaryDirectory() as place:
        os.environ["FINETUNE_CACHE"] = place
        match options.what:
            case "fits":
                fits(options.number, options.image_size, Path(place))
            case "trials":
                trials(options.number, options.image_size, Path(place))
            case "keras":
                by_hand(options.number, options.image_size, clear=options.clear_session)
    HELD[0].conclude()


if __name__ == "__main__":
    main()
