"""Strategies: which hyperparameters are tried next, and for how many epochs.

The choosing is done by KerasTuner's oracles. A strategy is a function of what it was asked and
told, in that order: a search is resumed by asking and telling a new one the same again.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, Protocol

import keras_tuner
from keras_tuner.engine.hyperparameters import Boolean, Choice
from keras_tuner.engine.trial import Trial as OracleTrial
from keras_tuner.engine.trial import TrialStatus
from keras_tuner.oracles import (
    BayesianOptimizationOracle,
    GridSearchOracle,
    HyperbandOracle,
    RandomSearchOracle,
)

from finetune.compat import give_next, has_default_objective, may_go_on, write_nothing
from finetune.exceptions import ArgumentError
from finetune.search.spaces import grid_size
from finetune.search.trials import Job, Outcome

STRATEGIES = ("halving", "grid", "random", "bayesian", "hyperband")

# Of each rung a third goes on, as in Hyperband (Li et al., 2018) and KerasTuner.
FACTOR = 3

# Share of the epochs in which an optimizer's first steps do harm, whatever the schedule.
_SETTLING = 0.1

# Where the space has no end.
DEFAULT_TRIALS = 12

# One trial in so many at most has values that are known to be good; the others look further.
_GOOD_SHARE = 4


class Strategy(Protocol):
    """Chooses jobs."""

    def ask(self) -> Job | None:
        """The next job; None where nothing can be given out before an outcome is told."""
        ...

    def tell(self, job: Job, outcome: Outcome) -> None:
        """Take note of what became of a job."""
        ...

    def correct(self, job: Job) -> None:
        """Take note that the last job asked for had other values, as an earlier run has it."""
        ...

    def over(self) -> set[str]:
        """Numbers of trials that have ended and that no later job goes on from."""
        ...

    def remaining_epochs(self, epochs: int) -> float | None:
        """About how many epochs are still to be trained; None where nobody knows."""
        ...

    def remaining_jobs(self) -> int | None:
        """About how many jobs have not ended yet; None where nobody knows."""
        ...


class OracleStrategy:
    """Trials that a KerasTuner oracle chooses.

    Args:
        oracle: The oracle, new; its search space is declared.
        objective: What is compared, where the oracle does not say.
        first: Values of the first trials, in the place of what the oracle would draw.
    """

    def __init__(
        self,
        oracle: keras_tuner.Oracle,
        objective: keras_tuner.Objective,
        first: Sequence[dict[str, Any]] = (),
    ) -> None:
        if has_default_objective(oracle):
            oracle.objective = objective
        oracle.verbose = 0
        # The study keeps what happened; failures are counted by the search.
        write_nothing(oracle)
        oracle.max_retries_per_trial = 0
        oracle.max_consecutive_failed_trials = 10**9
        self.oracle = oracle
        self._first = first
        self._trials: dict[str, OracleTrial] = {}
        self._open: dict[str, Job] = {}
        self._asked = 0

    def ask(self) -> Job | None:
        """The oracle's next trial."""
        self._asked += 1
        trial = self.oracle.create_trial(f"job-{self._asked}")
        if trial.status != TrialStatus.RUNNING:
            return None
        if isinstance(self.oracle, GridSearchOracle):
            give_next(self.oracle, trial.trial_id)
        known = self._asked <= len(self._first)
        if known:
            trial.hyperparameters.values = dict(self._first[self._asked - 1])
        self._last = trial
        job = replace(_job(trial), known=known)
        self._trials[job.trial] = trial
        self._open[job.trial] = job
        return job

    def tell(self, job: Job, outcome: Outcome) -> None:
        """Report to the oracle."""
        trial = self._trials[job.trial]
        del self._open[job.trial]
        if outcome.score is None:
            trial.status = TrialStatus.FAILED
            trial.message = outcome.error
        else:
            self.oracle.update_trial(trial.trial_id, outcome.metrics)
            trial.status = TrialStatus.COMPLETED
        self.oracle.end_trial(trial)

    def correct(self, job: Job) -> None:
        """Put the values in that were really used."""
        self._last.hyperparameters.values = dict(job.values)

    def over(self) -> set[str]:
        """All that have ended, but those that Hyperband may choose or has given out anew."""
        ended = self._trials.keys() - self._open.keys()
        ended -= {job.after for job in self._open.values()}
        if isinstance(self.oracle, HyperbandOracle):
            ended -= {_name(trial) for trial in may_go_on(self.oracle)}
        return ended

    def remaining_epochs(self, epochs: int) -> float | None:
        """Of the trials that are still to come, where their number is known."""
        jobs = self.remaining_jobs()
        return None if jobs is None else jobs * epochs

    def remaining_jobs(self) -> int | None:
        """Trials that are still to come, where their number is known."""
        if isinstance(self.oracle, HyperbandOracle):
            return None
        total = grid_size(self.oracle.get_space())
        known = [n for n in (self.oracle.max_trials, total) if n]
        if not known or (not total and not self.oracle.max_trials):
            return None
        return max(0, min(known) - len(self.oracle.end_order))


