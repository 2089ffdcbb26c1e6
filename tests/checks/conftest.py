"""Images as they may come from people: smooth pictures, and what can be wrong with them."""

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from finetune.checks import LookedThrough
from finetune.data import load_data

SIDE = 64


@pytest.fixture(scope="session")
def pictures() -> Callable[..., np.ndarray]:
    """Different smooth pictures, uint8 (n, 64, 64, 3)."""

    def make(count: int, seed: int = 0) -> np.ndarray:
        coarse = np.random.default_rng(seed).integers(0, 256, (count, 12, 12, 3), np.uint8)
        large = [Image.fromarray(one).resize((SIDE, SIDE), Image.BICUBIC) for one in coarse]
        return np.stack([np.asarray(one) for one in large])

    return make


@pytest.fixture(scope="session")
def looked() -> Callable[..., LookedThrough]:
    """Images in a row, of two classes in turn, or with the labels that are given."""

    def make(images, labels=None, features=None, **options) -> LookedThrough:
        labels = [row % 2 for row in range(len(images))] if labels is None else labels
        options = {"validation": None, **options}
        return LookedThrough(load_data((images, labels), image_size=SIDE, **options), features)

    return make
