"""What a report needs and no other file of a run holds: what was said of images, and pictures.

It is written to `evidence.npz` when a run ends, so that a report can be made of its folder alone.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from finetune.exceptions import DamagedFileError
from finetune.support import read_arrays, write_arrays

EVIDENCE = "evidence.npz"

# What the arrays of the file may be.
_TYPES = ("float32", "float64", "int32", "int64", "uint8")


@dataclass(frozen=True, eq=False)
class Answers:
    """What a model said of the images of one split, before it was calibrated.

    Args:
        labels: As those of `Split`, numbered as the model numbers its classes.
        outputs: The model's predictions, float32 (n, units).
        ids: Name of each image, such as its relative path; none where images are not stored.
        content: Digest of each image's content, likewise.
    """

    labels: np.ndarray
    outputs: np.ndarray
    ids: tuple[str, ...] = ()
    content: tuple[str, ...] = ()


@dataclass(frozen=True)
class Similar:
    """A training image that a model takes for much the same.

    Args:
        picture: Its number among the pictures.
        id: Its name.
        label: Number of its class; its first value for regression.
        similarity: Cosine of the two images' pooled features, at most 1.
    """

    picture: int
    id: str
    label: float
    similarity: float


@dataclass(frozen=True)
class ShownImage:
    """An image that the report shows.

    Args:
        row: Its number in its split.
        picture: Its number among the pictures.
        similar: The training images most like it, the most similar first.
    """

    row: int
    picture: int
    similar: tuple[Similar, ...] = ()


@dataclass(frozen=True)
class OddImage:
    """An image of a group that is odd.

    Args:
        picture: Its number among the pictures.
        id: Its name.
        label: Its class.
        split: The split that it is of.
    """

    picture: int
    id: str
    label: str
    split: str


@dataclass(frozen=True)
class OddGroup:
    """Images that are odd together, or a single one.

    Args:
        why: What is odd.
        images: Some of them.
        further: How many more there are.
    """

    why: str
    images: tuple[OddImage, ...]
    further: int = 0


@dataclass(frozen=True)
class Odd:
    """What was found of one kind among the images of a run, see `finetune.checks.Finding`.

    Args:
        kind: Such as "two labels" or "dark".
        title: What it is called.
        count: How many groups there are.
        groups: Some of them.
    """

    kind: str
    title: str
    count: int
    groups: tuple[OddGroup, ...]


@dataclass(frozen=True, eq=False)
class Gallery:
    """The images that the report shows, errors first.

    Args:
        split: The split that they are of.
        images: The images.
        pictures: WebP files.
        maps: Where each image speaks for what was said of it, uint8 (n, rows, columns): 255 at its
            strongest, 0 where it does not; no rows where there are none.
        compared: Number of training images that the similar ones were looked for among.
        note: What is missing, and why, as sentences.
        odd: What was found among all images before they were trained on.
    """

    split: str = ""
    images: tuple[ShownImage, ...] = ()
    pictures: tuple[bytes, ...] = ()
    maps: np.ndarray = field(default_factory=lambda: np.empty((0, 0, 0), np.uint8))
    compared: int = 0
    note: str = ""
    odd: tuple[Odd, ...] = ()


@dataclass(frozen=True)
class About:
    """What was trained on, and what it took.

    Args:
        task: "binary", "multiclass", "multilabel" or "regression".
        class_names: In the order of their numbers; empty for regression.
        image_size: (height, width) in pixels.
        resize: How other sizes are brought to it.
        temperature: What the model divides its logits by.
        counts: Number of images by split and class ("images" for regression).
        remarks: What was skipped, ignored or odd, a line each.
        backbone: Its name.
        model: What was trained, in words.
        depth: Number of frozen layers; None where that is not known.
        parts: Seconds by what they went to, as far as that was measured.
        spared: What did not have to be done, in a sentence.
    """

    task: str
    class_names: tuple[str, ...]
    image_size: tuple[int, int]
    resize: str
    temperature: float
    counts: dict[str, dict[str, int]]
    remarks: tuple[str, ...] = ()
    backbone: str = ""
    model: str = ""
    depth: int | None = None
    parts: dict[str, float] = field(default_factory=dict)
    spared: str = ""


@dataclass(frozen=True, eq=False)
class Evidence:
    """What `evidence.npz` holds.

    Args:
        about: What was trained on, and what it took.
        answers: What was said of the images, by split.
        gallery: The images that are shown.
    """

    about: About
    answers: Mapping[str, Answers]
    gallery: Gallery = field(default_factory=Gallery)


@dataclass
class _Array:
    """What an array of the file is like.

    Args:
        shape: Its shape.
        dtype: Its type.
    """

    shape: list[int]
    dtype: str

    def __post_init__(self) -> None:
        if self.dtype not in _TYPES or min(self.shape, default=0) < 0:
            raise ValueError(f"expected an array of one of {_TYPES}, received {self.dtype}")


@dataclass
class _Record:
    """The record of the file, beside its arrays."""

    about: About
    split: str
    images: list[ShownImage]
    compared: int
    note: str
    sizes: list[int]
    ids: dict[str, list[str]]
    content: dict[str, list[str]]
    arrays: list[_Array]
    odd: list[Odd] = field(default_factory=list)


def write_evidence(folder: Path, evidence: Evidence) -> None:
    """Write `evidence.npz`.

    Raises:
        StorageError: If it cannot be written.
    """
    gallery = evidence.gallery
    arrays = [
        *(array for said in evidence.answers.values() for array in (said.labels, said.outputs)),
        gallery.maps,
        np.frombuffer(b"".join(gallery.pictures), np.uint8),
    ]
    meta: dict[str, Any] = {
        "about": vars(evidence.about),
        "split": gallery.split,
        "images": [
            {**vars(image), "similar": [vars(one) for one in image.similar]}
            for image in gallery.images
        ],
        "compared": gallery.compared,
        "note": gallery.note,
        "sizes": [len(picture) for picture in gallery.pictures],
        "ids": {split: said.ids for split, said in evidence.answers.items()},
        "content": {split: said.content for split, said in evidence.answers.items()},
        "arrays": [{"shape": array.shape, "dtype": array.dtype.name} for array in arrays],
        "odd": [asdict(odd) for odd in gallery.odd],
    }
    write_arrays(folder / EVIDENCE, meta, arrays)


def read_evidence(folder: Path) -> Evidence:
    """Read `evidence.npz`.

    Raises:
        DamagedFileError: If it holds something else.
        StorageError: If it cannot be read.
    """
    path = folder / EVIDENCE
    record, arrays = read_arrays(path, _Record, _expected)
    *said, maps, blob = arrays
    answers = {
        split: Answers(labels, outputs, tuple(ids), tuple(record.content.get(split, ())))
        for (split, ids), labels, outputs in zip(
            record.ids.items(), said[::2], said[1::2], strict=True
        )
    }
    ends = np.cumsum([0, *record.sizes])
    pictures = tuple(blob[first:last].tobytes() for first, last in itertools.pairwise(ends))
    gallery = Gallery(
        *(record.split, tuple(record.images), pictures, maps, record.compared, record.note),
        tuple(record.odd),
    )
    evidence = Evidence(record.about, answers, gallery)
    _check(evidence, path)
    return evidence


def _expected(record: _Record) -> Sequence[_Array]:
    if len(record.arrays) != 2 * len(record.ids) + 2:
        raise DamagedFileError(f"{EVIDENCE} cannot be used: its arrays are not those it names.")
    *_, blob = record.arrays
    if blob.shape != [sum(record.sizes)] or min(record.sizes, default=0) < 0:
        raise DamagedFileError(f"{EVIDENCE} cannot be used: its pictures are not of their sizes.")
    return record.arrays


def _check(evidence: Evidence, path: Path) -> None:
    """Refuse numbers that name nothing."""
    gallery = evidence.gallery
    rows = len(evidence.answers[gallery.split].labels) if gallery.split in evidence.answers else 0
    named = [image.picture for image in gallery.images]
    named += [one.picture for image in gallery.images for one in image.similar]
    named += [one.picture for odd in gallery.odd for group in odd.groups for one in group.images]
    sound = (
        all(0 <= number < len(gallery.pictures) for number in named)
        and all(0 <= image.row < rows for image in gallery.images)
        and len(gallery.maps) in (0, len(gallery.images))
        and all(
            len(said.labels) == len(said.outputs)
            and {len(said.ids), len(said.content)} <= {0, len(said.labels)}
            for said in evidence.answers.values()
        )
    )
    if not sound:
        raise DamagedFileError(f"{path} cannot be used: it names images that are not in it.")
