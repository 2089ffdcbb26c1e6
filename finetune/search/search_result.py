"""SearchResult: the board, the best model, and what it is worth."""

import json
import logging
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from finetune.exceptions import SearchError, StorageError
from finetune.model import (
    FineTunedModel,
    Predictions,
    Score,
    remember,
    right_answers,
    score,
)
from finetune.search.board import board_rows, error_lines, render
from finetune.search.budget import format_seconds
from finetune.search.kept_weights import kept_weights
from finetune.search.ranking import Ranked
from finetune.search.rows import card_of, scores_of_kept, trial_rows
from finetune.search.runner import Work, head_alone
from finetune.search.trial_curves import draw_search
from finetune.search.trials import Trial
from finetune.support import (
    assign,
    bootstrap_interval,
    save_figure,
    to_frame,
    write_text,
)
from finetune.tuning import Settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

log = logging.getLogger("finetune")

# Labels, and what a model says.
Answers = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Verdict:
    """Whether fine-tuning was worth it: the best model against the head alone.

    Args:
        split: "test", or "validation" where there are no test images.
        n: Number of images.
        tuned: Accuracy of the best model.
        tuned_interval: Its 95% bootstrap interval.
        head_only: Accuracy of the trained head on the unchanged backbone.
        difference: Interval of the difference, 95% bootstrap over the images, in pairs.
    """

    split: str
    n: int
    tuned: float
    tuned_interval: tuple[float, float]
    head_only: float
    difference: tuple[float, float]

    @property
    def word(self) -> str:
        """One of "better", "worse" and "not shown"."""
        low, high = self.difference
        return "better" if low > 0 else "worse" if high < 0 else "not shown"

    def __str__(self) -> str:
        low, high = self.difference
        said = {
            "better": "Fine-tuning is better than the head alone",
            "worse": "Fine-tuning is worse than the head alone",
            "not shown": f"{self.n} images do not show a difference between fine-tuning and the "
            "head alone",
        }[self.word]
        chose = "" if self.split == "test" else " These images chose the model: optimistic."
        return (
            f"{said}: {self.tuned:.3f} against {self.head_only:.3f}, difference "
            f"{self.tuned - self.head_only:+.3f} [{low:+.3f}, {high:+.3f}] "
            f"({self.split}, n={self.n}).{chose}"
        )


@dataclass(frozen=True)
class SearchResult:
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
        monitor: The quantity that decided, "val_accuracy" or "val_loss".
        seconds: Wall time of the search, earlier runs of the study counted in.
        folder: The study's folder.
        work: What all trials had in common.
        interrupted: Whether the user stopped it before its end.

    Example:
        >>> import tempfile
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
            images), "val_loss" (as in training, label smoothing included) and "val_n", the
            number of images; "test_accuracy", "test_interval", "test_loss" (without smoothing)
            and "test_n", or None where they were not measured; "epochs" of the second phase;
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
        rows = [row for row in self.rows(test=False) if not row["execution"]]
        figure = draw_search(self.ranking, rows, self.monitor)
        if path is not None:
            save_figure(figure, path)
        return figure

    def table(self) -> str:
        """The board as text."""
        return render(self.ranking, self.monitor)

    def predict(self, images: Any) -> Predictions:
        """Classify files or arrays with the best model, see `FineTunedModel.predict`."""
        return self.model.predict(images)

    def summary(self) -> str:
        """The board, and a few lines on the best model."""
        best = self.chosen
        lines = [self.table(), *error_lines(self.ranking), ""]
        if self.interrupted:
            lines.append("Stopped before its end: the same command goes on.")
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
        lines.append(
            f"validation: {self.validation} (chose it among {len(self.ranking)} trials, so "
            "optimistic)"
        )
        lines.append(f"test:       {self.test}" if self.test else "test:       no test images")
        if self.verdict is not None and not self.head_is_best:
            lines.append(str(self.verdict))
        lines.append(f"{format_seconds(self.seconds)}, saved in {self.folder}")
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.summary()


def describe_values(values: dict[str, Any]) -> str:
    """Hyperparameters in one line.

    Example:
        >>> describe_values({"freeze_depth": 54, "learning_rate": 0.0003})
        'freeze_depth 54, learning_rate 0.0003'
    """
    shown = (f"{v:.3g}" if isinstance(v, float) else str(v) for v in values.values())
    return ", ".join(f"{name} {value}" for name, value in zip(values, shown, strict=True))


