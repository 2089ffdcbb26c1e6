"""FineTuneResult: what one fine-tuning gave, and the run folder that holds it."""

import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune.checks import ImagePlan
from finetune.data import ImageData
from finetune.model import (
    Calibration,
    DoubtMeasured,
    FineTunedModel,
    Score,
    Verdict,
)
from finetune.report import Result, draw_training, make_report
from finetune.reuse import Spared
from finetune.support import as_html, format_seconds, save_figure, to_frame
from finetune.training import HEAD, TrainingRecord, was_solved
from finetune.tuning import CrossValidation

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(repr=False)
class FineTuneResult(Result):
    """A fine-tuned model, how it came about and how good it is. Made by `fine_tune`.

    Args:
        model: The model with class names and image size; the best epoch's weights.
        data: The images that it was trained on.
        record: Every epoch of every phase.
        validation: Quality on the validation images, which chose the epoch: optimistic.
        test: Quality on the test images, or None where there are none.
        seconds: Wall time of the whole call.
        config: The settings that were used.
        folder: The run folder.
        freeze: What the freeze depth means for the backbone, in words.
        refitted: Number of images, training and validation together, that the model was trained
            on once more (`refit`); `validation` is then the quality of the model before. 0
            where it was not.
        calibration: How far its probabilities can be taken at their word; None for regression.
        cross_validation: What was said of every image by a model that was not trained on it; None
            where `validation` did not ask for folds.
        verdict: The model against the head alone, trained on the same images; None for regression
            and labels that do not exclude each other, where no head was trained alone, and where
            it is what was kept.
        doubt: How often the model's doubt is right on test images; None where it knows none.
        spared: What it would have taken longer without reuse, estimated; None where nothing was
            spared, or that is not known.
        plan: What more images would bring to heads on features, and of which classes; None where
            there are fewer than 8 images of a class, more than 1,200 in all, or no features kept.
        remarks: What was wanted at the end and not done, and why.

    Example:
        >>> import keras, tempfile
        >>> import numpy as np
        >>> from finetune import fine_tune
        >>> layers = [keras.layers.Conv2D(4, 3, name=name) for name in ("first", "second")]
        >>> model = keras.Sequential([keras.Input((16, 16, 3)), *layers])
        >>> images = np.random.default_rng(0).integers(0, 256, (24, 16, 16, 3), "uint8")
        >>> result = fine_tune(
        ...     (images, [0, 1, 2] * 8), backbone=model, preprocess="tf", freeze_depth=1, epochs=1,
        ...     out=tempfile.mkdtemp(), verbose=0)
        >>> [(row["phase"], row["epoch"]) for row in result.rows()]
        [('head', 1), ('fine_tune', 1)]
        >>> [axes.get_ylabel() for axes in result.plot().axes]
        ['loss', 'accuracy']
    """

    model: FineTunedModel
    data: ImageData
    record: TrainingRecord
    validation: Score
    test: Score | None
    seconds: float
    config: dict[str, Any]
    folder: Path
    freeze: str
    refitted: int = 0
    calibration: Calibration | None = None
    cross_validation: CrossValidation | None = None
    verdict: Verdict | None = None
    doubt: DoubtMeasured | None = None
    spared: Spared | None = None
    plan: ImagePlan | None = None
    remarks: tuple[str, ...] = ()

    @property
    def _images(self) -> ImageData:
        return self.data

    @property
    def history(self) -> list[dict[str, Any]]:
        """One entry per epoch: phase, epoch, losses, metrics, learning rate and seconds."""
        return self.record.epochs

    @property
    def rates(self) -> dict[str, list[float]]:
        """The learning rate of every optimizer step, by phase ("head", "fine_tune")."""
        return self.record.rates

    def rows(self) -> list[dict[str, Any]]:
        """One row per epoch of both phases, as in `history`."""
        return [dict(row) for row in self.history]

    def to_pandas(self) -> Any:
        """The rows as a `pandas.DataFrame`.

        Raises:
            ArgumentError: If pandas is not installed.
        """
        return to_frame(self.rows())

    def plot(self, path: str | os.PathLike[str] | None = None) -> "Figure":
        """Draw loss and accuracy of every epoch, the phases and the kept epoch marked.

        Args:
            path: Image file to write; the ending says which kind, such as ".png" or ".svg".
                Default: none is written.

        Returns:
            The figure, matplotlib's own, to be changed or saved.

        Raises:
            ArgumentError: If the ending is of no kind of image that can be written.
            StorageError: If the file cannot be written.
        """
        figure = draw_training(self.record.epochs, self.record.best)
        if path is not None:
            save_figure(figure, path)
        return figure

    def report(self) -> Path:
        """Make the report of the run anew: `report.html` in its folder, its curves in `figures/`.

        Returns:
            The page.

        Raises:
            StorageError: If something cannot be written.
        """
        return make_report(self.folder)

    def metrics(self) -> dict[str, Any]:
        """What `metrics.json` holds."""
        best, folded = self.record.best_epoch, self.cross_validation
        return {
            "validation": self.validation.to_dict(),
            "test": self.test.to_dict() if self.test else None,
            "seconds": round(self.seconds, 2),
            "best_phase": best["phase"],
            "best_epoch": best["epoch"],
            "refitted": self.refitted,
            "fixed": asdict(fixed) if (fixed := self.data.report.fixed) else None,
            "verdict": self.verdict.to_dict() if self.verdict else None,
            "cross_validation": folded.to_dict() if folded else None,
            "calibration": asdict(self.calibration) if self.calibration else None,
            "doubt": asdict(self.doubt) if self.doubt else None,
            "spared": asdict(self.spared) if self.spared else None,
            "plan": self.plan.to_dict() if self.plan else None,
            "remarks": [*self.remarks],
        }

    def summary(self) -> str:
        """A few lines: what was trained, which epoch was kept, and how good it is."""
        best = self.record.best_epoch
        lines = [
            f"{self.config['backbone']}, {self.freeze}",
            "kept: the head, solved on the frozen backbone"
            if was_solved(best)
            else f"kept: epoch {best['epoch']} of phase {best['phase']!r}",
        ]
        if best["phase"] == HEAD and len(self.record.epochs) > len(self.record.phase(HEAD)):
            lines.append("fine-tuning did not improve on the trained head alone, which was kept")
        lost = [row for row in self.record.epochs if not math.isfinite(row["val_loss"])]
        if lost:
            lines.append(
                f"in phase {lost[0]['phase']!r} the loss was not finite from epoch "
                f"{lost[0]['epoch']} on, which ended it, at a learning rate of "
                f"{lost[0]['learning_rate']:.3g}: lower that, or clip_norm"
            )
        if self.record.interrupted:
            lines.append("training was stopped before its end; this is the best until then")
        verdict = str(self.verdict) if self.verdict else ""
        lines += self._quality("the epoch, so a little optimistic", verdict)
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        rows = [("backbone", f"{self.config['backbone']}, {self.freeze}")]
        rows += [("validation", str(self.validation)), ("test", str(self.test or "no test images"))]
        rows += [("took", format_seconds(self.seconds)), ("saved in", str(self.folder))]
        return as_html(self._in_short(), rows)

    def _in_short(self) -> str:
        return f"{self.config['backbone']}, {self._measured}"
