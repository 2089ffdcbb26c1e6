"""The feature cache: where features are kept, and that nothing stale is served."""

import errno
import json
import logging
import os
import shutil
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.metadata import version

import numpy as np
import pytest

from finetune.api.fine_tuner import FineTuner
from finetune.data import load_data
from finetune.exceptions import ArgumentError, OutOfTimeError, StorageError
from finetune.reuse import entries, features
from finetune.reuse.entries import EntryWriter
from finetune.reuse.features import FeatureCache
from finetune.reuse.sources import StoredSource
from finetune.reuse.store import FeatureStore
from finetune.support import current_deadline, time_limit

IMAGES = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), np.uint8)


@pytest.fixture
def source() -> StoredSource:
    data = load_data((IMAGES, np.arange(40) % 2), image_size=16, batch_size=8)
    return StoredSource(data, reuse=True)


def _full(writer, arrays):
    raise OSError(errno.ENOSPC, "No space left on device")


def refuse(source, split, points):
    raise AssertionError("computed again")


def through(compute):
    """A frozen part of which it is known what it computes at points for a batch of pixels."""

    def extract(source, split, points):
        for pixels, labels in source.passes(split):
            yield compute(points, pixels), labels

    return extract


def means(calls: list[int]):
    """A frozen part that gives the mean of each channel, and counts the images it was given."""

    def compute(points, pixels):
        calls.append(len(pixels))
        return [(pixels.mean(axis=(1, 2)),) for _ in points]

    return through(compute)


def test_features_are_computed_once_for_all_points(source, tmp_path):
    calls: list[int] = []
    cache = FeatureCache(folder=tmp_path)
    first = cache.get(source, "train", "a", ["a", "b"], means(calls))
    seen = sum(calls)
    cache.get(source, "train", "b", [], means(calls))
    assert sum(calls) == seen == len(source.data.splits["train"])
    images = source.data.splits["train"].images.astype("float32")
    np.testing.assert_allclose(first.inputs[0], images.mean(axis=(1, 2)), rtol=1e-6)
    np.testing.assert_array_equal(first.labels, source.labels())


def test_another_cache_finds_them_on_disk(source, tmp_path):
    calls: list[int] = []
    first = FeatureCache(folder=tmp_path).get(source, "train", "a", [], means(calls))
    again = FeatureCache(folder=tmp_path).get(source, "train", "a", [], refuse)
    np.testing.assert_array_equal(first.inputs[0], again.inputs[0])
    assert sum(calls) == len(source.data.splits["train"])


def test_names_that_mean_nothing_elsewhere_are_not_kept_on_disk(source, tmp_path):
    FeatureCache(folder=tmp_path).get(source, "train", "a", [], means([]), lasting=False)
    assert not list(tmp_path.iterdir())


def test_other_images_are_never_served_the_old_features(source, tmp_path):
    FeatureCache(folder=tmp_path).get(source, "train", "a", [], means([]))
    changed = IMAGES.copy()
    changed[3, 0, 0, 0] ^= 255
    data = load_data((changed, np.arange(40) % 2), image_size=16, batch_size=8)
    calls: list[int] = []
    cache = FeatureCache(folder=tmp_path)
    cache.get(replace(source, data=data), "train", "a", [], means(calls))
    assert sum(calls) == len(data.splits["train"])


def test_the_same_files_decoded_otherwise_are_never_served_the_old_features(source, tmp_path):
    FeatureCache(folder=tmp_path).get(source, "train", "a", [], means([]))
    splits = {
        name: replace(split, images=255 - split.images)
        for name, split in source.data.splits.items()
    }
    data = replace(source.data, splits=splits)
    assert data.fingerprint == source.data.fingerprint
    calls: list[int] = []
    got = FeatureCache(folder=tmp_path).get(
        replace(source, data=data), "train", "a", [], means(calls)
    )
    images = data.splits["train"].images.astype("float32")
    np.testing.assert_allclose(got.inputs[0], images.mean(axis=(1, 2)), rtol=1e-6)
    assert sum(calls) == len(images)


def test_labels_are_those_of_the_source_and_never_kept(source, tmp_path):
    FeatureCache(folder=tmp_path).get(source, "train", "a", [], means([]))
    assert not list(tmp_path.rglob("labels*"))
    again = FeatureCache(folder=tmp_path).get(source, "train", "a", [], refuse)
    np.testing.assert_array_equal(again.labels, source.labels())
    assert again.labels is source.data.splits["train"].labels


