"""Images to train on: from folders, TFDS, arrays and `tf.data` to `ImageData`.

Names are imported when they are first used, so that reading images does not load TensorFlow.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from finetune.data.augmentation import resolve_augment
    from finetune.data.dataset import DataReport, ImageData, Split
    from finetune.data.images import SkippedFile, find_images, read_image, read_images
    from finetune.data.load import load_data

_MODULES = {
    "DataReport": "dataset",
    "ImageData": "dataset",
    "SkippedFile": "images",
    "Split": "dataset",
    "find_images": "images",
    "load_data": "load",
    "read_image": "images",
    "read_images": "images",
    "resolve_augment": "augmentation",
}

__all__ = [
    "DataReport",
    "ImageData",
    "SkippedFile",
    "Split",
    "find_images",
    "load_data",
    "read_image",
    "read_images",
    "resolve_augment",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
