"""Heads that are kept in files for other processes."""

import logging
import threading

import numpy as np
import pytest

from finetune.training.head import Head, build_classifier
from finetune.training.head_store import HeadStore, TrainedHead
from tiny import rewrite_arrays

ROWS = [
    {"phase": "head", "epoch": epoch, "loss": 1.0, "val_loss": 1.1, "val_accuracy": 0.5}
    for epoch in (1, 2)
]


@pytest.fixture
def variables():
    return build_classifier(4, Head("multiclass", 3)).variables


def store(folder):
    """As another process has it."""
    heads = HeadStore()
    heads.folder = folder
    return heads


@pytest.fixture
def kept(tmp_path, variables):
    weights = [np.array(variable) for variable in variables]
    store(tmp_path).put("key", TrainedHead(ROWS, [1e-3, 1e-3], 1, weights))
    (file,) = tmp_path.glob("*.npz")
    return file


def test_of_two_processes_that_want_a_head_one_trains_it_and_the_other_waits(
    tmp_path, variables, caplog
):
    weights = [np.array(variable) for variable in variables]
    begun, waits = threading.Event(), threading.Event()

    def train():
        with store(tmp_path).alone("key"):
            begun.set()
            assert waits.wait(60)
            store(tmp_path).put("key", TrainedHead(ROWS, [1e-3, 1e-3], 1, weights))

    class Notices(logging.Handler):
        def emit(self, record):
            assert record.getMessage() == "Waiting for another process, which is training the head."
            waits.set()

    logger, handler = logging.getLogger("finetune"), Notices()
    logger.addHandler(handler)
    try:
        with caplog.at_level("INFO", logger="finetune"):
            other = threading.Thread(target=train)
            other.start()
            assert begun.wait(60)
            mine = store(tmp_path)
            with mine.alone("key"):
                assert mine.get("key", variables).best == 1
            other.join()
    finally:
        logger.removeHandler(handler)
    assert [path.suffix for path in tmp_path.iterdir()] == [".npz"]


def test_a_head_is_found_by_another_process(tmp_path, kept, variables):
    head = store(tmp_path).get("key", variables)
    assert (head.epochs, head.rates, head.best) == (ROWS, [1e-3, 1e-3], 1)
    for value, variable in zip(head.weights, variables, strict=True):
        np.testing.assert_array_equal(value, np.array(variable), strict=True)


def test_what_a_killed_process_left_beside_a_head_is_removed(tmp_path, kept, variables):
    for suffix in (".lock", ".state.npz"):
        kept.with_suffix(suffix).touch()
    assert store(tmp_path).get("key", variables) is not None
    assert [path.name for path in tmp_path.iterdir()] == [kept.name]


def kernel_of(change):
    def apply(meta, arrays):
        (place,) = [n for n, array in enumerate(arrays) if array.ndim == 2]
        arrays[place] = change(arrays[place])

    return apply


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (kernel_of(lambda kernel: kernel * np.nan), "is not finite"),
        (kernel_of(lambda kernel: kernel.T.copy()), "float32 (4, 3), received float32 (3, 4)"),
        (kernel_of(lambda kernel: kernel.astype("float64")), "to be float32, received 'float64'"),
        (lambda meta, arrays: arrays.pop(), "types, received"),
        (lambda meta, arrays: meta.update(best=-1), "expected best to be 0 or more, received -1"),
        (lambda meta, arrays: meta.update(best=2), "expected best to be one of 2 epochs"),
        (lambda meta, arrays: meta.update(epochs=5), "meta.epochs should be a valid array, rec"),
        (lambda meta, arrays: meta["epochs"][0].pop("phase"), "epochs[0].phase is missing or no"),
        (lambda meta, arrays: meta["epochs"][1].update(val_loss=np.nan), "best epoch, 1, is not f"),
        (lambda meta, arrays: meta["rates"].append("x"), "rates[2] should be a valid number"),
        (lambda meta, arrays: meta["rates"].append(np.inf), "rates[2] should be a finite number"),
    ],
)
def test_a_damaged_head_is_set_aside_by_name(tmp_path, kept, variables, caplog, change, reason):
    rewrite_arrays(kept, change)
    assert store(tmp_path).get("key", variables) is None
    assert reason in caplog.text
    assert [path.name for path in tmp_path.iterdir()] == [f"{kept.name}.damaged"]
