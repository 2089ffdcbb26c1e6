"""How a search ends: the best model is taken out of the study, measured and saved."""

import json
import logging
from typing import Any

import keras
import numpy as np

from finetune.exceptions import SearchError, StorageError
from finetune.model import FineTunedModel, remember, right_answers, score
from finetune.search.board import error_lines
from finetune.search.kept_weights import kept_weights
from finetune.search.ranking import Ranked
from finetune.search.rows import card_of
from finetune.search.runner import Work, head_alone
from finetune.search.search_result import SearchResult, Verdict
from finetune.search.trials import Trial
from finetune.support import assign, bootstrap_interval, write_text

log = logging.getLogger("finetune")

# Labels, and what a model says.
Answers = tuple[np.ndarray, np.ndarray]


def conclude(
    work: Work,
    ranking: list[Ranked],
    *,
    monitor: str,
    seconds: float,
    interrupted: bool,
) -> SearchResult:
    """Take the best model out of a study, save it and measure it.

    Raises:
        SearchError: If there is no trial with a score.
        KeyboardInterrupt: If the user stopped the search before there was one.
    """
    data, folder = work.data, work.folder
    chosen, trained = _best(work, _scored(ranking, interrupted))
    settings = work.settings(chosen.trial.values)
    card = card_of(trained, data)
    model = FineTunedModel(trained, card, remember(data, card.image_size))
    model.save(folder / "model.keras")
    answers = {
        split: model.outputs(data, split)
        for split in ("validation", "test")
        if split in data.counts
    }
    verdict = None
    if data.task in ("binary", "multiclass") and settings.head_epochs:
        split = [*answers][-1]
        # The shared model becomes the head alone for a moment.
        head_alone(work.trainer, settings, work.trainer.source_of(data, settings))
        verdict = _verdict(split, data.task, answers[split], model.outputs(data, split))
        _restore(trained, work, chosen.trial)
    result = SearchResult(
        model.copy(),
        ranking,
        chosen,
        settings,
        score(*answers["validation"], data.task),
        score(*answers["test"], data.task) if "test" in answers else None,
        verdict,
        monitor,
        seconds,
        folder,
        work,
        interrupted,
    )
    write_text(folder / "result.json", json.dumps(_facts(result), indent=2, default=str) + "\n")
    return result


def _scored(ranking: list[Ranked], interrupted: bool) -> list[Ranked]:
    """The trials that can be the best."""
    scored = [entry for entry in ranking if entry.outcomes]
    if scored:
        return scored
    if interrupted:
        raise KeyboardInterrupt
    told = "\n".join(error_lines(ranking)) or "no trial had ended in time"
    raise SearchError(
        f"Expected at least one trial with a score, but there is none: {told}. Mend the cause, "
        "or give it more time."
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


def _verdict(split: str, task: str, tuned: Answers, alone: Answers) -> Verdict:
    """Compare two models on the same images."""
    best, head = (right_answers(*answers, task).ravel().astype(float) for answers in (tuned, alone))
    return Verdict(
        split,
        len(best),
        float(best.mean()),
        bootstrap_interval(best),
        float(head.mean()),
        bootstrap_interval(best - head),
    )


def _facts(result: SearchResult) -> dict[str, Any]:
    verdict = result.verdict
    return {
        "best": {
            "id": result.chosen.trial.trial,
            "hyperparameters": result.best,
            "remark": result.chosen.trial.remark,
        },
        "validation": result.validation.to_dict(),
        "test": result.test.to_dict() if result.test else None,
        "verdict": None
        if verdict is None
        else {
            "word": verdict.word,
            "split": verdict.split,
            "n": verdict.n,
            "tuned": verdict.tuned,
            "tuned_interval": verdict.tuned_interval,
            "head_only": verdict.head_only,
            "difference": verdict.difference,
        },
        "seconds": round(result.seconds, 1),
        "interrupted": result.interrupted,
        "trials": len(result.ranking),
    }
