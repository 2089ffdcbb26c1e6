"""Training that is killed or paused anywhere goes on to the very same end."""

from pathlib import Path

import keras
import numpy as np
import pytest

from finetune import FineTuner
from finetune.training.progress import PhaseCallback
from finetune.training.records import FINE_TUNE, HEAD
from finetune.training.states import StateFile

HEAD_EPOCHS, EPOCHS = 4, 3


class Killed(BaseException):
    """Stands for a kill: nothing in the package can catch it."""


class Watch(PhaseCallback):
    """Counts the epochs that are really trained, and may kill at the end of one."""

    def __init__(self, phase=None, epoch=0):
        super().__init__()
        self._last = phase, epoch
        self.trained = []

    def start_phase(self, name, epochs, first_epoch):
        self._name, self._first = name, first_epoch

    def on_epoch_end(self, epoch, logs=None):
        self.trained.append((self._name, epoch - self._first + 1))
        if self.trained[-1] == self._last:
            raise Killed


class Stop(keras.callbacks.Callback):
    """Pauses at the end of every epoch."""

    def on_epoch_end(self, epoch, logs=None):
        self.model.stop_training = True


def train(backbone, data, folder: Path, watch, *, reuse, pauses=()):
    """As in a process of its own: nothing but the folder is left of what was before."""
    keras.utils.clear_session()  # layers are numbered from the beginning again
    tuner = FineTuner(
        backbone,
        preprocess="tf",
        freeze_depth=7,
        learning_rate=0.01,
        head_epochs=HEAD_EPOCHS,
        epochs=EPOCHS,
        dropout=0.3,
        hidden_units=4,
        augment="light",
        views=2,
        reuse=reuse,
    )
    tuner.trainer.keep_heads(folder / "heads")
    values = tuner.trainer.settings()
    model, record = tuner.trainer.train(
        values,
        tuner.trainer.source_of(data, values),
        file=StateFile(folder / "state.npz"),
        progress=[watch],
        pauses=pauses,
    )
    return model.get_weights(), record


def assert_same(one, other):
    (weights, record), (others, wanted) = one, other
    without = [{k: v for k, v in row.items() if k != "seconds"} for row in record.epochs]
    assert without == [{k: v for k, v in row.items() if k != "seconds"} for row in wanted.epochs]
    assert record.rates == wanted.rates
    for value, expected in zip(weights, others, strict=True):
        np.testing.assert_array_equal(value, expected)


@pytest.fixture(scope="module", params=[True, False], ids=["features", "images"])
def unbroken(request, make_backbone, data, tmp_path_factory):
    """Whether frozen work is reused, and a training that was never stopped."""
    folder = tmp_path_factory.mktemp("unbroken")
    return request.param, train(make_backbone(), data, folder, Watch(), reuse=request.param)


@pytest.mark.parametrize("phase", [HEAD, FINE_TUNE])
def test_killed_in_either_phase_goes_on_to_the_very_same_end(
    backbone, data, tmp_path, unbroken, phase
):
    reuse, whole = unbroken
    with pytest.raises(Killed):
        train(backbone, data, tmp_path, Watch(phase, 3), reuse=reuse)
    watch = Watch()
    resumed = train(backbone, data, tmp_path, watch, reuse=reuse)
    # The epoch whose end it did not live to see is trained again, and none before it.
    left = [(HEAD, 3), (HEAD, 4), *((FINE_TUNE, epoch) for epoch in (1, 2, 3))]
    assert watch.trained == (left if phase == HEAD else left[-1:])
    assert_same(resumed, whole)


def test_paused_in_the_head_phase_waits_there_with_its_best_epoch(
    backbone, data, tmp_path, unbroken
):
    reuse, whole = unbroken
    watch = Watch()
    _, paused = train(backbone, data, tmp_path, watch, reuse=reuse, pauses=[Stop()])
    assert watch.trained == [(HEAD, 1)]
    assert not paused.finished
    assert paused.best == 0
    for _ in range(HEAD_EPOCHS + EPOCHS - 1):
        again, record = train(backbone, data, tmp_path, watch, reuse=reuse, pauses=[Stop()])
    assert watch.trained == [(HEAD, n) for n in (1, 2, 3, 4)] + [(FINE_TUNE, n) for n in (1, 2, 3)]
    assert record.finished
    assert_same((again, record), whole)
