"""Searches to be killed, and one that is not, to compare with."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from faults.victim import Victim


@pytest.fixture
def make_victim(tmp_path: Path) -> Callable[..., Victim]:
    """Makes a search with a folder of its own."""
    return lambda name, strategy, **options: Victim(tmp_path / name, strategy, **options)


@pytest.fixture
def timed_search(make_victim) -> Callable[[str], tuple[Victim, float]]:
    """Makes a search that nobody kills; and its seconds."""

    def run(strategy: str) -> tuple[Victim, float]:
        victim = make_victim("whole", strategy)
        started = time.monotonic()
        victim.finish()
        return victim, time.monotonic() - started

    return run
