"""The search: asks a strategy, has jobs run, and keeps the study."""

import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import keras_tuner
from rich.console import Console

from finetune.data import ImageData
from finetune.exceptions import ArgumentError, SearchError
from finetune.heads import monitor_for
from finetune.runs import new_folder
from finetune.search import ranking
from finetune.search.budget import Forecast, format_seconds, parse_seconds
from finetune.search.display import SearchDisplay
from finetune.search.ranking import Ranked
from finetune.search.result import SearchResult, conclude
from finetune.search.runner import Runner
from finetune.search.strategies import Halving, Strategy, build_strategy, grid_size
from finetune.search.study import Study
from finetune.search.trials import COMPLETED, FAILED, PAUSED, PRUNED, RUNNING, Job, Step, Trial
from finetune.search.workers import OwnProcess, RayWorkers, Workers
from finetune.tuner import FineTuner

log = logging.getLogger("finetune")


@dataclass(frozen=True)
class Limits:
    """When a search ends, and what it keeps.

    Args:
        seconds: Time budget; None for none.
        max_failures: Trials that may fail one after the other.
        executions: Seeds that each finalist is trained with.
        keep: Number of finalists, whose weights are kept.
    """

    seconds: float | None
    max_failures: int
    executions: int
    keep: int


class Search:
    """A search under way.

    Args:
        study: What was done before, and where to write.
        strategy: What to try.
        workers: Where it runs.
        limits: When to end.
        epochs: Epochs of the second phase of a trial that is not pruned.
        monitor: The quantity that decides.
        display: What shows it.
    """

    def __init__(
        self,
        study: Study,
        strategy: Strategy,
        workers: Workers,
        limits: Limits,
        *,
        epochs: int,
        monitor: str,
        display: SearchDisplay,
    ) -> None:
        self._study = study
        self._strategy = strategy
        self._workers = workers
        self._limits = limits
        self._epochs = epochs
        self._monitor = monitor
        self._display = display
        self._begun = time.monotonic() - study.clock
        self._open: list[Job] = []
        self._running: list[Job] = []
        self._over = 0
        self._failures = 0
        self._out_of_time = False
        self._forecast: Forecast | None = None

    @property
    def clock(self) -> float:
        """Seconds that the search has taken, earlier runs of it counted in."""
        return time.monotonic() - self._begun

    def run(self, prepare: Callable[[], Forecast]) -> None:
        """Go on until the strategy, the time or the patience is at an end.

        Args:
            prepare: Measures how long it will take; called if there is anything to do.

        Raises:
            SearchError: If too many trials failed one after the other.
        """
        self._prepare = prepare
        self._replay()
        while job := self._next():
            self._finish(*job)
        if not self._out_of_time:
            self._open = self._further_executions()
            while job := self._next(ask=False):
                self._finish(*job)
        for trial in self._study.trials.values():
            if trial.status == PAUSED and not self._out_of_time:
                trial.status = PRUNED
                self._study.write(trial)
                self._study.state_file(trial.name).unlink(missing_ok=True)

    def pause(self) -> None:
        """Say on the board that what is under way has been stopped."""
        for job in self._running:
            trial = self._study.trials[job.name]
            trial.status = PAUSED
            self._study.write(trial)

    def ranked(self) -> list[Ranked]:
        """All trials, the best first."""
        return ranking.rank(list(self._study.trials.values()), self._monitor)

    def _replay(self) -> None:
        """Ask and tell the strategy what an earlier run did, in its order."""
        events: list[tuple[int, bool, Trial, Step]] = []
        for trial in self._study.trials.values():
            for step in trial.steps if not trial.execution else ():
                events.append((step.asked, False, trial, step))
                if step.told is not None and step.ended:
                    events.append((step.told, True, trial, step))
        for _, told, trial, step in sorted(events, key=lambda event: event[0]):
            wanted = trial.job(step.until)
            if told:
                if wanted not in self._open:
                    continue
                self._open.remove(wanted)
                self._tell(wanted, step)
                continue
            job = self._strategy.ask()
            if job is None or (job.trial, job.until) != (wanted.trial, wanted.until):
                # A trial's file was lost. What else is known is found when it is asked for.
                self._open += [job] if job is not None else []
                return
            if job.values != wanted.values:
                self._strategy.correct(wanted)
            self._open.append(wanted)

    def _tell(self, job: Job, step: Step) -> None:
        assert step.outcome is not None  # only jobs that ended are told
        if not job.execution:
            self._strategy.tell(job, step.outcome)
        self._over += 1

    def _next(self, *, ask: bool = True) -> tuple[Job, Any] | None:
        """Keep all workers busy, and wait for one; None where all is done."""
        while len(self._running) < self._workers.count:
            job = self._give_out(ask)
            if job is None:
                break
            self._running.append(job)
            if self._forecast is None:
                self._forecast = self._prepare()
            self._workers.submit(job, self._seconds_left())
        return self._workers.wait() if self._running else None

    def _seconds_left(self) -> float | None:
        if self._limits.seconds is None:
            return None
        return self._limits.seconds - self.clock

    def _give_out(self, ask: bool) -> Job | None:
        """The next job that has to be trained."""
        while True:
            left = self._seconds_left()
            self._out_of_time |= left is not None and left <= 0
            if self._out_of_time:
                return None
            job = self._open.pop(0) if self._open else self._strategy.ask() if ask else None
            if job is None:
                return None
            trial = self._study.trials.get(job.name)
            if trial is None:
                trial = Trial(job.trial, job.values, job.execution, job.after)
            elif trial.values != job.values:
                self._strategy.correct(trial.job(job.until))
                job = trial.job(job.until)
            step = trial.step(job.until)
            if step is not None and step.ended:
                self._tell(job, step)
                continue
            if step is None:
                step = Step(job.until, self._study.next_event(), clock=self.clock)
                trial.steps.append(step)
            twin = self._twin(trial, job)
            if twin is not None:
                trial.same_as = twin.trial
                trial.status = twin.status
                step.told = self._study.next_event()
                step.outcome = replace(_outcome(twin, job.until), seconds=0.0)
                self._study.write(trial)
                self._tell(job, step)
                continue
            trial.status = RUNNING
            self._study.write(trial)
            return job

    def _twin(self, trial: Trial, job: Job) -> Trial | None:
        """A trial with the same values that was trained as far."""
        for other in self._study.trials.values():
            same = other.values == trial.values and other.execution == trial.execution
            step = other.step(job.until)
            if other is not trial and same and step is not None and step.ended:
                return other
        return None

    def _finish(self, job: Job, outcome: Any) -> None:
        """Put on disk what became of a job, and only then go on."""
        self._running = [other for other in self._running if other.name != job.name]
        trial = self._study.trials[job.name]
        step = trial.step(job.until)
        assert step is not None  # made when the job was given out
        step.clock = self.clock
        if step.outcome is not None:  # cut by an earlier run's time budget
            outcome = replace(outcome, seconds=outcome.seconds + step.outcome.seconds)
        if outcome.cut:
            # Good for the board until it is taken up again; the strategy does not hear of it.
            step.outcome = outcome
            self._out_of_time = True
            trial.status = PAUSED
            self._study.write(trial)
            return
        before = trial.outcome
        step.outcome = outcome
        step.told = self._study.next_event()
        trial.status = COMPLETED if outcome.finished else PAUSED
        if outcome.score is None:
            trial.status = FAILED
        self._study.write(trial)
        if trial.status != PAUSED:
            self._study.state_file(trial.name).unlink(missing_ok=True)
        self._keep_best()
        self._tell(job, step)
        assert self._forecast is not None  # made before the first job
        self._forecast.learn(outcome.epochs - (before.epochs if before else 0), outcome.seconds)
        self._show(trial, outcome)
        self._failures = self._failures + 1 if outcome.score is None else 0
        if self._failures >= self._limits.max_failures:
            raise SearchError(
                f"{self._failures} trials failed one after the other, the last one with:\n"
                f"{(outcome.error or '').strip().splitlines()[-1]}\n"
                f"All of it is in {self._study.folder / 'trials' / trial.name}.json. Mend the "
                "cause, or raise max_failures, and search again: what succeeded is kept."
            )

    def _show(self, trial: Trial, outcome: Any) -> None:
        assert self._forecast is not None  # made before the first job
        rows = self.ranked()
        epochs = self._strategy.remaining_epochs(self._epochs)
        left = None if epochs is None else self._forecast.seconds(epochs)
        limit = self._seconds_left()
        if limit is not None:
            left = max(0.0, limit if left is None else min(left, limit))
        best = rows[0] if rows and rows[0].outcomes else None
        self._display.done(trial, outcome, best, self._over, self._total(), left)

    def _total(self) -> int | None:
        if isinstance(self._strategy, Halving):
            return None
        epochs = self._strategy.remaining_epochs(1)
        return None if epochs is None else self._over + round(epochs) + len(self._open)

    def _keep_best(self) -> None:
        """Remove the weights of all but the best few trials."""
        kept = {entry.trial.trial for entry in self.ranked()[: max(1, self._limits.keep)]}
        for trial in self._study.trials.values():
            if trial.trial not in kept and trial.status != RUNNING:
                self._study.weights_file(trial.name).unlink(missing_ok=True)

    def _further_executions(self) -> list[Job]:
        """The finalists under more seeds."""
        finalists = [entry.trial for entry in self.ranked() if entry.outcomes]
        return [
            Job(trial.trial, trial.values, None, execution)
            for execution in range(1, self._limits.executions)
            for trial in finalists[: max(1, self._limits.keep)]
        ]


