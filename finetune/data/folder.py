"""Image folders: one folder per class, at the top or below train/validation/test."""

import os
from collections import Counter
from pathlib import Path

from finetune.data.finding import MET_BEFORE, Ignored, entries, is_hidden, is_image_name, walk
from finetune.data.items import PART_NAMES, Item, Part, Source
from finetune.data.labels import check_same_classes, listed
from finetune.exceptions import (
    DataError,
    DataNotFoundError,
    EmptyClassError,
    TooFewClassesError,
)
from finetune.support import as_text


def scan_folder(folder: str | os.PathLike[str]) -> Source:
    """Finds the labelled images in a folder, without opening them.

    Class folders lie at the top, or below `train` (`training`) and, where there are any, `val`
    (`valid`, `validation`) and `test` (`testing`). Images may lie at any depth below their class
    folder. Files without an image's suffix and hidden folders are ignored and counted.

    Args:
        folder: The folder.

    Returns:
        The source; labels are class names, ids are paths relative to `folder`.

    Raises:
        DataNotFoundError: If there is no such folder.
        TooFewClassesError: If there are fewer than two class folders.
        EmptyClassError: If a class folder of the training part holds no image file.
        MissingClassError: If another part has other classes.
        DataError: If the layout can be read in two ways.

    Example:
        >>> scan_folder("/no/such/folder")
        Traceback (most recent call last):
        finetune.exceptions.DataNotFoundError: There is no folder /no/such/folder. Expected ...
    """
    root, ignored = _existing(folder), Ignored()
    tops = _parts(root, ignored) or {"train": root}
    if "train" not in tops:
        raise DataError(
            f"{root} holds {', '.join(top.name + '/' for top in tops.values())} but no train/ "
            "folder. Add one, or name the folder that holds the class folders."
        )
    found = {name: _scan_classes(top, root, ignored) for name, top in tops.items()}
    _check_classes(found, root)
    parts = {name: Part(len(items), items) for name, (_, items) in found.items()}
    return Source(parts, class_names=found["train"][0], ignored=ignored)


def scan_labelled(folder: str | os.PathLike[str]) -> Source:
    """Finds the labelled images in a folder as `scan_folder` does, to measure a model on.

    Any classes will do, and any of the parts.

    Args:
        folder: The folder.

    Returns:
        The source; the part of class folders at the top is called "".

    Raises:
        DataNotFoundError: If there is no such folder.
        DataError: If the layout can be read in two ways.
    """
    root, ignored = _existing(folder), Ignored()
    tops = _parts(root, ignored) or {"": root}
    found = {name: _scan_classes(top, root, ignored)[1] for name, top in tops.items()}
    return Source({name: Part(len(items), items) for name, items in found.items()}, ignored=ignored)


def _existing(folder: str | os.PathLike[str]) -> Path:
    root = Path(folder)
    if not os.fspath(folder):  # which would be the current folder
        raise DataNotFoundError("Expected a folder of images, received an empty path.")
    # Also where the name could be none of a file: too long, or with a zero byte in it.
    if not os.path.exists(root):
        raise DataNotFoundError(
            f"There is no folder {root}. Expected one that holds a folder of images for each "
            "class, or a TFDS name such as tfds:mnist."
        )
    if not root.is_dir():
        raise DataError(f"Expected a folder with one folder per class, got the file {root}.")
    return root


def _parts(root: Path, ignored: Ignored) -> dict[str, Path]:
    """The folders of the splits; none where class folders lie at the top."""
    folders = [e for e in entries(root) if os.path.isdir(e) and not is_hidden(e.name)]
    named = [entry for entry in folders if entry.name.lower() in PART_NAMES]
    others = [entry for entry in folders if entry not in named]
    parts: dict[str, Path] = {}
    for entry in named:
        part = PART_NAMES[entry.name.lower()]
        if part in parts:
            raise DataError(
                f"Both {parts[part]} and {entry} look like the {part} images; keep one of them."
            )
        parts[part] = entry
    if "train" not in parts and others:
        return {}
    classes = [entry for entry in others if _holds_images(entry)]
    if classes:
        if _holds_images(parts["train"]):
            return {}  # A class that is called train, beside the others.
        raise DataError(
            f"{root} holds {parts['train'].name}/ and, beside it, folders of images: "
            f"{listed([entry.name for entry in classes])}. Where they are classes too, bring all "
            "classes to one place; else move them away, or name the folders one by one: "
            f"{parts['train']}, with those to validate and to test on as `validation` and `test`."
        )
    for entry in entries(root):
        if entry not in named:
            ignored.note(entry)
    return parts


def _holds_images(folder: Path) -> bool:
    """Whether images lie in it, not only in folders below."""
    return any(is_image_name(e.name) and not os.path.isdir(e) for e in entries(folder))


def _scan_classes(top: Path, root: Path, ignored: Ignored) -> tuple[list[str], list[Item]]:
    class_names: list[str] = []
    items: list[Item] = []
    for entry in entries(top):
        if not os.path.isdir(entry) or is_hidden(entry.name):
            ignored.note(entry)
            continue
        if any(os.path.samefile(entry, above) for above in (root, top)):
            ignored[MET_BEFORE] += 1
            continue
        class_names.append(as_text(entry.name))
        for file in walk(entry, ignored, above=(root, top)):
            items.append(Item(file.relative_to(root).as_posix(), file, class_names[-1]))
    return class_names, items


def _check_classes(found: dict[str, tuple[list[str], list[Item]]], root: Path) -> None:
    class_names, items = found["train"]
    if len(class_names) < 2:
        names = f" ({class_names[0]})" if class_names else ""
        raise TooFewClassesError(
            f"Found {len(class_names)} class folder{'s' * (len(class_names) != 1)}{names} in "
            f"{root}; at least two are needed. Expected one folder per class with its images "
            "inside, such as cats/1.jpg and dogs/1.jpg."
        )
    counts = Counter(item.label for item in items)
    empty = [name for name in class_names if not counts[name]]
    if empty:
        raise EmptyClassError(
            f"No image in the class folder{'s' * (len(empty) > 1)} {listed(empty)} of {root}. "
            "Add images, or remove the folder."
        )
    for part, (_, part_items) in found.items():
        check_same_classes(class_names, {item.label for item in part_items}, part)