@pytest.mark.parametrize("library", ["keras", "tensorflow", "numpy", "pillow"])
def test_an_entry_names_the_versions_that_made_it(source, tmp_path, library):
    FeatureCache(folder=tmp_path).get(source, "train", "a", [], means([]))
    (entry,) = tmp_path.rglob("entry.json")
    assert f"{library} {version(library)}" in json.loads(entry.read_text())["key"]


def test_damaged_features_are_computed_again_and_one_line_says_why(source, tmp_path, caplog):
    expected = FeatureCache(folder=tmp_path).get(source, "train", "a", [], means([])).inputs[0]
    (file,) = tmp_path.rglob("*.npy")
    content = bytearray(file.read_bytes())
    content[-2] ^= 0x40
    file.write_bytes(content)
    calls: list[int] = []
    again = FeatureCache(folder=tmp_path).get(source, "train", "a", [], means(calls))
    np.testing.assert_array_equal(again.inputs[0], expected)
    assert sum(calls) == len(expected)
    (said,) = [message for message in caplog.messages if "damaged" in message]
    assert said == (
        "Features are computed again, for the kept ones are damaged: "
        f"{file} does not have the checksum that it was written with."
    )
    FeatureCache(folder=tmp_path).get(source, "train", "a", [], refuse)


def test_features_beyond_the_budget_are_read_from_disk_and_equal(source, tmp_path):
    held = FeatureCache(folder=tmp_path / "1").get(source, "train", "a", [], means([]))
    small = FeatureCache(budget=10, folder=tmp_path / "2")
    mapped = small.get(source, "train", "a", [], means([]))
    rows = np.array([3, 0, 7])
    np.testing.assert_array_equal(mapped.inputs[0][rows], held.inputs[0][rows])
    assert not isinstance(mapped.inputs[0], np.ndarray)


def test_the_points_of_one_pass_share_the_budget(source, tmp_path):
    rows = len(source.data.splits["train"])
    bytes_of_one_point = rows * 3 * 4
    cache = FeatureCache(budget=2 * bytes_of_one_point, folder=tmp_path)
    wanted = ["model/a", "model/b", "model/c"]
    kept = [cache.get(source, "train", point, wanted, means([])).inputs[0] for point in wanted]
    assert sorted(isinstance(values, np.ndarray) for values in kept) == [False, True, True]
    for values in kept[1:]:
        np.testing.assert_array_equal(values[np.arange(rows)], kept[0][np.arange(rows)])


def test_values_beyond_half_precision_are_kept_in_single(source, tmp_path, caplog):
    """The last batch alone overflows: what came before it is not left rounded."""
    rows = len(source.data.splits["train"])
    calls: list[int] = []

    def compute(points, pixels):
        calls.append(len(pixels))
        seen = sum(calls) % rows or rows
        scale = {"large": 1e6 if seen == rows else 1.0, "small": 1.0}
        return [(pixels.mean(axis=(1, 2)) * scale[point],) for point in points]

    cache = FeatureCache(folder=tmp_path, dtype="float16")
    with caplog.at_level(logging.INFO, logger="finetune"):
        large = cache.get(source, "train", "large", ["small"], through(compute)).inputs[0]
    small = cache.get(source, "train", "small", [], refuse).inputs[0]
    assert (large.dtype, small.dtype) == (np.float32, np.float16)
    assert np.isfinite(large).all() and large.max() > np.finfo("float16").max
    images = source.data.splits["train"].images.astype("float32")
    np.testing.assert_allclose(large[0], images[0].mean(axis=(0, 1)), rtol=1e-6)
    assert sum(calls) == 2 * rows
    assert (
        "Features are kept as float32 at 1 of 2 places, where some values are too large for "
        "float16."
    ) in caplog.messages
    again = FeatureCache(folder=tmp_path, dtype="float16")
    np.testing.assert_array_equal(again.get(source, "train", "large", [], refuse).inputs[0], large)


