"""Result: what a training and a search have in common once they are over."""

import os
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from finetune.data import ImageData
from finetune.export import Export, export_model
from finetune.model import (
    Calibration,
    DoubtMeasured,
    Evaluation,
    FineTunedModel,
    Predictions,
    Score,
)
from finetune.reuse import Spared
from finetune.support import format_seconds
from finetune.tuning import CrossValidation


class Result(ABC):
    """A model, what it is worth, and the folder that holds it; see the classes made of it."""

    model: FineTunedModel
    validation: Score
    test: Score | None
    seconds: float
    folder: Path
    refitted: int
    calibration: Calibration | None
    cross_validation: CrossValidation | None
    doubt: DoubtMeasured | None
    spared: Spared | None
    remarks: tuple[str, ...]

    @property
    @abstractmethod
    def _images(self) -> ImageData:
        """The images that it is of."""

    @abstractmethod
    def summary(self) -> str:
        """A few lines: how it went, and how good the model is."""

    @abstractmethod
    def _in_short(self) -> str:
        """One line."""

    def predict(self, images: Any, **options: Any) -> Predictions:
        """Classify files or arrays, see `FineTunedModel.predict`."""
        return self.model.predict(images, **options)

    def evaluate(self, data: Any = None, split: str | None = None) -> Evaluation:
        """Measure the quality on these or other images, see `FineTunedModel.evaluate`."""
        return self.model.evaluate(self._images if data is None else data, split)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the model to one `.keras` file, see `FineTunedModel.save`."""
        return self.model.save(path)

    def export(self, to: str = "onnx", **options: Any) -> Export:
        """Write the model in a form that runs without this package, see `export_model`.

        Args:
            to: "onnx", "savedmodel", "litert" or "folder".
            **options: Those of `export_model`. The images are those of the result, unless `data`
                says otherwise.
        """
        return export_model(self.folder, to, **{"data": self._images, **options})

    def __str__(self) -> str:
        return self.summary()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self._in_short()}, in {self.folder}>"

    def _quality(self, chose: str, verdict: str) -> list[str]:
        """Lines on how good the model is.

        Args:
            chose: What the validation images chose it from.
            verdict: How it compares with the head alone; empty where that is not known.
        """
        fixed = self._images.report.fixed
        lines = [f"validation: {self.validation} (chose {chose})"]
        if self.refitted:
            lines.append(
                f"            of the model before it was trained on all {self.refitted:,} images"
            )
        lines += self.remarks
        if self.cross_validation:
            name = f"{self.cross_validation.folds}-fold:"
            lines.append(f"{name:<11} {self.cross_validation}")
        lines.append(f"test:       {self.test or 'no test images'}")
        if verdict:
            lines.append(verdict)
        if self.calibration and self.calibration.remark:
            lines.append(self.calibration.remark)
        if fixed:
            lines.append(str(fixed))
        if self.doubt:
            lines.append(f"doubt:      {self.doubt}")
        worth_telling = self.spared is not None and self.spared.seconds >= 1
        spared = f" ({self.spared})" if worth_telling else ""
        lines.append(f"{format_seconds(self.seconds)}{spared}, saved in {self.folder}")
        return lines

    @property
    def _measured(self) -> str:
        """The figure of the test images, or that of the validation images where there are none."""
        split, score = ("test", self.test) if self.test else ("validation", self.validation)
        return f"{split} {score}"
