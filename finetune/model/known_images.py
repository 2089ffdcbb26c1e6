"""Which images a model was trained on, validated with and tested on, by their content."""

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from finetune.data import SPLITS, ImageData, pixel_digests
from finetune.exceptions import DamagedFileError, ModelFileError
from finetune.support import read_archive, read_member

# Members of the .keras archive that Keras itself passes over: 8 bytes an image, no image can be
# made of them.
_MEMBER = "finetune.{}.digests"
_BYTES = 8
# Above it a model remembers none: eight megabytes are enough.
_MOST = 1_000_000


@dataclass(frozen=True, eq=False)
class KnownImages:
    """The images that a model has met.

    Args:
        digests: For each split the sorted digests of its images, see `pixel_digests`.

    Example:
        >>> known = KnownImages({"train": np.array([3, 5], np.uint64)})
        >>> known.splits_of(np.array([5, 4], np.uint64)).tolist()
        ['train', 'new']
    """

    digests: dict[str, np.ndarray]

    def splits_of(self, digests: np.ndarray) -> np.ndarray:
        """For each digest the split that it is of: "train" first, "new" for none."""
        found = np.full(len(digests), "new", dtype="U11")
        for split in reversed(SPLITS):
            if split in self.digests:
                found[np.isin(digests, self.digests[split])] = split
        return found

    def count(self, digests: np.ndarray) -> dict[str, int]:
        """How many digests are of each split, and how many are "new"."""
        found = self.splits_of(digests)
        # Most models were made with no images set aside.
        names = [name for name in SPLITS if name != "calibration" or name in self.digests]
        return {name: int((found == name).sum()) for name in (*names, "new")}


def remember(
    data: ImageData, image_size: tuple[int, int], *, refitted: bool = False
) -> KnownImages | None:
    """What a model remembers of the images that it is made with.

    Args:
        data: The images.
        image_size: The model's.
        refitted: Whether it was trained on the validation images too.

    Returns:
        Their digests; None where there are too many.
    """
    if sum(sum(counts.values()) for counts in data.counts.values()) > _MOST:
        return None
    data = data if data.image_size == image_size else data.at_size(image_size)
    digests = {name: _digests(data, name) for name in data.counts}
    if refitted:
        digests["train"] = np.union1d(digests["train"], digests.pop("validation"))
    return KnownImages(digests)


def _digests(data: ImageData, split: str) -> np.ndarray:
    if split in data.splits:
        return np.unique(pixel_digests(data.splits[split].images))
    batches = data.dataset(split).as_numpy_iterator()
    return np.unique(np.concatenate([pixel_digests(images) for images, _ in batches]))


def write_known(archive: Path, known: KnownImages | None) -> None:
    """Put what a model remembers into its `.keras` file."""
    if known is None:
        return
    with zipfile.ZipFile(archive, "a") as file:
        for split, digests in known.digests.items():
            file.writestr(_MEMBER.format(split), digests.astype("<u8").tobytes())


def read_known(path: Path) -> KnownImages | None:
    """What the model in a `.keras` file remembers; None where it does not.

    Raises:
        ModelFileError: If what is there cannot be used.
        StorageError: If the file cannot be read.
    """
    try:
        with read_archive(path) as archive:
            members = {split: _MEMBER.format(split) for split in SPLITS}
            found = {
                split: _read(archive, member)
                for split, member in members.items()
                if member in archive.namelist()
            }
    except DamagedFileError as error:
        raise ModelFileError(f"{error} Save the model again.") from error
    return KnownImages(found) if found else None


def _read(archive: zipfile.ZipFile, member: str) -> np.ndarray:
    content = read_member(archive, member, _MOST * _BYTES)
    if len(content) % _BYTES:
        raise ValueError(f"expected {_BYTES} bytes for each image in {member}")
    return np.frombuffer(content, "<u8").astype(np.uint64)
