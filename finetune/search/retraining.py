"""Trials that are over are done once more: on all images to hand over, in folds to be measured."""

import time
from dataclasses import replace

import keras
from rich.console import Console

from finetune.exceptions import OutOfTimeError, TrainingError
from finetune.reuse import Source
from finetune.search.combining import BEST, Combined, Maker, Member
from finetune.search.options import SearchOptions
from finetune.search.runner import Work
from finetune.support import LARGEST_SEED, Remarks, format_seconds, values_of
from finetune.training import TrainingProgress, TrainingRecord, Values, best_row, describe_refit
from finetune.tuning import CrossValidation, cross_validate


def trainings(
    maker: Maker,
    used: list[Member],
    combined: Combined,
    options: SearchOptions,
    times: int,
    together: int,
) -> tuple[list[Member], Combined, int]:
    """What is trained again: so many trainings of as many members as there are, or of the best.

    Several trainings of the best trial differ in the order of the images. Their weights are
    averaged; or what they say, where the user has the time for that.

    Args:
        maker: Makes models of members.
        used: The trials that the model is made of, the best first.
        combined: How it is made of them.
        options: Say what time an image may take.
        times: Trainings in all, of one model.
        together: Trainings of the best trial whose probabilities are averaged.

    Returns:
        What is trained, how that is combined, and how often each is trained.
    """
    best, outcome = used[0], used[0].entry.trial.outcome
    ordered = outcome is not None and not outcome.head_kept  # a head that is solved has no order
    slower = options.combine == "auto" and options.max_slowdown > 1
    if combined.how == BEST and together > 1 and ordered and slower:
        repeated = maker.repeated(best, together, options.max_slowdown)
        if repeated is not None:
            return [_in_another_order(best, number) for number in range(together)], repeated, 1
    return used, combined, max(1, times // len(used))


def train_again(
    work: Work,
    members: list[Member],
    trained: keras.Model,
    times: int,
    monitor: str,
    console: Console,
    remarks: Remarks,
) -> tuple[list[Values], int]:
    """Train trials so many times more on all images.

    Returns:
        Their weights then, those of a trial where this fails as they were; and the number of
        images. No weights, and 0, if none came to its end.
    """
    states: list[Values] = []
    images = done = 0
    started = time.monotonic()
    progress = [] if console.quiet else [TrainingProgress(console)]
    for member in members:
        happened = _happened(work, member, monitor, remarks)
        if happened is None:
            return [], 0
        source, record = happened
        try:
            made = work.trainer.refit(member.settings, source, record, times, progress)
        except TrainingError as error:
            remarks.note(
                f"Trial {member.entry.trial.name} is not trained again on all images: {error} Its "
                "weights before are used."
            )
            states.append(member.values)
            continue
        except (OutOfTimeError, KeyboardInterrupt) as error:
            why = str(error) or "it was stopped."
            remarks.note(f"Not trained again on all images: {why} The model before is kept.")
            return [], 0
        if made.remark:
            remarks.note(made.remark)
        states.append(values_of(trained.variables))
        images = made.images
        done += times
    if not done:
        return [], 0
    told = describe_refit(images, done)
    console.print(f"{told}: {format_seconds(time.monotonic() - started)}")
    return states, images


def measure_in_folds(
    work: Work, member: Member, monitor: str, console: Console, remarks: Remarks
) -> CrossValidation | None:
    """Measure trainings like that of a trial on every image."""
    happened = _happened(work, member, monitor, remarks)
    if happened is None:
        return None
    started = time.monotonic()
    progress = [] if console.quiet else [TrainingProgress(console)]
    try:
        found = cross_validate(work.trainer, member.settings, *happened, progress)
    except (OutOfTimeError, TrainingError, KeyboardInterrupt) as error:
        remarks.note(f"Not cross-validated: {str(error) or 'it was stopped.'}")
        return None
    took = format_seconds(time.monotonic() - started)
    console.print(f"Cross-validated in {found.folds} folds: {took}")
    return found


def _in_another_order(member: Member, number: int) -> Member:
    seed = (member.settings.seed + number) % (LARGEST_SEED + 1)
    return replace(member, settings=replace(member.settings, seed=seed))


def _happened(
    work: Work, member: Member, monitor: str, remarks: Remarks
) -> tuple[Source, TrainingRecord] | None:
    """The images of a trial and what happened in it, to be done once more; None if it is lost."""
    trial, outcome = member.entry.trial, member.entry.trial.outcome
    best = best_row(outcome.history, monitor) if outcome is not None else None
    if outcome is None or best is None:
        remarks.note(f"Trial {trial.name} has no history to go by: not trained again.")
        return None
    data = work.data
    if outcome.batch_size not in (None, data.batch_size):  # memory was short for more
        data = data.with_options(batch_size=outcome.batch_size)
    record = TrainingRecord(
        epochs=outcome.history, best=outcome.history.index(best), monitor=monitor
    )
    return work.trainer.source_of(data, member.settings), record