class Halving:
    """Successive halving: all trials train a little, the best third goes on from there, and so on.

    Trials of values known to be good are trained to their end whatever the rungs say. Early losses
    prefer low rates and deep freezing, which do little, and so little harm, at first.

    Args:
        proposals: Where the trials come from.
        trials: Number of them.
        rungs: Epochs of the second phase after which they are compared, see `rungs`; the best ones
            are trained for the last number of them.
        better: Makes of an outcome what is compared, higher is better.
        good: Values of the trials that always go on.

    Source: Jamieson and Talwalkar, "Non-stochastic best arm identification and hyperparameter
    optimization" (2016). Trials are continued, as in Li et al., "A system for massively parallel
    hyperparameter tuning" (2020), section 3.1.
    """

    def __init__(
        self,
        proposals: OracleStrategy,
        trials: int,
        rungs: list[int],
        better: Callable[[Outcome], tuple[float, ...]],
        good: Sequence[dict[str, Any]],
    ) -> None:
        self._proposals = proposals
        self._number = trials
        self._better = better
        self._good = good
        self.rungs = rungs
        self._jobs: dict[str, Job] = {}
        self._results: list[dict[str, Outcome]] = [{} for _ in self.rungs]
        self._waiting: list[list[str]] = [[] for _ in self.rungs]
        self._given: list[int] = [0 for _ in self.rungs]
        self._all_proposed = False
        self._sent_away: set[str] = set()

    def ask(self) -> Job | None:
        """A new trial, or one of the best third of a rung."""
        if not self._all_proposed:
            job = self._proposals.ask() if len(self._jobs) < self._number else None
            if job is not None:
                job = replace(job, until=self.rungs[0])
                self._jobs[job.trial] = job
                self._given[0] += 1
                return job
            self._all_proposed = True
            self._promote(0)
        for rung, waiting in enumerate(self._waiting):
            if waiting:
                trial = waiting.pop(0)
                self._given[rung] += 1
                return replace(self._jobs[trial], until=self.rungs[rung])
        return None

    def tell(self, job: Job, outcome: Outcome) -> None:
        """Take note; the last one of a rung sets the next one off."""
        assert job.until is not None  # rungs are numbers of epochs
        rung = self.rungs.index(job.until)
        self._results[rung][job.trial] = outcome
        self._promote(rung)

    def correct(self, job: Job) -> None:
        """Put the values in that were really used."""
        self._jobs[job.trial] = Job(job.trial, job.values, self.rungs[0], known=job.known)
        self._proposals.correct(job)

    def _promote(self, rung: int) -> None:
        results = self._results[rung]
        over = self._all_proposed and len(results) == self._given[rung]
        if not over or self._waiting[rung] or rung + 1 == len(self.rungs):
            return
        # What is at its end, such as a trial of the head alone, has no use for more epochs. Sorted
        # by number first, so that equals go on in an order that no worker's speed decides.
        ranked = sorted(
            sorted(n for n, o in results.items() if o.score is not None and not o.finished),
            key=lambda trial: self._better(results[trial]),
            reverse=True,
        )
        best = math.ceil(len(results) / FACTOR)
        good = [trial for trial in ranked[best:] if self._jobs[trial].values in self._good]
        self._waiting[rung + 1] = ranked[:best] + good
        self._sent_away |= results.keys() - {*self._waiting[rung + 1]}

    def over(self) -> set[str]:
        """Those that were not among the best third of a rung."""
        return set(self._sent_away)

    def remaining_epochs(self, epochs: int) -> float | None:
        """Of this rung and those to come."""
        each = [until - before for before, until in pairwise([0, *self.rungs])]
        return sum(jobs * epochs for jobs, epochs in zip(self._remaining(), each, strict=True))

    def remaining_jobs(self) -> int | None:
        """Of this rung and those to come."""
        return sum(self._remaining())

    def _remaining(self) -> list[int]:
        """Jobs of each rung that have not ended, at most: good trials may be among the best."""
        number = self._number if not self._all_proposed else len(self._jobs)
        remaining = []
        for rung, results in enumerate(self._results):
            begun = self._given[rung] + len(self._waiting[rung])
            number = begun if rung and begun else number  # known once the rung before is over
            remaining.append(max(0, number - len(results)))
            number = min(number, math.ceil(number / FACTOR) + len(self._good))
        return remaining