def test_half_precision_takes_half_the_room(source, tmp_path):
    cache = FeatureCache(folder=tmp_path, dtype="float16")
    assert cache.get(source, "train", "a", [], means([])).inputs[0].dtype == np.float16
    with pytest.raises(ArgumentError, match="Expected cache_dtype to be 'float32' or 'float16'"):
        FeatureCache(folder=tmp_path, dtype="int8")
    with pytest.raises(ArgumentError, match="Expected cache_budget of 0 or more"):
        FeatureCache(budget=-1, folder=tmp_path)


def test_room_is_what_the_budget_and_what_is_held_of_the_same_model_leave(source, tmp_path):
    cache = FeatureCache(budget=1000, folder=tmp_path)
    assert cache.room(source, "model") == 1000
    held = cache.get(source, "train", "model/a", [], means([])).inputs[0].nbytes
    assert cache.room(source, "model") == 1000 - held
    assert cache.room(source, "another") == 1000  # which may have all of it
    assert (cache.row_bytes(5), FeatureCache(dtype="float16").row_bytes(5)) == (20, 10)


def test_the_default_budget_is_a_share_of_what_was_free_at_first(source, tmp_path, monkeypatch):
    free = iter([10_000, 20])
    monkeypatch.setattr(features, "free_memory", lambda: next(free))
    cache = FeatureCache(folder=tmp_path)
    assert [cache.room(source, "model") for _ in range(2)] == [4000, 4000]
    shared = FeatureCache(folder=tmp_path)
    monkeypatch.setattr(features, "free_memory", lambda: 10_000)
    shared.share(4)  # by four workers on this machine
    assert shared.room(source, "model") == 1000


def memory_of(cache):
    return sum(
        array.nbytes
        for kept in cache.kept.values()
        for array in kept.inputs
        if isinstance(array, np.ndarray)
    )


def test_memory_of_all_models_is_bounded_and_what_was_not_used_for_longest_goes_first(
    source, tmp_path
):
    size = FeatureCache(folder=tmp_path).get(source, "train", "m/a", [], means([])).inputs[0].nbytes
    cache = FeatureCache(budget=int(2.5 * size), folder=tmp_path / "other")
    for model in ("one", "two"):
        cache.get(source, "train", f"{model}/a", [], means([]))
    cache.get(source, "train", "one/a", [], refuse)  # used again, so "two" is older now
    cache.get(source, "train", "three/a", [], means([]))
    assert memory_of(cache) == 2 * size <= cache.budget
    assert [point for _, _, point in cache.kept] == ["one/a", "three/a"]
    # What was let go of is on disk still, and takes the place of others in turn.
    again = cache.get(source, "train", "two/a", [], refuse)
    assert isinstance(again.inputs[0], np.ndarray)
    assert [point for _, _, point in cache.kept] == ["three/a", "two/a"]


def test_places_of_one_model_do_not_drive_each_other_out(source, tmp_path):
    size = FeatureCache(folder=tmp_path).get(source, "train", "m/a", [], means([])).inputs[0].nbytes
    cache = FeatureCache(budget=int(1.5 * size), folder=tmp_path / "other")
    first = cache.get(source, "train", "one/a", [], means([]))
    second = cache.get(source, "train", "one/b", [], means([]))
    assert isinstance(first.inputs[0], np.ndarray) and not isinstance(second.inputs[0], np.ndarray)
    assert cache.get(source, "train", "one/a", [], refuse) is first


def test_the_disk_has_room_only_for_what_the_next_process_can_find_again(source, tmp_path):
    cache = FeatureCache(folder=tmp_path)
    free, seconds = cache.disk(source)
    assert 0 < free <= 50 * 10**9 and seconds > 0
    assert cache.disk(source, lasting=False) == (0, 0.0)


def test_a_place_that_cannot_be_written_is_no_place(source, tmp_path, caplog):
    (tmp_path / "file").write_text("")
    cache = FeatureCache(budget=10, folder=tmp_path / "file" / "features")
    assert cache.disk(source) == (0, 0.0)
    assert "Features cannot be kept on disk" in caplog.text


def test_a_disk_that_fills_costs_nothing_while_memory_has_room(
    source, tmp_path, monkeypatch, caplog
):
    held = FeatureCache(folder=tmp_path / "1").get(source, "train", "a", [], means([]))
    monkeypatch.setattr(EntryWriter, "add", _full)
    kept = FeatureCache(folder=tmp_path / "2").get(source, "train", "a", [], means([]))
    np.testing.assert_array_equal(kept.inputs[0], held.inputs[0])
    assert "Features are not kept for later runs: [Errno 28] No space left" in caplog.text


