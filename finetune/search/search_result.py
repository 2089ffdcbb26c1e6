"""SearchResult: the board, the best model, and what it is worth."""

import os
from dataclasses import dataclass, field
from functools import partial
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
from finetune.report import BEST_TRIAL, Result
from finetune.reuse import Spared
from finetune.search.board import board_rows, error_lines, render
from finetune.search.combining import Combined
from finetune.search.ranking import Ranked
from finetune.search.reporting import report_study
from finetune.search.rows import scores_of_kept, trial_rows
from finetune.search.runner import Work
from finetune.search.trial_curves import draw_search
from finetune.support import as_html, format_seconds, save_figure, to_frame
from finetune.tuning import CrossValidation, Settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, repr=False)
class SearchResult(Result):
    """What a search gave. Made by `FineTuner.search`.

    Args:
        model: The best model, with weights of its own: no later training changes them.
        ranking: All trials, the best first.
        chosen: The trial that the model is of: the first of the ranking whose weights are there.
        settings: The values that the best model was trained with.
        validation: Its quality on the validation images, which chose it: optimistic.
        test: Its quality on the test images, or None where there are none.
        verdict: The best model against the head alone; None for regression, and where no head
            was trained alone.
        monitor: The quantity that decided, see `select`.
        seconds: Wall time of the search, earlier runs of the study counted in.
        folder: The study's folder.
        work: What all trials had in common.
        interrupted: Whether the user stopped it before its end.
        time_up: Seconds of the time budget, where that ended it.
        refitted: Number of images, training and validation together, that the model was trained
            on once more (`refit`): `validation` and `verdict` are then of the model before.
            0 where it was not.
        combined: What the model is made of: the best trial, or the weights or probabilities of the
            best ones averaged.
        calibration: How far its probabilities can be taken at their word; None for regression.
        cross_validation: What was said of every image by a model that was not trained on it, each
            of a training with the settings of the chosen trial; None where `validation` of the data
            did not ask for folds.
        doubt: How often the model's doubt is right on test images; None where it knows none.
        spared: What it would have taken longer without reuse, estimated; None where nothing was
            spared, or that is not known: where trials were trained in other processes, or before
            the study was gone on with.
        plan: What more images would bring, see `FineTuneResult`.
        remarks: What was wanted at the end and not done, and why.

    Example:
        >>> import keras, tempfile
        >>> import numpy as np
        >>> from finetune import FineTuner, load_data
        >>> layers = [keras.layers.Conv2D(4, 3, name=name) for name in ("first", "second")]
        >>> model = keras.Sequential([keras.Input((16, 16, 3)), *layers])
        >>> pixels = np.random.default_rng(0).integers(0, 256, (24, 16, 16, 3), "uint8")
        >>> data = load_data((pixels, [0, 1, 2] * 8), image_size=16, test=0.25)
        >>> tuner = FineTuner(
        ...     model, preprocess="tf", freeze_depth=[0, 1], learning_rate=1e-3, epochs=1,
        ...     head_epochs=1)
        >>> result = tuner.search(data, strategy="grid", out=tempfile.mkdtemp(), verbose=0)
        >>> sorted((row["freeze_depth"], row["epochs"]) for row in result.rows())
        [(0, 1), (1, 1)]
        >>> [axes.get_xlabel() for axes in result.plot().axes]
        ['', 'freeze depth (layers)', 'epoch (0: the head)']
    """

    model: FineTunedModel
    ranking: list[Ranked]
    chosen: Ranked
    settings: Settings
    validation: Score
    test: Score | None
    verdict: Verdict | None
    monitor: str
    seconds: float
    folder: Path
    work: Work = field(repr=False)
    interrupted: bool = False
    time_up: float | None = None
    refitted: int = 0
    combined: Combined = field(default_factory=partial(Combined, "best", ()))
    calibration: Calibration | None = None
    cross_validation: CrossValidation | None = None
    doubt: DoubtMeasured | None = None
    spared: Spared | None = None
    plan: ImagePlan | None = None
    remarks: tuple[str, ...] = ()

    @property
    def _images(self) -> ImageData:
        return self.work.data

    @property
    def best(self) -> dict[str, Any]:
        """Hyperparameters of the trial that the model is of."""
        return self.chosen.trial.values

    @property
    def head_is_best(self) -> bool:
        """Whether no training of the backbone improved on the trained head alone."""
        outcome = self.chosen.trial.outcome
        return outcome is not None and outcome.head_kept

    @property
    def trials(self) -> list[dict[str, Any]]:
        """All trials, the best first, see `finetune board --json`."""
        return board_rows(self.ranking)

    def rows(self, *, test: bool = True) -> list[dict[str, Any]]:
        """Every trial under every seed as one flat row, the best trial first.

        The validation images choose; choosing by the test figures of many trials would make them
        as optimistic, so look at those of the best one, or of all to report them.

        Args:
            test: Whether to measure the test images, anew in every call, with each trial whose
                weights were kept (`FineTuner.search(keep=...)`). Default True.

        Returns:
            "trial" and "execution", which counts its seeds; "seed"; "freeze_depth" in layers,
            "learning_rate" and whatever else was searched, by its name; of the best epoch
            "val_accuracy" ("val_mae" for regression), "val_interval" (95%, from the number of
            images), "val_loss" (without label smoothing), "val_calibrated_loss" (at the temperature
            that suits it best; None for regression) and "val_n", the number of images;
            "test_accuracy", "test_interval", "test_loss" and "test_n", or None where they were
            not measured; "epochs" of the second phase;
            "seconds" of wall time; "status"; "remark", such as "head kept" or "batch 16, out of
            memory at 32", or ""; and "history", one entry per epoch as in `FineTuneResult.history`,
            empty for trials of studies that did not keep it yet.
        """
        scores = scores_of_kept(self.work, self.ranking) if test else {}
        return trial_rows(self.work, self.ranking, scores)

    def to_pandas(self, *, test: bool = True) -> Any:
        """The rows as a `pandas.DataFrame`.

        Args:
            test: See `rows`.

        Raises:
            ArgumentError: If pandas is not installed.
        """
        return to_frame(self.rows(test=test))

    def plot(self, path: str | os.PathLike[str] | None = None) -> "Figure":
        """Draw the validation curves of all trials, and the trials over what was searched.

        Of a trial with several seeds the curves are those of the first; its mark is the mean.

        Args:
            path: Image file to write; the ending says which kind, such as ".png" or ".svg".
                Default: none is written.

        Returns:
            The figure, matplotlib's own, to be changed or saved.

        Raises:
            ArgumentError: If the ending is of no kind of image that can be written.
            StorageError: If the file cannot be written.
        """
        figure = draw_search(self.ranking, self.monitor)
        if path is not None:
            save_figure(figure, path)
        return figure

    def report(self) -> Path:
        """Make the report of the search anew: `report.html` in its folder, and `figures/`.

        Returns:
            The page.

        Raises:
            StorageError: If something cannot be written.
        """
        return report_study(self.folder)

    def table(self) -> str:
        """The board as text."""
        return render(self.ranking, self.monitor)

    def summary(self) -> str:
        """The board, and a few lines on the best model."""
        best = self.chosen
        lines = [self.table(), *error_lines(self.ranking), ""]
        if self.interrupted:
            lines.append("Stopped before its end: the same command goes on.")
        if self.time_up is not None:
            compared = "" if self.verdict else ", without a comparison with the head alone"
            told = f"Time was up after {format_seconds(self.time_up)}{compared}"
            lines.append(f"{told}: the same command goes on.")
        lost = [entry.trial.trial for entry in self.ranking[: self.ranking.index(best)]]
        if lost:
            lines.append(
                f"The weights of trial {' and '.join(lost)} are gone or damaged: the model is of "
                "the next best."
            )
        if self.head_is_best:
            lines.append(
                "Nothing beat the head: the model is the unchanged backbone with the head that "
                f"trial {best.trial.trial} began with."
            )
        else:
            lines.append(f"Best: trial {best.trial.trial}, {describe_values(best.trial.values)}")
        if best.trial.remark:
            lines.append(f"      {best.trial.remark}")
        if (self.folder / BEST_TRIAL).exists():
            lines.append(f"      alone: finetune fit --config {self.folder / BEST_TRIAL}")
        if str(self.combined):
            lines.append(str(self.combined))
        verdict = ""
        if self.verdict is not None and not self.head_is_best:
            before = " (The model before, too.)" if self.refitted else ""
            verdict = f"{self.verdict}{before}"
        lines += self._quality(f"it among {len(self.ranking)} trials, so optimistic", verdict)
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        rows = [
            (
                *(place, row["id"], describe_values(row["hyperparameters"])),
                *(
                    "" if row[name] is None else f"{row[name]:.3f}"
                    for name in ("score", "accuracy")
                ),
                row["status"],
            )
            for place, row in enumerate(self.trials, start=1)
        ]
        return as_html(self._in_short(), rows, ("#", "trial", "", self.monitor, "accuracy", ""))

    def _in_short(self) -> str:
        best = self.chosen.trial.trial
        return f"{len(self.ranking)} trials, the best {best}, {self._measured}"


def describe_values(values: dict[str, Any]) -> str:
    """Hyperparameters in one line.

    Example:
        >>> describe_values({"freeze_depth": 54, "learning_rate": 0.0003})
        'freeze_depth 54, learning_rate 0.0003'
    """
    shown = (f"{v:.3g}" if isinstance(v, float) else str(v) for v in values.values())
    return ", ".join(f"{name} {value}" for name, value in zip(values, shown, strict=True))
