"""How good a model is on a set of images, and whether they are images that it was trained on."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table

from finetune.data import DataReport, LabelledImages, listed, pixel_digests
from finetune.exceptions import ArgumentError, DataError, MissingClassError
from finetune.model.card import ModelCard
from finetune.model.class_by_class import MOST_CLASSES
from finetune.model.known_images import KnownImages
from finetune.support import accuracy_interval, as_html, as_plain_text
from finetune.training import loss_for, right_answers

_EXCLUSIVE = ("binary", "multiclass")


@dataclass(frozen=True)
class Score:
    """Quality on one set of images.

    Args:
        accuracy: Share of right answers, 0 to 1; None for regression.
        loss: Mean loss (cross-entropy, or squared error), without label smoothing.
        n: Number of images.
        interval: 95% interval of the accuracy from the number of images; None for regression
            and for several labels an image, where it would not hold.
        apart: The same on those of the images that have no copy, exact or near, among the images
            that were trained on; None where no image has one.
    """

    accuracy: float | None
    loss: float
    n: int
    interval: tuple[float, float] | None
    apart: "Score | None" = None

    def to_dict(self) -> dict[str, Any]:
        """As it stands in `metrics.json`."""
        return {
            "accuracy": self.accuracy,
            "loss": self.loss,
            "n": self.n,
            "interval": list(self.interval) if self.interval else None,
            **({"apart": self.apart.to_dict()} if self.apart else {}),
        }

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        title, *remarks = str(self).splitlines()
        return as_html(title, [(remark,) for remark in remarks])

    def __str__(self) -> str:
        if self.apart is None:
            return self._told()
        kind = "images without a near copy among those that were trained on"
        return f"{self._told()}; {self.apart} on the {kind}"

    def _told(self) -> str:
        if self.accuracy is None:
            return f"loss {self.loss:.4f} (n={self.n})"
        if self.interval is None:
            return f"accuracy {self.accuracy:.3f} (n={self.n})"
        low, high = self.interval
        return f"accuracy {self.accuracy:.3f} [{low:.3f}, {high:.3f}] (n={self.n})"


@dataclass(frozen=True)
class Evaluation(Score):
    """A score, and what has to be known to judge it.

    Args:
        known: How many of the images the model was trained on ("train"), validated with
            ("validation"), tested on ("test") or has never seen ("new"); None where the model
            does not remember its images.
        absent: Classes of the model that no image has.
        report: Files that were skipped or ignored.
        classes: Of each class, or label, what `finetune.model.class_by_class` tells: images of it,
            precision, recall and F1 with 95% intervals. Empty for regression.
        confusion: How many images of each class (rows) were taken for each (columns). Empty for
            regression and where an image has several labels.
    """

    known: dict[str, int] | None = None
    absent: tuple[str, ...] = ()
    report: DataReport = field(default_factory=DataReport)
    classes: tuple[dict[str, Any], ...] = field(default=(), repr=False)
    confusion: tuple[tuple[int, ...], ...] = field(default=(), repr=False)

    def to_dict(self) -> dict[str, Any]:
        """All but the report, as JSON can hold it."""
        return {
            **super().to_dict(),
            "known": self.known,
            "absent": list(self.absent),
            "classes": list(self.classes),
            "confusion": [list(row) for row in self.confusion],
        }

    def table(self) -> str:
        """Class by class as text, and what is taken for what."""
        if not self.classes:
            return ""
        table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
        table.add_column("class")
        for heading in ("images", "precision [95%]", "recall [95%]", "F1 [95%]"):
            table.add_column(heading, justify="right")
        for row in self.classes:
            figures = (
                _told(row[key], row[f"{key}_interval"]) for key in ("precision", "recall", "f1")
            )
            table.add_row(row["name"], str(row["n"]), *figures)
        if not self.confusion or len(self.classes) > MOST_CLASSES:
            return as_plain_text(table)
        matrix = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
        matrix.add_column("is, taken for")
        for row in self.classes:
            matrix.add_column(row["name"], justify="right")
        for row, counts in zip(self.classes, self.confusion, strict=True):
            matrix.add_row(row["name"], *(str(count) if count else "." for count in counts))
        return f"{as_plain_text(table)}\n\n{as_plain_text(matrix)}"

    @property
    def remarks(self) -> list[str]:
        """What has to be said of the score, one sentence each."""
        lines = [self._remark()]
        if self.absent:
            lines.append(f"No image of {listed(self.absent)}: the score is over the other classes.")
        if str(self.report):
            lines.append(str(self.report))
        return lines

    def _remark(self) -> str:
        if self.known is None:
            return (
                "The model does not say which images it was trained on (it was saved by an earlier "
                "version, or trained on more than a million): if these are among them, this is no "
                "estimate."
            )
        train, validation = self.known["train"], self.known["validation"]
        others = f"{validation} chose the epoch, {self.n - train - validation} did neither"
        if train:
            return f"{train} of {self.n} were trained on: this is no estimate. {others}."
        if validation:
            return (
                f"None was trained on, but {validation} of {self.n} chose the epoch: a little "
                "optimistic."
            )
        return "None of these images was trained on or chose the epoch."

    def __str__(self) -> str:
        return "\n".join([super().__str__(), *self.remarks])


def _told(value: float | None, interval: tuple[float, float] | None) -> str:
    if value is None or interval is None:
        return "-"
    return f"{value:.3f} [{interval[0]:.3f}, {interval[1]:.3f}]"


def score(labels: np.ndarray, outputs: np.ndarray, task: str) -> Score:
    """Quality of predictions against labels."""
    n = len(labels)
    targets = labels.reshape(outputs.shape) if task != "multiclass" else labels
    loss = float(np.asarray(loss_for(task)(targets.astype("float32"), outputs)))
    if task == "regression":
        return Score(None, loss, n, None)
    accuracy = float(np.mean(right_answers(labels, outputs, task)))
    interval = accuracy_interval(accuracy, n) if task != "multilabel" else None
    return Score(accuracy, loss, n, interval)


def in_order_of(
    card: ModelCard, labels: np.ndarray, task: str, class_names: Sequence[str]
) -> np.ndarray:
    """Labels with the class numbers of a model: classes are matched by their names.

    Args:
        card: Of the model.
        labels: As those of `Split`.
        task: Their task.
        class_names: Their classes, in the order of their numbers.

    Returns:
        The labels as the model numbers its classes.

    Raises:
        ArgumentError: If the task is another than the model's.
        MissingClassError: If the model does not know a class, or labels lack one of several.
    """
    exclusive = card.task in _EXCLUSIVE and task in _EXCLUSIVE
    if not exclusive and task != card.task:
        raise ArgumentError(
            f"Expected labels for task={card.task!r}, as the model's; got {task!r}."
        )
    if card.task == "regression":
        return labels
    place = {name: number for number, name in enumerate(card.class_names)}
    present = range(len(class_names)) if not exclusive else np.unique(labels)
    unknown = [class_names[number] for number in present if class_names[number] not in place]
    if unknown:
        raise MissingClassError(
            f"There are images of {listed(unknown)}, which the model does not know: its classes "
            f"are {listed(card.class_names)}. Give load_data the model's names as class_names, or "
            "leave these images out."
        )
    if exclusive:
        return np.array([place.get(name, -1) for name in class_names], np.int32)[labels]
    if len(class_names) != len(card.class_names):
        raise MissingClassError(
            f"Expected a column for each of {listed(card.class_names)}, got {listed(class_names)}."
        )
    return labels[:, [class_names.index(name) for name in card.class_names]]


def absent_classes(card: ModelCard, labels: np.ndarray) -> tuple[str, ...]:
    """Classes of a model that no label, numbered as it numbers them, is of."""
    if card.task not in _EXCLUSIVE:
        return ()
    present = set(np.unique(labels).tolist())
    return tuple(name for number, name in enumerate(card.class_names) if number not in present)


def rows_of(images: LabelledImages, split: str | None, known: KnownImages | None) -> np.ndarray:
    """Which images are to be measured, see `FineTunedModel.evaluate`.

    Args:
        images: What was given.
        split: Which part of them.
        known: What the model knows of its own images.
    """
    own = np.flatnonzero(images.parts == (split or "test"))
    if len(own):
        return own
    if split is None:
        return np.arange(len(images.parts))
    if known is None:
        raise ArgumentError(
            f"The images have no part {split!r} of their own, and the model does not say which "
            "it was trained on (it was saved by an earlier version). Leave the split out to "
            "measure all of them."
        )
    if split == "validation" and split not in known.digests:
        raise DataError(
            "No images are left that this model was validated with: it was trained on them, "
            "too (refit). What they said of it before is in the run's metrics.json. Leave "
            "the split out to measure all images."
        )
    rows = np.flatnonzero(known.splits_of(pixel_digests(images.images)) == split)
    if not len(rows):
        met = len(known.digests.get(split, ()))
        raise DataError(
            f"The images have no part {split!r} of their own, and none of them is among the "
            f"{met} that the model knows as such. Leave the split out to measure all of them."
        )
    return rows