def _outcome(trial: Trial, until: int | None) -> Any:
    step = trial.step(until)
    assert step is not None and step.outcome is not None  # that is what makes it a twin
    return step.outcome


def run_search(
    tuner: FineTuner,
    data: ImageData,
    *,
    strategy: str | keras_tuner.Oracle,
    max_trials: int | None,
    time_budget: str | float | None,
    epochs: int | None,
    executions: int,
    keep: int,
    max_failures: int,
    workers: int,
    ray_address: str | None,
    gpus_per_trial: float | None,
    seed: int,
    out: Any,
    verbose: int,
) -> SearchResult:
    """See `FineTuner.search`."""
    for name, value in (("executions", executions), ("keep", keep), ("workers", workers)):
        if not value >= 1:
            raise ArgumentError(f"Expected {name} of 1 or more, received {value!r}.")
    seconds = parse_seconds(time_budget)
    folder = Path(out) if out is not None else new_folder("search-")
    console = Console(quiet=not verbose, soft_wrap=True, highlight=False)
    space = keras_tuner.HyperParameters()
    settings = tuner.settings(space)
    tuner.source_of(data, settings)  # learns number of classes and task
    settings = tuner.settings(space := keras_tuner.HyperParameters())
    epochs = settings.epochs if epochs is None else epochs
    if not space.space:
        raise ArgumentError(
            "Expected something to search, but every argument has one value. Give lists or "
            "ranges, such as learning_rate=(1e-5, 1e-3), or call fine_tune."
        )
    monitor = monitor_for(data.task)
    direction = "min" if monitor == "val_loss" else "max"
    chooser = build_strategy(
        strategy,
        space=space,
        objective=keras_tuner.Objective(monitor, direction),
        better=lambda outcome: ranking.better(monitor, outcome),
        epochs=epochs,
        max_trials=max_trials,
        seed=seed,
    )
    arguments = {
        "strategy": strategy if isinstance(strategy, str) else type(strategy).__name__,
        "max_trials": max_trials,
        "epochs": epochs,
        "seed": seed,
        "data": data.fingerprint,
        "batch_size": data.batch_size,
        "task": data.task,
        "monitor": monitor,
        "settings": tuner.describe(),
    }
    study = Study(folder, arguments)
    place: Workers | None = None
    display = SearchDisplay(console)
    interrupted, fresh = False, not study.trials
    try:
        if workers > 1 or ray_address is not None:
            place = RayWorkers(
                *(tuner, data, folder, epochs),
                count=workers,
                address=ray_address,
                gpus=gpus_per_trial,
            )
        else:
            place = OwnProcess(Runner(tuner, data, folder, epochs))
        search = Search(
            study,
            chooser,
            place,
            Limits(seconds, max_failures, executions, keep),
            epochs=epochs,
            monitor=monitor,
            display=display,
        )
        _announce(study, space, data, console)
        begun: list[float] = []

        def prepare() -> Forecast:
            forecast = _measure(place, space, console)
            expected = forecast.seconds(chooser.remaining_epochs(epochs) or 0)
            _promise(expected if fresh else 0, seconds, console)
            begun.extend([expected, time.monotonic()])
            display.start(None)
            return forecast

        try:
            search.run(prepare)
        except KeyboardInterrupt:
            interrupted = True
            search.pause()
        display.close()
        if begun and begun[0] and fresh and not interrupted:
            log.info(
                "The trials took %s; %s were expected.",
                format_seconds(time.monotonic() - begun[1]),
                format_seconds(begun[0]),
            )
        return conclude(
            tuner,
            data,
            folder,
            search.ranked(),
            monitor=monitor,
            epochs=epochs,
            seconds=search.clock,
            interrupted=interrupted,
        )
    finally:
        display.close()
        if place is not None:
            place.close()
        study.close()


