"""Ranking: which trial is the best, over all its executions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from finetune.search.trials import FAILED, Outcome, Trial
from finetune.support import accuracy_interval
from finetune.training import STANDARD_ERROR, epoch_score


@dataclass(frozen=True)
class Ranked:
    """A trial with all its executions.

    Args:
        trial: The first execution.
        outcomes: Last outcomes of all executions that have one with a score.
        score: Mean over the executions; None where there is none.
        interval: 95% interval of that mean, where there are several executions.
        accuracy: Mean accuracy of the validation images; None where there are no classes.
        accuracy_interval: 95% interval: of the mean over executions where there are several, else
            from the number of validation images; None where neither holds.
        executions: All executions, those without a score too.
    """

    trial: Trial
    outcomes: tuple[Outcome, ...]
    score: float | None
    interval: tuple[float, float] | None = None
    accuracy: float | None = None
    accuracy_interval: tuple[float, float] | None = None
    executions: tuple[Trial, ...] = ()


def better(monitor: str, outcome: Outcome) -> tuple[float, ...]:
    """What outcomes are compared by, higher is better: as epochs are, see `epoch_score`."""
    assert outcome.score is not None  # those without are sorted out before
    return epoch_score({"val_loss": 0.0, **outcome.metrics, monitor: outcome.score}, monitor)


def promising(outcome: Outcome) -> tuple[float, ...]:
    """What tells early how good a trial will be, higher is better: its lowest loss so far.

    The accuracy of a few hundred images goes up and down by several of them while the loss already
    shows where a trial is going (docs/performance.md has the measurements).

    Args:
        outcome: One with a score.
    """
    assert outcome.lowest_loss is not None  # as in better
    return (-outcome.lowest_loss,)


def rank(trials: Sequence[Trial], monitor: str) -> list[Ranked]:
    """All trials, the best first; those without a score last.

    Trials that were trained with several seeds come before those with one: their score is less a
    matter of luck. So is that of `fine_tune`'s own values, the first of those that are known to do
    well: of many others one looks better than it is, on few images, and so they count for one
    standard error less than they were measured.

    Args:
        trials: Trials and further executions.
        monitor: The quantity that decides, such as "val_loss".

    Returns:
        One entry a trial.

    Source of the rule: L. Breiman et al., "Classification and Regression Trees" (1984), the
    one-standard-error rule.
    """
    groups: dict[str, list[Trial]] = {}
    for trial in sorted(trials, key=lambda trial: (trial.trial, trial.execution)):
        groups.setdefault(trial.trial, []).append(trial)
    ranked = [_ranked(group) for group in groups.values()]
    own = _own(ranked)

    def key(entry: Ranked) -> tuple:
        if not entry.outcomes:
            return (0, 0, ())
        score, *further = _measured(entry, monitor)
        chance = 0.0 if own in (None, entry) else _chance(entry)
        return 1, len(entry.outcomes) > 1, score - chance, *further

    return sorted(ranked, key=key, reverse=True)


def _own(ranking: Sequence[Ranked]) -> Ranked | None:
    """The trial at `fine_tune`'s own values, or the next that is known to do well."""
    known = [entry for entry in ranking if entry.outcomes and entry.trial.known]
    return min(known, key=lambda entry: entry.trial.trial, default=None)


def own_first(ranking: Sequence[Ranked], monitor: str) -> bool:
    """Whether `fine_tune`'s own values stand before some that were measured as better."""
    own = _own(ranking)
    if own is None:
        return False
    several, score = len(own.outcomes) > 1, _measured(own, monitor)[0]
    return any(
        entry.outcomes
        and (len(entry.outcomes) > 1) == several
        and _measured(entry, monitor)[0] > score
        for entry in ranking[ranking.index(own) + 1 :]
    )


def _measured(entry: Ranked, monitor: str) -> np.ndarray:
    """What a trial is compared by, as it was measured: the mean over its executions."""
    return np.mean([better(monitor, outcome) for outcome in entry.outcomes], axis=0)


def _chance(entry: Ranked) -> float:
    """What a trial has to be better by than the one at `fine_tune`'s own values.

    Returns:
        One standard error, over the validation images, of the head that it begins with; 0 where
        that is not known.
    """
    history = entry.trial.outcome.history if entry.trial.outcome else []
    return max((row.get(STANDARD_ERROR, 0.0) for row in history), default=0.0)


def _ranked(group: list[Trial]) -> Ranked:
    outcomes = tuple(
        trial.outcome
        for trial in group
        if trial.status != FAILED and trial.outcome and trial.outcome.score is not None
    )
    first = group[0]
    if not outcomes:
        return Ranked(first, (), None, executions=tuple(group))
    score, interval = _mean([outcome.score for outcome in outcomes if outcome.score is not None])
    found = [outcome.metrics.get("val_accuracy") for outcome in outcomes]
    accuracies = [accuracy for accuracy in found if accuracy is not None]
    accuracy, around = _mean(accuracies) if accuracies else (None, None)
    if accuracy is not None and around is None and outcomes[0].n:
        # With several labels an image too: the share of right ones varies no more than 0 and 1.
        around = accuracy_interval(accuracy, outcomes[0].n)
    return Ranked(first, outcomes, score, interval, accuracy, around, tuple(group))


def _mean(values: list[float]) -> tuple[float, tuple[float, float] | None]:
    """The mean of some executions, and its 95% interval where there are several."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, None
    half = float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))
    return mean, (mean - half, mean + half)