def test_a_disk_that_fills_when_memory_has_no_room_is_a_clear_error(source, tmp_path, monkeypatch):
    add, calls = EntryWriter.add, iter(range(2))

    def fills(writer, arrays):
        if next(calls, None) is None:
            _full(writer, arrays)
        add(writer, arrays)

    monkeypatch.setattr(EntryWriter, "add", fills)
    cache = FeatureCache(budget=10, folder=tmp_path)
    with pytest.raises(StorageError, match=r"No space left.*name another place with cache_dir"):
        cache.get(source, "train", "a", [], means([]))
    assert not list(tmp_path.rglob("*.partial"))
    assert not list(tmp_path.rglob("entry.json"))


def _denied(store, *arguments):
    raise OSError(errno.EACCES, "Permission denied")


def test_kept_features_that_cannot_be_read_are_computed_again_and_it_is_said_why(
    source, tmp_path, monkeypatch, caplog
):
    held = FeatureCache(folder=tmp_path).get(source, "train", "a", [], means([]))
    monkeypatch.setattr(FeatureStore, "read", _denied)
    calls: list[int] = []
    again = FeatureCache(folder=tmp_path).get(source, "train", "a", [], means(calls))
    np.testing.assert_array_equal(again.inputs[0], held.inputs[0])
    assert sum(calls) == len(held.inputs[0])
    assert "Kept features cannot be used: [Errno 13] Permission denied." in caplog.messages


def test_features_that_are_on_disk_alone_and_cannot_be_read_back_are_a_clear_error(
    source, tmp_path, monkeypatch
):
    monkeypatch.setattr(FeatureStore, "read", _denied)
    cache = FeatureCache(budget=10, folder=tmp_path)
    with pytest.raises(StorageError) as caught:
        cache.get(source, "train", "a", [], means([]))
    assert str(caught.value) == (
        f"The features written to {cache._store.folder} cannot be read back. Name another place "
        "with cache_dir."
    )


