"""`FineTuner.search`: brings its parts together, says what will happen, and ends with a result."""

import logging
import time
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import keras
import keras_tuner
from rich.console import Console

from finetune.api import FineTuner
from finetune.data import ImageData
from finetune.exceptions import ArgumentError
from finetune.search import ranking
from finetune.search.budget import Forecast, format_seconds, parse_seconds
from finetune.search.display import SearchDisplay
from finetune.search.loop import Limits, Search
from finetune.search.runner import Runner, Work
from finetune.search.search_result import SearchResult, conclude
from finetune.search.strategies import build_strategy, grid_size, near
from finetune.search.study import Study
from finetune.search.trials import Job
from finetune.search.workers import OwnProcess, RayWorkers, Workers
from finetune.support import environment, new_folder
from finetune.training import monitor_for
from finetune.tuning import FREEZE_DEPTH, LEARNING_RATE, Settings

log = logging.getLogger("finetune")

# What has features of its own for each choice.
_FEATURES = ("backbone", "weights", "backbone_options", "image_size", "augment", "views")


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
    callbacks: Sequence[keras.callbacks.Callback],
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
        better=ranking.promising(monitor, space.values),
        epochs=epochs,
        max_trials=max_trials,
        first=_first(tuner, settings, space),
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
    work = Work(tuner, data, folder, epochs, tuple(callbacks))
    study = Study(folder, arguments, environment())
    place: Workers | None = None
    display = SearchDisplay(console)
    interrupted, fresh = False, not study.trials
    try:
        if workers > 1 or ray_address is not None:
            place = RayWorkers(work, count=workers, address=ray_address, gpus=gpus_per_trial)
        else:
            place = OwnProcess(Runner(work))
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
            _promise(expected if fresh else 0, seconds, space, console)
            begun.extend([expected, time.monotonic()])
            display.start()
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
            work,
            search.ranked(),
            monitor=monitor,
            seconds=search.clock,
            interrupted=interrupted,
        )
    finally:
        display.close()
        if place is not None:
            place.close()
        study.close()


def _first(
    tuner: FineTuner, settings: Settings, space: keras_tuner.HyperParameters
) -> dict[str, Any]:
    """What `fine_tune` would do, as nearly as the space has it: no search ends below that."""
    depth = FREEZE_DEPTH
    if not isinstance(settings.freeze_depth, float):
        depth *= tuner.shared(settings).head_only
    return near(space, {"freeze_depth": depth, "learning_rate": LEARNING_RATE})


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


def _samples(space: keras_tuner.HyperParameters) -> dict[Any, Job]:
    """A job for each freeze depth that can be chosen, all else at its default."""
    defaults = {parameter.name: parameter.default for parameter in space.space}
    depths = next(
        (p.values for p in space.space if p.name == "freeze_depth" and hasattr(p, "values")), None
    )
    if not depths:
        return {defaults.get("freeze_depth", "given"): Job("measure", defaults)}
    return {depth: Job("measure", {**defaults, "freeze_depth": depth}) for depth in depths}
