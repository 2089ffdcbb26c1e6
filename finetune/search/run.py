"""`FineTuner.search`: brings its parts together, says what will happen, and ends with a result."""

import logging
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import keras_tuner
from rich.console import Console

from finetune.data import ImageData
from finetune.exceptions import ArgumentError, OutOfTimeError
from finetune.search import ranking
from finetune.search.budget import Forecast, parse_seconds
from finetune.search.conclusion import conclude
from finetune.search.display import SearchDisplay
from finetune.search.kept_weights import take_up_lost
from finetune.search.loop import Limits, Search
from finetune.search.older_studies import translated
from finetune.search.options import SearchOptions
from finetune.search.reporting import LivePage
from finetune.search.runner import Runner, Work
from finetune.search.saved import Beginning, BegunWith
from finetune.search.search_result import SearchResult
from finetune.search.spaces import grid_size, near
from finetune.search.strategies import Strategy, build_strategy
from finetune.search.study import Study, begun_with
from finetune.search.trials import Job
from finetune.search.workers import OwnProcess, RayWorkers, Workers, leave_gpus_to_workers
from finetune.support import (
    Deadline,
    bars_on,
    check_outside,
    environment,
    format_seconds,
    new_console,
    new_folder,
    time_limit,
)
from finetune.training import lower_is_better
from finetune.tuning import (
    FREEZE_DEPTH,
    LEARNING_RATE,
    Settings,
    Trainer,
    check_can_be_folded,
    deciding,
    spread,
    write_arguments,
)

log = logging.getLogger("finetune")

# What has features of its own for each choice.
_FEATURES = ("backbone", "weights", "backbone_options", "image_size", "augment", "views")


# Freeze depths and rates that did well on photos, and whose models err on unlike images (see
# docs/results.md). The first is what `fine_tune` does.
_GOOD = ((FREEZE_DEPTH, LEARNING_RATE), (FREEZE_DEPTH, 1e-3), (0.65, 1e-3))


@dataclass(frozen=True)
class _Plan:
    """What a search is going to do, worked out of its arguments and the data.

    Args:
        space: What can be chosen.
        epochs: Epochs of the second phase of a trial that is not pruned.
        monitor: The quantity that decides.
        strategy: What to try.
        beginning: All that decides the outcome, as a study keeps it.
    """

    space: keras_tuner.HyperParameters
    epochs: int
    monitor: str
    strategy: Strategy
    beginning: Beginning


def run_search(trainer: Trainer, data: ImageData, options: SearchOptions) -> SearchResult:
    """See `FineTuner.search`."""
    with time_limit(parse_seconds(options.time_budget)) as deadline:
        return _search(trainer, data, options, deadline)


def _search(
    trainer: Trainer, data: ImageData, options: SearchOptions, deadline: Deadline
) -> SearchResult:
    check_outside(options.out, data.arguments)
    if options.on_ray:
        leave_gpus_to_workers()
    folder = Path(options.out) if options.out is not None else new_folder("search-")
    plan = _plan(trainer, data, options, folder)
    console = new_console(quiet=not options.verbose)
    work = Work(trainer, data, folder, plan.epochs, tuple(options.callbacks))
    trainer.count_anew()
    translate = partial(translated, wanted=plan.beginning, trainer=trainer, data=data)
    with closing(Study(folder, plan.beginning, environment(), translate)) as study:
        write_arguments(folder, trainer, data, "search", options.to_file())
        with (
            bars_on(console),
            closing(SearchDisplay(console)) as display,
            closing(_workers(work, options)) as workers,
        ):
            search = Search(
                study,
                plan.strategy,
                workers,
                Limits(deadline, options.max_failures, options.executions, options.keep),
                epochs=plan.epochs,
                monitor=plan.monitor,
                display=display,
                page=LivePage(folder, plan.monitor),
            )
            take_up_lost(work, search.ranked(), options.keep)
            _announce(study, plan.space, data, console)
            stopped = _go_through(search, plan, workers, display, console)
        return conclude(
            work,
            search.ranked(),
            options=options,
            console=console,
            monitor=plan.monitor,
            seconds=search.clock,
            stopped=stopped,
        )