def _announce(
    study: Study, space: keras_tuner.HyperParameters, data: ImageData, console: Console
) -> None:
    """Say what is searched, and what an earlier run has done of it."""
    names = ", ".join(parameter.name for parameter in space.space)
    size = grid_size(space)
    console.print(f"Search over {names}{f': {size} combinations' if size else ''}")
    total = {split: sum(counts.values()) for split, counts in data.counts.items()}
    console.print("Images: " + ", ".join(f"{count:,} {split}" for split, count in total.items()))
    known = Counter(trial.status for trial in study.trials.values())
    if known:
        console.print(
            f"Going on with {study.folder}: "
            + ", ".join(f"{count} {status}" for status, count in sorted(known.items()))
        )


def _measure(workers: Workers, space: keras_tuner.HyperParameters, console: Console) -> Forecast:
    """Measure what an epoch takes at each freeze depth."""
    jobs = _samples(space)
    measured = dict(zip(jobs, workers.measure(list(jobs.values())), strict=True))
    each = ", ".join(f"{value:.2f} s at depth {depth}" for depth, value in measured.items())
    console.print(f"An epoch takes {each}.")
    return Forecast(measured, workers.count)


def _promise(expected: float, budget: float | None, console: Console) -> None:
    """Say when it will be over."""
    parts = []
    if expected:
        end = datetime.fromtimestamp(time.time() + expected)
        parts.append(f"About {format_seconds(expected)}, until {end:%H:%M}")
    if budget is not None:
        parts.append(f"at most {format_seconds(budget)}")
    if parts:
        console.print(", ".join(parts) + ".")


def _samples(space: keras_tuner.HyperParameters) -> dict[Any, Job]:
    """A job for each freeze depth that can be chosen, all else at its default."""
    defaults = {parameter.name: parameter.default for parameter in space.space}
    depths = next(
        (p.values for p in space.space if p.name == "freeze_depth" and hasattr(p, "values")), None
    )
    if not depths:
        return {defaults.get("freeze_depth", "given"): Job("measure", defaults)}
    return {depth: Job("measure", {**defaults, "freeze_depth": depth}) for depth in depths}
