"""Has a model look at the images that its report shows: maps, similar images, small pictures."""

import io
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from PIL import Image

from finetune.data import ImageData, Split
from finetune.exceptions import ArgumentError
from finetune.model import FineTunedModel, gives_probabilities
from finetune.report.answers_in_order import judge, rows_to_show
from finetune.report.evidence import Answers, Gallery, ShownImage, Similar
from finetune.support import as_text

# Pixels of the longer side of a picture. With 200 pictures of 5 KB a page has 1.3 MB.
_SIDE = 160
_QUALITY = 62

# Mistakes that similar images are looked for, and how many each.
_EXPLAINED, _SIMILAR = 24, 3


# Gives the features of the images of a split, (n, features); None where none are kept.
Pooled = Callable[[str], np.ndarray | None]


def look(
    model: FineTunedModel, data: ImageData, split: str, answers: Answers, pooled: Pooled
) -> Gallery:
    """Choose the images that a report shows, and have the model say where it looked.

    Args:
        model: The very model that answered.
        data: The images, at its size.
        split: "validation" or "test".
        answers: What it said of that split.
        pooled: Gives the features by which images are alike: those of the pretrained backbone,
            which are there.
    """
    if split not in data.splits:
        return Gallery(split, note="Images of a tf.data.Dataset are not kept, so none is shown.")
    images = data.splits[split]
    judged = judge(answers, data.task)
    rows = rows_to_show(judged)
    if not gives_probabilities(data.task):
        rows = rows[:_EXPLAINED]
    if not rows:
        return Gallery(split)
    pixels = np.stack([images.images[row] for row in rows])
    found = model.observe(pixels)
    try:
        maps, note = model.explain(pixels, found=found).maps, ""
    except ArgumentError:
        maps = np.empty((0, 0, 0), np.float32)
        note = (
            "There are no activation maps: the model is an ensemble, or its backbone gives one "
            "vector an image."
        )
    similar: list[list[tuple[int, float]]] = []
    compared = 0
    train = data.splits["train"]
    if gives_probabilities(data.task):
        wrong = int((~judged.right[rows]).sum())
        similar, compared = _most_similar(pooled, split, rows[: min(wrong, _EXPLAINED)])
    numbers = {row: place for place, row in enumerate(sorted({r for o in similar for r, _ in o}))}
    shown = tuple(
        ShownImage(
            row,
            place,
            tuple(
                Similar(len(rows) + numbers[one], as_text(train.ids[one]), _label(train, one), like)
                for one, like in (similar[place] if place < len(similar) else ())
            ),
        )
        for place, row in enumerate(rows)
    )
    pictures = [*map(small_picture, pixels), *_pictures(train, numbers)]
    return Gallery(split, shown, tuple(pictures), _as_bytes(maps), compared, note)


def _most_similar(
    pooled: Pooled, split: str, rows: Sequence[int]
) -> tuple[list[list[tuple[int, float]]], int]:
    """For each row of a split the training images with the most similar features: (row, cosine)."""
    known = pooled("train") if rows else None
    asked = None if known is None else pooled(split)
    if known is None or asked is None:
        return [], 0
    alike = _unit(asked[rows]) @ _unit(known).T
    best = np.argsort(-alike, axis=1, kind="stable")[:, :_SIMILAR]
    return [
        [(int(place), float(min(1.0, alike[number, place]))) for place in places]
        for number, places in enumerate(best)
    ], len(known)


def _unit(vectors: np.ndarray) -> np.ndarray:
    vectors = np.asarray(vectors, "float32")  # kept ones may be rounded
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def _label(split: Split, row: int) -> float:
    label = split.labels[row]
    return float(label if label.ndim == 0 else label.argmax())


def _pictures(split: Split, rows: Iterable[int]) -> list[bytes]:
    return [small_picture(split.images[row]) for row in rows]


def small_picture(pixels: np.ndarray) -> bytes:
    """A small picture of an image."""
    picture = Image.fromarray(np.asarray(pixels, np.uint8))
    picture.thumbnail((_SIDE, _SIDE))
    file = io.BytesIO()
    picture.save(file, "WEBP", quality=_QUALITY, method=4)
    return file.getvalue()


def _as_bytes(maps: np.ndarray) -> np.ndarray:
    """What speaks for the answer, each map as a share of its strongest place."""
    if not maps.size:
        return np.empty((0, 0, 0), np.uint8)
    positive = np.maximum(maps, 0)
    strongest = positive.max(axis=(1, 2), keepdims=True)
    return np.round(255 * positive / np.where(strongest > 0, strongest, 1)).astype(np.uint8)
