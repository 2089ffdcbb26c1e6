"""Features on disk: complete and unharmed or not there, in a folder of our own, shared in peace."""

import contextlib
import json
import logging
import multiprocessing
import os
import re
import signal
import stat
import tempfile
import threading
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.exceptions import StorageError
from finetune.reuse import entries as entries_module
from finetune.reuse.entries import Shards
from finetune.reuse.store import FeatureStore

ROWS = np.arange(24, dtype="float32").reshape(12, 2)


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return FeatureStore(tmp_path / "cache", limit=10**6)


def write(store: FeatureStore, key: str, rows: np.ndarray = ROWS) -> None:
    with store.writing([key]) as (writer,):
        for start in range(0, len(rows), 5):
            writer.add([rows[start : start + 5]])
        writer.finish()


def left(store: FeatureStore) -> list[str]:
    """What is in the store besides its mark and locks."""
    names = (path.name for path in store.folder.iterdir())
    return sorted(name for name in names if not name.endswith((".TAG", ".lock")))


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
    monkeypatch.setattr(entries_module, "SHARD_BYTES", shard_bytes)
    write(store, "key")
    found = store.read("key", len(ROWS))
    assert found is not None
    np.testing.assert_array_equal(found[0].load(), ROWS)
    assert store.read("another key", len(ROWS)) is None


def test_an_unfinished_entry_is_not_there_and_leaves_nothing(store: FeatureStore):
    with pytest.raises(KeyboardInterrupt), store.writing(["key"]) as (writer,):
        writer.add([ROWS])
        assert store.read("key", len(ROWS)) is None
        raise KeyboardInterrupt
    assert left(store) == []


# --- what is not as it was written is computed again --------------------------------------------


def change_bit(path: Path) -> None:
    values = bytearray(path.read_bytes())
    values[-20] ^= 0x40
    path.write_bytes(values)


def describe(**changes):
    def change(path: Path) -> None:
        entry = path.parent / "entry.json"
        entry.write_text(json.dumps({**json.loads(entry.read_text()), **changes}))

    return change


def array(make):
    return lambda path: np.save(path, make(np.load(path)))


def resealed(change):
    """A change that the checksum tells nothing of: it is that of the changed file."""

    def apply(path: Path) -> None:
        change(path)
        entry = path.parent / "entry.json"
        content = json.loads(entry.read_text())
        content["arrays"][0][0]["crc32"] = zlib.crc32(path.read_bytes())
        entry.write_text(json.dumps(content))

    return apply


DAMAGE = {
    "other shape, resealed": (
        resealed(array(lambda rows: rows.reshape(-1, 1))),
        "holds another array than is said of it",
    ),
    "doubles, resealed": (
        resealed(array(lambda rows: rows.astype("float64"))),
        "holds another array than is said of it",
    ),
    "objects, resealed": (
        resealed(lambda path: np.save(path, np.array([{}, []], object), allow_pickle=True)),
        "holds no array",
    ),
    "text, resealed": (resealed(lambda path: path.write_text("rows")), "holds no array"),
    "one bit": (change_bit, "does not have the checksum"),
    "NaN": (array(lambda rows: rows * np.nan), "does not have the checksum"),
    "fewer rows": (array(lambda rows: rows[:5]), "does not have the checksum"),
    "other shape": (array(lambda rows: rows.reshape(2, 12)), "does not have the checksum"),
    "doubles": (array(lambda rows: rows.astype("float64")), "does not have the checksum"),
    "objects": (array(lambda rows: rows.astype(object)), "does not have the checksum"),
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:-20]), "not have the checksum"),
    "empty": (lambda path: path.write_bytes(b""), "empty file"),
    "another key": (describe(key="other"), "is of something else"),
    "no arrays": (describe(arrays=[]), "is of something else"),
    "an array of nothing": (describe(arrays=[[]]), "is of something else"),
    "numbers for files": (describe(arrays=[[5]]), r"arrays\[0\]\[0\] should be"),
    "a file elsewhere": (
        describe(arrays=[[{"file": "../x.npy", "shape": [1], "dtype": "float32", "crc32": 0}]]),
        "names a file '../x.npy'",
    ),
    "no JSON": (
        lambda path: (path.parent / "entry.json").write_text("{"),
        "entry.json cannot be used",
    ),
    "a list": (
        lambda path: (path.parent / "entry.json").write_text("[]"),
        "entry.json cannot be used",
    ),
}


