"""SearchResult: the board, the best model, and what it is worth."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from finetune.data import ImageData
from finetune.exceptions import DamagedFileError, SearchError
from finetune.model import FineTunedModel, ModelCard, Predictions, Score, right_answers, score
from finetune.search.board import board_rows, error_lines, render
from finetune.search.budget import format_seconds
from finetune.search.ranking import Ranked
from finetune.search.runner import Work
from finetune.search.study import weights_file
from finetune.support import assign, bootstrap_interval, read_arrays, write_text
from finetune.tuning import Settings, Trainer

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
        return (
            f"{said}: {self.tuned:.3f} against {self.head_only:.3f}, difference "
            f"{self.tuned - self.head_only:+.3f} [{low:+.3f}, {high:+.3f}] "
            f"({self.split}, n={self.n})."
        )


@dataclass(frozen=True)
class SearchResult:
    """What a search gave. Made by `FineTuner.search`.

    Args:
        model: The best model.
        ranking: All trials, the best first.
        settings: The values that the best model was trained with.
        validation: Its quality on the validation images, which chose it: optimistic.
        test: Its quality on the test images, or None where there are none.
        verdict: The best model against the head alone; None for regression.
        monitor: The quantity that decided, "val_accuracy" or "val_loss".
        seconds: Wall time of the search, earlier runs of the study counted in.
        folder: The study's folder.
        interrupted: Whether the user stopped it before its end.
    """

    model: FineTunedModel
    ranking: list[Ranked]
    settings: Settings
    validation: Score
    test: Score | None
    verdict: Verdict | None
    monitor: str
    seconds: float
    folder: Path
    interrupted: bool = False

    @property
    def best(self) -> dict[str, Any]:
        """Hyperparameters of the best trial."""
        return self.ranking[0].trial.values

    @property
    def trials(self) -> list[dict[str, Any]]:
        """All trials, the best first, see `finetune board --json`."""
        return board_rows(self.ranking)

    def table(self) -> str:
        """The board as text."""
        return render(self.ranking, self.monitor)

    def predict(self, images: Any) -> Predictions:
        """Classify files or arrays with the best model, see `FineTunedModel.predict`."""
        return self.model.predict(images)

    def summary(self) -> str:
        """The board, and a few lines on the best model."""
        best = self.ranking[0]
        lines = [self.table(), *error_lines(self.ranking), ""]
        if self.interrupted:
            lines.append("Stopped before its end: the same command goes on.")
        lines.append(f"Best: trial {best.trial.trial}, {describe_values(best.trial.values)}")
        lines.append(
            f"validation: {self.validation} (chose it among {len(self.ranking)} trials, so "
            "optimistic)"
        )
        lines.append(f"test:       {self.test}" if self.test else "test:       no test images")
        if self.verdict is not None:
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
    trainer, data, folder = work.trainer, work.data, work.folder
    good = [entry for entry in ranking if entry.outcomes]
    if not good:
        if interrupted:
            raise KeyboardInterrupt
        told = "\n".join(error_lines(ranking)) or "no trial had ended in time"
        raise SearchError(
            f"Expected at least one trial with a score, but there is none: {told}. Mend the cause, "
            "or give it more time."
        )
    for entry in good:
        settings = work.settings(entry.trial.values)
        trained = _trained(trainer, data, settings, folder, entry.trial.name)
        if trained is not None:
            break
    else:
        raise SearchError(
            f"The weights of the best trials are gone from {folder / 'weights'}. Search again in "
            "another folder."
        )
    card = ModelCard(
        data.task,
        tuple(data.class_names),
        tuple(trained.input_shape[1:3]),
        data.resize,
    )
    model = FineTunedModel(trained, card)
    model.save(folder / "model.keras")
    validation = model.outputs(data, "validation")
    split = "test" if "test" in data.counts else "validation"
    tuned = model.outputs(data, split) if split == "test" else validation
    verdict = None
    if data.task in ("binary", "multiclass"):
        # The shared model becomes the head alone for a moment.
        trainer.train(replace(settings, epochs=0), trainer.source_of(data, settings))
        verdict = _verdict(split, data.task, tuned, model.outputs(data, split))
        _restore(trained, folder, entry.trial.name)
    result = SearchResult(
        model,
        ranking,
        settings,
        score(*validation, data.task),
        score(*tuned, data.task) if split == "test" else None,
        verdict,
        monitor,
        seconds,
        folder,
        interrupted,
    )
    write_text(folder / "result.json", json.dumps(_facts(result), indent=2, default=str) + "\n")
    return result


def _trained(
    trainer: Trainer, data: ImageData, settings: Settings, folder: Path, name: str
) -> keras.Model | None:
    """The shared model with a trial's weights; None where they are gone."""
    model, _ = trainer.train(replace(settings, epochs=0), trainer.source_of(data, settings))
    return model if _restore(model, folder, name) else None


def _restore(model: keras.Model, folder: Path, name: str) -> bool:
    try:
        _, values = read_arrays(weights_file(folder, name))
    except DamagedFileError:
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
        "best": {"id": result.ranking[0].trial.trial, "hyperparameters": result.best},
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
