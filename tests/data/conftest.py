"""Small image folders that the tests of this folder share."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def write_images() -> Callable[..., list[Path]]:
    """Writes `count` different noise images into a folder."""

    def write(folder: Path, count: int, seed: int = 0, size: int = 8) -> list[Path]:
        folder.mkdir(parents=True, exist_ok=True)
        random = np.random.default_rng(seed)
        files = [folder / f"{number:03}.png" for number in range(count)]
        for file in files:
            Image.fromarray(random.integers(0, 256, (size, size, 3), np.uint8)).save(file)
        return files

    return write


@pytest.fixture
def shoes(tmp_path: Path, write_images: Callable[..., list[Path]]) -> Path:
    """Two classes of 20 images each, nothing split."""
    root = tmp_path / "shoes"
    write_images(root / "boots", 20, seed=1)
    write_images(root / "sandals", 20, seed=2)
    return root
