"""What an exported file says of images, beside what Keras says of them."""

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table

from finetune.exceptions import ExportError
from finetune.export.sample import Sample
from finetune.export.serving import MAPS, answer_name
from finetune.model import FineTunedModel, score
from finetune.support import as_plain_text, steps

Run = Callable[[np.ndarray], dict[str, Any]]

_BATCH = 32
# The first calls prepare; a median of thirty tells a file from one that is twice as fast.
_WARM_UP, _TIMED, _SECONDS = 3, 30, 10.0

# How far an export may be from Keras: see docs/export.md for what was measured.
_LARGEST_DIFFERENCE = {"float32": 1e-4, "float16": 1e-2, "int8": 0.1}
_MAP_DIFFERENCE = {"float32": 1e-4, "float16": 0.1, "int8": 0.5}
_OTHER_ANSWERS = {"float16": 0.01, "int8": 0.15}


@dataclass(frozen=True)
class Measured:
    """What one runtime made of the images.

    Args:
        name: The runtime.
        accuracy: Share of right answers; None where labels are not known.
        interval: Its 95% interval; None where there is none.
        milliseconds: Median for one image at a time.
        megabytes: Of the file, or of the weights.
    """

    name: str
    accuracy: float | None
    interval: tuple[float, float] | None
    milliseconds: float
    megabytes: float


@dataclass(frozen=True)
class Proof:
    """How an export compares with the model that it was made of.

    Args:
        images: Which images it was run on, in words.
        n: How many.
        real: Whether they are real images.
        same_answers: Share of images with the same answer; None for regression.
        difference: Largest difference of a probability; for regression of a value, as a share
            of the largest value.
        tolerance: How far it may be away, in words.
        keras: The model.
        export: The export.
        map_difference: Largest difference of an activation map from that of
            `FineTunedModel.explain`, as a share of the largest value in any; None where the export
            has no maps.
    """

    images: str
    n: int
    real: bool
    same_answers: float | None
    difference: float
    tolerance: str
    keras: Measured
    export: Measured
    map_difference: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """As it stands in `export.json`."""
        return asdict(self)

    def __str__(self) -> str:
        table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
        table.add_column("runtime")
        for heading in ("same answers", "largest difference", "accuracy", "ms/image", "MB"):
            table.add_column(heading, justify="right")
        same = "" if self.same_answers is None else f"{self.same_answers:.1%}"
        for one, agreement in (
            (self.keras, ("", "")),
            (self.export, (same, f"{self.difference:.1e}")),
        ):
            speed, size = f"{one.milliseconds:.2f}", f"{one.megabytes:.2f}"
            table.add_row(one.name, *agreement, _shown(one), speed, size)
        maps = ""
        if self.map_difference is not None:
            maps = (
                f"\nActivation maps: largest difference {self.map_difference:.1e} of the largest "
                "value."
            )
        return f"{as_plain_text(table)}\nOn {self.images}. Allowed: {self.tolerance}.{maps}"


@dataclass(frozen=True)
class Export:
    """An export that has proved itself. Made by `export_model`.

    Args:
        folder: Where it is.
        to: The format.
        precision: Of its numbers.
        proof: How it compares with the model.
    """

    folder: Path
    to: str
    precision: str
    proof: Proof

    def to_dict(self) -> dict[str, Any]:
        """What `export.json` holds, without the environment."""
        return {"to": self.to, "precision": self.precision, "proof": self.proof.to_dict()}

    def __str__(self) -> str:
        return f"{self.proof}\nWritten to {self.folder}"