@pytest.mark.parametrize(("damage", "why"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_entry_is_gone_and_one_line_says_why(store, caplog, damage, why):
    write(store, "key")
    (path,) = store.folder.glob("*/0-00000.npy")
    damage(path)
    assert store.read("key", len(ROWS)) is None
    (said,) = caplog.messages
    assert said.startswith("Features are computed again, for the kept ones are damaged: ")
    assert re.search(why, said)
    assert store.read("key", len(ROWS)) is None
    assert len(caplog.messages) == 1
    assert left(store) == []
    write(store, "key")
    assert store.read("key", len(ROWS)) is not None


def test_rows_are_counted(store: FeatureStore, caplog):
    write(store, "key")
    assert store.read("key", 13) is None
    assert "has [12] rows, expected 13" in caplog.text


def test_an_entry_says_in_words_what_it_depends_on_and_its_checksums(store: FeatureStore):
    write(store, "images|train|layers")
    (path,) = store.folder.glob("*/entry.json")
    entry = json.loads(path.read_text())
    assert entry["key"] == "images|train|layers"
    ((shard,),) = entry["arrays"]
    assert (shard["file"], shard["shape"], shard["dtype"]) == ("0-00000.npy", [12, 2], "float32")


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="names of open files are in /proc")
def test_all_is_on_the_disk_before_the_entry_counts(store: FeatureStore, monkeypatch):
    done: list[str] = []
    fsync, rename = os.fsync, os.rename

    def note_sync(number):
        done.append(Path(os.readlink(f"/proc/self/fd/{number}")).name)
        fsync(number)

    def note_rename(source, target):
        rename(source, target)
        done.append(f"to {Path(target).name}")

    with store.writing(["key"]) as (writer,):
        writer.add([ROWS])
        (partial,) = store.folder.glob("*.partial")
        monkeypatch.setattr(os, "fsync", note_sync)
        monkeypatch.setattr(os, "rename", note_rename)
        writer.finish()
    files, folder, renamed, parent = done[:-3], *done[-3:]
    assert sorted(files) == ["0-00000.npy", "entry.json"]
    assert folder == partial.name
    assert renamed == f"to {partial.name.split('.')[0]}"
    assert parent == store.folder.name


# --- a folder of our own ------------------------------------------------------------------------


def test_the_folder_is_marked_as_a_cache_and_closed_to_others(store: FeatureStore):
    write(store, "key")
    assert stat.S_IMODE(store.folder.stat().st_mode) == 0o700
    mark = (store.folder / "CACHEDIR.TAG").read_text()
    assert mark.startswith("Signature: 8a477f597d28d172789f06886806bc55")


USES = {
    "write": lambda store: write(store, "key"),
    "free": lambda store: store.free(),
    "prune": lambda store: store.prune(),
    "probe": lambda store: store.seconds_per_byte(),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_a_folder_that_something_else_made_is_refused_and_stays(store: FeatureStore, use):
    store.folder.mkdir(parents=True, mode=0o700)
    (store.folder / "thesis.txt").write_text("precious")
    with pytest.raises(StorageError) as caught:
        use(store)
    assert str(caught.value) == (
        f"Expected {store.folder} to be a folder that finetune made for you alone, but it has no "
        "CACHEDIR.TAG, so something else made it. Move it away, or name another place with "
        "cache_dir (or the environment variable FINETUNE_CACHE)"
    )
    assert left(store) == ["thesis.txt"]


def test_a_folder_that_others_can_write_to_is_refused(store: FeatureStore):
    write(store, "key")
    store.folder.chmod(0o770)
    with pytest.raises(StorageError, match="but other users can write to it"):
        store.read("key", len(ROWS))


def test_a_folder_of_another_user_is_refused(store: FeatureStore, monkeypatch):
    write(store, "key")
    monkeypatch.setattr(os, "geteuid", lambda: store.folder.stat().st_uid + 1)
    with pytest.raises(StorageError, match="but it belongs to another user"):
        store.read("key", len(ROWS))


def test_a_link_in_the_place_of_the_folder_is_refused(store: FeatureStore, tmp_path: Path):
    write(FeatureStore(tmp_path / "other", 10**6), "key")
    store.folder.parent.mkdir()
    store.folder.symlink_to(tmp_path / "other" / "finetune-features")
    with pytest.raises(StorageError, match="but it is no folder"):
        store.read("key", len(ROWS))


def test_the_probe_follows_no_link_and_leaves_nothing(store: FeatureStore, tmp_path: Path):
    store.free()
    victim = tmp_path / "victim.txt"
    victim.write_text("precious")
    for name in (f".probe-{os.getpid()}", ".probe"):
        (store.folder / name).symlink_to(victim)
        (store.folder.parent / name).symlink_to(victim)
    before = left(store)
    assert store.seconds_per_byte() > 0
    assert victim.read_text() == "precious"
    assert left(store) == before


def test_the_entries_not_used_for_longest_go_first(tmp_path: Path):
    store = FeatureStore(tmp_path, limit=1300)
    for number in range(4):
        write(store, str(number))
        (done,) = [
            path
            for path in store.folder.glob("*/entry.json")
            if json.loads(path.read_text())["key"] == str(number)
        ]
        os.utime(done, (number, number))
    store.read("0", len(ROWS))
    store.prune()
    kept = [key for key in "0123" if store.read(key, len(ROWS)) is not None]
    assert "0" in kept and "1" not in kept


def test_pruning_takes_entries_alone(tmp_path: Path):
    store = FeatureStore(tmp_path, limit=0)
    write(store, "key")
    elsewhere = tmp_path / "project"
    within = store.folder / "project"
    for folder in (elsewhere, within):
        folder.mkdir()
        (folder / "entry.json").write_text("{}")
    (store.folder / ("0" * 24)).symlink_to(elsewhere)
    store.prune()
    assert (elsewhere / "entry.json").exists() and (within / "entry.json").exists()
    assert left(store) == ["0" * 24, "project"]


def test_what_is_pruned_is_gone_at_once(tmp_path, monkeypatch):
    store = FeatureStore(tmp_path, limit=0)
    write(store, "key")
    removed = []
    monkeypatch.setattr(entries_module.shutil, "rmtree", lambda path, **_: removed.append(path))
    store.prune()
    assert removed
    assert all(path.suffix == ".partial" for path in removed), "half removed under its own name"
    assert all(name.endswith(".partial") for name in left(store))


# --- processes that share a folder --------------------------------------------------------------

CONTEXT = multiprocessing.get_context("spawn")


def _hold(folder, parent):
    """Begins to write an entry, and finishes it when it is told to."""
    with FeatureStore(folder, 10**6).writing(["key"]) as (writer,):
        writer.add([ROWS])
        parent.send("begun")
        parent.recv()
        writer.finish()


@pytest.fixture
def writing(store):
    """Another process that is writing an entry, and what lets it finish."""
    # A pipe: an event of multiprocessing waits for ever for a listener that was killed.
    here, there = CONTEXT.Pipe()
    process = CONTEXT.Process(target=_hold, args=(store.folder.parent, there))
    process.start()
    there.close()
    assert here.recv() == "begun"

    def go_on():
        with contextlib.suppress(BrokenPipeError):  # it has been killed, or is done
            here.send("go on")

    yield process, go_on
    go_on()
    process.join()
    here.close()


def test_a_live_writer_is_left_alone_whatever_its_process_number(store, writing, monkeypatch):
    """As in a container that shares the folder: its process numbers mean nothing here."""
    process, go_on = writing
    monkeypatch.setattr("psutil.pid_exists", lambda number: False)
    write(store, "another key")
    go_on()
    process.join()
    assert process.exitcode == 0
    assert store.read("key", len(ROWS)) is not None


def test_what_a_killed_process_left_is_removed(store: FeatureStore, writing):
    process, _ = writing
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert [name.split(".")[2:] for name in left(store)] == [["partial"]]
    write(store, "another key")
    assert all("partial" not in name for name in left(store))


def test_a_folder_that_a_killed_process_was_making_is_removed_and_others_stay(tmp_path):
    for content in ([], ["CACHEDIR.TAG"], ["CACHEDIR.TAG", "letter.txt"]):
        made = tempfile.mkdtemp(prefix="finetune-features-", dir=tmp_path)
        for name in content:
            (Path(made) / name).touch()
    (tmp_path / "finetune-features-mine").mkdir()
    write(FeatureStore(tmp_path, 10**9), "key")
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"finetune-features", "finetune-features-mine", Path(made).name}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_a_place_that_may_be_written_to_and_not_listed_is_good_enough(tmp_path):
    tmp_path.chmod(0o300)
    try:
        store = FeatureStore(tmp_path, 10**9)
        write(store, "key")
        assert store.read("key", len(ROWS)) is not None
    finally:
        tmp_path.chmod(0o700)


def test_who_needs_what_another_process_is_writing_waits_for_it(store, writing, caplog):
    _, go_on = writing
    threading.Timer(0.3, go_on).start()
    with caplog.at_level(logging.INFO, logger="finetune"), store.writing(["key", "second"]):
        found = store.read("key", len(ROWS))
    assert found is not None
    assert caplog.messages == ["Waiting for another process, which is computing the features."]


def _cross(folder, keys, rounds):
    store = FeatureStore(folder, limit=10**6)
    for _ in range(rounds):
        with store.writing(keys):
            time.sleep(0.001)


def test_processes_that_write_the_same_entries_in_other_orders_do_not_block(tmp_path):
    orders = [["a", "b", "c"], ["c", "b", "a"], ["b", "c", "a"]]
    processes = [CONTEXT.Process(target=_cross, args=(tmp_path, keys, 30)) for keys in orders]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0, 0]


def _write_and_prune(folder, rounds):
    """What a worker does, again and again, with entries that another one writes too."""
    store = FeatureStore(folder, limit=3000)
    rows = np.ones((4, 50), "float32")
    served = []
    for number in range(rounds):
        key = f"entry {number % 5}"
        write(store, key, rows)
        # Another process may prune it at any moment, but never changes it.
        served += [found.load() for found in store.read(key, len(rows)) or ()]
        store.prune()
    assert len(served) > rounds / 2
    np.testing.assert_array_equal(np.stack(served), np.ones((len(served), *rows.shape)))


def test_processes_that_share_a_folder_do_not_disturb_each_other(tmp_path):
    workers = [CONTEXT.Process(target=_write_and_prune, args=(tmp_path, 60)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert not list(tmp_path.rglob("*.partial"))
