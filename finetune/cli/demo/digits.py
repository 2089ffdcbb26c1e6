"""Real handwritten digits as a folder of images."""

import os
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from finetune.exceptions import ArgumentError


def write_digits(
    folder: str | os.PathLike[str],
    *,
    per_class: int | None = 20,
    test_per_class: int = 60,
    seed: int = 0,
) -> Path:
    """Writes scikit-learn's handwritten digits as PNG files, by split and class.

    The images are the 1,797 of `sklearn.datasets.load_digits` [1]: 8 x 8 pixels, 0 (paper) to
    255 (ink). They are drawn at random, the same number from each class, and the test
    images do not depend on `per_class`.

    Args:
        folder: Where to write. Created where it does not exist.
        per_class: Training images of each class, those later held back for validation among
            them, 1 or more. The default of 20 is few enough for pretraining to matter. `None`:
            all that the test images leave. Every class has at least 174 images in all.
        test_per_class: Test images of each class, 1 or more. The default of 60 keeps the 95%
            interval of an accuracy near 0.97 within 0.015.
        seed: Seed of the choice of images; the same seed writes the same files.

    Returns:
        The folder, which holds `train/<class>/` and `test/<class>/`, the classes `0` to `9`.

    Raises:
        ArgumentError: A class has fewer images than are asked for, or the folder already holds
            others.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     digits = write_digits(folder, per_class=2, test_per_class=1)
        ...     len(list(digits.glob("train/*/*.png"))), len(list(digits.glob("test/7/*.png")))
        (20, 1)

    References:
        [1] Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning
            Repository, 1998.
    """
    pixels, labels = load_digits(return_X_y=True)
    _check_enough(np.bincount(labels).min(), per_class, test_per_class)
    rng = np.random.default_rng(seed)
    files: dict[Path, int] = {}
    for label in range(10):
        numbers = rng.permutation(np.flatnonzero(labels == label))
        test, rest = np.split(numbers, [test_per_class])
        train = rest if per_class is None else rest[:per_class]
        for split, chosen in (("train", train), ("test", test)):
            for number in chosen:
                files[Path(split, str(label), f"{number:04}.png")] = number

    folder = Path(folder)
    others = {path.relative_to(folder) for path in folder.glob("*/*/*.png")} - files.keys()
    if others:
        raise ArgumentError(
            f"Expected a folder without other images in which to write the digits; {folder} holds "
            f"{len(others)}, such as {min(others)}. Choose another folder or empty this one."
        )
    for path, number in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        ink = np.round(pixels[number].reshape(8, 8) * (255 / 16)).astype(np.uint8)
        Image.fromarray(ink).save(folder / path)
    return folder


def _check_enough(available: int, per_class: int | None, test_per_class: int) -> None:
    """Refuses splits that the smallest class cannot fill."""
    train = 1 if per_class is None else per_class
    if min(train, test_per_class) < 1 or train + test_per_class > available:
        raise ArgumentError(
            f"Expected at least 1 training and 1 test image per class and at most {available} "
            f"together; received per_class={per_class}, test_per_class={test_per_class}."
        )
