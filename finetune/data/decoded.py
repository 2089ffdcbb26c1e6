"""Sources opened by what they are, and all of their images decoded into one array."""

import itertools
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from finetune.data.arrays import from_arrays
from finetune.data.folder import scan_folder
from finetune.data.images import SkippedFile, decode_all
from finetune.data.items import Part, Source
from finetune.data.storage import allocate
from finetune.data.tfds import PREFIX, from_tfds
from finetune.exceptions import ArgumentError, UnreadableImageError
from finetune.support import current_deadline, steps


@dataclass
class Decoded:
    """Row by row what was read; `images` may have unused rows at its end."""

    images: np.ndarray
    parts: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    content: list[str] = field(default_factory=list)
    labels: list[Any] = field(default_factory=list)
    skipped: list[SkippedFile] = field(default_factory=list)


def open_source(
    source: Any,
    name: str,
    data_dir: str | os.PathLike[str] | None,
    download: bool,
    scan: Callable[[str | os.PathLike[str]], Source] = scan_folder,
) -> Source:
    """Opens a source, without decoding an image.

    Args:
        source: A folder, a TFDS name or (images, labels) arrays.
        name: What the images are for, such as "validation".
        data_dir: Where prepared TFDS datasets lie; None for TFDS' own place.
        download: Whether TFDS may download.
        scan: Finds the images of a folder.

    Raises:
        ArgumentError: If it is something else.
        DataError: If it cannot be opened.
    """
    if isinstance(source, str) and source.startswith(PREFIX):
        return from_tfds(source, data_dir=data_dir, download=download)
    if isinstance(source, (str, os.PathLike)):
        return scan(source)
    if isinstance(source, (tuple, list)) and len(source) == 2:
        return from_arrays(*source, name=name)
    extra = ", a number between 0 and 1" if name != "train" else ""
    raise ArgumentError(
        f"The {name} images must be a folder, a TFDS name such as 'tfds:mnist', (images, labels) "
        f"arrays{extra} or, if all are, a tf.data.Dataset; got {type(source).__name__}."
    )


def decode(
    parts: dict[str, Part], size: tuple[int, int], resize: str, memory_budget: int | None
) -> Decoded:
    """Decodes all images, part by part; what cannot be read is listed in `skipped`.

    Raises:
        OutOfTimeError: If time is limited and up, see `finetune.support.time_limit`.
    """
    deadline = current_deadline()
    total = sum(part.count for part in parts.values())
    decoded = Decoded(allocate((total, *size, 3), memory_budget))
    with steps("Loading images", total) as progress:
        for name, part in parts.items():
            # The decoder reads ahead, so the items it has taken wait here for their pixels.
            items, ahead = itertools.tee(part.items)
            results = decode_all((item.payload for item in ahead), size, resize)
            for item, result in zip(items, results, strict=True):
                done = len(decoded.ids) + len(decoded.skipped)
                progress(done)
                deadline.check(f"{done:,} of {total:,} images were decoded")
                if isinstance(result, str):
                    file = isinstance(item.payload, os.PathLike)
                    decoded.skipped.append(
                        SkippedFile(str(item.payload) if file else item.id, result)
                    )
                    continue
                content, decoded.images[len(decoded.ids)] = result
                decoded.parts.append(name)
                decoded.ids.append(item.id)
                decoded.content.append(content)
                decoded.labels.append(item.label)
    return decoded


def unreadable(decoded: Decoded) -> UnreadableImageError:
    """The error that lists what could not be read."""
    skipped, total = decoded.skipped, len(decoded.skipped) + len(decoded.ids)
    lines = [f"{len(skipped)} of {total} images cannot be read:"]
    lines += [f"  {file}" for file in skipped[:10]]
    if len(skipped) > 10:
        lines.append(f"  and {len(skipped) - 10} more")
    lines.append("Remove or replace them, or leave them out with strict=False.")
    return UnreadableImageError("\n".join(lines))