def rungs(trials: int, epochs: int, warm_up: float = 0.0) -> list[int]:
    """Epochs after which successive halving compares.

    Not before a whole epoch at the full rate: the optimizer's first steps at a high rate do harm
    before they do good, and whoever compares then sends the best trials away.

    Example:
        >>> rungs(12, 10), rungs(12, 15), rungs(2, 10), rungs(100, 2)
        ([2, 4, 10], [3, 5, 15], [10], [2])
        >>> rungs(12, 15, warm_up=0.3)
        [6, 7, 15]
    """
    count = min(_log(trials), _log(epochs))
    first = math.ceil(max(warm_up, _SETTLING) * epochs) + 1
    early = [
        max(math.ceil(epochs / FACTOR ** (count - rung)), first + rung) for rung in range(count)
    ]
    return [*(rung for rung in early if rung < epochs), epochs]


def _log(number: int) -> int:
    return max(0, math.floor(math.log(max(number, 1), FACTOR) + 1e-9))


def build_strategy(
    strategy: str | keras_tuner.Oracle,
    *,
    space: keras_tuner.HyperParameters,
    objective: keras_tuner.Objective,
    better: Callable[[Outcome], tuple[float, ...]],
    epochs: int,
    max_trials: int | None,
    begun_with: int | None,
    good: Sequence[dict[str, Any]],
    seed: int,
    warm_up: float = 0.0,
) -> Strategy:
    """Make a strategy.

    Args:
        strategy: "halving", "grid", "random", "bayesian", "hyperband" or an oracle.
        space: What can be chosen.
        objective: What is compared.
        better: Makes of an outcome what is compared, higher is better.
        epochs: Most epochs of the second phase.
        max_trials: Most trials. None: all of a grid, and of hyperband; 12 otherwise.
        begun_with: What `max_trials` was when the study was begun. Of halving it decides after how
            many epochs is compared, and whether trials are drawn: so what was trained for less, or
            more, of them is of use.
        good: Values known to be good, the best first: those of the first trials, where trials are
            drawn; halving trains them to their end. At most a quarter of all trials, or one.
        seed: Of what is drawn.
        warm_up: Share of the epochs in which the rate rises. Halving compares after it.

    Returns:
        The strategy.

    Raises:
        ArgumentError: If there is no such strategy, or it cannot go with the space.
    """
    if isinstance(strategy, keras_tuner.Oracle):
        strategy.update_space(space)
        if max_trials is not None:
            strategy.max_trials = max_trials
        return OracleStrategy(strategy, objective)
    if strategy not in STRATEGIES:
        raise ArgumentError(
            f"Expected strategy to be one of {STRATEGIES} or a keras_tuner.Oracle, received "
            f"{strategy!r}."
        )
    # To an oracle the seed 0 is no seed.
    options: dict[str, Any] = {"hyperparameters": space, "objective": objective, "seed": seed + 1}
    size = grid_size(space)
    if strategy == "hyperband":
        oracle = HyperbandOracle(max_epochs=epochs, factor=FACTOR, **options)
        oracle.max_trials = max_trials
        return OracleStrategy(oracle, objective)
    if strategy == "grid":
        if size is None:
            names = [p.name for p in space.space if not isinstance(p, (Choice, Boolean))]
            raise ArgumentError(
                f"Expected lists of choices for strategy='grid', but {names} can take any value in "
                "a range. Give lists, such as learning_rate=[1e-5, 1e-4], or strategy='random'."
            )
        return OracleStrategy(GridSearchOracle(max_trials=max_trials, **options), objective)
    number = max_trials if max_trials is not None else DEFAULT_TRIALS
    planned = begun_with if begun_with is not None else DEFAULT_TRIALS
    good = good[: max(1, min(planned, size or planned) // _GOOD_SHARE)]
    if strategy == "random":
        oracle = RandomSearchOracle(max_trials=number, **options)
        return OracleStrategy(oracle, objective, good)
    if strategy == "bayesian":
        oracle = BayesianOptimizationOracle(max_trials=number, **options)
        return OracleStrategy(oracle, objective, good)
    # All of a small space, in its order; of a large one as many as are wanted.
    small = size is not None and size <= planned
    if small and size is not None:
        number, planned = min(number, size), size
    proposals = GridSearchOracle if small else RandomSearchOracle
    oracle = proposals(max_trials=number, **options)
    drawn = OracleStrategy(oracle, objective, () if small else good)
    return Halving(drawn, number, rungs(planned, epochs, warm_up), better, good)


def _job(trial: OracleTrial) -> Job:
    values = trial.hyperparameters.values
    own = {name: value for name, value in values.items() if not name.startswith("tuner/")}
    until = values.get("tuner/epochs")
    after = values.get("tuner/trial_id")
    return Job(_name(trial.trial_id), own, until, after=_name(after) if after else None)


def _name(trial_id: str) -> str:
    return f"{int(trial_id):04d}"
