import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.data import storage
from finetune.data.storage import allocate, reorder
from finetune.exceptions import StorageError


@given(st.permutations(range(12)))
def test_reorder_equals_indexing(order: list[int]):
    rows = np.arange(24).reshape(12, 2)
    expected = rows[order]
    reorder(rows, order)
    assert np.array_equal(rows, expected)


def test_small_arrays_stay_in_memory():
    array = allocate((4, 2, 2, 3), memory_budget=48)
    assert type(array) is np.ndarray and array.shape == (4, 2, 2, 3) and array.dtype == np.uint8


def test_arrays_above_the_budget_are_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    array = allocate((4, 2, 2, 3), memory_budget=47)
    assert isinstance(array, np.memmap) and array.shape == (4, 2, 2, 3)
    array[3] = 7
    assert (array[3] == 7).all() and not array[:3].any()


@pytest.mark.skipif(os.name == "nt", reason="names of open files stay there until they are closed")
def test_nothing_is_left_when_the_process_is_killed(tmp_path: Path):
    code = (
        "import tempfile\n"
        f"tempfile.tempdir = {str(tmp_path)!r}\n"
        "from finetune.data.storage import allocate\n"
        "array = allocate((10_000_000,), 0)\n"
        "array[:] = 1\n"
        "import os, signal; os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", code])
    assert killed.returncode == -signal.SIGKILL
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_said_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    usage = type("Usage", (), {"free": 10})
    monkeypatch.setattr(storage.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(StorageError) as caught:
        allocate((3_000_000_000,), memory_budget=1_000_000_000)
    assert str(caught.value) == (
        "The decoded images need 3.0 GB and more than the memory budget of 1.0 GB, but "
        f"{tmp_path} has no room for them (No space left on device). Choose another place with "
        "the environment variable TMPDIR, a smaller `image_size`, or raise `memory_budget`."
    )
    assert not list(tmp_path.iterdir())
