"""Writes the report of a run, at its end or anew: whatever happens, the run stays as it is."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from finetune.checks import remarks_on
from finetune.data import ImageData
from finetune.exceptions import FineTuneError, RunFolderError
from finetune.model import FineTunedModel
from finetune.report.evidence import EVIDENCE, About, Answers, Evidence, Gallery, write_evidence
from finetune.report.facts import Board, facts_of
from finetune.report.looking import Pooled, look
from finetune.report.odd_images import with_odd_images
from finetune.report.rendering import render
from finetune.report.saved_figures import METRICS, Saved, read_saved
from finetune.report.training_curves import draw_training
from finetune.support import as_text, save_figure, write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

log = logging.getLogger("finetune")

# What figures are written as.
_KINDS = ("svg", "png")

REPORT, FIGURES = "report.html", "figures"

# What a report adds to the folder of a run.
REPORT_FILES = (EVIDENCE, FIGURES, REPORT)


def look_at(
    model: FineTunedModel,
    data: ImageData,
    split: str,
    answers: tuple[np.ndarray, np.ndarray],
    pooled: Pooled,
) -> Gallery:
    """Choose the images that a report will show, and have the model say where it looked.

    Args:
        model: The very model that answered, as it is now.
        data: The images, at its size.
        split: "validation" or "test".
        answers: Labels of that split, and what the model said.
        pooled: Gives the features by which images are alike.

    Returns:
        The images; none, and a line in the log, where something went wrong: that must not cost a
        run its model.
    """
    try:
        return look(model, data, split, Answers(*answers), pooled)
    except (Exception, KeyboardInterrupt) as error:  # whatever it is, the run matters more
        log.warning("The report will show no images: %s", _why(error))
        return Gallery(split, note="The images could not be looked at.")


def evidence_of(
    data: ImageData,
    said: Mapping[str, tuple[np.ndarray, np.ndarray] | None],
    gallery: Gallery,
    *,
    backbone: str,
    model: str,
    depth: int,
    temperature: float,
    parts: Mapping[str, float] | None = None,
    spared: str = "",
) -> Evidence:
    """What a report is made of, beside the other files of a run.

    Args:
        data: The images.
        said: Labels, and what the model said before it was calibrated, by split.
        gallery: The images that are shown.
        backbone: Its name.
        model: What was trained, in words.
        depth: Number of frozen layers.
        temperature: What the model divides its logits by.
        parts: Seconds by what they went to. Default: not known.
        spared: What did not have to be done, in a sentence. Default: not known.
    """
    about = About(
        data.task,
        tuple(data.class_names),
        data.image_size,
        data.resize,
        temperature,
        data.counts,
        tuple(remarks_on(data)),
        backbone,
        model,
        depth,
        dict(parts or {}),
        spared,
    )
    answers = {
        split: Answers(*found, *_names(data, split)) for split, found in said.items() if found
    }
    return Evidence(about, answers, with_odd_images(gallery, data))


def note_evidence(folder: Path, evidence: Callable[[], Evidence]) -> None:
    """Write what a report is made of, beside the other files of a run.

    Args:
        folder: Of the run or study.
        evidence: Gives what no other file says. Where it cannot, a line in the log says so.
    """
    try:
        write_evidence(folder, evidence())
    except (Exception, KeyboardInterrupt) as error:  # whatever it is, the run matters more
        log.warning("The report will say little of the images: %s", _why(error))


def report_run(
    folder: Path,
    evidence: Callable[[], Evidence] | None = None,
    board: Callable[[], Board] | None = None,
) -> Path | None:
    """Write the report of a run that is over.

    Args:
        folder: Of the run or study; all other files are there.
        evidence: See `note_evidence`; None where it has been written already.
        board: Gives the trials, of a study.

    Returns:
        The page; None, and a line in the log, where it could not be made.
    """
    if evidence is not None:
        note_evidence(folder, evidence)
    try:
        return write_page(folder, None if board is None else board())
    except (Exception, KeyboardInterrupt) as error:  # whatever it is, the run is whole
        log.warning(
            "The run in %s is whole, but its report is not: %s `finetune report %s` tries again.",
            *(folder, _why(error), folder),
        )
        return None


def make_report(folder: Path) -> Path:
    """Make the report of a run, and its figures, from its folder alone.

    Args:
        folder: Of a run.

    Returns:
        The page, `report.html` in the folder.

    Raises:
        RunFolderError: If it is the folder of no run.
        DamagedFileError: If a file in it holds something else.
        StorageError: If it cannot be read or written.
    """
    page = write_page(folder)
    saved = read_saved(folder)
    if saved.epochs:
        write_figure(folder, "training", draw_training(saved.epochs, _kept(saved)))
    return page


def write_figure(folder: Path, name: str, figure: "Figure") -> None:
    """Write a figure of a report, once for print and once for slides.

    Not at the end of every run: to load what draws takes longer than the page does.

    Raises:
        StorageError: If it cannot be written.
    """
    for kind in _KINDS:
        save_figure(figure, folder / FIGURES / f"{name}.{kind}")


def write_page(folder: Path, board: Board | None = None) -> Path:
    """Write the page of a report from the folder of a run alone.

    Args:
        folder: Of a run, or of a study.
        board: The trials, of a study.

    Returns:
        The page, `report.html` in the folder.

    Raises:
        RunFolderError: If it is the folder of no run.
        DamagedFileError: If a file in it holds something else.
        StorageError: If it cannot be read or written.
    """
    if board is None and not (folder / METRICS).exists():
        raise RunFolderError(
            "Expected the folder of a run or a search that was trained to its end, but there is no "
            f"{METRICS} in {folder}. Name what `finetune fit --out` or `finetune search --out` "
            "made."
        )
    page = folder / REPORT
    write_text(page, render(*facts_of(folder, board)))
    return page


def _kept(saved: Saved) -> int | None:
    """Index of the epoch that a run kept."""
    figures = saved.figures
    kept = None if figures is None else (figures.best_phase, figures.best_epoch)
    places = [(row.get("phase"), row.get("epoch")) for row in saved.epochs]
    return places.index(kept) if kept in places else None


def _names(data: ImageData, split: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What the images of a split are called, and the digests of their content."""
    if split not in data.splits:
        return (), ()
    images = data.splits[split]
    return tuple(map(as_text, images.ids)), tuple(images.content)


def _why(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "it was stopped."
    return str(error) if isinstance(error, FineTuneError) else f"{type(error).__name__}: {error}."
