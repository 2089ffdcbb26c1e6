"""Two runs on the same images: who is right where, and whether that can be chance."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binomtest

from finetune.exceptions import ArgumentError, RunFolderError
from finetune.model import gives_probabilities
from finetune.report.answers_in_order import Judged, judge
from finetune.report.evidence import EVIDENCE, Answers, Evidence, read_evidence
from finetune.report.facts import told_of
from finetune.report.image_cards import Pictures, pictures_of
from finetune.report.rendering import render_pair
from finetune.support import bootstrap_interval, write_text


@dataclass(frozen=True)
class Pair:
    """What two runs say of the same images.

    Args:
        names: Of the two runs.
        split: The split that the images are of, in both.
        n: Number of images.
        both: Number that both have right.
        only_first: Number that the first one alone has right.
        only_second: Number that the second one alone has right.
        neither: Number that neither has right.
        difference: Accuracy of the second less that of the first.
        interval: Its 95% bootstrap interval over the images, in pairs.
        p: Of McNemar's exact test: how probable it is that images change sides as unevenly as
            that, or more so, where the two are equally good.
    """

    names: tuple[str, str]
    split: str
    n: int
    both: int
    only_first: int
    only_second: int
    neither: int
    difference: float
    interval: tuple[float, float]
    p: float

    @property
    def accuracies(self) -> tuple[float, float]:
        """Share of right answers of both."""
        return (self.both + self.only_first) / self.n, (self.both + self.only_second) / self.n

    def __str__(self) -> str:
        low, high = self.interval
        first, second = self.names
        said = f"{self.n} images do not show a difference between {first} and {second}"
        if low > 0 or high < 0:
            better, other = (second, first) if low > 0 else (first, second)
            said = f"{better} is better than {other}"
        before, after = self.accuracies
        return (
            f"{said}: {before:.3f} and {after:.3f}, difference {self.difference:+.3f} "
            f"[{low:+.3f}, {high:+.3f}] ({self.split}, n={self.n}). {self.only_first} images are "
            f"right in {first} alone, {self.only_second} in {second} alone (McNemar's exact test: "
            f"p={self.p:.2g})."
        )


def compare_runs(first: Path, second: Path, out: Path) -> Pair:
    """Compare two runs on the images that both were tested on, and write a page about it.

    Args:
        first: Folder of a run or a search that is over.
        second: Folder of another.
        out: The page to write.

    Returns:
        Who is right where.

    Raises:
        RunFolderError: If a folder keeps nothing that was said of images.
        ArgumentError: If the runs have no images in common, or no right answers.
        StorageError: If a file cannot be read or written.
    """
    folders = (first, second)
    runs = [_evidence(folder) for folder in folders]
    for folder, run in zip(folders, runs, strict=True):
        if not gives_probabilities(run.about.task):
            raise ArgumentError(
                f"Expected two runs with answers that are right or wrong, but {folder} predicts "
                "values. Compare the losses of their reports."
            )
    split = next((one for one in ("test", "validation") if all(one in r.answers for r in runs)), "")
    rows = _common(*(run.answers[split] for run in runs)) if split else []
    if not rows:
        raise ArgumentError(
            f"Expected two runs with test images, or validation images, in common, but {first} and "
            f"{second} have none. Train both on the same data, with the same seed of load_data."
        )
    judged = [judge(run.answers[split], run.about.task, run.about.temperature) for run in runs]
    places = zip(*rows, strict=True)
    right = [one.right[[*some]] for one, some in zip(judged, places, strict=True)]
    names = (first.resolve().name, second.resolve().name)
    pair = _paired(names if names[0] != names[1] else (str(first), str(second)), split, *right)
    changed = [places for places, a, b in zip(rows, *right, strict=True) if a != b]
    images = [_told(runs, judged, places, split) for places in changed]
    pictures = _pictures(runs, changed, images)
    facts = {**asdict(pair), "accuracies": pair.accuracies, "said": str(pair), "images": images}
    write_text(out, render_pair(facts, pictures))
    return pair


def _evidence(folder: Path) -> Evidence:
    if not (folder / EVIDENCE).exists():
        raise RunFolderError(
            f"Expected the folder of a run that keeps what was said of each image, but there is no "
            f"{EVIDENCE} in {folder}: it is none, or of an earlier version. Train again."
        )
    return read_evidence(folder)


def _common(first: Answers, second: Answers) -> list[tuple[int, int]]:
    """The numbers of each image that is in both, told by its content."""
    known = {content: row for row, content in reversed([*enumerate(second.content)])}
    found = {content: row for row, content in reversed([*enumerate(first.content)])}
    return sorted((row, known[content]) for content, row in found.items() if content in known)


def _paired(names: tuple[str, str], split: str, first: np.ndarray, second: np.ndarray) -> Pair:
    gain = second.astype(float) - first.astype(float)
    ups, downs = int((gain > 0).sum()), int((gain < 0).sum())
    return Pair(
        *(names, split, len(gain), int((first & second).sum()), downs, ups),
        *(int((~first & ~second).sum()), float(gain.mean()), bootstrap_interval(gain)),
        float(binomtest(ups, ups + downs).pvalue) if ups + downs else 1.0,
    )


def _told(
    runs: Sequence[Evidence], judged: Sequence[Judged], rows: tuple[int, int], split: str
) -> dict[str, Any]:
    """An image that changed sides: what it is, and what both say."""
    told = [
        told_of(one, row, run.about.task, run.about.class_names)
        for run, one, row in zip(runs, judged, rows, strict=True)
    ]
    return {
        "id": runs[0].answers[split].ids[rows[0]],
        "true": told[0][0],
        "said": [said for _, said, _ in told],
        "sure": [float(one.sure[row]) for one, row in zip(judged, rows, strict=True)],
        "second_is_right": bool(judged[1].right[rows[1]]),
    }


def _pictures(
    runs: Sequence[Evidence], rows: Sequence[tuple[int, int]], images: list[dict[str, Any]]
) -> Pictures:
    """Pictures of the images, from whichever of the runs shows them: it is wrong in one of them."""
    kept: list[bytes] = []
    for image, places in zip(images, rows, strict=True):
        image |= {"place": len(kept), "picture": None, "similar": []}
        for run, row in zip(runs, places, strict=True):
            shown = next((one for one in run.gallery.images if one.row == row), None)
            if shown is not None:
                image["picture"] = len(kept)
                kept.append(run.gallery.pictures[shown.picture])
                break
    with_pictures = [image for image in images if image["picture"] is not None]
    return pictures_of(kept, with_pictures)
