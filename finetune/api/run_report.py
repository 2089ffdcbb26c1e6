"""The report of one fine-tuning: what `fine_tune` knows of it, and no file says."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from finetune.api.result import FineTuneResult
from finetune.report import Gallery, evidence_of, note_evidence
from finetune.reuse import PIXELS, Source
from finetune.support import Laps
from finetune.training import HEAD, SharedBackbone, TrainingRecord

# The lap that ends with the training, which its record divides further.
TRAINING_LAP = "Training"


def note_result(
    folder: Path,
    result: FineTuneResult,
    said: dict[str, Any],
    gallery: Gallery,
    *,
    spared: Callable[[], str],
    **known: Any,
) -> None:
    """Write what the page that shows a run is made of.

    Args:
        folder: Where the other files of the run are.
        result: The run.
        said: Labels, and what the model said before it was calibrated, by split.
        gallery: The images that are shown.
        spared: Gives what did not have to be done, in a sentence.
        **known: What else `evidence_of` takes.
    """
    temperature = result.model.card.temperature

    def evidence() -> Any:
        known.update(model=result.freeze, temperature=temperature, spared=spared())
        return evidence_of(result.data, said, gallery, **known)

    note_evidence(folder, evidence)


def spared_by(shared: SharedBackbone, source: Source, depth: int) -> str:
    """What did not have to be done in every epoch, in a sentence; empty where nothing is known."""
    if not source.reuse:
        return ""
    if depth >= shared.head_only:
        return "Nothing but the head was trained, on features that were computed once."
    found = (one for one in shared.candidates(source, depth) if one.remark.startswith("chosen"))
    start = next(found, None)
    if start is None or start.option.place == PIXELS:
        return ""
    return (
        f"The frozen layers up to {start.where} were run once for each image and not in every "
        f"epoch; {start.option.share:.0%} of the frozen layers' work was done again in every step."
    )


def parts_of(laps: Laps, record: TrainingRecord) -> dict[str, float]:
    """Where the seconds went: training by its phases, and without what was not done."""
    parts: dict[str, float] = {}
    for name, seconds in laps.parts.items():
        if name != TRAINING_LAP:
            parts[name] = seconds
            continue
        head, whole = (
            sum(row["seconds"] for row in rows) for rows in (record.phase(HEAD), record.epochs)
        )
        parts |= {"Features": max(seconds - whole, 0), "Head": head, "Fine-tuning": whole - head}
    return {name: seconds for name, seconds in parts.items() if seconds >= 0.05}
