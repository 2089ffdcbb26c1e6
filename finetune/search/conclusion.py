"""How a search ends: the best model is taken out of the study, measured and saved."""

import json
import logging
import time
from contextlib import suppress
from dataclasses import asdict, fields, replace
from functools import partial
from typing import Any

import keras
from rich.console import Console

from finetune.backbones import describe, resolve_depth
from finetune.checks import quick_plan
from finetune.data import ImageData
from finetune.exceptions import OutOfTimeError, SearchError, StorageError
from finetune.model import (
    Answers,
    FineTunedModel,
    Verdict,
    against_head,
    learn_doubt,
    measure_doubt,
    remember,
    scores,
)
from finetune.report import BEST_TRIAL, Gallery, evidence_of, look_at, report_run
from finetune.reuse import Source, StoredSource
from finetune.search.board import error_lines
from finetune.search.combining import BEST, ENSEMBLE, Maker, members_of
from finetune.search.kept_weights import kept_weights
from finetune.search.options import SearchOptions
from finetune.search.ranking import Ranked
from finetune.search.reporting import board_of
from finetune.search.retraining import measure_in_folds, train_again, trainings
from finetune.search.rows import card_of
from finetune.search.runner import Work
from finetune.search.search_result import SearchResult
from finetune.search.sparing import spared_by_search
from finetune.search.trials import Trial
from finetune.support import (
    Remarks,
    as_csv,
    assign,
    current_deadline,
    write_text,
)
from finetune.training import Values
from finetune.tuning import Settings, learn_sets_of_folds, write_arguments

log = logging.getLogger("finetune")

# Trainings of one trial on all images that answer together, where nothing else is said.
_TOGETHER = 3

# Share of a time budget that the comparison with the head alone may end after it.
_BEYOND = 0.1


def conclude(
    work: Work,
    ranking: list[Ranked],
    *,
    options: SearchOptions,
    console: Console,
    monitor: str,
    seconds: float,
    stopped: KeyboardInterrupt | OutOfTimeError | None,
) -> SearchResult:
    """Take the best model out of a study, save it and measure it.

    Args:
        work: What the trials had in common.
        ranking: All trials, the best first.
        options: Say what the model is made of.
        console: Where to say what is done.
        monitor: The quantity that decided.
        seconds: Wall time of the search, earlier runs of the study counted in.
        stopped: What stopped the search before its end, if anything did.

    Raises:
        SearchError: If there is no trial with a score.
        KeyboardInterrupt: If the user stopped the search before there was one.
        OutOfTimeError: If time was up before there was one.
    """
    folder = work.folder
    chosen, trained = _best(work, _scored(ranking, stopped))
    settings = work.settings(chosen.trial.values)
    source = work.trainer.source_of(work.data, settings)
    # Up to here, as the seconds are.
    spared = spared_by_search(work, settings, source, ranking, seconds)
    # At the size of the model, as the trial had them: nothing has to be decoded again.
    data = source.data if isinstance(source, StoredSource) else work.data
    card = card_of(trained, data)
    single = FineTunedModel(trained, card, remember(data, card.image_size))
    single.save(folder / "model.keras")  # whatever becomes of the rest
    maker = Maker(work, data, single)
    most = options.keep if stopped is None else 1  # who stops it does not want to wait
    members = members_of(work, chosen, ranking, trained, most)
    model, combined, used = maker.choose(members, options.combine, options.max_slowdown)
    if combined.how != BEST:
        model.save(folder / "model.keras")
    started = time.monotonic()
    answers = {
        split: model.outputs(data, split)
        for split in ("validation", "test")
        if split in data.counts
    }
    took = time.monotonic() - started
    last = [*answers][-1]
    # Test images are looked at by the model in the end, the others before it is trained on them.
    pooled = partial(work.trainer.pooled, settings, source)
    gallery = look_at(model, data, last, answers[last], pooled) if last == "validation" else None
    verdict = _verdict(work, settings, source, single, answers) if _is_time_for(took) else None
    refitted, remarks = 0, Remarks()
    states: list[Values] = []
    times = work.trainer.refits(source)
    if times and stopped is None:
        together = work.trainer.refits(source, _TOGETHER)
        again, ending, seeds = trainings(maker, used, combined, options, times, together)
        states, refitted = train_again(work, again, trained, seeds, monitor, console, remarks)
        used, combined = (again, ending) if refitted else (used, combined)
    if refitted:
        combined, used, states = maker.settled(combined, used, states, remarks)
        known = remember(data, card.image_size, refitted=True)
        model = replace(maker.make(combined.how, used, states), known=known)
        model.save(folder / "model.keras")
        if "test" in answers:
            answers["test"] = model.outputs(data, "test")
    elif combined.how != ENSEMBLE:  # which has weights of its own
        maker.make(combined.how, used, [member.values for member in used])
    if gallery is None:
        gallery = look_at(model, data, last, answers[last], pooled)
    model = model.copy()
    folded = None
    if data.folds and stopped is None:
        folded = measure_in_folds(work, members[0], monitor, console, remarks)
    if folded is not None and folded.head is not None and "test" not in answers:
        alone, tuned = (folded.labels, folded.head), (folded.labels, folded.outputs)
        verdict = against_head(f"{folded.folds}-fold", data.task, tuned, alone)
    if work.trainer.calibrates(data.task):
        model = model.calibrated(*answers["validation"])
    if "calibration" in data.splits:
        model = learn_doubt(model, data)
    if folded is not None and combined.how != ENSEMBLE:  # whose probabilities are of another kind
        model = learn_sets_of_folds(model, folded)
    model.save(folder / "model.keras")
    apart = {split: data.apart(split) for split in ("validation", "test")}
    quality = scores(model.card, answers["validation"], answers.get("test"), apart)
    result = SearchResult(
        model,
        ranking,
        chosen,
        settings,
        quality.validation,
        quality.test,
        verdict,
        monitor,
        seconds,
        folder,
        replace(work, callbacks=()),  # which may not be fit to be pickled
        isinstance(stopped, KeyboardInterrupt),
        current_deadline().seconds if isinstance(stopped, OutOfTimeError) else None,
        refitted,
        combined,
        quality.calibration,
        folded,
        measure_doubt(model, data, answers.get("test")),
        spared,
        quick_plan(data, pooled, settings.seed) if stopped is None else None,
        tuple(remarks),
    )
    if folded is not None:
        write_text(folder / "out_of_fold.csv", as_csv(folded.rows(data.class_names)))
    write_arguments(folder, work.trainer, work.data, "fit", _decided(settings), name=BEST_TRIAL)
    write_text(folder / "result.json", json.dumps(_facts(result), indent=2, default=str) + "\n")
    _report(result, data, answers, gallery)
    return result


