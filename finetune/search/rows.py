"""Rows of a search: every trial under every seed, with all that was measured of it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

from finetune.data import ImageData
from finetune.exceptions import StorageError
from finetune.model import FineTunedModel, ModelCard, Score, score
from finetune.search.kept_weights import kept_weights
from finetune.search.ranking import Ranked
from finetune.search.runner import Work
from finetune.search.trials import Outcome, Trial
from finetune.support import (
    accuracy_interval,
    assign,
    expected_tracing,
    values_of,
)
from finetune.training import CALIBRATED

# Hyperparameters of which a row tells what they came to.
_OWN_COLUMNS = ("freeze_depth", "learning_rate", "seed", "epochs")


def card_of(model: keras.Model, data: ImageData) -> ModelCard:
    """What has to be known to use a model that was trained on this data."""
    size = tuple(model.input_shape[1:3])
    return ModelCard(data.task, tuple(data.class_names), size, data.resize)


def trial_rows(
    work: Work, ranking: list[Ranked], tests: Mapping[str, Score | None]
) -> list[dict[str, Any]]:
    """One row a trial and seed, see `SearchResult.rows`.

    Args:
        work: What the trials had in common.
        ranking: All trials, in the order of the rows.
        tests: Quality on the test images by the trial's name, where it was measured.
    """
    return [
        _row(work, trial, tests.get(trial.name)) for entry in ranking for trial in entry.executions
    ]


@expected_tracing()
def scores_of_kept(work: Work, ranking: list[Ranked]) -> dict[str, Score | None]:
    """Measure the test images with every trial whose weights were kept.

    Every model is then as it was before.
    """
    if "test" not in work.data.counts:
        return {}
    models: dict[int, FineTunedModel] = {}  # each is compiled once
    scores: dict[str, Score | None] = {}
    for trial in (trial for entry in ranking for trial in entry.executions):
        if trial.outcome is None or trial.outcome.score is None:
            continue
        model = work.model(work.settings(trial.values))
        try:
            values = kept_weights(work, trial, model)
        except StorageError:  # of most trials none are kept
            continue
        used = models.setdefault(id(model), FineTunedModel(model, card_of(model, work.data)))
        with _in_place(model, values):
            scores[trial.name] = score(*used.outputs(work.data, "test"), work.data.task)
    return scores


@contextmanager
def _in_place(model: keras.Model, values: list[np.ndarray]) -> Iterator[None]:
    """Give a model other weights for a moment."""
    before = values_of(model.variables)
    assign(model.variables, values)
    try:
        yield
    finally:
        assign(model.variables, before)


def _row(work: Work, trial: Trial, test: Score | None) -> dict[str, Any]:
    outcome = trial.outcome or Outcome()
    settings = work.settings(trial.values)
    # What KerasTuner could not hold was chosen by its number.
    chosen = [name.removesuffix("_index") for name in trial.values]
    others = {name: getattr(settings, name) for name in chosen if name not in _OWN_COLUMNS}
    depth = settings.freeze_depth if outcome.freeze_depth is None else outcome.freeze_depth
    metric = "mae" if work.data.task == "regression" else "accuracy"
    accuracy, interval = outcome.metrics.get("val_accuracy"), None
    if accuracy is not None and work.data.task != "multilabel":
        interval = accuracy_interval(accuracy, outcome.n)
    return {
        "trial": trial.trial,
        "execution": trial.execution,
        "seed": settings.seed + trial.execution,
        "freeze_depth": depth,
        "learning_rate": settings.learning_rate,
        **others,
        f"val_{metric}": outcome.metrics.get(f"val_{metric}"),
        "val_interval": interval,
        "val_loss": outcome.metrics.get("val_loss"),
        CALIBRATED: outcome.metrics.get(CALIBRATED),
        "val_n": outcome.n,
        "test_accuracy": test and test.accuracy,
        "test_interval": test and test.interval,
        "test_loss": test and test.loss,
        "test_n": test and test.n,
        "epochs": outcome.epochs,
        "seconds": trial.seconds,
        "status": trial.status,
        "remark": trial.remark,
        "history": [dict(epoch) for epoch in outcome.history],
    }
