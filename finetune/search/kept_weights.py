"""Weights that a study keeps of its best trials, and what becomes of trials that lost theirs."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from finetune.exceptions import DamagedFileError, StorageError
from finetune.search.ranking import Ranked
from finetune.search.runner import Work
from finetune.search.study import weights_file
from finetune.search.trials import PAUSED, KeptWeights, Trial
from finetune.support import read_arrays

log = logging.getLogger("finetune")


def kept_weights(work: Work, trial: Trial, model: keras.Model) -> list[np.ndarray]:
    """Weights of a trial's best epoch.

    Args:
        work: Knows the study's folder.
        trial: Any trial with an outcome.
        model: What they are the weights of.

    Raises:
        DamagedFileError: If they are damaged, or another trial's, or of other epochs.
        StorageError: If there are none.
    """
    # A trial that took over another's outcome has no weights of its own.
    owner = Trial(trial.same_as or trial.trial, trial.values, trial.execution).name
    epochs = trial.outcome.epochs if trial.outcome else 0

    def expected(known: KeptWeights) -> Sequence[Any]:
        if known.trial != owner:
            raise DamagedFileError(f"expected weights of trial {owner}, received {known.trial}'s")
        # A later search in the same folder may have gone on with what this one saw paused.
        if known.epochs not in (None, epochs):
            raise DamagedFileError(
                f"expected weights after {epochs} epochs, received them after {known.epochs}"
            )
        return model.variables

    path = weights_file(work.folder, owner)
    return read_arrays(path, KeptWeights, expected, finite=True)[1]


def take_up_lost(work: Work, ranking: Sequence[Ranked], keep: int) -> None:
    """Have those of the best trials trained again whose weights are lost or damaged.

    Until then their outcome stands: where there is no time left, the next best is used.

    Args:
        work: What the trials have in common.
        ranking: All trials, the best first; changed in memory alone.
        keep: Number of trials whose weights are kept.
    """
    trials = [trial for entry in ranking[: max(1, keep)] for trial in entry.executions]
    for trial in trials:
        step = trial.steps[-1]
        outcome = step.outcome
        if trial.same_as or not step.ended or outcome is None or outcome.score is None:
            continue
        try:
            kept_weights(work, trial, work.model(work.settings(trial.values)))
        except StorageError as error:
            log.warning(
                "The weights of trial %s are lost, so it is trained again: %s", trial.name, error
            )
            step.outcome = replace(outcome, cut=True)
            trial.status = PAUSED
