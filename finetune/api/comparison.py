"""Backbones beside each other: how good a linear head is on each, what they cost, which to take."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from finetune.model import Score, score
from finetune.support import bootstrap_interval, to_frame
from finetune.training import right_answers

# What counts as about as good: within this of the best share of right answers.
_POINT = 0.01

# Times that are nearer than this differ from one measurement to the next.
_QUICKER = 0.9

# Below this width the number of parameters is left out: the megabytes say nearly the same.
_ROOM_FOR_PARAMETERS = 72
_NARROWEST = 60


@dataclass(frozen=True)
class ComparedBackbone:
    """One backbone of a comparison.

    Args:
        name: What the table calls it.
        arguments: What `fine_tune` takes for it: "backbone", and "weights" and "backbone_options"
            where they are not the defaults.
        image_size: (height, width) that it was measured at; None where it could not be loaded.
        parameters: Of the whole model, head included; likewise None, as all that follows.
        megabytes: Of its weights.
        milliseconds: Of an image, through the whole model.
        score: Quality of a linear head on the images that it was solved without, each once.
        explained: For several labels an image and for values: the share of the loss of those who
            know nothing but the mean that is gone; None for classes.
        error: Why it could not be loaded; None where it was.
        merits: What every image adds to the accuracy, or to the share that is explained.
    """

    name: str
    arguments: dict[str, Any]
    image_size: tuple[int, int] | None = None
    parameters: int | None = None
    megabytes: float | None = None
    milliseconds: float | None = None
    score: Score | None = None
    explained: float | None = None
    error: str | None = None
    merits: np.ndarray = field(default_factory=lambda: np.empty(0), repr=False, compare=False)

    @property
    def merit(self) -> float:
        """What the order goes by: accuracy, or the share that is explained."""
        return float(self.merits.mean())

    def row(self) -> dict[str, Any]:
        """As JSON can hold it."""
        score = self.score.to_dict() if self.score else dict.fromkeys(Score.__dataclass_fields__)
        size = self.image_size
        return {
            "name": self.name,
            **{key: score[key] for key in ("accuracy", "interval", "loss", "n")},
            "explained": self.explained,
            "milliseconds": self.milliseconds,
            "parameters": self.parameters,
            "megabytes": self.megabytes,
            "image_size": list(size) if size else None,
            "error": self.error,
        }


@dataclass(frozen=True)
class Suggestion:
    """Which backbone to take.

    Args:
        name: What the table calls it.
        reason: Why, in a sentence.
        arguments: For `fine_tune(data, **arguments)`.
    """

    name: str
    reason: str
    arguments: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


@dataclass(frozen=True)
class Comparison:
    """Backbones on the same images. Made by `compare`.

    Args:
        backbones: The best first; those that could not be loaded come last.
        task: See `finetune.training.TASKS`.
        folds: Number of folds that the images were divided into.

    Example:
        >>> labels, costs = np.arange(40) % 2, {"image_size": (32, 32), "milliseconds": 2.0}
        >>> knows = measured("knows", {}, labels, np.eye(2)[labels], "multiclass", **costs)
        >>> guesses = measured("guesses", {}, labels, np.full((40, 2), 0.5), "multiclass", **costs)
        >>> print(Comparison((knows, guesses), "multiclass", folds=5).suggestion)
        knows: the most accurate, accuracy 1.000 [0.912, 1.000] (n=40).
    """

    backbones: tuple[ComparedBackbone, ...]
    task: str
    folds: int

    @property
    def best(self) -> ComparedBackbone:
        """The most accurate; for several labels and for values the one that explains most."""
        return self.backbones[0]

    @cached_property
    def suggestion(self) -> Suggestion:
        """The largest of those that are not shown to be worse than the most accurate.

        A head on frozen features does not tell what fine-tuning makes of a backbone: of those that
        are as good before it, larger ones gained more (the guide on backbones has the figures).
        """
        best = self.best
        known = [one for one in self.backbones if one.error is None]
        alike = [
            one
            for one in known
            if one is best or (best.merit - one.merit <= _POINT and self.difference(one)[0] <= 0)
        ]
        chosen = max(alike, key=lambda one: one.parameters or 0)
        if chosen is best:
            why = "the most accurate" if best.explained is None else "the one that explains most"
            if len(known) == 1:
                why = "the only one that could be measured"
            figure = str(best.score) if best.explained is None else f"{best.explained:.3f}"
            reason = f"{why}, {figure}."
        else:
            low, high = self.difference(chosen)
            reason = (
                f"larger than {best.name}, and not shown to be worse before fine-tuning "
                f"({chosen.merit:.3f} against {best.merit:.3f}, 95% interval of the difference "
                f"[{low:+.3f}, {high:+.3f}]); of equals larger ones gained more by it."
            )
        quick = min(alike, key=_time)
        if _time(quick) < _QUICKER * _time(chosen):
            times = _time(chosen) / _time(quick)
            reason += (
                f" {quick.name} is {times:.1f} times as quick, and as good before fine-tuning."
            )
        return Suggestion(chosen.name, reason, chosen.arguments)

    def difference(self, other: ComparedBackbone) -> tuple[float, float]:
        """95% interval of what the best is ahead of another one, over the same images."""
        return bootstrap_interval(self.best.merits - other.merits)

    def rows(self) -> list[dict[str, Any]]:
        """One row a backbone, as JSON can hold it, the best first.

        Returns:
            "name", "accuracy", "interval", "loss", "n", "explained", "milliseconds" an image,
            "parameters", "megabytes", "image_size" and "error".
        """
        return [one.row() for one in self.backbones]

    def to_pandas(self) -> Any:
        """The rows as a `pandas.DataFrame`.

        Raises:
            ArgumentError: If pandas is not installed.
        """
        return to_frame(self.rows())

    def render(self, width: int) -> str:
        """The table and what it says, for so many columns, 60 or more; names are folded to fit."""
        width = max(width, _NARROWEST)
        known = [one for one in self.backbones if one.error is None]
        parameters = width >= _ROOM_FOR_PARAMETERS
        table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
        table.add_column("backbone", overflow="fold")
        classes = self.best.explained is None
        table.add_column("accuracy [95%]" if classes else "explained", no_wrap=True)
        for name in ("loss", "ms", *(["M"] if parameters else []), "MB", "pixels"):
            table.add_column(name, justify="right", no_wrap=True)
        for one in known:
            table.add_row(
                one.name,
                _estimate(one),
                f"{one.score.loss:.3f}" if one.score else "",
                _short(_time(one)),
                *([_short((one.parameters or 0) / 1e6)] if parameters else []),
                _short(one.megabytes or 0),
                _size(one),
            )
        images = self.best.score.n if self.best.score else 0
        kind = "ridge" if self.task == "regression" else "logistic"
        notes = [
            f"{self.folds}-fold {kind} regression on the pooled features of {images:,} training "
            "and validation images; no test image was looked at. ms: of one image through the "
            f"whole model. {'M: million parameters. ' if parameters else ''}MB: of weights.",
            *(
                f"Could not be loaded: {one.name}. {one.error}"
                for one in self.backbones[len(known) :]
            ),
            f"Suggestion: {self.suggestion}",
        ]
        return "\n\n".join(_printed(part, width) for part in (table, *notes))

    def __str__(self) -> str:
        return self.render(shutil.get_terminal_size().columns)


def measured(
    name: str,
    arguments: dict[str, Any],
    labels: np.ndarray,
    told: np.ndarray,
    task: str,
    **costs: Any,
) -> ComparedBackbone:
    """A backbone, and the quality of what a head on it says.

    Args:
        name: What the table calls it.
        arguments: For `fine_tune`.
        labels: Of the images.
        told: What was said of each by a head that was solved without it.
        task: See `finetune.training.TASKS`.
        **costs: Size, time and so on, by their names in `ComparedBackbone`.

    Returns:
        All of it.
    """
    found = score(labels, told, task)
    if task in ("binary", "multiclass"):
        merits = right_answers(labels, told, task).reshape(len(labels)).astype(float)
        return ComparedBackbone(name, arguments, score=found, merits=merits, **costs)
    nothing = np.broadcast_to(labels.mean(axis=0), labels.shape)
    unknown = max(float(_losses(labels, nothing, task).mean()), 1e-12)
    merits = 1 - _losses(labels, told, task) / unknown
    return ComparedBackbone(
        name, arguments, score=found, explained=float(merits.mean()), merits=merits, **costs
    )


def in_order(found: Sequence[ComparedBackbone]) -> tuple[ComparedBackbone, ...]:
    """The best first, of equals the one with the lower loss; what could not be loaded last."""

    def place(one: ComparedBackbone) -> tuple[bool, float, float]:
        if one.score is None:
            return True, 0.0, 0.0
        return False, -one.merit, one.score.loss

    return tuple(sorted(found, key=place))


def _losses(labels: np.ndarray, told: np.ndarray, task: str) -> np.ndarray:
    """The loss of each image: squared error, or the cross-entropy of several labels."""
    told = told.reshape(labels.shape).astype("float64")
    if task == "regression":
        found = (told - labels) ** 2
    else:
        told = np.clip(told, 1e-7, 1 - 1e-7)  # as Keras does
        found = -(labels * np.log(told) + (1 - labels) * np.log(1 - told))
    return found.reshape(len(labels), -1).mean(axis=1)


def _time(one: ComparedBackbone) -> float:
    return one.milliseconds or 0.0


def _estimate(one: ComparedBackbone) -> str:
    if one.score is None or one.explained is not None:
        return "" if one.explained is None else f"{one.explained:.3f}"
    if one.score.interval is None:
        return f"{one.score.accuracy:.3f}"
    low, high = one.score.interval
    return f"{one.score.accuracy:.3f} [{low:.3f}, {high:.3f}]"


def _short(number: float) -> str:
    return f"{number:.0f}" if number >= 100 else f"{number:.1f}"


def _size(one: ComparedBackbone) -> str:
    height, width = one.image_size or (0, 0)
    return str(height) if height == width else f"{height}x{width}"


def _printed(what: Table | str, width: int) -> str:
    """As rich prints it in so many columns, without colours."""
    console = Console(width=width, color_system=None, markup=False, emoji=False, highlight=False)
    with console.capture() as captured:
        console.print(what)
    lines = [line.rstrip() for line in captured.get().splitlines()]
    return "\n".join(line for line in lines if line)
