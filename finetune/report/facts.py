"""The one block of data that a report is drawn from: all that it shows, as JSON holds it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from finetune.model import (
    MOST_CLASSES,
    at_temperature,
    by_class,
    classes_of,
    confusion,
    gives_probabilities,
    most_confused,
    reliability,
)
from finetune.report.answers_in_order import Judged, judge
from finetune.report.evidence import Evidence
from finetune.report.saved_figures import Saved, read_saved
from finetune.training import HEAD, best_row, was_solved

# Points of a curve: more could not be told apart.
_MOST_POINTS = 400
# Values of a scatter plot.
_MOST_VALUES = 1500


@dataclass(frozen=True)
class Board:
    """The trials of a search, as a report shows them.

    Args:
        monitor: The quantity that decides.
        trials: One entry a trial, the best first: what `board_rows` gives, and "freeze_depth",
            "block", "loss" and "history".
        under_way: How far the search is, in a sentence, while it runs; empty where it is over, or
            where that is not known.
    """

    monitor: str
    trials: Sequence[Mapping[str, Any]] = field(default_factory=tuple)
    under_way: str = ""


def facts_of(folder: Path, board: Board | None = None) -> tuple[dict[str, Any], Evidence | None]:
    """Everything that the report of a run shows.

    Args:
        folder: Of a run or a study.
        board: The trials, of a study.

    Returns:
        The facts, and the evidence that holds the pictures; None where nothing of that is kept.

    Raises:
        DamagedFileError: If a file of the folder holds something else.
        StorageError: If it cannot be read.
    """
    saved = read_saved(folder)
    if board is not None and board.under_way:
        # What there is was measured by an earlier search, which is gone on with.
        saved = replace(saved, figures=None, raw={}, evidence=None, alone="")
    evidence = saved.evidence
    task = evidence.about.task if evidence else saved.config.get("task", "")
    facts: dict[str, Any] = {
        "name": folder.resolve().name,
        "kind": "run" if board is None else "search",
        "task": task,
        "metrics": saved.raw,
        "figures": asdict(saved.figures) if saved.figures else None,
        "settings": _settings(saved, evidence),
        "training": _training(saved, board),
        "monitor": board.monitor if board else "",
        "under_way": board.under_way if board else "",
        "trials": [_trial(trial) for trial in board.trials] if board else [],
        "about": asdict(evidence.about) if evidence else None,
        "quality": None,
        "reliability": None,
        "values": None,
        "images": [],
        "odd": [asdict(odd) for odd in evidence.gallery.odd] if evidence else [],
        "cost": _cost(saved, evidence, board),
        "spared": _spared(board) if board else evidence.about.spared if evidence else "",
        "environment": saved.environment,
        "command": saved.command,
        "alone": saved.alone,
    }
    if evidence and evidence.answers:
        facts |= _of_answers(evidence, saved)
    return _finite(facts), evidence


def _settings(saved: Saved, evidence: Evidence | None) -> dict[str, Any]:
    """What the answer names: depth and rate, in words."""
    best = saved.figures.best if saved.figures else None
    chosen = best.hyperparameters if best else saved.config
    about = evidence.about if evidence else None
    return {
        "backbone": about.backbone if about else saved.config.get("backbone", ""),
        "freeze_depth": chosen.get("freeze_depth") if about is None else about.depth,
        "learning_rate": chosen.get("learning_rate", saved.config.get("learning_rate")),
        "model": about.model if about else "",
        "data": saved.config.get("data", ""),
    }


def _training(saved: Saved, board: Board | None) -> dict[str, Any] | None:
    """Every epoch of the training that the model is of."""
    epochs, trial = saved.epochs, ""
    if board is not None:
        best = saved.figures.best.id if saved.figures and saved.figures.best else None
        entry = next((one for one in board.trials if best in (None, one["id"])), None)
        epochs, trial = ([*entry["history"]], entry["id"]) if entry else ([], "")
    if not epochs:
        return None
    head = [row for row in epochs if row.get("phase") == HEAD]
    figures = saved.figures
    if board is None and figures is not None:
        kept = next(
            (
                number
                for number, row in enumerate(epochs)
                if (row["phase"], row["epoch"]) == (figures.best_phase, figures.best_epoch)
            ),
            None,
        )
    else:
        found = best_row(epochs, board.monitor if board else "val_loss")
        kept = None if found is None else epochs.index(found)
    return {
        "trial": trial,
        "epochs": epochs,
        "head_epochs": len(head),
        "head_solved": bool(head) and was_solved(head[0]),
        "kept": kept,
        "head_best": best_row(head, board.monitor if board else "val_loss"),
        "rates": {phase: _thinned(rates) for phase, rates in saved.rates.items()},
    }


def _trial(trial: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in trial.items() if name != "history"}


def _of_answers(evidence: Evidence, saved: Saved) -> dict[str, Any]:
    """What follows from what was said of each image."""
    about, split = evidence.about, evidence.gallery.split
    if split not in evidence.answers:
        split = [*evidence.answers][-1]
    answers = evidence.answers[split]
    judged = judge(answers, about.task, about.temperature)
    found: dict[str, Any] = {"images": _images(evidence, judged)}
    if not gives_probabilities(about.task):
        rows = np.linspace(0, len(judged.labels) - 1, min(len(judged.labels), _MOST_VALUES))
        picked = np.unique(rows.astype(int))
        found["values"] = {
            "split": split,
            "true": judged.labels.reshape(judged.said.shape)[picked, 0].astype(float).tolist(),
            "said": judged.said[picked, 0].astype(float).tolist(),
        }
        return found
    names = about.class_names
    matrix = (
        confusion(judged.labels, judged.said, about.task, names)
        if about.task != "multilabel"
        else []
    )
    found["quality"] = {
        "split": split,
        "n": len(judged.labels),
        "wrong": int((~judged.right).sum()),
        "classes": by_class(judged.labels, judged.said, about.task, names),
        "matrix": matrix if len(names) <= MOST_CLASSES else [],
        "pairs": most_confused(matrix, names) if matrix else [],
    }
    warm = at_temperature(answers.outputs, about.temperature, about.task)
    calibrated = about.temperature != 1.0
    found["reliability"] = {
        "split": split,
        "now": reliability(answers.labels, warm if calibrated else answers.outputs, about.task),
        "before": reliability(answers.labels, answers.outputs, about.task) if calibrated else None,
    }
    return found


def _images(evidence: Evidence, judged: Judged) -> list[dict[str, Any]]:
    """The images that are shown, in their order: errors first."""
    about, gallery = evidence.about, evidence.gallery
    ids = evidence.answers[gallery.split].ids if gallery.split in evidence.answers else ()
    images = []
    for place, image in enumerate(gallery.images):
        row = image.row
        true, said, chance = told_of(judged, row, about.task, about.class_names)
        images.append(
            {
                "place": place,
                "picture": image.picture,
                "id": ids[row] if ids else str(row),
                "right": bool(judged.right[row]),
                "true": true,
                "said": said,
                "sure": float(judged.sure[row]),
                "chance_of_true": chance,
                "off": float(judged.off[row]),
                "similar": [
                    {
                        "picture": one.picture,
                        "id": one.id,
                        "label": _name(one.label, about.class_names),
                        "similarity": one.similarity,
                    }
                    for one in image.similar
                ],
            }
        )
    # As they are ranked by the calibrated probabilities, which may be another order.
    order = {row: place for place, row in enumerate(judged.wrong_rows().tolist())}
    order |= {row: len(order) + place for place, row in enumerate(judged.unsure_rows().tolist())}
    return sorted(images, key=lambda one: order[gallery.images[one["place"]].row])


def told_of(judged: Judged, row: int, task: str, names: tuple[str, ...]) -> tuple[Any, Any, Any]:
    """Label and prediction of an image as people say them, and the probability of the label.

    Args:
        judged: What was said of the images.
        row: Number of the image.
        task: "binary", "multiclass", "multilabel" or "regression".
        names: Of the classes.
    """
    if task == "regression":
        label, said = judged.labels[row], judged.said[row]
        return [float(v) for v in np.atleast_1d(label)], [float(v) for v in said], None
    if task == "multilabel":
        true, said = (
            [name for name, value in zip(names, values, strict=True) if value >= 0.5]
            for values in (judged.labels[row], judged.said[row])
        )
        return ", ".join(true) or "none", ", ".join(said) or "none", None
    number, called = (int(values[row]) for values in classes_of(judged.labels, judged.said, task))
    said = judged.said[row]
    chance = said[number] if task == "multiclass" else said[0] if number else 1 - said[0]
    return names[number], names[called], float(chance)


def _name(label: float, names: tuple[str, ...]) -> str:
    return names[int(label)] if 0 <= label < len(names) else f"{label:g}"


def _cost(saved: Saved, evidence: Evidence | None, board: Board | None) -> list[dict[str, Any]]:
    """Where the seconds went, as far as that is known; the rest at the end."""
    parts = dict(evidence.about.parts) if evidence else {}
    if board is not None:
        parts = {"Trials": sum(float(trial["seconds"]) for trial in board.trials), **parts}
    elif not parts:
        for row in saved.epochs:
            name = "Head" if row.get("phase") == HEAD else "Fine-tuning"
            parts[name] = parts.get(name, 0.0) + float(row.get("seconds", 0.0))
    whole = saved.figures.seconds if saved.figures else sum(parts.values())
    rest = whole - sum(parts.values())
    if rest > 0.05 * whole:
        parts["All else"] = rest
    return [{"name": name, "seconds": seconds} for name, seconds in parts.items()]


def _spared(board: Board) -> str:
    """What a search did without, as far as its trials tell."""
    # Of a trial of the head alone there are no epochs to be ended.
    trained = [one for one in board.trials if one["epochs"] or one["status"] != "completed"]
    epochs = [int(trial["epochs"]) for trial in trained]
    whole, done = max(epochs, default=0) * len(epochs), sum(epochs)
    lines = []
    if done < whole:
        share = f"{done:,} of {whole:,} epochs were trained"
        lines.append(f"{share}: trials that promised little were ended early.")
    heads = sum(trial["status"] != "failed" for trial in board.trials)
    if heads > 1:
        lines.append("The head, and what frozen layers compute, was shared by trials.")
    return " ".join(lines)


def _thinned(values: list[float]) -> list[list[float]]:
    """Steps and values of a curve, no more of them than can be seen; the ends are kept."""
    rows = np.unique(np.linspace(1, len(values), min(len(values), _MOST_POINTS)).astype(int))
    return [[int(row), values[row - 1]] for row in rows]


def _finite(value: Any) -> Any:
    """The same without NaN and infinities, which JSON does not know: None in their place."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): _finite(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(entry) for entry in value]
    if isinstance(value, np.generic):
        return _finite(value.item())
    return value
