"""What KerasTuner's oracles and tuners keep to themselves."""

from collections.abc import Iterable
from itertools import pairwise

import keras
import keras_tuner


def has_default_objective(oracle: keras_tuner.Oracle) -> bool:
    """Whether an oracle was made without saying what is compared.

    Example:
        >>> has_default_objective(keras_tuner.oracles.RandomSearchOracle(max_trials=1))
        True
    """
    # By its name: the class of this objective is not exported.
    return oracle.objective.name == "default_objective"


def write_nothing(oracle: keras_tuner.Oracle) -> None:
    """Keeps an oracle from writing files.

    Args:
        oracle: Changed in place. It needs no folder afterwards.

    Example:
        >>> oracle = keras_tuner.oracles.RandomSearchOracle(max_trials=1)
        >>> oracle.verbose = 0
        >>> write_nothing(oracle)
        >>> oracle.create_trial("worker").status
        'RUNNING'
    """
    oracle.save = lambda: None
    # Each trial's own file goes past `save`, and there is no option against either.
    oracle._save_trial = lambda trial: None


def give_next(oracle: keras_tuner.oracles.GridSearchOracle, trial_id: str) -> None:
    """Lets a grid go on to the combination after a trial's, before that trial has ended.

    Args:
        oracle: The grid; all its hyperparameters are declared.
        trial_id: The trial that was created last.

    Example:
        >>> space = keras_tuner.HyperParameters()
        >>> _ = space.Choice("depth", [1, 2, 3])
        >>> oracle = keras_tuner.oracles.GridSearchOracle(hyperparameters=space)
        >>> oracle.verbose = 0
        >>> write_nothing(oracle)
        >>> for worker in ("first", "second", "third"):
        ...     trial = oracle.create_trial(worker)
        ...     give_next(oracle, trial.trial_id)
        >>> trial.hyperparameters.values
        {'depth': 3}
    """
    # It would wait for the trial to end, for fear of new hyperparameters, and workers would stand
    # idle. In public only `end_trial` moves it on, which takes the result as well.
    oracle._populate_next.append(trial_id)


def may_go_on(oracle: keras_tuner.oracles.HyperbandOracle) -> set[str]:
    """Ids of the trials that Hyperband may still choose to go on from.

    Example:
        >>> space = keras_tuner.HyperParameters()
        >>> _ = space.Float("rate", 1e-5, 1e-3)
        >>> oracle = keras_tuner.oracles.HyperbandOracle(max_epochs=9, hyperparameters=space)
        >>> oracle.verbose = 0
        >>> write_nothing(oracle)
        >>> trial = oracle.create_trial("worker")
        >>> may_go_on(oracle) == {trial.trial_id}
        True
    """
    # What is in its rounds can be had in public, by `get_state`, but not how many they take.
    return {
        entry["id"]
        for bracket in oracle._brackets
        for number, (before, after) in enumerate(pairwise(bracket["rounds"]), start=1)
        if len(after) < oracle._get_size(bracket["bracket_num"], number)
        for entry in before
        if entry["id"] not in {chosen["past_id"] for chosen in after}
    }


def best_epoch_checkpoint(
    callbacks: Iterable[keras.callbacks.Callback],
) -> keras.callbacks.Callback | None:
    """The callback with which a KerasTuner tuner keeps a trial's best epoch, if it is there.

    Example:
        >>> best_epoch_checkpoint([keras.callbacks.ModelCheckpoint("best.keras")]) is None
        True
    """
    # By what it has: its class, `SaveBestEpoch`, is not exported.
    own = (c for c in callbacks if hasattr(c, "objective") and hasattr(c, "filepath"))
    return next(own, None)
