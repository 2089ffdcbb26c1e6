"""Novelty: whether an image is like those of the training, by its nearest neighbours."""

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from finetune.exceptions import DamagedFileError, ModelFileError
from finetune.support import read_archive, read_json, read_member

# Members of the .keras archive that Keras itself passes over: plain numbers.
_MEMBER = "finetune.novelty.{}"
_ABOUT, _VECTORS, _DISTANCES = (_MEMBER.format(n) for n in ("json", "vectors", "distances"))

# Images that are remembered, and values of them: eight megabytes in a file.
MOST_IMAGES = 2000
_MOST_VALUES = 4_000_000
_MOST_DISTANCES = 2000
_MOST_BYTES_ABOUT = 1000

# The distance to the fifth: one odd training image makes nothing familiar.
NEIGHBOURS = 5


@dataclass(frozen=True, eq=False)
class Novelty:
    """What tells an image that is like nothing in training.

    The distance of an image is one minus the cosine of its pooled features and those of the fifth
    nearest of some training images. Images that were set aside say how large it commonly is.

    Args:
        vectors: Pooled features of training images, of length 1, float16 (m, features).
        distances: Of images that were not trained on, the smallest first; float32 (n,).

    Example:
        >>> known = np.eye(8, dtype="float16")[:6]
        >>> novelty = Novelty(known, np.linspace(0, 0.5, 39, dtype="float32"))
        >>> novelty.of(np.float32([[1, 1, 1, 1, 1, 1, 0, 0], [0, 0, 0, 0, 0, 0, 1, 0]])).round(2)
        array([0.59, 1.  ], dtype=float32)
        >>> round(novelty.most(0.95), 2)
        0.49

    Source: Y. Sun et al., "Out-of-Distribution Detection with Deep Nearest Neighbors" (2022).
    """

    vectors: np.ndarray
    distances: np.ndarray

    def of(self, pooled: np.ndarray | None) -> np.ndarray:
        """How far images are from those of the training.

        Args:
            pooled: Their pooled features, float32 (n, features). A model that was found to pool
                does so every time.

        Returns:
            float32 (n,), 0 to 2.
        """
        assert pooled is not None
        return distances_to(self.vectors, pooled)

    def most(self, coverage: float) -> float:
        """The distance above which an image is novel.

        Args:
            coverage: Share of images like those of the training that are not: between 0 and 1.
                Where so few images cannot promise it, none is novel.
        """
        count = len(self.distances)
        place = int(np.ceil((count + 1) * coverage - 1e-9))
        return float(self.distances[place - 1]) if place <= count else float("inf")


def distances_to(vectors: np.ndarray, pooled: np.ndarray) -> np.ndarray:
    """One minus the cosine to the fifth nearest of some vectors of length 1, see `Novelty`."""
    known = vectors.astype("float32")
    if not len(pooled):
        return np.empty(0, "float32")
    place = len(known) - min(NEIGHBOURS, len(known))
    alike = np.partition(unit(pooled) @ known.T, place, axis=1)[:, place]
    return (1 - alike).astype("float32")


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors of the same directions and of length 1; of no length where there is no direction."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.maximum(lengths, 1e-12)


def rows_to_remember(images: int, features: int) -> np.ndarray:
    """Which training images are remembered, evenly among them: see `MOST_IMAGES`."""
    count = min(images, MOST_IMAGES, max(1, _MOST_VALUES // features))
    return np.unique(np.linspace(0, images - 1, count).astype(int))


@dataclass
class _About:
    """How many numbers there are."""

    images: int
    features: int
    distances: int

    def __post_init__(self) -> None:
        if not 1 <= self.images <= MOST_IMAGES or self.images * self.features > _MOST_VALUES:
            raise ValueError(f"expected at most {_MOST_VALUES:,} values of features")
        if self.features < 1 or not 1 <= self.distances <= _MOST_DISTANCES:
            raise ValueError(f"expected 1 to {_MOST_DISTANCES:,} distances")


def write_novelty(archive: Path, novelty: Novelty | None) -> None:
    """Put it into a `.keras` file."""
    if novelty is None:
        return
    about = dict(
        zip(
            ("images", "features", "distances"),
            (*novelty.vectors.shape, len(novelty.distances)),
            strict=True,
        )
    )
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr(_ABOUT, json.dumps(about))
        file.writestr(_VECTORS, novelty.vectors.astype("<f2").tobytes())
        file.writestr(_DISTANCES, novelty.distances.astype("<f4").tobytes())


def read_novelty(path: Path) -> Novelty | None:
    """What the model in a `.keras` file knows of novelty; None where it knows nothing.

    Raises:
        ModelFileError: If what is there cannot be used.
        StorageError: If the file cannot be read.
    """
    try:
        with read_archive(path) as archive:
            if _ABOUT not in archive.namelist():
                return None
            about = read_json(read_member(archive, _ABOUT, _MOST_BYTES_ABOUT), _About, name=_ABOUT)
            vectors, distances = (
                np.frombuffer(_exactly(archive, name, count * np.dtype(kind).itemsize), kind)
                for name, count, kind in (
                    (_VECTORS, about.images * about.features, "<f2"),
                    (_DISTANCES, about.distances, "<f4"),
                )
            )
    except DamagedFileError as error:
        raise ModelFileError(f"{error} Save the model again.") from error
    sound = np.isfinite(vectors).all() and np.isfinite(distances).all()
    if not sound or (np.diff(distances) < 0).any():
        raise ModelFileError(
            f"{_DISTANCES} in {path} cannot be used: expected finite numbers, the smallest first. "
            "Save the model again."
        )
    shaped = vectors.astype("float16").reshape(about.images, about.features)
    return Novelty(shaped, distances.astype("float32"))


def _exactly(archive: zipfile.ZipFile, name: str, size: int) -> bytes:
    content = read_member(archive, name, size)
    if len(content) != size:
        raise ValueError(f"expected {size:,} bytes of {name}, received {len(content):,}")
    return content
