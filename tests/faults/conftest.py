"""Searches to be killed, and one that is not, to compare with."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from faults.victim import Victim


@pytest.fixture(scope="session")
def images(tmp_path_factory) -> Path:
    """The images that all of them train on."""
    from faults.work import write_images

    folder = tmp_path_factory.mktemp("images")
    write_images(folder)
    return folder


@pytest.fixture
def make_victim(tmp_path: Path, images: Path) -> Callable[..., Victim]:
    """Makes a search, or a training, with a folder of its own."""
    return lambda name, **options: Victim(tmp_path / name, images, **options)


@pytest.fixture
def timed_search(make_victim) -> Callable[[str], tuple[Victim, float]]:
    """Makes a search that nobody kills; and its seconds."""

    def run(strategy: str) -> tuple[Victim, float]:
        victim = make_victim("whole", strategy=strategy)
        started = time.monotonic()
        victim.finish()
        return victim, time.monotonic() - started

    return run