def test_earlier_features_that_cannot_be_removed_end_no_training(
    source, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(FeatureStore, "prune", _denied)
    kept = FeatureCache(folder=tmp_path).get(source, "train", "a", [], means([]))
    assert len(kept.inputs[0]) == len(source.data.splits["train"])
    assert (
        "Features of earlier runs cannot be removed: [Errno 13] Permission denied."
        in caplog.messages
    )


def test_who_has_no_home_keeps_features_among_temporary_files(source, tmp_path, monkeypatch):
    pwd = pytest.importorskip("pwd")
    monkeypatch.delenv("FINETUNE_CACHE")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", lambda number: {}[number])
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    FeatureCache().get(source, "train", "a", [], means([]))
    assert list((tmp_path / f"finetune-{os.getuid()}" / "finetune-features").glob("*/entry.json"))


def _deletes_at_the_end(folder):
    """A frozen part during whose last batch somebody deletes the cache folder."""
    seen: list[int] = []

    def compute(points, pixels):
        seen.append(len(pixels))
        if len(seen) == 3:
            shutil.rmtree(folder)
        return [(pixels.mean(axis=(1, 2)),) for _ in points]

    return through(compute)


def test_a_folder_deleted_while_it_is_written_to_costs_nothing_while_memory_has_room(
    source, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(entries, "SHARD_BYTES", 1)
    held = FeatureCache(folder=tmp_path / "1").get(source, "train", "a", [], means([]))
    folder = tmp_path / "2"
    cache = FeatureCache(folder=folder)
    kept = cache.get(source, "train", "a", [], _deletes_at_the_end(folder))
    np.testing.assert_array_equal(kept.inputs[0], held.inputs[0])
    assert "Features are not kept for later runs: [Errno 2] No such file" in caplog.text
    cache.get(source, "validation", "a", [], means([]))
    again = FeatureCache(folder=folder)
    again.get(source, "validation", "a", [], refuse)


def test_a_folder_deleted_while_it_is_written_to_is_a_clear_error_where_memory_has_no_room(
    source, tmp_path, monkeypatch
):
    monkeypatch.setattr(entries, "SHARD_BYTES", 1)
    folder = tmp_path / "cache"
    with pytest.raises(StorageError, match=r"No such file.*name another place with cache_dir"):
        FeatureCache(budget=10, folder=folder).get(
            source, "train", "a", [], _deletes_at_the_end(folder)
        )


@pytest.mark.skipif(os.name == "nt", reason="files that are open cannot be deleted there")
def test_a_folder_deleted_while_it_is_read_from_is_still_read(source, tmp_path):
    held = FeatureCache(folder=tmp_path / "1").get(source, "train", "a", [], means([]))
    folder = tmp_path / "2"
    mapped = FeatureCache(budget=10, folder=folder).get(source, "train", "a", [], means([]))
    shutil.rmtree(folder)
    rows = np.arange(len(held.labels))
    np.testing.assert_array_equal(mapped.inputs[0][rows], held.inputs[0])


def test_what_another_process_computed_meanwhile_is_not_computed_again(source, tmp_path):
    """Two caches begin at once: the second one waits, and finds what the first one wrote."""
    first, second = FeatureCache(folder=tmp_path), FeatureCache(folder=tmp_path)
    counted = means(calls := [])
    with ThreadPoolExecutor(2) as threads:
        begun = threading.Event()

        def slowly(source, split, points):
            begun.set()
            time.sleep(0.2)
            yield from counted(source, split, points)

        one = threads.submit(first.get, source, "train", "a", [], slowly)
        assert begun.wait(60)
        other = threads.submit(second.get, source, "train", "a", [], refuse)
        np.testing.assert_array_equal(one.result().inputs[0], other.result().inputs[0])
    assert sum(calls) == len(source.data.splits["train"])


def test_memory_disk_and_no_room_at_all_train_to_the_same_result(
    make_backbone, tmp_path, caplog, monkeypatch
):
    # So little is frozen of so small a network that no real disk would be quick enough.
    monkeypatch.setattr(FeatureStore, "seconds_per_byte", lambda self: 1e-15)
    data = load_data((IMAGES, np.arange(40) % 2), image_size=16, batch_size=8)
    blocked = tmp_path / "file"
    blocked.write_text("")
    losses = []
    for budget, folder, said in (
        (None, tmp_path / "memory", "in memory."),
        (10, tmp_path / "disk", "in part on disk."),
        (10, blocked, "Freeze depth 10 starts from the pixels: there is no room"),
    ):
        tuner = FineTuner(
            make_backbone(),
            preprocess="tf",
            freeze_depth=10,
            learning_rate=1e-2,
            head_epochs=0,  # the head's pass would yield the features before they are asked for
            epochs=2,
            dropout=0.0,
            cache_budget=budget,
            cache_dir=folder,
        )
        settings = tuner.trainer.settings()
        caplog.clear()
        with caplog.at_level(logging.INFO, logger="finetune"):
            _, record = tuner.trainer.train(settings, tuner.trainer.source_of(data, settings))
        assert said in caplog.text
        losses.append([row["val_loss"] for row in record.epochs])
    assert losses[0] == losses[1]
    np.testing.assert_allclose(losses[0], losses[2], rtol=1e-4)


def test_a_pass_ends_where_time_is_up_and_says_how_far_it_came(source, tmp_path):
    def slowly(source, split, points):
        for batch in means([])(source, split, points):
            current_deadline().seconds = 0.0
            yield batch

    cache = FeatureCache(folder=tmp_path)
    count = len(source.data.splits["train"])
    with (
        time_limit(3600),
        pytest.raises(OutOfTimeError, match=f"features of 16 of {count} train images were"),
    ):
        cache.get(source, "train", "a", [], slowly)
    assert not list(tmp_path.glob("*/done")), "what was computed in part is never served"
    calls: list[int] = []
    cache.get(source, "train", "a", [], means(calls))
    assert sum(calls) == count


def test_waiting_for_another_process_ends_where_time_is_up(source, tmp_path):
    cache, store = FeatureCache(folder=tmp_path), FeatureStore(tmp_path, 10**9)
    with (
        store.writing([cache._name(source.key, "train", "a")]),
        time_limit(0.0),
        pytest.raises(OutOfTimeError, match="up when another process was computing the features"),
    ):
        cache.get(source, "train", "a", [], refuse)