def _decided(settings: Settings) -> dict[str, Any]:
    """All that was decided of a trial, by the names of arguments."""
    return {field.name: getattr(settings, field.name) for field in fields(settings)}


def _report(
    result: SearchResult, data: ImageData, answers: dict[str, Answers], gallery: Gallery
) -> None:
    """Write the page that shows a search."""
    settings = result.settings

    def evidence() -> Any:
        backbone = result.work.trainer.shared(settings).backbone
        depth = resolve_depth(backbone.model, settings.freeze_depth)
        return evidence_of(
            data,
            answers,
            gallery,
            backbone=backbone.name,
            model=str(describe(backbone.model, depth, batch_norm=settings.batch_norm)),
            depth=depth,
            temperature=result.model.card.temperature,
        )

    report_run(result.folder, evidence, partial(board_of, result.ranking, result.monitor))


def _verdict(
    work: Work,
    settings: Settings,
    source: Source,
    single: FineTunedModel,
    answers: dict[str, Answers],
) -> Verdict | None:
    """What was handed over against the head alone, which the shared model becomes for a moment."""
    data = source.data if isinstance(source, StoredSource) else work.data
    if data.task not in ("binary", "multiclass") or not settings.head_epochs:
        return None
    split = [*answers][-1]
    with suppress(OutOfTimeError):
        if work.trainer.head_alone(settings, source):
            alone = (
                work.trainer.head_says(settings, source, split)
                if source.stored
                else single.outputs(data, split)[1]
            )
            return against_head(split, data.task, answers[split], (answers[split][0], alone))
    return None


def _is_time_for(seconds: float) -> bool:
    """Whether what takes so long may still be done: it makes a time budget a tenth longer at most.

    That a budget is used up is the rule, and the comparison with the head is what shows whether
    it was worth it; in most searches it takes no time to speak of.
    """
    deadline = current_deadline()
    return deadline.left + _BEYOND * (deadline.seconds or 0) >= seconds


def _scored(
    ranking: list[Ranked], stopped: KeyboardInterrupt | OutOfTimeError | None
) -> list[Ranked]:
    """The trials that can be the best."""
    scored = [entry for entry in ranking if entry.outcomes]
    if scored:
        return scored
    told = "\n".join(error_lines(ranking))
    if stopped is not None and (isinstance(stopped, KeyboardInterrupt) or not told):
        raise stopped
    raise SearchError(
        f"Expected at least one trial with a score, but there is none: {told}. Mend the cause, "
        "and search again."
    )


def _best(work: Work, ranking: list[Ranked]) -> tuple[Ranked, keras.Model]:
    """The best trial whose weights are there, and the shared model with them."""
    for entry in ranking:
        trained = work.model(work.settings(entry.trial.values))
        if _restore(trained, work, entry.trial):
            return entry, trained
    raise SearchError(
        f"The weights of the best trials are gone from {work.folder / 'weights'}. Search again in "
        "another folder."
    )


def _restore(model: keras.Model, work: Work, trial: Trial) -> bool:
    try:
        values = kept_weights(work, trial, model)
    except StorageError as error:
        log.warning("The weights of trial %s cannot be used: %s", trial.name, error)
        return False
    assign(model.variables, values)
    return True


def _facts(result: SearchResult) -> dict[str, Any]:
    folded, fixed = result.cross_validation, result.work.data.report.fixed
    return {
        "best": {
            "id": result.chosen.trial.trial,
            "hyperparameters": result.best,
            "head_is_best": result.head_is_best,
            "remark": result.chosen.trial.remark,
        },
        "validation": result.validation.to_dict(),
        "test": result.test.to_dict() if result.test else None,
        "verdict": result.verdict.to_dict() if result.verdict else None,
        "seconds": round(result.seconds, 1),
        "interrupted": result.interrupted,
        "time_up": result.time_up is not None,
        "trials": len(result.ranking),
        "refitted": result.refitted,
        "fixed": asdict(fixed) if fixed else None,
        "combined": asdict(result.combined),
        "cross_validation": folded.to_dict() if folded else None,
        "calibration": asdict(result.calibration) if result.calibration else None,
        "doubt": asdict(result.doubt) if result.doubt else None,
        "spared": asdict(result.spared) if result.spared else None,
        "plan": result.plan.to_dict() if result.plan else None,
        "remarks": [*result.remarks],
    }
