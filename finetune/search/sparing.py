"""What reuse spared in a search."""

from finetune.reuse import TRAIN, VALIDATION, Source, Spared
from finetune.search.ranking import Ranked
from finetune.search.runner import Work
from finetune.training import HEAD, was_solved
from finetune.tuning import Settings


def spared_by_search(
    work: Work, settings: Settings, source: Source, ranking: list[Ranked], seconds: float
) -> Spared | None:
    """Estimate what reuse spared until now, where that is known.

    It is not where trials were trained in other processes, before the study was gone on with, or
    on several backbones.

    Args:
        work: What the trials had in common.
        settings: Those of a trial: they name the backbone.
        source: Training and validation images.
        ranking: All trials.
        seconds: What the search took until now.
    """
    shared = work.trainer.shared(settings)
    histories = [outcome.history for entry in ranking for outcome in entry.outcomes]
    epochs = sum(row["phase"] != HEAD for history in histories for row in history)
    images = sum(source.rows(split) or 0 for split in (TRAIN, VALIDATION)) // source.views
    if shared.began.total() < epochs * images:
        return None
    solved = any(row["phase"] == HEAD and was_solved(row) for rows in histories for row in rows)
    return shared.spared(seconds, pass_anyway=solved)