def conclude(
    work: Work,
    ranking: list[Ranked],
    *,
    monitor: str,
    seconds: float,
    interrupted: bool,
) -> SearchResult:
    """Take the best model out of a study, save it and measure it.

    Raises:
        SearchError: If there is no trial with a score.
        KeyboardInterrupt: If the user stopped the search before there was one.
    """
    data, folder = work.data, work.folder
    chosen, trained = _best(work, _scored(ranking, interrupted))
    settings = work.settings(chosen.trial.values)
    card = card_of(trained, data)
    model = FineTunedModel(trained, card, remember(data, card.image_size))
    model.save(folder / "model.keras")
    answers = {
        split: model.outputs(data, split)
        for split in ("validation", "test")
        if split in data.counts
    }
    verdict = None
    if data.task in ("binary", "multiclass") and settings.head_epochs:
        split = [*answers][-1]
        # The shared model becomes the head alone for a moment.
        head_alone(work.trainer, settings, work.trainer.source_of(data, settings))
        verdict = _verdict(split, data.task, answers[split], model.outputs(data, split))
        _restore(trained, work, chosen.trial)
    result = SearchResult(
        model.copy(),
        ranking,
        chosen,
        settings,
        score(*answers["validation"], data.task),
        score(*answers["test"], data.task) if "test" in answers else None,
        verdict,
        monitor,
        seconds,
        folder,
        replace(work, callbacks=()),  # which may not be fit to be pickled
        interrupted,
    )
    write_text(folder / "result.json", json.dumps(_facts(result), indent=2, default=str) + "\n")
    return result


def _scored(ranking: list[Ranked], interrupted: bool) -> list[Ranked]:
    """The trials that can be the best."""
    scored = [entry for entry in ranking if entry.outcomes]
    if scored:
        return scored
    if interrupted:
        raise KeyboardInterrupt
    told = "\n".join(error_lines(ranking)) or "no trial had ended in time"
    raise SearchError(
        f"Expected at least one trial with a score, but there is none: {told}. Mend the cause, "
        "or give it more time."
    )


def _best(work: Work, ranking: list[Ranked]) -> tuple[Ranked, keras.Model]:
    """The best trial whose weights are there, and the shared model with them."""
    for entry in ranking:
        trained = work.model(work.settings(entry.trial.values))
        if _restore(trained, work, entry.trial):
            return entry, trained
    raise SearchError(
        f"The weights of the best trials are gone from {work.folder / 'weights'}. Search again in "
        "another folder."
    )


def _restore(model: keras.Model, work: Work, trial: Trial) -> bool:
    try:
        values = kept_weights(work, trial, model)
    except StorageError as error:
        log.warning("The weights of trial %s cannot be used: %s", trial.name, error)
        return False
    assign(model.variables, values)
    return True


def _verdict(split: str, task: str, tuned: Answers, alone: Answers) -> Verdict:
    """Compare two models on the same images."""
    best, head = (right_answers(*answers, task).ravel().astype(float) for answers in (tuned, alone))
    return Verdict(
        split,
        len(best),
        float(best.mean()),
        bootstrap_interval(best),
        float(head.mean()),
        bootstrap_interval(best - head),
    )


def _facts(result: SearchResult) -> dict[str, Any]:
    verdict = result.verdict
    return {
        "best": {
            "id": result.chosen.trial.trial,
            "hyperparameters": result.best,
            "head_is_best": result.head_is_best,
            "remark": result.chosen.trial.remark,
        },
        "validation": result.validation.to_dict(),
        "test": result.test.to_dict() if result.test else None,
        "verdict": None
        if verdict is None
        else {
            "word": verdict.word,
            "split": verdict.split,
            "n": verdict.n,
            "tuned": verdict.tuned,
            "tuned_interval": verdict.tuned_interval,
            "head_only": verdict.head_only,
            "difference": verdict.difference,
        },
        "seconds": round(result.seconds, 1),
        "interrupted": result.interrupted,
        "trials": len(result.ranking),
    }
