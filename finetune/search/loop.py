"""The loop of a search: asks a strategy, has jobs run, and keeps the study."""

import logging
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from finetune.exceptions import OutOfTimeError, SearchError
from finetune.search import ranking
from finetune.search.budget import Forecast
from finetune.search.display import SearchDisplay
from finetune.search.ranking import Ranked
from finetune.search.reporting import LivePage
from finetune.search.strategies import Strategy
from finetune.search.study import Study, state_file, weights_file
from finetune.search.trials import COMPLETED, FAILED, PAUSED, PRUNED, RUNNING, Job, Step, Trial
from finetune.search.workers import Workers
from finetune.support import Deadline, format_seconds

log = logging.getLogger("finetune")


@dataclass(frozen=True)
class Limits:
    """When a search ends, and what it keeps.

    Args:
        deadline: When time is up.
        max_failures: Trials that may fail one after the other.
        executions: Seeds that each finalist is trained with.
        keep: Number of finalists, whose weights are kept.
    """

    deadline: Deadline
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
        page: Shows it in a browser.

    Attributes:
        begun: Whether an earlier run has done a part of it.
        out_of_time: What to raise where there is no result, once time was up before the end.
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
        page: LivePage,
    ) -> None:
        self._study = study
        self._strategy = strategy
        self._workers = workers
        self.limits = limits
        self._epochs = epochs
        self._monitor = monitor
        self._display = display
        self._page = page
        self.begun = bool(study.trials)
        self._start = time.monotonic() - study.clock
        self._open: list[Job] = []
        self._again: list[Job] = []
        self._running: list[Job] = []
        self._over = 0
        self._further = 0
        self._failures = 0
        self.out_of_time: OutOfTimeError | None = None
        self._forecast: Forecast | None = None

    @property
    def clock(self) -> float:
        """Seconds that the search has taken, earlier runs of it counted in."""
        return time.monotonic() - self._start

    def run(self, prepare: Callable[[], Forecast]) -> None:
        """Go on until the strategy, the time or the patience is at an end.

        Args:
            prepare: Measures how long it will take; called if there is anything to do.

        Raises:
            SearchError: If too many trials failed one after the other.
            OutOfTimeError: If time was up before the first job.
        """
        self._prepare = prepare
        self._replay()
        while job := self._next():
            self._finish(*job)
        if self.out_of_time is None:
            self._open = self._further_executions()
            self._further = len(self._open)
            while job := self._next(ask=False):
                self._finish(*job)
        if self.out_of_time is None:
            self._prune(self._study.trials.values())

    def pause(self) -> None:
        """Say on the board that what is under way has been stopped."""
        for job in self._running:
            trial = self._study.trials[job.name]
            trial.status = PAUSED
            self._study.write(trial)

    def _sent_away(self) -> list[Trial]:
        """Trials that no later job goes on from."""
        names = self._strategy.over()
        # One that an earlier run left under way is not over, whatever the strategy knows.
        return [
            trial
            for trial in self._study.trials.values()
            if trial.name in names and trial.steps[-1].ended
        ]

    def _prune(self, trials: Iterable[Trial]) -> None:
        """Say of trials that they do not go on, and remove what they would go on from."""
        for trial in trials:
            if trial.status == PAUSED:
                trial.status = PRUNED
                self._study.write(trial)
            if trial.status == PRUNED:
                state_file(self._study.folder, trial.name).unlink(missing_ok=True)

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
        if job.execution:
            self._further -= 1
        else:
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
            self._workers.submit(job, self.seconds_left())
        return self._workers.wait() if self._running else None

    def seconds_left(self) -> float | None:
        """Of the time budget; None where there is none."""
        left = self.limits.deadline.left
        return left if math.isfinite(left) else None

    def _time_is_up(self) -> bool:
        if self.out_of_time is None and self.limits.deadline.reached:
            self.out_of_time = self.limits.deadline.error("a trial was to begin")
        return self.out_of_time is not None

    def _give_out(self, ask: bool) -> Job | None:
        """The next job that has to be trained."""
        while True:
            if self._again and self._time_is_up():
                return None
            if self._again:
                job = self._again.pop(0)
                self._begin(self._study.trials[job.name])
                return job
            job = self._open.pop(0) if self._open else self._strategy.ask() if ask else None
            if job is None:
                return None
            trial = self._study.trials.get(job.name)
            if trial is None:
                trial = self._new_trial(job)
            elif trial.values != job.values:
                self._strategy.correct(trial.job(job.until))
            job = trial.job(job.until)
            step = trial.step(job.until)
            if step is not None and step.ended:
                self._tell(job, step)
                continue
            if self._time_is_up():
                return None
            if step is None:
                step = Step(job.until, self._study.next_event(), clock=self.clock)
                trial.steps.append(step)
            twin = self._twin(trial, job)
            if twin is not None:
                trial.same_as = twin.trial
                trial.status = twin.status
                trial.batch_size, trial.out_of_memory = twin.batch_size, twin.out_of_memory
                step.told = self._study.next_event()
                step.outcome = replace(_outcome(twin, job.until), seconds=0.0)
                self._study.write(trial)
                self._tell(job, step)
                continue
            self._prune(self._sent_away())
            self._begin(trial)
            return job

    def _begin(self, trial: Trial) -> None:
        trial.status = RUNNING
        self._study.write(trial)

    def _new_trial(self, job: Job) -> Trial:
        """A trial that goes on from another's state, or with its seeds, has that one's batches."""
        trial = Trial(job.trial, job.values, job.execution, job.after, known=job.known)
        before = self._study.trials.get(job.after or job.trial)
        if before is not None:
            trial.batch_size, trial.out_of_memory = before.batch_size, before.out_of_memory
        return trial

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
        if outcome.out_of_memory and outcome.batch_size > 1:
            self._try_smaller(trial, job, outcome.batch_size)
            return
        if step.outcome is not None:  # cut by an earlier run's time budget
            outcome = replace(outcome, seconds=outcome.seconds + step.outcome.seconds)
        if outcome.cut:
            self.out_of_time = OutOfTimeError(outcome.error)
            if outcome.score is not None:
                # Good for the board until it is taken up again; the strategy does not hear of it.
                step.outcome = outcome
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
            state_file(self._study.folder, trial.name).unlink(missing_ok=True)
        self._keep_best()
        self._tell(job, step)
        assert self._forecast is not None  # made before the first job
        self._forecast.learn(outcome.epochs - (before.epochs if before else 0), outcome.seconds)
        self._show(trial, outcome)
        self._failures = self._failures + 1 if outcome.score is None else 0
        if self._failures >= self.limits.max_failures:
            raise SearchError(
                f"{self._failures} trials failed one after the other, the last one with:\n"
                f"{(outcome.error or '').strip().splitlines()[-1]}\n"
                f"All of it is in {self._study.folder / 'trials' / trial.name}.json. Mend the "
                "cause, or raise max_failures, and search again: what succeeded is kept."
            )

    def _try_smaller(self, trial: Trial, job: Job, size: int) -> None:
        """Begin a trial anew with half the batch, which it then keeps to its end.

        It is another training than it was with larger ones, so nothing of that is gone on with.
        """
        trial.batch_size, trial.out_of_memory, trial.after = size // 2, size, None
        trial.status = PAUSED
        log.warning(
            "Trial %s: out of memory with batches of %d; once more with %d.",
            *(trial.name, size, trial.batch_size),
        )
        state_file(self._study.folder, trial.name).unlink(missing_ok=True)
        self._study.write(trial)
        self._again.append(trial.job(job.until))

    def _show(self, trial: Trial, outcome: Any) -> None:
        assert self._forecast is not None  # made before the first job
        rows = self.ranked()
        epochs = self._strategy.remaining_epochs(self._epochs)
        left = None if epochs is None else self._forecast.seconds(epochs)
        limit = self.seconds_left()
        if limit is not None:
            left = max(0.0, limit if left is None else min(left, limit))
        best = rows[0] if rows and rows[0].outcomes else None
        total = self._total()
        self._display.done(trial, outcome, best, self._over, total, left)
        of = f" of {total}" if total else ""
        ends = f", about {format_seconds(left)} left" if left else ""
        self._page.show(rows, f"{self._over}{of} trainings are done{ends}")

    def _total(self) -> int | None:
        jobs = self._strategy.remaining_jobs()
        return None if jobs is None else self._over + jobs + self._further

    def _keep_best(self) -> None:
        """Remove the weights of all but the best few trials."""
        kept = {entry.trial.trial for entry in self.ranked()[: max(1, self.limits.keep)]}
        for trial in self._study.trials.values():
            if trial.trial not in kept and trial.status != RUNNING:
                weights_file(self._study.folder, trial.name).unlink(missing_ok=True)

    def _further_executions(self) -> list[Job]:
        """The finalists under more seeds."""
        finalists = [entry.trial for entry in self.ranked() if entry.outcomes]
        return [
            Job(trial.trial, trial.values, None, execution, known=trial.known)
            for execution in range(1, self.limits.executions)
            for trial in finalists[: max(1, self.limits.keep)]
        ]


def _outcome(trial: Trial, until: int | None) -> Any:
    step = trial.step(until)
    assert step is not None and step.outcome is not None  # that is what makes it a twin
    return step.outcome
