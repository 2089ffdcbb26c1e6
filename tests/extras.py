"""Extras of the package that tests need: where one must be installed, its absence is a failure."""

import importlib
import os
from typing import Any

import pytest

# Set by the Makefile, which installs them: there a test that skips would go unnoticed.
EXPECTED = os.environ.get("FINETUNE_EXPECTED_EXTRAS", "").split()


def require(extra: str) -> Any:
    """The module of an extra; skips the test, or the tests of a file, where it is missing."""
    if extra in EXPECTED:
        return importlib.import_module(extra)
    return pytest.importorskip(extra, reason=f"the extra {extra} is not installed")