def _plan(trainer: Trainer, data: ImageData, options: SearchOptions, folder: Path) -> _Plan:
    trainer.learn(data)
    space = keras_tuner.HyperParameters()
    settings = trainer.settings(space)
    source = trainer.source_of(data, settings)  # refuses what cannot be trained on
    if data.folds:
        check_can_be_folded(source)
    if not space.space:
        raise ArgumentError(
            "Expected something to search, but every argument has one value. Give lists or "
            "ranges, such as learning_rate=(1e-5, 1e-3), or call fine_tune."
        )
    trainer.freeze_depths(settings)  # refuses what the backbone does not have
    epochs = settings.epochs if options.epochs is None else options.epochs
    monitor = trainer.monitor(data.task)
    strategy = build_strategy(
        options.strategy,
        space=space,
        objective=keras_tuner.Objective(monitor, "min" if lower_is_better(monitor) else "max"),
        better=ranking.promising,
        epochs=epochs,
        max_trials=options.max_trials,
        begun_with=begun_with(folder, options.max_trials),
        good=_good(trainer, settings, space),
        seed=options.seed,
        warm_up=settings.warm_up if settings.schedule == "cosine" else 0.0,
    )
    beginning = Beginning(
        monitor=monitor,
        search=options.deciding(),
        **deciding(trainer, data, epochs),
        begun_with=BegunWith(options.max_trials),
    )
    return _Plan(space, epochs, monitor, strategy, beginning)


def _workers(work: Work, options: SearchOptions) -> Workers:
    if options.on_ray:
        return RayWorkers(
            work,
            count=options.workers,
            address=options.ray_address,
            gpus=options.gpus_per_trial,
        )
    return OwnProcess(Runner(work))


def _go_through(
    search: Search, plan: _Plan, workers: Workers, display: SearchDisplay, console: Console
) -> KeyboardInterrupt | OutOfTimeError | None:
    """Search to the end, and tell how long that takes; gives what stopped it before."""
    fresh = not search.begun
    expected, started = 0.0, time.monotonic()

    def prepare() -> Forecast:
        nonlocal expected, started
        forecast = _measure(workers, plan.space, search.seconds_left(), console)
        expected = forecast.seconds(plan.strategy.remaining_epochs(plan.epochs) or 0)
        if not search.limits.deadline.reached:
            _promise(expected if fresh else 0, search.seconds_left(), plan.space, console)
        started = time.monotonic()
        display.start()
        return forecast

    try:
        search.run(prepare)
    except (KeyboardInterrupt, OutOfTimeError) as stop:
        search.pause()
        return stop
    display.close()
    if expected and fresh and search.out_of_time is None:
        log.info(
            "The trials took %s; %s were expected.",
            format_seconds(time.monotonic() - started),
            format_seconds(expected),
        )
    return search.out_of_time


def _good(
    trainer: Trainer, settings: Settings, space: keras_tuner.HyperParameters
) -> list[dict[str, Any]]:
    """What is known to do well, as nearly as the space has it: no search ends below the first."""
    whole = 1 if isinstance(settings.freeze_depth, float) else trainer.shared(settings).head_only
    found = []
    for depth, rate in _GOOD:
        point = near(space, {"freeze_depth": depth * whole, "learning_rate": rate})
        if point not in found:
            found.append(point)
    return found


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


def _measure(
    workers: Workers,
    space: keras_tuner.HyperParameters,
    seconds: float | None,
    console: Console,
) -> Forecast:
    """Measure what an epoch takes at a few freeze depths, all else at its default."""
    defaults = {parameter.name: parameter.default for parameter in space.space}
    searched = [parameter for parameter in space.space if parameter.name == "freeze_depth"]
    depths = spread(searched[0]) if searched else ["given"]
    jobs = [
        Job("measure", {**defaults, "freeze_depth": depth} if searched else defaults)
        for depth in depths
    ]
    measured = dict(zip(depths, workers.measure(jobs, seconds), strict=True))
    known = [f"{value:.2f} s at depth {depth}" for depth, value in measured.items() if value]
    if known:
        console.print(f"An epoch takes {', '.join(known)}.")
    return Forecast(measured, spread(searched[0], 101) if searched else depths, workers.count)


def _promise(
    expected: float, budget: float | None, space: keras_tuner.HyperParameters, console: Console
) -> None:
    """Say when it will be over."""
    parts = []
    if expected:
        end = datetime.fromtimestamp(time.time() + expected)
        parts.append(f"About {format_seconds(expected)}, until {end:%H:%M}")
        names = (parameter.name.removesuffix("_index") for parameter in space.space)
        if further := [name for name in names if name in _FEATURES]:
            parts.append(f"without the features of each choice of {' and '.join(further)}")
    if budget is not None:
        parts.append(f"at most {format_seconds(budget)}")
    if parts:
        console.print(", ".join(parts) + ".")
