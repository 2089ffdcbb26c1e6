"""Features on disk: complete or not there, found by what they depend on."""

import errno
import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.reuse import store as store_module
from finetune.reuse.store import FeatureStore, Shards

ROWS = np.arange(24, dtype="float32").reshape(12, 2)
LABELS = np.arange(12)


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return FeatureStore(tmp_path / "cache", limit=10**6)


def write(store: FeatureStore, key: str, rows: np.ndarray = ROWS) -> None:
    writer = store.writer(key)
    for start in range(0, len(rows), 5):
        writer.add([rows[start : start + 5]])
    writer.finish(LABELS)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_shards_read_like_one_array(lengths: list[int], random):
    whole = np.arange(sum(lengths) * 3).reshape(-1, 3)
    parts = np.split(whole, np.cumsum(lengths)[:-1])
    rows = np.array([random.randrange(len(whole)) for _ in range(7)])
    shards = Shards(parts)
    assert shards.shape == whole.shape and len(shards) == len(whole)
    np.testing.assert_array_equal(shards[rows], whole[rows])
    np.testing.assert_array_equal(shards.load(), whole)


@pytest.mark.parametrize("shard_bytes", [1, 100, 10**6])
def test_an_entry_is_read_back_whatever_its_shards(store, monkeypatch, shard_bytes: int):
    monkeypatch.setattr(store_module, "SHARD_BYTES", shard_bytes)
    write(store, "key")
    found = store.read("key")
    assert found is not None
    (rows,), labels = found
    np.testing.assert_array_equal(rows.load(), ROWS)
    np.testing.assert_array_equal(labels, LABELS)
    assert store.read("another key") is None


def test_an_unfinished_entry_is_not_there(store: FeatureStore):
    store.writer("key").add([ROWS])
    assert store.read("key") is None


def test_what_a_killed_process_left_is_removed(store: FeatureStore):
    dead = 2**22 + 1  # above the largest process number of Linux
    left = store.folder / f"0123.{dead}.partial"
    left.mkdir(parents=True)
    ours = store.folder / f"4567.{os.getpid()}.partial"
    ours.mkdir()
    store.writer("key")
    assert not left.exists() and ours.exists()


@pytest.mark.parametrize("name", ["entry.json", "0-00000.npy", "labels.npy"])
def test_a_damaged_entry_counts_as_missing_and_can_be_written_again(store, name: str):
    write(store, "key")
    (damaged,) = store.folder.glob(f"*/{name}")
    damaged.write_bytes(b"not what it was")
    assert store.read("key") is None
    write(store, "key")
    assert store.read("key") is not None


def test_the_entries_not_used_for_longest_go_first(tmp_path: Path):
    store = FeatureStore(tmp_path, limit=1500)
    for number in range(4):
        write(store, str(number))
        (done,) = [
            path for path in tmp_path.glob("*/entry.json") if f'"{number}"' in path.read_text()
        ]
        os.utime(done, (number, number))
    store.read("0")
    store.prune()
    kept = [key for key in "0123" if store.read(key) is not None]
    assert "0" in kept and "1" not in kept


def test_what_is_pruned_is_gone_at_once(tmp_path, monkeypatch):
    store = FeatureStore(tmp_path, limit=0)
    write(store, "key")
    removed = []
    monkeypatch.setattr(store_module.shutil, "rmtree", lambda path, **_: removed.append(path))
    store.prune()
    assert removed
    assert all(path.suffix == ".partial" for path in removed), "half removed under its own name"
    assert not [path for path in tmp_path.iterdir() if path.suffix != ".partial"]


def test_an_entry_that_comes_and_goes_while_another_is_finished_is_no_error(tmp_path, monkeypatch):
    store, rename, refused = FeatureStore(tmp_path, limit=10**9), os.rename, []

    def rename_late(source, target):
        if str(source).endswith(".partial") and not refused:
            refused.append(target)
            raise OSError(errno.ENOTEMPTY, "Directory not empty", str(target))
        rename(source, target)

    monkeypatch.setattr(store_module.os, "rename", rename_late)
    write(store, "key")
    assert refused
    assert store.read("key") is not None
    assert not list(tmp_path.glob("*.partial"))


def _write_and_prune(folder, rounds):
    """What a worker does, again and again, with entries that another one writes too."""
    store = FeatureStore(folder, limit=3000)
    rows = np.ones((4, 50), "float32")
    for number in range(rounds):
        key = f"entry {number % 5}"
        writer = store.writer(key)
        writer.add([rows])
        writer.finish(np.arange(4))
        found = store.read(key)
        assert found is None or np.array_equal(found[0][0].load(), rows)
        store.prune()


def test_processes_that_share_a_folder_do_not_disturb_each_other(tmp_path):
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_write_and_prune, args=(tmp_path, 300)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert not list(tmp_path.glob("*.partial"))