def prove(
    model: FineTunedModel,
    runs: tuple[Run, Run],
    sample: Sample,
    *,
    name: str,
    path: Path,
    precision: str,
    tolerance: float | None,
) -> Proof:
    """Run an export on images and compare it with the model.

    Args:
        model: What Keras says is taken from it.
        runs: The model and the export, as functions of float32 images.
        sample: The images.
        name: The runtime of the export.
        path: The file, or folder, whose size is told.
        precision: Decides what is allowed.
        tolerance: What is allowed instead; None for the usual.

    Returns:
        What was found.

    Raises:
        ExportError: If it is further away than is allowed.
    """
    task, images = model.card.task, sample.images
    expected = model.predict(images).probabilities
    received, maps = _received(runs[1], images, answer_name(model.card))
    difference = _difference(expected, received, task)
    same = None if task == "regression" else _same_answers(expected, received, task)
    allowed, kept = _judge(same, difference, precision, tolerance)
    if not kept:
        agreement = "" if same is None else f"{same:.1%} the same answers, "
        raise ExportError(
            f"Expected {name} to say what Keras says; on {sample.said} it gives {agreement}largest "
            f"difference {difference:.1e}. Allowed: {allowed}. Nothing was written. Choose another "
            "precision or format, or allow more with tolerance= (--tolerance)."
        )
    map_difference = None if maps is None else _map_difference(model, images, maps)
    if map_difference is not None and not map_difference <= _MAP_DIFFERENCE[precision]:
        raise ExportError(
            f"Expected activation maps of {name} to be those of Keras; on {sample.said} the "
            f"largest difference is {map_difference:.1e} of the largest value. Allowed: "
            f"{_MAP_DIFFERENCE[precision]:g}. Nothing was written. Choose another precision or "
            "format, or leave activation_map out."
        )
    weights = sum(int(np.prod(variable.shape)) * 4 for variable in model.keras_model.variables)
    measured = [
        Measured(who, *_accuracy(sample, outputs, task), milliseconds, size / 1e6)
        for who, outputs, milliseconds, size in zip(
            ("Keras", name),
            (expected, received),
            _milliseconds(runs, images),
            (weights, size_of(path)),
            strict=True,
        )
    ]
    told = (sample.said, len(images), sample.real, same, difference, allowed)
    return Proof(*told, *measured, map_difference=map_difference)


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files of a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _received(run: Run, images: np.ndarray, answer: str) -> tuple[np.ndarray, np.ndarray | None]:
    """What an export says of all images, and its maps of them, if it gives any."""
    said = []
    with steps("Trying it", len(images)) as told:
        for batch in _batches(images):
            said.append(run(batch))
            told(min(len(said) * _BATCH, len(images)))
    outputs, maps = (
        [np.asarray(one[name]) for one in said if name in one] for name in (answer, MAPS)
    )
    return np.concatenate(outputs), np.concatenate(maps) if maps else None


def _map_difference(model: FineTunedModel, images: np.ndarray, maps: np.ndarray) -> float:
    """How far the maps of the most probable classes are from those of `explain`."""
    expected = model.explain(images)
    names = [*model.card.class_names] or [*range(maps.shape[-1])]
    numbers = [names.index(label) for label in expected.labels]
    received = maps[np.arange(len(maps)), :, :, numbers]
    if received.shape != expected.maps.shape:
        return float("inf")
    largest = np.abs(received - expected.maps).max() / np.abs(expected.maps).max()
    return float(largest) if np.isfinite(largest) else float("inf")


def _batches(images: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(images), _BATCH):
        yield images[start : start + _BATCH].astype("float32")


def _difference(expected: np.ndarray, received: np.ndarray, task: str) -> float:
    if expected.shape != received.shape or not np.isfinite(received).all():
        return float("inf")
    largest = np.abs(expected - received).max()
    if task != "regression":
        return float(largest)
    return float(largest / max(np.abs(expected).max(), np.finfo("float32").tiny))


def _same_answers(expected: np.ndarray, received: np.ndarray, task: str) -> float:
    if expected.shape != received.shape:
        return 0.0
    if task == "multilabel":
        return float(((expected >= 0.5) == (received >= 0.5)).all(axis=1).mean())
    return float((expected.argmax(axis=1) == received.argmax(axis=1)).mean())


def _judge(
    same: float | None, difference: float, precision: str, tolerance: float | None
) -> tuple[str, bool]:
    """What is allowed, in words; and whether it was kept to.

    In float32 nothing but the order of sums differs. What fewer bits do is seen in the answers.
    """
    if same is None or precision == "float32":
        limit = _LARGEST_DIFFERENCE[precision] if tolerance is None else tolerance
        return f"a difference of {limit:g}", difference <= limit
    limit = _OTHER_ANSWERS[precision] if tolerance is None else tolerance
    return f"other answers for {limit:.1%} of the images", 1 - same <= limit + 1e-9


def _accuracy(
    sample: Sample, outputs: np.ndarray, task: str
) -> tuple[float | None, tuple[float, float] | None]:
    if sample.labels is None:
        return None, None
    # Scores know a single column for two classes.
    found = score(sample.labels, outputs[:, 1:] if task == "binary" else outputs, task)
    return found.accuracy, found.interval


def _milliseconds(runs: tuple[Run, Run], images: np.ndarray) -> list[float]:
    """The median time of each for one image at a time, in turn: both have the same machine."""
    single = [images[row : row + 1].astype("float32") for row in range(min(len(images), _TIMED))]
    seconds: list[list[float]] = [[], []]
    begun = time.perf_counter()
    for number in range(-_WARM_UP, _TIMED):
        for run, taken in zip(runs, seconds, strict=True):
            before = time.perf_counter()
            run(single[number % len(single)])
            if number >= 0:
                taken.append(time.perf_counter() - before)
        if number >= 0 and time.perf_counter() - begun > _SECONDS:
            break
    return [float(np.median(taken)) * 1e3 for taken in seconds]


def _shown(one: Measured) -> str:
    if one.accuracy is None:
        return ""
    if one.interval is None:
        return f"{one.accuracy:.3f}"
    return f"{one.accuracy:.3f} [{one.interval[0]:.3f}, {one.interval[1]:.3f}]"
